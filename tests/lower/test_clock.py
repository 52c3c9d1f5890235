"""Time in steady: NOW goes on with a counter that wraps, and `every` happens when it is due."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from metaos.errors import MetaosError
from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import Program
from metaos.lower.clock import BEGUN, NOW, Ticks, due, tell_time
from metaos.lower.lower import lower
from metaos.pattern import syntax as s
from tests.lower.lowering import bound, card, problem_of

PORT, WINDOW, DONE, LAST = 0x608, 0xF0, 0x500000, 0x600000
COUNTERS = {
    "the PM timer": Ticks(PORT, 32, 24, 3_579_545),
    "a PM timer of 32 bits": Ticks(PORT, 32, 32, 3_579_545),
    "a byte that counts down": Ticks(PORT, 8, 8, 4661, down=True),
    "a window": Ticks(WINDOW, 32, 32, 100_000_000, symbol="window"),
    "64 bits": Ticks(WINDOW, 64, 64, 3_000_000_000, symbol="window"),
}
SECOND = 1_000_000_000


@dataclass
class Counter:
    """The counter, as ports and as a window; it has ticked so often since it was 0."""

    ticks: Ticks
    time: int = 0

    size = 0x100

    def read(self, place: int, width: int) -> int:
        assert (place, width) == (self.ticks.place, self.ticks.width)
        shown = -self.time if self.ticks.down else self.time
        return shown & (1 << self.ticks.bits) - 1

    def write(self, place: int, width: int, value: int) -> None:
        raise AssertionError(f"the clock is written at {place:#x}")


@dataclass
class World:
    """Two programs a turn: one reads the clock, one adds 1 to `done` whenever it is due."""

    counter: Counter
    memory: Memory
    programs: tuple[Program, ...]

    def turn(self, elapsed: int) -> bool:
        """The counter goes on; whether it was due in the turn then made."""
        self.counter.time += elapsed
        before = self.memory.read(DONE, 64)
        for program in self.programs:
            run(program, self.memory, self.counter)
        return self.memory.read(DONE, 64) != before

    @property
    def now(self) -> int:
        return self.memory.read(self.memory.linear(NOW), 64)


def world(ticks: Ticks, period: int, start: int = 0) -> World:
    clock, user = Builder("FACP", "steady"), Builder("dev", "steady")
    tell_time(clock, ticks)
    it = due(user, ticks, "last", period)
    gate = user.gate(user.const(0, 64), it.holds)
    it.again(user, gate)
    done = user.add(user.load(64, "done"), user.const(1, 64))
    user.store(done, "done", 0, (gate,))
    programs = clock.finish(), user.finish()
    for program in programs:
        check(program)
    counter = Counter(ticks, start)
    now = Ram(BEGUN.to_bytes(8, "little"))
    regions = {NOW: (0x400000, now), "done": (DONE, Ram(8)), "last": (LAST, Ram(8))}
    return World(counter, Memory({**regions, "window": (0x900000, counter)}), programs)


@pytest.mark.parametrize("ticks", COUNTERS.values(), ids=COUNTERS)
def test_now_follows_the_counter_through_its_wraps(ticks: Ticks) -> None:
    wrap = 1 << min(ticks.bits, 40)
    chance = random.Random(1)
    machine = world(ticks, SECOND, start=wrap - 100)
    machine.turn(0)
    began, start = machine.now, machine.counter.time
    for _ in range(200):
        machine.turn(chance.choice((0, 1, wrap // 3, wrap - 1)))
        assert machine.now - began == machine.counter.time - start


@pytest.mark.parametrize("ticks", COUNTERS.values(), ids=COUNTERS)
def test_it_is_due_at_once_and_then_once_a_period(ticks: Ticks) -> None:
    period = 3 * SECOND
    machine = world(ticks, period, start=12_345)
    assert machine.turn(0)
    step = min(ticks.hertz // 100, (1 << ticks.bits) - 1)
    first, times = machine.counter.time, [0]
    while len(times) < 6:
        if machine.turn(step):
            times.append(machine.counter.time - first)
    for number, time in enumerate(times):  # no drift: each within a turn of its time
        assert 0 <= time - number * ticks.of(period) <= step


def test_what_was_missed_is_not_made_up_for() -> None:
    ticks = COUNTERS["64 bits"]
    machine = world(ticks, SECOND)
    assert machine.turn(0)
    assert machine.turn(10 * ticks.hertz + 5)
    assert not machine.turn(ticks.hertz - 1)  # a second from when it was done late
    assert machine.turn(1)


def test_a_period_may_be_longer_than_a_wrap() -> None:
    ticks = COUNTERS["a byte that counts down"]
    machine = world(ticks, SECOND, start=7)
    assert machine.turn(0)
    turns = 0
    while not machine.turn(200):
        turns += 1
    assert turns == -(-ticks.of(SECOND) // 200) - 1


# ---- in a rule ---------------------------------------------------------------------------

BLINK = (
    "source n = 'A manual'\n"
    "device blink : general\n"
    "  match acpi APIC\n"
    "  registers lamp at 0x500 port 8 bits\n"
    "    0 LAMP rw  @n 1\n"
    "  turn\n"
    "    every 250 ms\n"
    "      LAMP <- 1\n"
).replace("'", '"')
TIMER = (
    "source n = 'A manual'\n"
    "device timer : clock\n"
    "  match acpi FACP\n"
    "  registers timer at 0x608 port 32 bits\n"
    "    0 VALUE ro  @n 1\n"
    "  clock VALUE 24 bits at 3579545 Hz\n"
).replace("'", '"')


def test_the_clock_is_read_once_a_turn_before_all_others() -> None:
    lowered = lower(bound(BLINK, TIMER, card("turn", "  every 1 s", "    x <- 1", "state x : u8")))
    steady = [p for p in lowered.programs if p.phase == "steady"]
    assert [p.device for p in steady] == ["FACP", "APIC", "00:03.0"]
    assert [sum(op.kind == "in" for op in p.ops) for p in steady] == [1, 0, 0]
    ports = {p.name: p.phases for p in lowered.ports}
    assert ports["FACP.VALUE"] == ("init", "steady")


def test_without_every_steady_reads_no_clock() -> None:
    lowered = lower(bound(BLINK.replace("every 250 ms", "when LAMP == 0"), TIMER))
    assert [p.device for p in lowered.programs if p.phase == "steady"] == ["APIC"]
    assert not any(place.name == NOW for place in lowered.places)
    assert {p.name: p.phases for p in lowered.ports}["FACP.VALUE"] == ("init",)


def test_without_a_clock_every_is_refused() -> None:
    with pytest.raises(MetaosError) as error:
        lower(bound(BLINK))
    code, text = problem_of(error.value)
    assert code == "E0467" and "no clock on this machine" in text


def test_a_period_beyond_all_time_is_refused() -> None:
    with pytest.raises(MetaosError) as error:
        lower(bound(BLINK.replace("250 ms", "99999999999 s"), TIMER))
    assert problem_of(error.value)[0] == "E0469"


def test_every_is_a_step_with_a_period() -> None:
    (turn,) = bound(BLINK, TIMER).patterns.devices["blink"].of(s.Turn)
    assert [step.period for step in turn.steps if isinstance(step, s.Every)] == [250_000_000]
