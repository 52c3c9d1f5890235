"""The processor's counter: the clock of an image that does something every so often."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.lower.alarm import limit
from metaos.lower.lower import lower
from metaos.match.bind import bind
from metaos.match.device import PROCESSOR
from metaos.match.system import System
from metaos.pattern.kinds import REGISTERS
from metaos.pattern.patterns import load
from metaos.probe.cite import cite
from metaos.probe.machine import CpuidLeaf, Machine
from metaos.probe.store import read_machine
from tests.lower.lowering import machine

MICROVM = Path(__file__).parents[1] / "data" / "microvm-virtio.json"
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
    ticks = lower(found).ticks
    assert ticks is not None and ticks.alarm and limit(ticks) == 0xFFFF_FFFF


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
