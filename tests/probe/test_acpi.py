"""ACPI tables: what they say, and what is said of broken ones."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import pytest

from metaos.match.tree import tree
from metaos.probe.acpi import read_acpi
from metaos.probe.acpi_tables import (
    Acpi,
    AcpiProcessor,
    ApicNmi,
    Ecam,
    Fault,
    GenericAddress,
    IoApic,
    NumaMemory,
    NumaNode,
    Override,
    Rsdp,
)
from metaos.probe.acpi_text import acpi_lines
from metaos.probe.machine import AcpiTable
from metaos.probe.store import read_machine
from tests.probe.tables import fadt, hpet, madt, mcfg, register, spcr, srat, stored, table

MACHINES = Path(__file__).parent.parent / "data" / "machines"


def acpi(*tables: AcpiTable) -> Acpi:
    found = read_acpi(tables)
    assert found.faults == (), found.faults
    return found


def broken(one: AcpiTable) -> tuple[Fault, ...]:
    return read_acpi([one]).faults


def changed(one: AcpiTable, offset: int, data: bytes) -> AcpiTable:
    """The table with other bytes and a right checksum."""
    raw = bytearray(bytes.fromhex(one.data))
    raw[offset : offset + len(data)] = data
    raw[9] = (raw[9] - sum(raw)) & 0xFF
    return stored(one.signature, bytes(raw))


def test_a_q35_machine_of_qemu() -> None:
    found = acpi(*read_machine(MACHINES / "q35-bridge.json").acpi)
    assert found.ecam == (Ecam(base=0xB0000000, segment=0, first_bus=0, last_bus=0xFF),)
    assert found.rsdp is not None and found.rsdp.rsdt == found.tables[1].address
    assert found.madt is not None and [p.apic for p in found.madt.processors] == [0]
    assert found.madt.io_apics == (IoApic(id=0, address=0xFEC00000, first=0),)
    assert found.hpet is not None and found.hpet.address.address == 0xFED00000
    assert found.fadt is not None
    assert found.fadt.pm_timer == GenericAddress(space="port", bits=32, address=0x608)
    lines = acpi_lines(found)
    assert "config space at 0xb0000000: buses 00 to ff" in lines
    assert "PM timer at port 0x608, 24 bits count" in lines
    assert "I/O APIC 0 at 0xfec00000, lines from 0" in lines


def test_what_the_tables_say_is_shown_as_json_too() -> None:
    machine = read_machine(MACHINES / "q35-bridge.json")
    shown = msgspec.json.decode(msgspec.json.encode(tree(machine)))
    assert shown["acpi"]["ecam"] == [
        {"base": 0xB0000000, "segment": 0, "first_bus": 0, "last_bus": 0xFF}
    ]
    assert shown["acpi"]["madt"]["io_apics"][0]["address"] == 0xFEC00000


def test_interrupt_controllers_and_processors() -> None:
    found = acpi(madt()).madt
    assert found is not None
    assert found.local_apic == 0x1_FEE0_0000 and found.pc_interrupts
    assert [(p.apic, p.enabled) for p in found.processors] == [
        (0, True), (2, True), (4, False), (0x100, True),
    ]  # fmt: skip
    assert found.processors[2].can_be_enabled
    assert found.processors[3] == AcpiProcessor(
        uid=3, apic=0x100, x2apic=True, enabled=True, can_be_enabled=False
    )
    assert [(c.address, c.first) for c in found.io_apics] == [(0xFEC00000, 0), (0xFEC01000, 24)]
    assert found.overrides == (Override(irq=9, line=9, polarity="high", trigger="level"),)
    assert found.nmis == (
        ApicNmi(polarity="high", trigger="edge", processor=None, pin=1),
        ApicNmi(polarity="bus", trigger="bus", line=30),
    )
    assert acpi_lines(acpi(madt()))[1].startswith(
        "processors: 3, 1 not enabled, APIC ids 0, 2, 256; local APIC at 0x1fee00000"
    )


def test_config_space_of_several_segments() -> None:
    found = acpi(mcfg((0xE0000000, 0, 0, 0x7F), (0x10_0000_0000, 1, 0x80, 0xFF)))
    assert [(e.base, e.segment, e.first_bus, e.last_bus) for e in found.ecam] == [
        (0xE0000000, 0, 0, 0x7F),
        (0x10_0000_0000, 1, 0x80, 0xFF),
    ]


def test_the_old_and_the_extended_timer_fields() -> None:
    old, new = acpi(fadt(116)).fadt, acpi(fadt()).fadt
    assert old is not None and old.pm_timer is not None and old.pm_timer.address == 0x608
    assert old.dsdt == 0x7FFD000 and old.reset is None and old.timer_bits == 32
    assert new is not None and new.pm_timer is not None and new.pm_timer.address == 0x1808
    assert new.dsdt == 0x1_0000_0000 and new.sci == 9
    assert new.reset == GenericAddress(space="port", bits=8, address=0xCF9)
    assert new.reset_value == 0x0F and new.legacy_devices and new.keyboard_controller


def test_the_serial_console() -> None:
    found = acpi(spcr()).console
    assert found is not None and str(found.address) == "port 0x3f8"
    assert (found.baud, found.irq, found.line, found.function) == (115200, 4, 4, "")
    pci = acpi(spcr(0xE000, (0, 0x16, 3))).console
    assert pci is not None and pci.function == "00:16.3"
    assert acpi(spcr(0)).console is None


def test_numa_nodes() -> None:
    assert acpi(srat()).nodes == (
        NumaNode(number=0, apics=(0,), memory=(NumaMemory(base=0, size=1 << 30, hot_plug=False),)),
        NumaNode(
            number=0x101,
            apics=(2, 0x100),
            memory=(NumaMemory(base=1 << 32, size=1 << 30, hot_plug=True),),
        ),
    )
    # Before revision 2 the upper bits of a domain are reserved.
    assert [node.number for node in acpi(srat(1)).nodes] == [0, 1, 0x101]


def test_timers_and_pointers() -> None:
    found = acpi(hpet()).hpet
    assert found is not None and found.address.address == 0xFED00000 and found.least_tick == 0x80
    raw = bytearray(b"RSD PTR \0METAOS\2" + struct.pack("<IIQ", 0x1000, 36, 0x2000) + bytes(4))
    raw[8] = -sum(raw[:20]) & 0xFF
    raw[32] = -sum(raw) & 0xFF
    pointer = stored("RSD PTR ", bytes(raw))
    assert acpi(pointer).rsdp == Rsdp(revision=2, rsdt=0x1000, xsdt=0x2000)
    raw[32] ^= 1
    (fault,) = broken(stored("RSD PTR ", bytes(raw)))
    assert (fault.table, fault.offset) == ("RSD PTR", 32)


@pytest.mark.parametrize("make", [madt, hpet, spcr, srat, fadt, lambda: mcfg((0, 0, 0, 1))])
def test_a_flipped_bit_is_a_named_fault(make: object) -> None:
    assert callable(make)
    one: AcpiTable = make()
    for offset in range(9, len(one.data) // 2, 7):
        raw = bytearray(bytes.fromhex(one.data))
        raw[offset] ^= 0x10
        (fault,) = broken(stored(one.signature, bytes(raw)))
        assert fault.table == one.signature and "not to 0" in fault.text


def test_a_table_too_short_is_a_named_fault() -> None:
    (fault,) = broken(stored("HPET", bytes.fromhex(hpet().data)[:40]))
    assert (fault.table, fault.offset) == ("HPET", 40) and "56 are the least" in fault.text
    (fault,) = broken(stored("SRAT", bytes.fromhex(srat().data)[:-3]))
    assert fault.offset == 4 and "length field" in fault.text


@pytest.mark.parametrize(
    ("one", "offset", "text"),
    [
        (changed(madt(), 45, b"\0"), 44, "an entry of type 0 says 0 bytes"),
        (changed(madt(), 45, b"\x07"), 44, "an entry of type 0 has 7 bytes, not 8"),
        (changed(srat(), 49, b"\xff"), 48, "an entry of type 0 says 255 bytes"),
        (table("MCFG", bytes(8 + 17)), 60, "an entry of 16 bytes begins, and 1 are left"),
        (mcfg((0, 0, 5, 3)), 54, "its buses go from 0x05 to 0x03"),
        (table("HPET", bytes(4) + register(0, 0) + bytes(4)), 40, "it has no address"),
    ],
)
def test_an_entry_that_cannot_be_is_named(one: AcpiTable, offset: int, text: str) -> None:
    found = read_acpi([one])
    assert (found.faults[0].table, found.faults[0].offset) == (one.signature, offset)
    assert text in found.faults[0].text
    assert any(f"fault: {one.signature} at {offset:#x}: " in x for x in acpi_lines(found))


def test_entries_before_a_broken_one_are_kept() -> None:
    whole = madt()
    at = 44 + 8 + 1
    found = read_acpi([changed(whole, at, b"\0")])
    assert found.madt is not None and [p.apic for p in found.madt.processors] == [0]
