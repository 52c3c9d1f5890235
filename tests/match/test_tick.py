"""The tick: in an image that sleeps and does something every so often, and in no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos import resources
from metaos.errors import Source
from metaos.lower.lower import lower
from metaos.match.bind import TICK, Bindings, bind, periods
from metaos.match.sleep import numbers_of, sleep_of
from metaos.match.system import System
from metaos.pattern.parse import parse
from metaos.pattern.patterns import load, resolve
from metaos.probe.cite import cite
from metaos.probe.store import read_machine
from tests.lower.lowering import machine

MICROVM = Path(__file__).parents[1] / "data" / "microvm-virtio.json"

WATCH = """source m = "A manual"

device watch : general
  match pci class 0x060000

  registers lamp at 0x500 port 8 bits
    0 LAMP wo  @m 1

  turn
    every PERIOD
      LAMP <- 1
"""


def bindings(period: str = "", idle: str = "halt", clock: str = "") -> Bindings:
    ours = load([resources.PATTERNS])
    sources = dict(ours.sources)
    if period:
        sources["x.pattern"] = Source("x.pattern", WATCH.replace("PERIOD", period))
    if clock:
        name = "platform/acpi_pm_timer.pattern"
        text = sources[name].text.replace("24 bits at 3579545", clock)
        sources[name] = Source(name, text)
    patterns = resolve(tuple(map(parse, sources.values())), sources)
    system = System(
        name="x",
        address="10.0.2.15/24",
        services=("banner",),
        idle=idle or None,  # type: ignore[arg-type]
    )
    return bind(machine(), patterns, system)


def ticks(found: Bindings) -> list[str]:
    return [b.pattern.name for b in found.bindings if b.device.address == TICK]


def test_it_is_there_where_it_is_needed() -> None:
    assert ticks(bindings("1 s")) == ["pit8254_tick"]
    assert ticks(bindings("1 s", idle="")) == ["pit8254_tick"]
    assert ticks(bindings("1 s", idle="poll")) == []
    assert ticks(bindings()) == []


def test_the_periods_are_those_of_all_rules() -> None:
    found = bindings("20 ms")
    assert periods(found.bindings, found.services) == (20_000_000,)
    assert periods(bindings().bindings, ()) == ()


@pytest.mark.parametrize(("period", "steps"), [("1 s", 65536), ("20 ms", 23862), ("1 us", 3)])
def test_it_ticks_as_often_as_the_shortest_period_wants(period: str, steps: int) -> None:
    """1193182 steps a second: 23863.6 in 20 ms."""
    found = bindings(period)
    assert sleep_of(found).halt
    rows = [r for r in lower(found).init_rows if r.device == TICK]
    low, high = (row.value.value for row in rows[1:])
    assert (low | high << 8) == steps & 0xFFFF


def test_with_a_clock_that_wraps_soon_it_ticks_twice_in_a_wrap() -> None:
    found = bindings("1 s", idle="", clock="8 bits at 4661")
    assert ticks(found) == ["pit8254_tick"] and sleep_of(found).halt
    assert numbers_of(sleep_of(found), found)["every.shortest"] == 27_461_918


def test_a_tick_that_needs_the_clocks_ports_is_none() -> None:
    """Then the local APIC's timer ticks, by a period of that clock."""
    machine = cite(read_machine(MICROVM))
    sources = dict(load([resources.PATTERNS]).sources)
    watch = WATCH.replace("PERIOD", "20 ms").replace("pci class 0x060000", "legacy com")
    sources["x.pattern"] = Source("x.pattern", watch)
    del sources["console/uart16550.pattern"]
    patterns = resolve(tuple(map(parse, sources.values())), sources)
    system = System(name="x", address="10.0.2.15/24", services=("arp",))
    found = bind(machine, patterns, system)
    assert [b.pattern.name for b in found.bindings][-1] == "local_apic_timer"
    lowered = lower(found)
    assert lowered.sleep.halt
    rows = [r for r in lowered.init_rows if r.device == "APIC@2c"]
    kinds = ["write", "write", "write", "pause", "unlike", "invert", "write"]
    assert [r.kind for r in rows] == [f"mem32.{kind}" for kind in kinds]
    assert rows[3].limit == 20_000_000
    assert rows[5].place.symbol == rows[5].value.symbol == "APIC@2c.counter"


def test_nothing_ticks_where_no_rule_does() -> None:
    ours = load([resources.PATTERNS])
    sources = {n: x for n, x in ours.sources.items() if "tick" not in n and "timer" not in n}
    sources["x.pattern"] = Source("x.pattern", WATCH.replace("PERIOD", "1 s"))
    patterns = resolve(tuple(map(parse, sources.values())), sources)
    found = bind(machine(), patterns, System(name="x", address="10.0.2.15/24", services=()))
    asleep = sleep_of(found)
    assert not asleep.halt and "nothing ticks" in asleep.why


def test_what_services_do_every_so_often_counts_too() -> None:
    pulsing = [x for x in load([resources.PATTERNS]).services.values() if x.pulses]
    assert pulsing
    assert periods((), pulsing) == tuple(p.period for x in pulsing for p in x.pulses)
