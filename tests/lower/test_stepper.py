"""Steppers in the interpreter against what their rows say, and their tables read back."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from metaos.errors import MetaosError, Span
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import Program
from metaos.link.parts import Datum
from metaos.lower.clock import Ticks
from metaos.lower.loops import COUNT, MAX_FLIPS, joined
from metaos.lower.row import EDGE, FULL, MEASURE, PAUSE, SPARE, TIMED, Cell, Row
from metaos.lower.stepper import (
    CURSOR,
    ELAPSED,
    KINDS,
    LAST,
    LOOP,
    NEXT,
    Column,
    ConfigAccess,
    _columns,
    _kinds,
    stepper,
)
from metaos.lower.text import FAULT, FAULT_SITE, FAULT_SIZE, FAULT_WORDS
from tests.lower.lowering import problem_of

TIMER = Ticks(0x608, 32, 24, 3_579_545)
CONFIG = ConfigAccess(0xCF8, 0xCFC, 0x8000_0000)
ROOTS = {"root.init": 0x1000, "root.wipe": 0x2000, "root.report": 0x3000}
WINDOW, STATE = 0x900000, 0xA00000
NANOSECONDS = 1_000_000_000
HERE = Span("rule.pattern", 7, 3, 9)


def row(kind: str, place: int = 0, value: int = 0, **more: object) -> Row:
    given = {"mask": 0, "limit": 0, "site": 0, "device": "dev", "span": HERE} | more
    symbol = "window" if kind.startswith("mem") else ""
    state = "state" if kind.split(".")[1][:3] in ("kee", "put", "bit") else ""
    return Row(kind, Cell(place, symbol), Cell(value, state), **given)  # type: ignore[arg-type]


@dataclass
class World:
    """A window of registers, ports, config space and a timer; every access is in `log`."""

    window: dict[int, int] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)
    config: dict[int, int] = field(default_factory=dict)
    log: list[tuple[object, ...]] = field(default_factory=list)
    time: int = 0
    selected: int = 0

    size = 0x1000

    def read(self, place: int, width: int) -> int:
        """As a region of memory, or as ports: their numbers are apart from the window's."""
        if place == TIMER.place and width == TIMER.width:
            return self.time
        if place == CONFIG.data:
            self.log.append(("config.read", self.selected))
            return self.config.get(self.selected, FULL)
        self.log.append((f"port{width}.read", place))
        return self.ports.get(place, 0) & (1 << width) - 1

    def write(self, place: int, width: int, value: int) -> None:
        if place == CONFIG.select:
            self.selected = value & ~CONFIG.enable
            return
        space, where = (
            ("config", self.selected) if place == CONFIG.data else (f"port{width}", place)
        )
        self.log.append((f"{space}.write", where, value))
        (self.config if space == "config" else self.ports)[where] = value


class Window:
    """The world's registers in memory."""

    size = 0x1000

    def __init__(self, world: World) -> None:
        self.world = world

    def read(self, offset: int, width: int) -> int:
        self.world.log.append((f"mem{width}.read", offset))
        return self.world.window.get(offset, 0) & (1 << width) - 1

    def write(self, offset: int, width: int, value: int) -> None:
        self.world.log.append((f"mem{width}.write", offset, value))
        self.world.window[offset] = value


class Phase:
    """One start phase, turn by turn."""

    def __init__(self, rows: tuple[Row, ...], world: World) -> None:
        self.rows, self.world = rows, world
        self.program, self.datum = stepper("init", rows, then="wipe", ticks=TIMER, config=CONFIG)
        check(self.program)
        table = bytearray(self.datum.data)
        for r in self.datum.relocations:
            assert r.kind == "32"
            base = {"window": WINDOW, "state": STATE, SPARE: 0x200040, COUNT: 0x200180}[r.symbol]
            table[r.offset : r.offset + 4] = (base + r.addend).to_bytes(4, "little")
        self.cells = {
            name: Ram(size)
            for name, size in (
                (CURSOR, 4), (SPARE, 4), (LAST, 4), (ELAPSED, 4), (NEXT, 8), (FAULT, FAULT_SIZE),
                (COUNT, 4),
            )
        }  # fmt: skip
        self.state = Ram(64)
        regions = {
            name: (0x200000 + 64 * i, ram) for i, (name, ram) in enumerate(self.cells.items())
        }
        regions |= {"rows.init": (0x800000, Ram(bytes(table), writable=False))}
        regions |= {"state": (STATE, self.state), "window": (WINDOW, Window(world))}  # type: ignore[dict-item]
        self.memory = Memory(regions, ROOTS)

    def turn(self) -> str:
        """One turn; where it goes."""
        run(self.program, self.memory, self.world)
        to = self.cells[NEXT].read(0, 64)
        return next(name for name, root in ROOTS.items() if root == to).removeprefix("root.")

    def fault(self) -> tuple[int, int, int, int]:
        fault = self.cells[FAULT]
        words = [fault.read(FAULT_WORDS[name], 32) for name in ("place", "wanted", "found")]
        return words[0], words[1], words[2], fault.read(FAULT_SITE, 32)


# ---- what rows do -------------------------------------------------------------------------


def width_of(kind: str) -> int:
    """The bits that a kind of row accesses."""
    digits = kind.split(".")[0].strip("abcdefghijklmnopqrstuvwxyz")
    return int(digits) if digits else 32


def random_row(source: random.Random, site: int) -> Row:
    others = (LOOP, PAUSE, TIMED, EDGE, MEASURE)  # each has tests of its own
    kind = source.choice([k for k in KINDS if not k.startswith("cpuid") and k not in others])
    space, action = kind.split(".")
    bits = width_of(kind)
    places = {"mem": 4 * source.randrange(8), "con": source.randrange(1 << 24) & ~3}
    place = places.get(space[:3], 0x100 + 4 * source.randrange(8))
    if action[:4] == "keep" or action == "put":
        return row(kind, place, 4 * source.randrange(8), site=site)
    if action == "bit":
        read, held = 1 << source.randrange(bits), source.randrange(16)
        return row(kind, place, 2 * source.randrange(8), aside=held, bits=read)
    value = source.choice((0, 1, source.randrange(1 << bits)))
    if action == "flip":
        turned = source.randrange(1, 1 << bits)
        return row(kind, place, value, aside=turned, bits=source.randrange(1 << 32))
    mask = source.choice((1 << source.randrange(bits), (1 << bits) - 1))
    if action == "write":
        return row(kind, place, value, site=site)
    return row(kind, place, value & mask, mask=mask, site=site)


def prepared(test: Row, world: World) -> None:
    """Make a test pass."""
    space, action = test.kind.split(".")
    where = {"mem": world.window, "con": world.config}.get(space[:3], world.ports)
    old = where.get(test.place.value, 0)
    turned = test.mask & -test.mask if action == "unlike" else 0
    where[test.place.value] = (old & ~test.mask | test.value.value) ^ turned


def expected(one: Row, before: bytes) -> list[tuple[object, ...]]:
    """The accesses of one row; the state holds `before`."""
    space, action = one.kind.split(".")
    if action == "write":
        return [(f"{space}.write", one.place.value, one.value.value)]
    if action == "flip":
        value = one.value.value ^ (one.aside if one.bits & 1 else 0)
        return [(f"{space}.write", one.place.value, value)]
    if action == "put":
        size = width_of(one.kind) // 8
        value = int.from_bytes(before[one.value.value :][:size], "little")
        return [(f"{space}.write", one.place.value, value)]
    return [(f"{space}.read", one.place.value)]


def kept(one: Row, before: bytes, world: World) -> bytes:
    """What the state holds after a row, but for bits that a narrow port does not have."""
    space, action = one.kind.split(".")
    if action == "bit":
        at, ports = one.value.value, world.window if space[0] == "m" else world.ports
        word = int.from_bytes(before[at : at + 2], "little") & ~(1 << one.aside)
        word |= bool(ports.get(one.place.value, 0) & one.bits) << one.aside
        return before[:at] + word.to_bytes(2, "little") + before[at + 2 :]
    if action[:4] != "keep":
        return before
    at, size = one.value.value, int(action[4:] or 32) // 8
    place = {"mem": world.window, "con": world.config}.get(space[:3], world.ports)
    found = place.get(one.place.value, FULL if space == "config" else 0).to_bytes(4, "little")
    return before[:at] + found[:size] + before[at + size :]


def test_rows_do_what_they_say_and_no_more() -> None:
    for seed in range(60):
        source = random.Random(seed)
        rows = tuple(random_row(source, 3 * n) for n in range(source.randrange(1, 20)))
        world = World(ports={0x100 + 4 * n: source.randrange(1 << 8) for n in range(8)})
        phase = Phase(rows, world)
        phase.state.data[:] = source.randbytes(64)
        for number, one in enumerate(rows):
            if one.kind.endswith((".test", ".unlike")):
                prepared(one, world)
            world.log.clear()
            before = bytes(phase.state.data)
            to = phase.turn()
            assert world.log == expected(one, before), (seed, one)
            held = bytearray(phase.state.data)
            if ".keep" in one.kind:
                stored = int(one.kind.split(".keep")[1] or 32) // 8
                had = min(stored, width_of(one.kind) // 8)
                at = one.value.value  # what is stored beyond the access is nobody's
                held[at + had : at + stored] = kept(one, before, world)[at + had : at + stored]
            assert bytes(held) == kept(one, before, world), (seed, one)
            assert to == ("wipe" if number == len(rows) - 1 else "init")
        assert phase.cells[CURSOR].read(0, 32) == 0


@pytest.mark.parametrize("kind", [k for k in KINDS if k.endswith(".test") and k[0] != "c"])
def test_a_failed_test_reports_and_stays(kind: str) -> None:
    bits = width_of(kind)
    rows = (
        row("mem32.write", 0, 5),
        row(kind, 8, 0x10, mask=0x30, site=77),
        row("mem32.write", 4, 6, site=9),
    )
    world = World(window={8: 0x21}, ports={8: 0x21})
    phase = Phase(rows, world)
    assert phase.turn() == "init"
    assert [phase.turn(), phase.turn()] == ["report", "report"]
    place, wanted, found, site = phase.fault()
    assert (place, wanted, site) == (8 + WINDOW * kind.startswith("mem"), 0x10, 77)
    assert found == 0x21 & (1 << bits) - 1
    assert ("mem32.write", 4, 6) not in world.log


@pytest.mark.parametrize("kind", [k for k in KINDS if k.endswith(".unlike") and k[0] != "c"])
def test_what_must_not_be_reports_and_stays(kind: str) -> None:
    rows = (row(kind, 8, 0x10, mask=0x30, site=77), row("mem32.write", 4, 6))
    world = World(window={8: 0x51}, ports={8: 0x51})
    phase = Phase(rows, world)
    assert [phase.turn(), phase.turn()] == ["report", "report"]
    assert phase.fault()[1:] == (0x10, 0x51, 77)
    world.window[8] = world.ports[8] = 0x41
    assert [phase.turn(), phase.turn()] == ["init", "wipe"]


def test_config_space_is_selected_before_it_is_read() -> None:
    world = World(config={0x1800: 0x100E8086})
    phase = Phase((row("config.test", 0x1800, 0x100E8086, mask=FULL),), world)
    assert phase.turn() == "wipe"
    assert phase.turn() == "wipe"
    world.config[0x1800] = 0x100F8086
    assert phase.turn() == "report"
    assert phase.fault()[2] == 0x100F8086


@pytest.mark.parametrize(
    ("found", "value", "mask", "passes"),
    [
        (5, 5, FULL, True), (5, 6, FULL, False), (0xF5, 0x05, 0x0F, True), (2, 2, 2, True),
        (0, 2, 2, False), (FULL, 2, 2, True), (0x1400, 0x1400, 1 << 31, True),
        (0x1401, 0x1400, 1 << 31, True), (0x13FF, 0x1400, 1 << 31, False),
        (0x7FFFFFFF, 0x1400, 1 << 31, True), (0, 0, 0, True), (9, 0, 0, True),
    ],
)  # fmt: skip
def test_masks(found: int, value: int, mask: int, passes: bool) -> None:
    """Equality under a mask; at least a number, with the highest bit alone."""
    phase = Phase((row("mem32.test", 0, value, mask=mask),), World(window={0: found}))
    assert phase.turn() == ("wipe" if passes else "report")


# ---- loops --------------------------------------------------------------------------------


def accesses(rows: tuple[Row, ...], answers: list[int]) -> tuple[list[tuple[object, ...]], bytes]:
    """What the rows access, and the state they leave; the place that is read answers these."""
    world = World()
    phase = Phase((*rows, row("port8.write", 0x60, 1)), world)
    left, seen = list(answers), list[tuple[object, ...]]()
    while True:
        if left:
            world.window[0x20] = world.ports[0x120] = left[0]
        to = phase.turn()
        left = left[1:] if world.log and str(world.log[0][0]).endswith("read") else left
        seen += world.log
        world.log.clear()
        if to == "wipe":
            assert phase.cells[COUNT].read(0, 32) == 0
            return seen, bytes(phase.state.data)
        assert to == "init" and len(seen) < 1000


@pytest.mark.parametrize("space", ["mem8", "mem16", "mem32", "port8", "port16", "port32"])
@pytest.mark.parametrize("count", [2, 3, 16, 17, 32, 33])
def test_a_loop_does_what_all_its_rounds_would(space: str, count: int) -> None:
    source = random.Random(f"{space} {count}")
    place = 0x20 if space[0] == "m" else 0x120
    rounds = [
        [
            row(f"{space}.write", place + 4, source.choice((5, 0x46))),
            row(f"{space}.write", place + 4, 9),
            row(f"{space}.bit", place, 2 * (n // 16), aside=n % 16, bits=4),
            row(f"{space}.test", place + 8, 0, mask=0xF0, site=3),
        ]
        for n in reversed(range(min(count, 16)))
    ]
    if count > 16:  # no bits: they are 16 at most
        rounds = [[r for r in rounds[0] if not r.kind.endswith("bit")] for _ in range(count)]
        for one in rounds:
            one[0] = row(f"{space}.write", place + 4, source.choice((5, 0x46)))
    plain = tuple(r for one in rounds for r in one)
    answers = [source.randrange(256) for _ in range(64)]
    looped = tuple(joined(rounds, HERE))
    assert (len(looped) < len(plain)) == (count <= MAX_FLIPS)
    assert accesses(looped, answers) == accesses(plain, answers)


def test_a_loop_of_equal_rows_can_be_long() -> None:
    world = World()
    phase = Phase(tuple(joined([[row("port8.write", 0x80, 7)]] * 256, HERE)), world)
    goes = [phase.turn() for _ in range(1 + 2 * 256)]
    assert goes == ["init"] * 512 + ["wipe"]
    assert world.log == [("port8.write", 0x80, 7)] * 256


@pytest.mark.parametrize(
    "rounds",
    [
        [[row("mem8.write", 4 * n, 1)] for n in range(9)],
        [[row("mem8.write", 4, n)] for n in range(9)],
        [[row("mem8.bit", 4, 0, aside=n, bits=1)] for n in range(9)],
        [[row("mem8.bit", 4, 0, aside=3, bits=1)] for _ in range(9)],
        [[row("config.write", 4, n & 1)] for n in range(9)],
        [[row("mem8.test", 4, n & 1, mask=1)] for n in range(9)],
        [[row("port8.write", 4, 1)] * (1 + n % 2) for n in range(9)],
        [[row("port8.write", 4, 1)]] * 257,
        [joined([[row("port8.write", 4, 1)]] * 9, HERE)] * 9,
        [[row("port8.write", 4, 1)]] * 3,
    ],
)
def test_rounds_that_differ_otherwise_stay(rounds: list[list[Row]]) -> None:
    assert joined(rounds, HERE) == [r for one in rounds for r in one]


# ---- waiting ------------------------------------------------------------------------------


def waiting(milliseconds: int, first: bool = False) -> tuple[Row, ...]:
    rows = (
        row("mem32.write", 4, 1),
        row("mem32.test", 0, 1, mask=1, limit=milliseconds * 1_000_000, site=5),
        row("mem32.write", 8, 2),
    )
    return rows[1:] if first else rows


@pytest.mark.parametrize("milliseconds", [1, 100, 3000, 10_000, 60_000])
@pytest.mark.parametrize("start", [0, 0x7FFFFF, 0xFFFFFE])
@pytest.mark.parametrize("first", [False, True])
def test_a_wait_ends_in_time(milliseconds: int, start: int, first: bool) -> None:
    """Not before its limit and, but for one turn, not after it; the counter wraps on the way."""
    world = World(time=start)
    phase = Phase(waiting(milliseconds, first), world)
    while world.log[-1:] != [("mem32.read", 0)]:
        assert phase.turn() == "init"
    step, limit = TIMER.of(milliseconds * 1_000_000) // 50 + 1, milliseconds * TIMER.hertz / 1000
    passed = 0
    while True:
        world.time = world.time + step & (1 << TIMER.bits) - 1
        passed += step
        if phase.turn() == "report":
            break
        assert passed < limit, "it waits beyond its limit"
    assert passed >= limit
    assert phase.fault()[3] == 5


def pausing(milliseconds: int) -> Row:
    return Row(PAUSE, Cell(0, SPARE), Cell(0), 0, milliseconds * 1_000_000, 0, "dev", HERE)


@pytest.mark.parametrize("milliseconds", [1, 100, 3000])
@pytest.mark.parametrize("start", [0, 0x7FFFFF, 0xFFFFFE])
@pytest.mark.parametrize("first", [False, True])
def test_a_pause_lasts_as_long_as_it_says(milliseconds: int, start: int, first: bool) -> None:
    """Two of them: each from its own beginning, and neither ends in a report."""
    world = World(time=start)
    rows = (row("mem32.write", 4, 1), pausing(milliseconds), pausing(milliseconds))
    phase = Phase((*rows[first:], row("mem32.write", 8, 2)), world)
    assert phase.turn() == "init"
    step, limit = TIMER.of(milliseconds * 1_000_000) // 50 + 1, milliseconds * TIMER.hertz / 1000
    passed = 0
    while ("mem32.write", 8, 2) not in world.log:
        world.time = world.time + step & (1 << TIMER.bits) - 1
        passed += step
        to = phase.turn()
        assert passed <= 2 * limit + 5 * step, "it lasts too long"
    assert to == "wipe" and passed >= 2 * limit


@pytest.mark.parametrize("before", [0, 1], ids=["behind a write", "behind a pause"])
def test_a_pause_may_keep_how_long_it_was(before: int) -> None:
    """In ticks of the clock, from the row before it on; it may be longer than it had to be."""
    world = World(time=0xFFFFF0)
    timed = Row(TIMED, Cell(0, SPARE), Cell(8, "state"), 0, 1_000_000, 0, "dev", HERE)
    first = (row("mem32.write", 4, 1), pausing(1))[: before + 1]
    phase = Phase((*first, timed, pausing(1), row("mem32.write", 8, 2)), world)
    kept = [0]
    while phase.turn() == "init":
        world.time = world.time + 777 & (1 << TIMER.bits) - 1
        kept += [phase.state.read(8, 32)]
    assert sorted(set(kept)) == [777 * n for n in range(6)] and kept[-1] == 5 * 777
    assert phase.state.read(0, 64) == 0


@pytest.mark.parametrize("first", [False, True])
def test_a_wait_goes_on_when_its_time_has_come(first: bool) -> None:
    world = World(time=0xABCDEF)
    phase = Phase(waiting(100, first), world)
    for _ in range(30):
        assert phase.turn() == "init"
        world.time = world.time + 1000 & 0xFFFFFF
    world.window[0] = 1
    assert [phase.turn(), phase.turn()] == ["init", "wipe"]
    assert ("mem32.write", 8, 2) in world.log


def test_each_wait_has_its_own_time() -> None:
    rows = (row("mem32.write", 4, 0), *(
        row("mem32.test", 4 * n, 1, mask=1, limit=100_000_000, site=n) for n in range(3)
    ))  # fmt: skip
    world, ticks = World(), TIMER.of(90_000_000)
    phase = Phase(rows, world)
    phase.turn()
    for n in range(3):
        assert phase.turn() == "init"
        world.time = world.time + ticks & 0xFFFFFF
        assert phase.turn() == "init"
        world.window[4 * n] = 1
        assert phase.turn() == ("wipe" if n == 2 else "init")


def test_a_wait_that_no_number_holds_is_an_error() -> None:
    with pytest.raises(MetaosError) as refused:
        stepper("init", waiting(2_000_000), then="wipe", ticks=TIMER, config=CONFIG)
    code, text = problem_of(refused.value)
    assert code == "E0469" and "2000 s" in text


@pytest.mark.parametrize("time", [0, 1, NANOSECONDS, 10 * NANOSECONDS])
def test_ticks_are_rounded_up(time: int) -> None:
    ticks = TIMER.of(time)
    assert ticks * NANOSECONDS >= time * TIMER.hertz > (ticks - 1) * NANOSECONDS


def test_a_phase_without_rows_goes_on() -> None:
    world = World()
    assert Phase((), world).turn() == "wipe"
    assert world.log == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_equal_rows_each_have_their_turn(count: int) -> None:
    world = World()
    phase = Phase((row("port8.write", 0x60, 5),) * count, world)
    goes = [phase.turn() for _ in range(count)]
    assert goes == ["init"] * (count - 1) + ["wipe"]
    assert world.log == [("port8.write", 0x60, 5)] * count


# ---- tables -------------------------------------------------------------------------------


def decoded(rows: tuple[Row, ...], datum: Datum) -> list[dict[str, Cell]]:
    """The rows' cells out of the table's bytes, relocations and what is folded."""
    kinds = _kinds(rows)
    columns, stride = _columns(rows, kinds, TIMER)
    assert len(datum.data) == stride * len(rows)
    symbols = {r.offset: r for r in datum.relocations}
    found = []
    for number in range(len(rows)):
        cells = {}
        for name, column in columns.items():
            cells[name] = _cell(datum, column, number * stride + column.offset, symbols)
        found.append(cells)
    return found


def _cell(datum: Datum, column: Column, at: int, symbols: object) -> Cell:
    assert isinstance(symbols, dict)
    if not column.bytes:
        return column.cells[0]
    if at in symbols:
        assert datum.data[at : at + 4] == bytes(4), "an address lies over data"
        return Cell(symbols[at].addend, symbols[at].symbol)
    return Cell(int.from_bytes(datum.data[at : at + column.bytes], "little") ^ column.flip)


def test_tables_hold_their_rows() -> None:
    for seed in range(80):
        source = random.Random(seed)
        rows = tuple(random_row(source, source.randrange(70_000)) for _ in range(12))
        rows += tuple(
            row("mem32.test", 4, 1, mask=1, limit=source.choice((0, 1000, 10**10)))
            for _ in range(2)
        )
        _, datum = stepper("init", rows, then="wipe", ticks=TIMER, config=CONFIG)
        kinds = _kinds(rows)
        for one, cells in zip(rows, decoded(rows, datum), strict=True):
            assert cells["place"] == one.place and cells["value"] == one.value
            assert (cells["mask"].value, cells["site"].value) == (one.mask, one.site or one.aside)
            assert cells["limit"].value == (TIMER.of(one.limit) or one.bits)
            code = cells["kind"].value
            assert (code, one.kind) in [(1 << n >> 1, kind) for n, kind in enumerate(kinds)]


def test_numbers_take_the_bytes_they_need() -> None:
    def widths(rows: list[Row]) -> dict[str, int]:
        columns, _ = _columns(tuple(rows), _kinds(tuple(rows)), TIMER)
        return {name: column.bytes for name, column in columns.items()}

    one = [row("port8.write", 0x60, 5), row("port8.write", 0x61, 5)]
    assert widths(one) == {"place": 1, "value": 0, "mask": 0, "limit": 0, "site": 0, "kind": 0}
    two = [row("port8.write", 0x160, 5), row("port8.test", 0x61, 6, mask=FULL, site=300)]
    assert widths(two) == {"place": 2, "value": 1, "mask": 4, "limit": 0, "site": 2, "kind": 1}
    memory = [row("mem32.write", 0, 1), row("mem32.write", 0, 1)]
    assert widths(memory)["place"] == 4


def test_complements_where_they_have_fewer_bytes() -> None:
    def flip(values: list[int]) -> int:
        rows = tuple(row("config.write", 0, value) for value in values)
        return _columns(rows, _kinds(rows), TIMER)[0]["value"].flip

    assert flip([FULL, FULL, 0x100E8086]) == FULL
    assert flip([0x1000000, 1, FULL]) == 0


def test_the_most_frequent_kind_is_nothing() -> None:
    rows = (row("port8.write"), row("config.test", mask=1), row("config.test", mask=2))
    assert _kinds(rows) == ("config.test", "port8.write")
    _, datum = stepper("init", rows, then="wipe", ticks=TIMER, config=CONFIG)
    assert [cells["kind"].value for cells in decoded(rows, datum)] == [1, 0, 0]


def test_every_row_is_attributed() -> None:
    rows = tuple(
        Row("port8.write", Cell(n), Cell(n), 0, 0, 0, f"dev{n}", Span("x", n + 1, 1, 2), (f"f{n}",))
        for n in range(5)
    )
    _, datum = stepper("init", rows, then="wipe", ticks=None, config=None)
    assert [(x.device, x.span.line, x.because, x.kind) for x in datum.lines] == [
        (f"dev{n}", n + 1, (f"f{n}",), "row") for n in range(5)
    ]
    edges = [(x.start, x.end) for x in datum.lines]
    assert edges[0][0] == 0 and edges[-1][1] == len(datum.data)
    assert all(a[1] == b[0] for a, b in pairwise(edges))


# ---- the processor ------------------------------------------------------------------------


def leaves(program: Program, has: bool, feature: Row) -> str:
    """Where a guard with one feature's row goes on a processor that has it, or not."""
    cells = {CURSOR: Ram(4), SPARE: Ram(4), NEXT: Ram(8), FAULT: Ram(FAULT_SIZE)}
    regions = {name: (0x200000 + 64 * i, ram) for i, (name, ram) in enumerate(cells.items())}
    asked: list[int] = []

    def cpuid(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        asked.append(leaf)
        answer = [0xFFFFFFFF ^ (0 if has else feature.mask)] * 4
        return answer[0], answer[1], answer[2], answer[3]

    roots = {"root.guard": 1, "root.init": 2, "root.report": 3}
    run(program, Memory({**regions, "rows.guard": (0x800000, Ram(64))}, roots), None, cpuid)
    assert asked == [feature.place.value]
    return {1: "guard", 2: "init", 3: "report"}[cells[NEXT].read(0, 64)]


@pytest.mark.parametrize("register", range(4))
@pytest.mark.parametrize("has", [True, False])
def test_a_feature_is_asked_for(register: int, has: bool) -> None:
    feature = row(f"cpuid{register}.test", 7, 1 << 8, mask=1 << 8)
    program, _ = stepper("guard", (feature,), then="init", ticks=None, config=None)
    assert leaves(program, has, feature) == ("init" if has else "report")
