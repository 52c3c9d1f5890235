"""The tick: in an image that sleeps and does something every so often, and in no other."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.errors import Source
from metaos.lower.lower import lower
from metaos.match.bind import TICK, Bindings, bind, periods
from metaos.match.device import PROCESSOR
from metaos.match.sleep import numbers_of, sleep_of
from metaos.match.system import System
from metaos.pattern.kinds import REGISTERS
from metaos.pattern.parse import parse
from metaos.pattern.patterns import load, resolve
from metaos.probe.cite import cite
from metaos.probe.machine import CpuidLeaf, Machine
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
        del sources["platform/time_stamp_counter.pattern"]
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
    assert "local_apic_timer" in [b.pattern.name for b in found.bindings]
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


# ---- the processor's counter -------------------------------------------------------------


COUNTERS = ("invariant_counter", "emulated_counter")


def with_leaves(*leaves: tuple[int, str, int]) -> Machine:
    """The machine with CPUID leaves, each with one register that is not 0, in place of QEMU's own
    leaf and that of power."""
    known = [x for x in machine().cpu.leaves if x.leaf not in (0x4000_0000, 0x8000_0007)]
    known += [
        CpuidLeaf(**{"leaf": leaf, "subleaf": 0, **dict.fromkeys(REGISTERS, 0), register: value})
        for leaf, register, value in leaves
    ]
    cpu = msgspec.structs.replace(machine().cpu, leaves=tuple(known))
    return msgspec.structs.replace(machine(), cpu=cpu)


def clocks(of: Machine, *services: str, idle: str | None = None) -> list[str]:
    """The clocks of an image, of which the first tells how long waits are."""
    system = System(name="x", address="10.0.2.15/24", services=services, idle=idle)  # type: ignore[arg-type]
    found = bind(of, load([resources.PATTERNS]), system)
    return [b.pattern.name for b in found.bindings if b.pattern.class_name == "clock"]


@pytest.mark.parametrize("idle", ["halt", "poll"])
def test_the_counter_tells_the_time_where_something_is_done_at_a_time(idle: str) -> None:
    announced = with_leaves((0x8000_0007, "edx", 0x100))
    assert clocks(announced, "arp.announce", idle=idle) == ["acpi_pm_timer", "invariant_counter"]
    assert clocks(announced, "arp", idle=idle) == ["acpi_pm_timer"]


def test_which_counters_are_of_one_rate() -> None:
    emulated = (0x4000_0000, "ebx", 0x5447_4354)
    assert clocks(with_leaves(emulated), "arp.announce")[1:] == ["emulated_counter"]
    both = with_leaves(emulated, (0x8000_0007, "edx", 0x100))
    assert clocks(both, "arp.announce")[1:] == ["invariant_counter"]
    other = with_leaves((0x4000_0000, "ebx", 0x4B4D_564B), (0x8000_0007, "edx", 0x2FF & ~0x100))
    assert clocks(other, "arp.announce")[1:] == []
    assert clocks(with_leaves(), "arp.announce")[1:] == []


def test_without_a_clock_that_it_is_measured_by_it_is_none() -> None:
    bare = msgspec.structs.replace(with_leaves((0x8000_0007, "edx", 0x100)), acpi=())
    assert clocks(bare, "arp.announce") == []


def test_an_image_need_not_wake_for_its_wrap() -> None:
    """The 8254 alone wraps after 55 ms; beside it the counter tells the time."""
    watch = cite(read_machine(MICROVM))
    system = System(name="x", address="10.0.2.15/24", services=("dhcp",))
    found = bind(watch, load([resources.PATTERNS]), system)
    names = [b.pattern.name for b in found.bindings]
    assert names[-2:] == ["local_apic_timer", "emulated_counter"] and "pit8254" in names
    assert numbers_of(sleep_of(found), found)["every.shortest"] == 1_000_000_000


def test_guard_asks_again_for_what_the_rule_looked_at() -> None:
    ours = load([resources.PATTERNS])
    system = System(name="x", address="10.0.2.15/24", services=("arp.announce",))

    def asked(of: Machine) -> list[tuple[str, int, int, int, tuple[str, ...]]]:
        rows = [r for r in lower(bind(cite(of), ours, system)).guard_rows if r.device == PROCESSOR]
        return [(r.kind, r.place.value, r.value.value, r.mask, r.facts) for r in rows]

    power, tcg = ("cpu.leaves.0x80000007",), ("cpu.leaves.0x40000000",)
    announced = with_leaves((0x8000_0007, "edx", 0x7FF))
    assert asked(announced) == [("cpuid3.test", 0x8000_0007, 0x100, 0x100, power)]
    assert asked(machine()) == [
        ("cpuid1.test", 0x4000_0000, 0x5447_4354, 0xFFFF_FFFF, tcg),
        ("cpuid3.test", 0x8000_0007, 0, 0x100, power),
    ]
    assert asked(with_leaves()) == []
