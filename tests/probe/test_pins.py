"""Where a DSDT says that pins arrive: packages of routes, whole, contradicting and damaged."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from metaos.match.changes import changes
from metaos.probe.cite import cite
from metaos.probe.machine import Function, Machine, Origin, Pin, Wire
from metaos.probe.merge import merge
from metaos.probe.pins import pins_of
from metaos.probe.store import format_machine, parse_machine, read_machine
from metaos.told import facts_of

PC = read_machine(Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json")
CARD = "00:03.0"
LINK = Wire(line=22, edge=False, low=False)


def block(data: bytes) -> bytes:
    """With its length before it, of two bytes."""
    length = len(data) + 2
    return bytes((0x40 | length & 0xF, length >> 4)) + data


def integer(value: int) -> bytes:
    return bytes([value]) if value < 2 else b"\x0c" + value.to_bytes(4, "little")


def route(slot: int, pin: int, source: bytes = b"\0", line: int = 0) -> bytes:
    inside = integer(slot << 16 | 0xFFFF) + integer(pin) + source + integer(line)
    return b"\x12" + block(b"\4" + inside)


def link(name: bytes, *lines: int, flags: int = 9) -> bytes:
    numbers = b"".join(x.to_bytes(4, "little") for x in lines)
    length = (2 + len(numbers)).to_bytes(2, "little")
    resources = bytes((0x89, *length, flags, len(lines))) + numbers + b"\x79\0"
    return b"\x5b\x82" + block(name + b"\x08_PRS" + resources)


def function(address: str, pin: int = 1) -> Function:
    card = next(f for f in PC.functions if f.address == CARD)
    return msgspec.structs.replace(card, address=address, interrupt_pin=pin)


def wire(dsdt: bytes, address: str = CARD, pin: int = 1) -> Wire | None:
    found = pins_of([function(address, pin)], dsdt)
    return found[0].interrupt if found else None


@pytest.mark.parametrize(
    ("dsdt", "wanted"),
    [
        (link(b"GSIG", 22) + route(3, 0, b"GSIG"), LINK),
        (route(3, 0, b"GSIG") + link(b"GSIG", 22, flags=7), Wire(line=22, edge=True, low=True)),
        (route(3, 0, line=18), Wire(line=18, edge=False, low=True)),
        (link(b"GSIG", 22) + route(3, 0, b"GSIG") + route(3, 0, b"GSIG"), LINK),
        pytest.param(route(3, 0, b"GSIG"), None, id="no such device"),
        pytest.param(link(b"LNKA", 5, 10) + route(3, 0, b"LNKA"), None, id="a router"),
        pytest.param(link(b"GSIG", 22) + route(3, 1, b"GSIG"), None, id="another pin"),
        pytest.param(route(3, 0, line=18) + route(3, 0, line=19), None, id="two that differ"),
        pytest.param(route(3, 0, line=18).replace(b"\x0c\x12", b"\x70\x12"), None, id="no integer"),
    ],
)
def test_a_route(dsdt: bytes, wanted: Wire | None) -> None:
    assert wire(b"DSDT" + dsdt + b"_PRT") == wanted


def test_of_the_router_and_the_fixed_device_the_fixed_one_counts() -> None:
    """As of -M q35: one table for 8259s, one for I/O APICs."""
    both = link(b"LNKA", 5, 10) + link(b"GSIG", 22)
    assert wire(both + route(3, 0, b"LNKA") + route(3, 0, b"GSIG")) == LINK


@pytest.mark.parametrize(("address", "pin"), [("01:03.0", 1), (CARD, 0), (CARD, 2)])
def test_other_functions_and_pins_have_none(address: str, pin: int) -> None:
    assert wire(route(3, 0, line=18), address, pin) is None


def test_a_damaged_table_is_read_to_its_end() -> None:
    text, pick = link(b"GSIG", 22) + route(3, 0, b"GSIG"), random.Random(3)
    for length in range(len(text)):
        assert wire(text[:length]) is None
    for _ in range(2000):
        wire(bytes(pick.randrange(256) if pick.random() < 0.2 else x for x in text * 2))


def with_pin(line: int = 22) -> Machine:
    told = Wire(line=line, edge=False, low=False)
    return msgspec.structs.replace(
        PC, pins=(Pin(address=CARD, interrupt=told, origin=Origin.QEMU),)
    )


def test_a_machine_file_keeps_it() -> None:
    machine = with_pin()
    assert parse_machine(format_machine(machine)) == machine
    assert '"pins"' not in format_machine(PC)
    assert facts_of(cite(machine).pins[0].interrupt.line) == (f"pins.{CARD}.interrupt.line",)
    merged = merge([("a", PC), ("b", machine)]).machine
    assert merged.pins == machine.pins


def test_a_difference_of_two_files_is_told_where_both_say_it() -> None:
    assert changes(PC, with_pin()) == ()
    (change,) = changes(with_pin(), with_pin(23))
    assert (change.subject, change.fact) == (CARD, "pin")
    assert (change.a, change.b) == ("22, level, high", "23, level, high")
