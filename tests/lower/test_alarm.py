"""The alarm of an image that sleeps: when it wakes, by a timer whose rate init has measured."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from metaos.errors import MetaosError
from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import Program
from metaos.lower.alarm import begin, limit, set_alarm
from metaos.lower.clock import BEGUN, NOW, SOONEST, Ticks, due, tell_time
from metaos.lower.measure import CLOSE
from metaos.lower.plan import DevicePlan
from metaos.pattern import syntax as s
from tests.lower.lowering import placed, planned, problem_of

PORT, TURN = 0x608, 10e-6
CLOCKS = {
    "the PM timer": Ticks(PORT, 32, 24, 3_579_545, alarm=True),
    "a byte that counts down": Ticks(PORT, 8, 8, 4661, down=True, alarm=True),
    "100 MHz": Ticks(0x20, 32, 32, 100_000_000, "window", alarm=True),
    "56 bits": Ticks(0x20, 64, 56, 250_000_000, "window", alarm=True),
}
RATES = {"slow": 1_500_000, "QEMU's": 62_500_000, "fast": 1_000_000_000}
"""Of what the timer counts in a second."""
TRIAL = 0.05
RULE = (
    "fact at : window = bar[0]",
    "registers timer at at mmio 32 bits",
    "  0x10 COUNT wo @m 1",
    "state left, passed : u32",
    "alarm COUNT at ~left in passed",
)


@dataclass
class Machine:
    """Time goes on; the programs of a turn see it in the counter, and set the timer.

    What is due is due every `periods` nanoseconds; what `waits` is never done.
    """

    ticks: Ticks
    rate: float
    periods: tuple[int, ...]
    waits: tuple[bool, ...] = ()
    sets: bool = True
    by: Ticks | None = None
    drift: float = 1.0
    time: float = 0.0
    done: list[list[float]] = field(default_factory=list)

    size = 0x100

    def __post_init__(self) -> None:
        self.device = planned(*RULE)
        self.programs = self._programs(self.device)
        by = self.by or self.ticks
        passed = by.of(int(TRIAL * 1e9))
        counted = int(passed / by.hertz * self.rate) + 3
        given = {"left": (0xFFFF_FFFF - counted), "passed": passed}
        content = {name: value.to_bytes(4, "little") for name, value in given.items()}
        regions = placed(self.device, content, registers=0x100)
        self.timer = regions["00:03.0.at"][1]
        cells = {NOW: Ram(BEGUN.to_bytes(8, "little")), SOONEST: Ram(8)}
        cells |= {f"due{n}": Ram(8) for n in range(len(self.periods))}
        cells |= {f"done{n}": Ram(8) for n in range(len(self.periods))}
        regions |= {name: (0x900000 + 64 * n, ram) for n, (name, ram) in enumerate(cells.items())}
        self.cells, self.memory = cells, Memory({**regions, "window": (0xA00000, self)})
        self.done = [[] for _ in self.periods]

    def _programs(self, device: DevicePlan) -> list[Program]:
        clock, user = Builder("FACP", "steady"), Builder("dev", "steady")
        begin(clock, self.ticks, tell_time(clock, self.ticks))
        for number, period in enumerate(self.periods):
            it = due(user, self.ticks, f"due{number}", period)
            waits = number < len(self.waits) and self.waits[number]
            gate = user.gate(user.const(0, 64), user.const(0, 1) if waits else it.holds)
            it.again(user, gate)
            user.store(user.const(1, 64), f"done{number}", 0, (gate,))
        node = device.pattern.one(s.Alarm)
        assert node is not None
        by = self.by or self.ticks
        last = [set_alarm(device, node, self.ticks, by)] if self.sets else []
        programs = [clock.finish(), user.finish(), *last]
        for program in programs:
            check(program)
        return programs

    def read(self, place: int, width: int) -> int:
        """The counter, as the clock's port shows it."""
        assert (place, width) == (self.ticks.place, self.ticks.width)
        count = int(self.time * self.ticks.hertz)
        return (-count if self.ticks.down else count) & (1 << self.ticks.bits) - 1

    def write(self, place: int, width: int, value: int) -> None:
        raise AssertionError("the clock is written")

    def turn(self) -> float:
        """One turn, which begins now; when it wakes by itself."""
        began = self.time
        self.timer.write(0x10, 32, 0)
        for program in self.programs:
            run(program, self.memory, self)
        for number, times in enumerate(self.done):
            if self.cells[f"done{number}"].read(0, 64):
                self.cells[f"done{number}"].write(0, 64, 0)
                times.append(began)
        self.time += TURN
        count = self.timer.read(0x10, 32)
        assert count, "an alarm of 0 never rings"
        return self.time + count / (self.rate * self.drift)

    def late(self, number: int) -> float:
        """How late at most: against whole periods since the first time."""
        times, period = self.done[number], self.ticks.of(self.periods[number]) / self.ticks.hertz
        return max(at - times[0] - n * period for n, at in enumerate(times))


def allowed(machine: Machine, ahead: float) -> float:
    """A turn, a step of the clock and one of the timer, and the error of what was measured."""
    ticks = machine.ticks
    passed = min(x.of(int(TRIAL * 1e9)) for x in (ticks, machine.by or ticks))
    error = 2 / passed + 4 / (TRIAL * machine.rate) + 1 / (1 << CLOSE)
    return 2 * TURN + 1 / ticks.hertz + 2 / machine.rate + ahead * error


@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
@pytest.mark.parametrize("ticks", CLOCKS.values(), ids=CLOCKS)
def test_a_second_is_a_turn_if_the_clock_counts_as_far(ticks: Ticks, rate: int) -> None:
    machine = Machine(ticks, rate, (1_000_000_000,))
    turns = 0
    while len(machine.done[0]) < 8:
        machine.time = machine.turn()
        turns += 1
    ahead = min(limit(ticks) / ticks.hertz, 1.0)
    assert machine.late(0) <= allowed(machine, ahead)
    assert turns == 8 if ahead == 1.0 else turns <= 1 + 7 * (1 / ahead + 1)


@pytest.mark.parametrize("by", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("hertz", [16_000_000, 250_000_000])
def test_it_was_measured_by_another_clock(by: Ticks, hertz: int) -> None:
    ticks = Ticks(0x20, 64, 56, hertz, "window", alarm=True)
    machine = Machine(ticks, 62_500_000, (1_000_000_000,), by=by)
    for _ in range(8):
        machine.time = machine.turn()
    assert len(machine.done[0]) == 8
    assert machine.late(0) <= allowed(machine, 1.0)


@pytest.mark.parametrize("ticks", CLOCKS.values(), ids=CLOCKS)
def test_what_is_due_together_is_one_turn(ticks: Ticks) -> None:
    """Equal periods that begin in one turn stay together, whatever else wakes it."""
    machine = Machine(ticks, 62_500_000, (1_000_000_000, 1_000_000_000))
    chance = random.Random(3)
    while len(machine.done[0]) < 20:
        rings = machine.turn()
        other = machine.time + chance.expovariate(3)
        machine.time = min(rings, other)
    assert machine.done[0] == machine.done[1]


@pytest.mark.parametrize("ticks", CLOCKS.values(), ids=CLOCKS)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_late_whatever_else_wakes_it(ticks: Ticks, seed: int) -> None:
    """Interrupts come at any time, in a turn too, and are a turn each."""
    chance = random.Random(seed)
    periods = tuple(chance.randrange(2_000_000, 3_000_000_000) for _ in range(4))
    machine = Machine(ticks, chance.choice(list(RATES.values())), periods)
    while machine.time < 6:
        rings = machine.turn()
        other = machine.time + chance.choice((0.0, chance.expovariate(5), 100.0))
        machine.time = max(machine.time, min(rings, other))
    for number in range(len(periods)):
        assert machine.late(number) <= allowed(machine, 3.0)


def test_an_alarm_that_rings_early_is_set_again() -> None:
    """The timer has become faster than it was measured: what is left is less and less."""
    machine = Machine(CLOCKS["56 bits"], 62_500_000, (1_000_000_000,), drift=1.05)
    turns = 0
    while len(machine.done[0]) < 6:
        machine.time = machine.turn()
        turns += 1
    assert machine.late(0) <= allowed(machine, 1.0) and 12 < turns < 50


def test_what_waits_for_something_else_is_looked_at_once_a_period() -> None:
    machine = Machine(CLOCKS["56 bits"], 62_500_000, (20_000_000, 500_000_000), waits=(True,))
    turns = 0
    while machine.time < 2.0:
        machine.time = machine.turn()
        turns += 1
    assert not machine.done[0] and len(machine.done[1]) == 4
    assert 95 <= turns <= 105


def test_an_alarm_that_is_not_set_wakes_nobody() -> None:
    """So that this file can tell."""
    machine = Machine(CLOCKS["56 bits"], 62_500_000, (1_000_000_000,), sets=False)
    with pytest.raises(AssertionError, match="never rings"):
        machine.turn()


def test_no_alarm_is_further_ahead_than_the_timer_counts() -> None:
    """2^32 clock ticks are 17 s; of a timer of 1 GHz its 32 bits are 4.3 s."""
    machine = Machine(CLOCKS["56 bits"], 1_000_000_000, (60_000_000_000,))
    rings = machine.turn() - machine.time
    assert 4.2 < rings < 4.3


def test_an_alarm_is_no_register_of_config_space() -> None:
    rule = [x.replace("at at mmio", "config").replace("0x10", "0x40") for x in RULE]
    device = planned(*rule)
    node = device.pattern.one(s.Alarm)
    assert node is not None
    with pytest.raises(MetaosError) as refused:
        set_alarm(device, node, CLOCKS["56 bits"], CLOCKS["56 bits"])
    assert problem_of(refused.value)[0] == "E0470"
