"""The processor's counter is measured beside a clock, in the interpreter and to the nanosecond."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from metaos import resources
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, run
from metaos.link.parts import Fill
from metaos.lower.clock import SCALE, SCALED, Ticks
from metaos.lower.measure import BEGINS, MEASURED, MEASURED_SIZE, PATIENCE, measuring
from metaos.lower.plan import plan
from metaos.lower.row import SPARE
from metaos.lower.stepper import CURSOR, ELAPSED, LAST, NEXT, stepper
from metaos.lower.text import FAULT, FAULT_SITE, FAULT_SIZE, Texts
from metaos.match.bind import Binding
from metaos.match.device import PROCESSOR, Device
from metaos.pattern.patterns import load

ACPI = Ticks(0x608, 32, 24, 3_579_545)
PIT = Ticks(0x40, 8, 8, 4_661, down=True)
HPET = Ticks(0x80, 32, 32, 100_000_000)
ROOTS = {"root.init": 0x1000, "root.wipe": 0x2000, "root.report": 0x3000}
TEXT = "processor: the time stamp counter is no clock"


@dataclass
class World:
    """Nanoseconds go by with each look at the clock and at the counter, and with each turn.

    Something else has the processor for a while before looks at the clock and behind them, by their
    number: `before`, `behind`.
    """

    clock: Ticks
    hertz: int
    turn: int = 100_000
    before: dict[int, int] = field(default_factory=dict)
    behind: dict[int, int] = field(default_factory=dict)
    now: int = 777
    looks: int = 0

    def read(self, port: int, width: int) -> int:
        assert (port, width) == (self.clock.place, self.clock.width)
        self.looks += 1
        self.now += 300 + self.before.get(self.looks, 0)
        ticks = self.now * self.clock.hertz // 10**9
        return (-ticks if self.clock.down else ticks) & (1 << self.clock.bits) - 1

    def write(self, port: int, width: int, value: int) -> None:
        raise AssertionError

    def counter(self) -> int:
        self.now += 20 + self.behind.get(self.looks, 0)
        return self.now * self.hertz // 10**9


def started(world: World) -> tuple[str, Fraction, int]:
    """Where init goes, by what it multiplies the counter, and the site of a report."""
    pattern = load([resources.PATTERNS]).devices["emulated_counter"]
    device = plan(Binding(Device(PROCESSOR, "platform"), pattern, "", ()))
    texts = Texts()
    texts.add("another", {}, PROCESSOR, pattern.span)
    rows = tuple(measuring(device, texts))
    assert bytes(texts.data[rows[0].site :]).startswith(TEXT.encode())
    program, datum = stepper("init", rows, then="wipe", ticks=world.clock, config=None)
    check(program)
    names = {CURSOR: 4, SPARE: 4, LAST: 4, ELAPSED: 4, NEXT: 8, FAULT: FAULT_SIZE, SCALE: 8}
    cells = {name: Ram(size) for name, size in (names | {MEASURED: MEASURED_SIZE}).items()}
    starts = {name: 0x200000 + 64 * i for i, name in enumerate(cells)}
    table = bytearray(datum.data)
    for r in datum.relocations:
        table[r.offset : r.offset + 4] = (starts[r.symbol] + r.addend).to_bytes(4, "little")
    regions = {name: (starts[name], ram) for name, ram in cells.items()}
    memory = Memory(regions | {"rows.init": (0x800000, Ram(bytes(table)))}, ROOTS)
    for _ in range(200_000):
        world.now += world.turn
        run(program, memory, world, counter=world.counter)
        to = next(n for n, root in ROOTS.items() if root == cells[NEXT].read(0, 64))
        if to != "root.init":
            scale = Fraction(cells[SCALE].read(0, 64), 1 << 64)
            return to.removeprefix("root."), scale, cells[FAULT].read(FAULT_SITE, 32)
    raise AssertionError("init does not end")


def error(world: World) -> Fraction:
    """By what part of it the rate is wrong; init must have gone on."""
    to, scale, _ = started(world)
    assert to == "wipe"
    return abs(scale * world.hertz / SCALED - 1)


@pytest.mark.parametrize("hertz", [16_100_000, 5_700_000_000])
def test_whatever_its_rate_a_tick_of_16_mhz_is_one(hertz: int) -> None:
    """A tick of the ACPI timer at both ends of 50 ms are 11 parts in a million."""
    assert error(World(ACPI, hertz)) < Fraction(12, 1_000_000)


@pytest.mark.parametrize(("clock", "turn", "parts"), [(PIT, 20_000, 950), (HPET, 100_000, 1)])
def test_by_a_coarse_clock_as_well_as_by_a_fine_one(clock: Ticks, turn: int, parts: int) -> None:
    """It begins and ends when the clock goes on: a turn, not a tick, is what is not known."""
    assert error(World(clock, 2_400_000_000, turn)) < Fraction(parts, 1_000_000)


@pytest.mark.long
@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("look", [2, 9, 2442])
def test_it_neither_begins_nor_ends_in_a_turn_of_which_a_part_was_not_its_own(
    where: str, look: int
) -> None:
    """2 ms are 4 % of what is measured, and end anywhere in a tick of 0.2 ms, or 0.4 %."""
    for away in (60_000, 1_990_000):  # ns
        stolen = {"before": {}, "behind": {}, where: {look: away}}
        before, behind = stolen["before"], stolen["behind"]
        world = World(PIT, 2_400_000_000, 20_000, before, behind)
        assert error(world) < Fraction(950, 1_000_000)
        fine = World(ACPI, 2_400_000_000, 20_000, before, behind)
        assert error(fine) < Fraction(12, 1_000_000)


@pytest.mark.parametrize("hertz", [0, 100, 15_900_000, 40_000_000_000])
def test_what_is_no_clock_is_reported(hertz: int) -> None:
    to, _, site = started(World(ACPI, hertz))
    assert (to, site > 0) == ("report", True)


def test_a_processor_that_is_elsewhere_each_time_is_given_up() -> None:
    world = World(ACPI, 2_400_000_000, before={n: 1 << n for n in range(2, 100)})
    to, _, site = started(world)
    assert (to, site > 0) == ("report", True)
    assert 2**PATIENCE * 50_000_000 < world.now < 2**PATIENCE * 100_000_000


def test_before_it_is_measured_it_is_taken_to_have_1_ghz() -> None:
    assert (Fill(4, 1, 4, SCALED * 2**32 // 10**9),) == BEGINS
