"""The alarm: in an image that sleeps and does something every so often, and in no other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.errors import Source
from metaos.ir.program import Program
from metaos.lower.clock import SOONEST
from metaos.lower.lower import Lowered, lower
from metaos.match.bind import Bindings, bind, periods
from metaos.match.sleep import sleep_of
from metaos.match.system import System
from metaos.pattern.parse import parse
from metaos.pattern.patterns import load, resolve
from metaos.probe.cite import cite
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from tests.lower.lowering import machine

MICROVM = Path(__file__).parents[1] / "data" / "microvm-virtio.json"
ALARM = "local_apic_timer"

WATCH = """source m = "A manual"

device watch : general
  match legacy com

  registers lamp at 0x500 port 8 bits
    0 LAMP wo  @m 1

  turn
    every PERIOD
      LAMP <- 1
"""


def bindings(
    period: str = "", idle: str = "halt", on: Machine | None = None, without: str = "-"
) -> Bindings:
    """A machine whose serial port does something every so often."""
    ours = load([resources.PATTERNS])
    sources = {name: text for name, text in ours.sources.items() if without not in name}
    if period:
        del sources["console/uart16550.pattern"]
        sources["x.pattern"] = Source("x.pattern", WATCH.replace("PERIOD", period))
    patterns = resolve(tuple(map(parse, sources.values())), sources)
    system = System(
        name="x",
        address="10.0.2.15/24",
        services=("arp",),
        idle=idle or None,  # type: ignore[arg-type]
    )
    return bind(on or machine(), patterns, system)


def alarms(found: Bindings) -> list[str]:
    return [b.pattern.name for b in found.bindings if b.pattern.class_name == "alarm"]


def steady(lowered: Lowered) -> list[Program]:
    return [p for p in lowered.programs if p.phase == "steady"]


def test_it_is_there_where_it_is_needed() -> None:
    assert alarms(bindings("1 s")) == [ALARM]
    assert alarms(bindings("1 s", idle="")) == [ALARM]
    assert alarms(bindings("1 s", idle="poll")) == []
    assert alarms(bindings()) == []


def test_of_several_processors_timers_one_is_the_alarm() -> None:
    """-smp 2: a structure in the MADT for each; the image runs on one processor."""
    one = machine()
    table = next(x for x in one.acpi if x.signature == "APIC")
    data = bytes.fromhex(table.data)
    again = data[:44] + data[44:52] + data[44:]  # the first structure is a local APIC, 8 bytes
    assert data[44:46] == b"\0\x08"
    more = msgspec.structs.replace(table, data=again.hex())
    acpi = tuple(more if x is table else x for x in one.acpi)
    two = msgspec.structs.replace(one, acpi=acpi)
    assert alarms(bindings("1 s", on=two)) == [ALARM]


def test_the_periods_are_those_of_all_rules() -> None:
    found = bindings("20 ms")
    assert periods(found.bindings, found.services) == (20_000_000,)
    assert periods(bindings().bindings, ()) == ()


@pytest.mark.parametrize("on", ["pc", "microvm"])
def test_init_lets_it_count_when_the_clock_goes(on: str) -> None:
    """Behind all other devices: it needs the clock, and its interrupt the controllers."""
    there = machine() if on == "pc" else cite(read_machine(MICROVM))
    lowered = lower(bindings("20 ms", on=there))
    assert lowered.sleep.halt
    kinds = ["write", "write", "pause", "write", "timed", "keep", "unlike", "write", "write"]
    there_is = [r.device for r in lowered.init_rows]
    rows = [r for r in lowered.init_rows if r.device == "APIC@2c"]
    assert set(there_is[there_is.index("APIC@2c") :]) == {"APIC@2c", "processor"}
    assert [r.kind for r in rows] == [f"mem32.{kind}" for kind in kinds]
    assert rows[4].limit == 50_000_000


def test_it_is_set_behind_all_that_is_due_and_before_the_interrupts_end() -> None:
    lowered = lower(bindings("1 s"))
    turns = [p.device for p in steady(lowered)]
    assert turns[0] == "processor" and turns[-2:] == ["APIC@2c", "APIC"] and "com0" in turns
    says = [p.device for p in steady(lowered) if SOONEST in _touched(p)]
    assert says == ["processor", "com0", "APIC@2c"] == list(lowered.lent[SOONEST])
    assert next(p for p in lowered.places if p.name == SOONEST).phases == ("steady",)


@pytest.mark.parametrize(("period", "idle"), [("1 s", "poll"), ("", "halt")])
def test_without_it_nothing_is_said_of_it(period: str, idle: str) -> None:
    lowered = lower(bindings(period, idle))
    assert not any(SOONEST in _touched(p) for p in lowered.programs)
    assert SOONEST not in lowered.lent and SOONEST not in {p.name for p in lowered.places}


def _touched(program: Program) -> set[str]:
    return {op.address.symbol for op in program.ops if op.address is not None}


def test_where_no_rule_wakes_it_the_image_polls() -> None:
    ours = bindings("1 s", idle="", without="local_apic_timer")
    asleep = sleep_of(ours)
    assert not asleep.halt and "no rule says how it is woken when that has come" in asleep.why


def test_what_services_do_every_so_often_counts_too() -> None:
    pulsing = [x for x in load([resources.PATTERNS]).services.values() if x.pulses]
    assert pulsing
    assert periods((), pulsing) == tuple(p.period for x in pulsing for p in x.pulses)
