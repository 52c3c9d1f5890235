"""Lines of windows that an I/O APIC leads on: which controller, which rows, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.errors import MetaosError
from metaos.lower.lower import Lowered, lower
from metaos.lower.row import Row
from metaos.match.bind import bind
from metaos.match.system import read_system
from metaos.pattern.patterns import load
from metaos.probe.cite import cite
from metaos.probe.machine import Machine, Origin, Pin, Wire
from metaos.probe.store import read_machine
from tests.madt import override, without_8259

MICROVM = read_machine(Path(__file__).parents[1] / "data" / "microvm-virtio.json")
PC = read_machine(Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json")
CARD = "mmio@feb02e00"
PATTERNS = load([resources.PATTERNS])


def wired(wire: Wire | None, machine: Machine = MICROVM) -> Machine:
    """The machine whose card has another interrupt."""
    windows = tuple(
        msgspec.structs.replace(x, interrupt=wire) if x.address == CARD else x for x in machine.mmio
    )
    return msgspec.structs.replace(machine, mmio=windows)


def lowered(machine: Machine, idle: str = "") -> Lowered:
    system = read_system()
    if idle:
        system = msgspec.structs.replace(system, idle=idle)
    return lower(bind(cite(machine), PATTERNS, system))


def written(found: Lowered, *devices: str) -> list[tuple[str, int, int]]:
    """What rows of these devices write to an I/O APIC: its device, the register, the number."""

    def shown(row: Row) -> tuple[str, int, int]:
        return row.place.symbol.partition(".")[0], row.place.value, row.value.value

    rows = (r for r in found.init_rows if r.place.symbol.startswith("APIC@") and not r.mask)
    return [shown(r) for r in rows if r.device in devices]


def controllers(found: Lowered) -> list[str]:
    return [p.address for p in found.plans if p.pattern.name == "io_apic"]


def test_the_one_that_has_the_line_is_there_and_no_other() -> None:
    assert MICROVM.mmio[1].interrupt == Wire(line=47, edge=False, low=False)
    found = lowered(MICROVM)
    assert found.sleep.halt and controllers(found) == ["APIC@40"]
    low = lowered(wired(Wire(line=23, edge=False, low=False)))
    assert low.sleep.halt and controllers(low) == ["APIC@34"]


def test_all_lines_are_masked_and_then_the_cards_is_led_on() -> None:
    found = lowered(MICROVM)
    masks = written(found, "APIC@40")
    assert masks[0] == ("APIC@40", 0, 1)
    entries = [pair for n in range(24) for pair in ((0, 0x10 + 2 * n), (0x10, 0x1_0000))]
    assert masks[1:] == [("APIC@40", *pair) for pair in entries]
    routed = [(0, 0x11 + 2 * 23), (0x10, 0), (0, 0x10 + 2 * 23), (0x10, 1 << 15 | 32)]
    assert written(found, CARD) == [("APIC@40", *pair) for pair in routed]


@pytest.mark.parametrize(
    ("wire", "entry"),
    [
        (Wire(line=30, edge=True, low=False), 48),
        (Wire(line=30, edge=True, low=True), 1 << 13 | 48),
        (Wire(line=30, edge=False, low=True), 1 << 15 | 1 << 13 | 32),
    ],
)
def test_trigger_and_polarity_are_the_machines(wire: Wire, entry: int) -> None:
    *_, select, last = written(lowered(wired(wire)), CARD)
    assert (select, last) == (("APIC@40", 0, 0x10 + 2 * 6), ("APIC@40", 0x10, entry))


def test_a_machine_that_polls_has_none() -> None:
    found = lowered(MICROVM, "poll")
    assert not controllers(found) and not written(found, CARD)


def test_without_its_line_the_image_polls_and_says_why() -> None:
    found = lowered(wired(None))
    assert not found.sleep.halt and not controllers(found)
    assert found.sleep.why == (
        f"the machine file says no interrupt line of {CARD} (virtio_net_mmio_legacy)"
    )
    with pytest.raises(MetaosError, match="this machine cannot sleep"):
        lowered(wired(None), "halt")


def test_without_an_io_apic_the_image_polls_and_says_why() -> None:
    """The table ends before its first structure."""
    tables = tuple(
        msgspec.structs.replace(t, data=t.data[: 2 * 44]) if t.signature == "APIC" else t
        for t in MICROVM.acpi
    )
    found = lowered(msgspec.structs.replace(MICROVM, acpi=tables))
    assert not found.sleep.halt
    assert "no interrupt controller with a rule has line 47" in found.sleep.why


def test_a_line_behind_the_last_is_refused() -> None:
    with pytest.raises(MetaosError) as refused:
        lowered(wired(Wire(line=48, edge=False, low=False)))
    assert f"{CARD} has interrupt line 48, and APIC@40 has 24 from 24 on" in refused.value.render()


EDGE, LEVEL_LOW = 48, 1 << 15 | 1 << 13 | 32


@pytest.mark.parametrize(
    ("more", "index", "entry"),
    [
        pytest.param((), 4, EDGE, id="as an ISA interrupt is"),
        pytest.param((override(3, 9, 0xF),), 4, EDGE, id="another's override"),
        pytest.param((override(4, 9, 0),), 9, EDGE, id="elsewhere"),
        pytest.param((override(4, 9, 0xF),), 9, LEVEL_LOW, id="a level, active low"),
    ],
)
def test_without_an_8259_a_ports_line_is_led_on_too(
    more: tuple[bytes, ...], index: int, entry: int
) -> None:
    found = lowered(without_8259(MICROVM, *more))
    assert found.sleep.halt and "com0" in found.sleep.wakers
    assert not found.sleep.used and controllers(found) == ["APIC@34", "APIC@40"]
    routed = [(0, 0x11 + 2 * index), (0x10, 0), (0, 0x10 + 2 * index), (0x10, entry)]
    assert written(found, "com0") == [("APIC@34", *pair) for pair in routed]


def test_a_ports_line_behind_the_last_is_refused() -> None:
    """It is led to a line that no I/O APIC has."""
    with pytest.raises(MetaosError) as refused:
        lowered(without_8259(MICROVM, override(4, 60)))
    assert "com0 has interrupt line 60, and APIC@40 has 24 from 24 on" in refused.value.render()


def test_without_an_8259_a_pin_arrives_where_firmware_says() -> None:
    told = Pin(
        address="00:03.0", interrupt=Wire(line=22, edge=False, low=False), origin=Origin.FILE
    )
    machine = msgspec.structs.replace(without_8259(PC), pins=(told,))
    found = lowered(machine)
    (chip,) = controllers(found)
    assert found.sleep.halt and "00:03.0" in found.sleep.wakers
    routed = [(0, 0x11 + 2 * 22), (0x10, 0), (0, 0x10 + 2 * 22), (0x10, 1 << 15 | 32)]
    assert written(found, "00:03.0") == [(chip, *pair) for pair in routed]
    pair = lowered(msgspec.structs.replace(PC, pins=(told,)))
    assert not controllers(pair) and pair.sleep.used & 1 << 11, "an 8259 has it"


def test_without_an_8259_a_pin_of_which_nothing_is_said_polls() -> None:
    found = lowered(without_8259(PC))
    assert not found.sleep.halt
    assert found.sleep.why == "the machine file says no interrupt line of 00:03.0 (i82540em)"
