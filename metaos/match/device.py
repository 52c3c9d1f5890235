"""What a pattern can match: a device of the machine, `devices(machine)`.

It is a PCI function ("00:03.0"), a device that firmware names ("com0"), an ACPI table ("FACP"), a
structure in one ("APIC@34", by its offset), a part of the platform ("pci", "processor") or a window
of memory that no bus announces ("mmio@feb00e00").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from metaos.pattern.names import ENTRIES
from metaos.probe.acpi import madt_entries
from metaos.probe.machine import (
    AcpiTable,
    Cpu,
    Function,
    Legacy,
    Machine,
    Mmio,
    Unknown,
    Wire,
)

PROCESSOR = "processor"
"""The part of the platform that executes the image. It is the last: by then there is a clock."""


@dataclass(frozen=True, slots=True)
class Device:
    """Something of the machine that a pattern can match; one of function, legacy, table, mmio is
    set, none of a part of the platform. `cpu` is the machine's.

    Of a structure in a table, `entry` are its bytes. `pin` is where a function's pin arrives where
    no controller has it by its number. `unknown` is what could not be read.
    """

    address: str
    kind: str
    function: Function | None = None
    legacy: Legacy | None = None
    table: AcpiTable | None = None
    mmio: Mmio | None = None
    entry: range | None = None
    pin: Wire | None = None
    unknown: tuple[Unknown, ...] = ()
    cpu: Cpu | None = None

    def unread(self, what: str) -> Unknown | None:
        """Why `what` of it ("capabilities", "bar 0 size") could not be read."""
        return next((x for x in self.unknown if x.what == f"{self.address} {what}"), None)


def devices(machine: Machine) -> tuple[Device, ...]:
    """Everything of the machine that a pattern may match, in a fixed order."""
    found = [Device("pci", "platform")] if machine.functions else []
    found += [x for t in _first_of_each(machine) for x in _in_table(t)]
    found += [Device(f"{x.kind}{x.index}", "legacy", legacy=x) for x in machine.legacy]
    pins = {x.address: x.interrupt for x in machine.pins}
    found += [
        Device(
            f.address,
            "pci",
            function=f,
            pin=pins.get(f.address),
            unknown=_unknown(machine, f.address),
        )
        for f in machine.functions
    ]
    found += [Device(x.address, "mmio", mmio=x) for x in machine.mmio]
    found.append(Device(PROCESSOR, "platform"))
    return tuple(replace(device, cpu=machine.cpu) for device in found)


def _in_table(table: AcpiTable) -> Iterator[Device]:
    """The table, and behind it the structures in it, if each may be a device."""
    yield Device(table.signature, "acpi", table=table)
    if table.signature in ENTRIES:
        for _, entry in madt_entries(bytes.fromhex(table.data)):
            address = f"{table.signature}@{entry.start:x}"
            yield Device(address, "acpi", table=table, entry=entry)


def _unknown(machine: Machine, address: str) -> tuple[Unknown, ...]:
    return tuple(fact for fact in machine.unknown if fact.what.startswith(f"{address} "))


def _first_of_each(machine: Machine) -> list[AcpiTable]:
    tables: dict[str, AcpiTable] = {}
    for table in machine.acpi:
        tables.setdefault(table.signature, table)
    return list(tables.values())


def type_of(device: Device) -> int | None:
    """The type of a structure in an ACPI table; None for what is none."""
    if device.entry is None or device.table is None:
        return None
    return bytes.fromhex(device.table.data)[device.entry.start]
