"""A machine's MADT, told otherwise: `without_8259(machine, *structures) -> Machine`."""

from __future__ import annotations

import msgspec

from metaos.probe.machine import Machine

_LENGTH, _CHECKSUM, _FLAGS = slice(4, 8), 9, 40
PCAT_COMPAT = 1
"""Source: ACPI 6.4 table 5.20."""


def without_8259(machine: Machine, *structures: bytes) -> Machine:
    """The machine whose MADT says that it has no 8259 pair, and has these structures more.

    QEMU 7.2's MADT says that it has one with `pic=off` too.
    """
    (table,) = (t for t in machine.acpi if t.signature == "APIC")
    data = bytearray(bytes.fromhex(table.data) + b"".join(structures))
    data[_LENGTH] = len(data).to_bytes(4, "little")
    data[_FLAGS] &= ~PCAT_COMPAT
    data[_CHECKSUM] = data[_CHECKSUM] - sum(data) & 0xFF
    told = msgspec.structs.replace(table, data=data.hex())
    return msgspec.structs.replace(
        machine, acpi=tuple(told if t is table else t for t in machine.acpi)
    )


def override(irq: int, line: int, flags: int = 0) -> bytes:
    """An interrupt source override. Source: ACPI 6.4 §5.2.12.5."""
    return bytes((2, 10, 0, irq)) + line.to_bytes(4, "little") + flags.to_bytes(2, "little")
