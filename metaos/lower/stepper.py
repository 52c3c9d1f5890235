"""The stepper of a start phase: a straight line that does one row a turn.

Columns in which all rows agree are folded into the code; the others make up the rows'
table. `stepper(phase, rows, ...)` gives the program and the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from metaos.emit.code import Relocation
from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.program import ABSOLUTE, Op, Program
from metaos.link.parts import Datum, DatumLine
from metaos.lower.clock import Ticks, read
from metaos.lower.known import fail
from metaos.lower.loops import COUNT
from metaos.lower.measure import Look, measure
from metaos.lower.row import EDGE, FULL, MEASURE, PAUSE, SPARE, TIMED, Cell, Row
from metaos.lower.text import FAULT, FAULT_SITE, FAULT_WORDS
from metaos.told import facts_of

CURSOR, LAST, ELAPSED, NEXT = "rows.cursor", "rows.last", "rows.elapsed", "next"
PLATFORM = "platform"
_FIRST = Row("mem32.test", Cell(0, SPARE), Cell(0), 0, 0, 0, PLATFORM, Span("generated", 1, 1, 2))
"""Passes always: before it the clock has not been read, so that no wait may come first."""


@dataclass(frozen=True, slots=True)
class ConfigAccess:
    """How config space is reached: the two ports, and the bits that enable an access."""

    select: int
    data: int
    enable: int


@dataclass(frozen=True, slots=True)
class Column:
    """One number of each row: `bytes` wide at `offset`, 0 wide where all are `constant`."""

    name: str
    cells: tuple[Cell, ...]
    bytes: int
    offset: int
    flip: int


KEPT = (8, 16)
"""Widths besides 32 in which a row stores what it found."""
WIDTHS = (8, 16, 32)
MEMORY = ("mem8", "mem16", "mem32")
PORTS = ("port8", "port16", "port32")
SPACES = (*MEMORY, *PORTS)
CONFIG = "config"
LOOP = "mem8.loop"
KINDS = (
    *(f"{space}.{action}" for space in SPACES for action in ("write", "test", "keep")),
    "config.write",
    "config.test",
    "cpuid0.test",
    "cpuid1.test",
    "cpuid2.test",
    "cpuid3.test",
    *(f"{space}.keep{bits}" for bits in KEPT for space in SPACES),
    *(f"{space}.put" for space in PORTS),
    *(f"{CONFIG}.{action}" for action in ("keep", *(f"keep{bits}" for bits in KEPT), "put")),
    *(f"{space}.unlike" for space in (*SPACES, CONFIG)),
    LOOP,
    *(f"{space}.{action}" for action in ("flip", "bit") for space in SPACES),
    PAUSE,
    TIMED,
    EDGE,
    MEASURE,
)
"""What a row can be; where two are as frequent, the earlier has the smaller number."""


def stepper(
    phase: str,
    rows: tuple[Row, ...],
    *,
    then: str,
    ticks: Ticks | None,
    config: ConfigAccess | None,
) -> tuple[Program, Datum]:
    """The program and the table of a phase that goes to phase `then` after its last row."""
    rows = stepped(rows)
    kinds = _kinds(rows)
    unknown = next((r for r in rows if r.kind not in KINDS), None)
    if unknown is not None:
        raise fail(unknown.span, "E0466", f"no row can be '{unknown.kind}'")
    if ticks is None and (waits := [r for r in rows if r.limit]):
        raise fail(waits[0].span, "E0467", "no clock on this machine bounds this 'await'")
    if ticks and (waits := [r for r in rows if ticks.of(r.limit) > FULL]):
        wait, most = waits[0], FULL // ticks.hertz
        text = f"a wait of {wait.limit // 1_000_000_000} s: this machine's clock counts {most} s"
        raise fail(wait.span, "E0469", text)
    columns, stride = _columns(rows, kinds, ticks)
    symbol = f"rows.{phase}"
    line = _Stepper(phase, symbol, rows, columns, kinds, ticks, config, stride)
    return line.program(then), _datum(symbol, phase, rows, columns, stride)


def stepped(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows as a stepper does them: none begins with a wait."""
    return (_FIRST, *rows) if not rows or rows[0].limit else rows


def _columns(
    rows: tuple[Row, ...], kinds: tuple[str, ...], ticks: Ticks | None
) -> tuple[dict[str, Column], int]:
    cells = {
        "place": [r.place for r in rows],
        "value": [r.value for r in rows],
        "mask": [Cell(r.mask) for r in rows],
        "limit": [Cell(ticks.of(r.limit) if ticks and r.limit else r.bits) for r in rows],
        "site": [Cell(r.site or r.aside) for r in rows],  # a row that has both is none
        "kind": [Cell(_code(kinds, r.kind)) for r in rows],
    }
    columns, offset = {}, 0
    for name, column in sorted(cells.items(), key=lambda c: (-_width(c[1]), c[0])):
        width = _width(column)
        flip = _flip(column) if width == 4 else 0
        columns[name] = Column(name, tuple(column), width, offset, flip)
        offset += width
    if not offset and len(rows) > 1:  # equal rows need a place each, for the cursor to count
        columns["kind"] = replace(columns["kind"], bytes=1)
        return columns, 1
    return columns, offset


def _kinds(rows: tuple[Row, ...]) -> tuple[str, ...]:
    """The kinds that occur, the most frequent first."""
    present = [k for k in KINDS if any(r.kind == k for r in rows)]
    return tuple(sorted(present, key=lambda k: -sum(r.kind == k for r in rows)))


def keeping(bits: int) -> tuple[str, ...]:
    """The kinds of rows that store `bits` bits of what they find."""
    return tuple(f"{space}.keep{'' if bits == 32 else bits}" for space in (*SPACES, CONFIG))


def _reading(space: str) -> tuple[str, ...]:
    """The kinds of rows that read a place of `space`."""
    actions = ("test", "unlike", "bit", "loop", "keep", *(f"keep{bits}" for bits in KEPT))
    return tuple(f"{space}.{action}" for action in actions)


def _code(kinds: tuple[str, ...], kind: str) -> int:
    """A kind's number: a bit of its own, 0 for the most frequent."""
    return 1 << kinds.index(kind) >> 1


def _width(cells: list[Cell]) -> int:
    """Bytes for every cell; 0 where they are one constant."""
    if len(set(cells)) == 1 and not cells[0].symbol:
        return 0
    if any(c.symbol for c in cells):
        return 4
    return next(n for n in (1, 2, 4) if all(c.value < 1 << 8 * n for c in cells))


def _flip(cells: list[Cell]) -> int:
    """All ones where complements have fewer bytes that are not 0."""
    if any(c.symbol for c in cells):
        return 0

    def count(flip: int) -> int:
        return sum(4 - (c.value ^ flip).to_bytes(4, "little").count(0) for c in cells)

    return FULL if count(FULL) < count(0) else 0


def _datum(
    symbol: str, phase: str, rows: tuple[Row, ...], columns: dict[str, Column], stride: int
) -> Datum:
    data = bytearray(stride * len(rows))
    relocations: list[Relocation] = []
    for column in columns.values():
        for number, cell in enumerate(column.cells):
            at = number * stride + column.offset
            if not column.bytes:
                continue
            if cell.symbol:
                relocations.append(Relocation(at, "32", cell.symbol, cell.value))
            else:
                word = (cell.value ^ column.flip).to_bytes(4, "little")
                data[at : at + column.bytes] = word[: column.bytes]
    lines = tuple(x for n, row in enumerate(rows) for x in _row_lines(row, n, columns, stride))
    relocations.sort(key=lambda r: r.offset)
    return Datum(symbol, (phase,), bytes(data), 1, tuple(relocations), lines)


def _row_lines(
    row: Row, number: int, columns: dict[str, Column], stride: int
) -> Iterator[DatumLine]:
    """A row's bytes, cut where the facts change that their numbers are made of."""
    at = number * stride
    cells = ((c.offset, c.bytes, facts_of(c.cells[number].value)) for c in columns.values())
    for facts, group in groupby(sorted(c for c in cells if c[1]), lambda cell: cell[2]):
        wide = sum(width for _, width, _ in group)
        yield DatumLine(at, at + wide, row.device, "row", row.span, facts, row.facts)
        at += wide


class _Stepper:
    """Builds the straight line: access, test, time, advance."""

    def __init__(
        self,
        phase: str,
        symbol: str,
        rows: tuple[Row, ...],
        columns: dict[str, Column],
        kinds: tuple[str, ...],
        ticks: Ticks | None,
        config: ConfigAccess | None,
        stride: int,
    ) -> None:
        self.rows, self.count = rows, len(rows)
        self.b = Builder(PLATFORM, phase)
        self.phase, self.symbol, self.columns, self.kinds = phase, symbol, columns, kinds
        self.ticks, self.config, self.stride = ticks, config, stride

    def column(self, name: str) -> Op:
        column = self.columns[name]
        if not column.bytes:
            return self.b.const(column.cells[0].value, 32)
        word = self.b.load(8 * column.bytes, self.symbol, column.offset, (self.at,))
        word = self.b.resize(word, 32)
        return self.b.xor(word, self.b.const(column.flip, 32)) if column.flip else word

    def is_kind(self, *names: str) -> Op | None:
        """1 bit: the row is of one of the kinds; None where no row of the phase is."""
        present = [n for n in names if n in self.kinds]
        if not present:
            return None
        zero = self.b.const(0, 32)
        if self.kinds[0] in present:
            others = sum(_code(self.kinds, n) for n in self.kinds if n not in present)
            return self.b.eq(self.b.and_(self.kind, self.b.const(others, 32)), zero)
        bits = sum(_code(self.kinds, n) for n in present)
        return self.b.ne(self.b.and_(self.kind, self.b.const(bits, 32)), zero)

    def program(self, then: str) -> Program:
        with self.b.at(self.rows[0].span):
            return self.line(then)

    def line(self, then: str) -> Program:
        b = self.b
        self.at = b.zext(b.load(32, CURSOR), 64)
        self.kind = self.column("kind")
        self.place, self.value = self.column("place"), self.flipped(self.column("value"))
        b.store(self.place, FAULT, FAULT_WORDS["place"])  # what a report shows
        b.store(self.value, FAULT, FAULT_WORDS["wanted"])
        b.store(self.column("site"), FAULT, FAULT_SITE)
        found = self.access()
        passed = b.eq(b.and_(b.sub(found, self.value), self.column("mask")), b.const(0, 32))
        unlike = self.is_kind(*(k for k in KINDS if k.endswith(".unlike")))
        passed = passed if unlike is None else b.xor(passed, unlike)
        passed, late = self.late(passed)
        again = self.is_kind(LOOP)
        step = b.select(passed, b.const(self.stride, 32), self.back(again, passed, found))
        cursor = b.add(b.trunc(self.at, 32), step)
        done = b.eq(cursor, b.const(self.stride * self.count, 32))
        zero = b.const(0, 32)
        b.store(b.select(done, zero, cursor), CURSOR)
        here, onward = b.address(f"root.{self.phase}"), b.address(f"root.{then}")
        forward = b.select(done, onward, here)
        stay = b.select(late, b.address("root.report"), here)
        if again is not None:
            stay = b.select(again, here, stay)
        b.store(b.select(passed, forward, stay), NEXT)
        return b.finish()

    def flipped(self, value: Op) -> Op:
        """The row's value in this round of a loop."""
        b, kinds = self.b, tuple(k for k in self.kinds if k.endswith(".flip"))
        flips = self.is_kind(*kinds)
        if flips is None:
            return value
        with b.at(self.span(*kinds)):
            bit = b.and_(b.lshr(self.column("limit"), self.rounds()), b.const(1, 32))
            bit = b.select(flips, bit, b.const(0, 32))
            return b.xor(value, b.and_(self.column("site"), b.sub(b.const(0, 32), bit)))

    def rounds(self) -> Op:
        """How many rounds of the loop are still to come."""
        return self.b.zext(self.b.load(8, COUNT), 32)

    def back(self, again: Op | None, passed: Op, rounds: Op) -> Op:
        """How far the cursor goes where the row has not passed: to a loop's first row, or nowhere.

        A round less is to come then; after the last it is 0, as it is outside of loops.
        """
        b, stay = self.b, self.b.const(0, 32)
        if again is None:
            return stay
        with b.at(self.span(LOOP)):
            left = b.select(passed, stay, b.sub(rounds, b.const(1, 32)))
            at = b.select(again, b.zext(self.place, 64), b.address(SPARE))
            b.store(b.trunc(left, 8), ABSOLUTE, 0, (at,))
            rows = b.mul(self.column("site"), b.const(-self.stride & FULL, 32))
            return b.select(again, rows, stay)

    def access(self) -> Op:
        """Do the row's access; what was found, 0 for a write.

        A row's place may be no memory at all, so it has no scratch twin: the address is
        selected, not shifted.
        """
        b, spare = self.b, self.b.address(SPARE)
        address = b.zext(self.place, 64)
        found = b.const(0, 32)
        for bits in WIDTHS:
            writing = (f"mem{bits}.write", f"mem{bits}.flip")
            write = self.is_kind(*writing)
            if write is not None:
                with b.at(self.span(*writing)):
                    at = b.select(write, address, spare)
                    b.store(b.trunc(self.value, bits), ABSOLUTE, 0, (at,), ordered=True)
        for bits in WIDTHS:
            reading = _reading(f"mem{bits}")
            memory = self.is_kind(*reading)
            if memory is not None:
                with b.at(self.span(*reading)):
                    at = b.select(memory, address, spare)
                    read = b.zext(b.load(bits, ABSOLUTE, 0, (at,), ordered=True), 32)
                    found = read if found.kind == "const" else b.select(memory, read, found)
        found = self.ports(found)
        found = self.cpuid(found)
        for bits in (*KEPT, 32):
            self.keep(found, bits)
        self.keep_bit(found)
        return found

    def keep(self, found: Op, bits: int) -> None:
        """Store what a row that keeps has found, `bits` wide; others store to a spare word."""
        b, kinds = self.b, keeping(bits)
        with b.at(self.span(*kinds)):
            keep = self.is_kind(*kinds)
            if keep is not None:
                at = b.select(keep, b.zext(self.value, 64), b.address(SPARE))
                b.store(b.trunc(found, bits), ABSOLUTE, 0, (at,))

    def keep_bit(self, found: Op) -> None:
        """One bit found becomes one bit of 16: the row's number plus the rounds to come."""
        b, kinds = self.b, tuple(k for k in self.kinds if k.endswith(".bit"))
        keep = self.is_kind(*kinds)
        if keep is None:
            return
        with b.at(self.span(*kinds)):
            zero = b.const(0, 32)
            at = b.select(keep, b.zext(self.value, 64), b.address(SPARE))
            number = self.column("site")
            if LOOP in self.kinds:
                number = b.add(number, self.rounds())
            bit = b.shl(b.const(1, 32), b.and_(number, b.const(15, 32)))
            others = b.and_(b.zext(b.load(16, ABSOLUTE, 0, (at,)), 32), b.not_(bit))
            held = b.ne(b.and_(found, self.column("limit")), zero)
            one = b.or_(others, b.select(held, bit, zero))
            b.store(b.trunc(one, 16), ABSOLUTE, 0, (at,))

    def span(self, *names: str) -> Span:
        """The first row of these kinds: the rule that wants the code; else the first row."""
        return next((r.span for r in self.rows if r.kind in names), self.rows[0].span)

    def ports(self, found: Op) -> Op:
        """Port and config accesses: string instructions that move 0 or 1 item.

        What is found is left in the fault's words, where the report reads it.
        """
        b = self.b
        latch = b.address(FAULT, FAULT_WORDS["found"])
        moves: list[tuple[str, int, Op]] = []
        if any(k.startswith("config.") for k in self.kinds):
            span = self.span("config.write", *_reading(CONFIG))
            if self.config is None:
                raise fail(span, "E0468", "this machine's config space cannot be reached")
            with b.at(span):
                enabled = b.or_(self.place, b.const(self.config.enable, 32))
                b.output(b.const(self.config.select, 16), enabled)
            moves.append(("config", 32, b.const(self.config.data, 16)))
        port = b.trunc(self.place, 16)
        moves += [
            (f"port{bits}", bits, port)
            for bits in (8, 16, 32)
            if any(k.startswith(f"port{bits}.") for k in self.kinds)
        ]
        reads = False
        for space, bits, where in moves:
            writing = (f"{space}.put", f"{space}.write", f"{space}.flip")
            reading = _reading(space)
            write, put, test = (self.is_kind(*k) for k in (writing, writing[:1], reading))
            if write is not None:
                with b.at(self.span(*writing)):
                    wanted = b.address(FAULT, FAULT_WORDS["wanted"])
                    if put is not None:
                        wanted = b.select(put, b.zext(self.value, 64), wanted)
                    b.outs(where, b.zext(write, 64), wanted, bits)
            if test is not None:
                with b.at(self.span(*reading)):
                    if not reads:
                        b.store(found, FAULT, FAULT_WORDS["found"])
                    reads = True
                    b.ins(where, b.zext(test, 64), latch, bits)
        if not reads:
            b.store(found, FAULT, FAULT_WORDS["found"])
            return found
        return b.load(32, FAULT, FAULT_WORDS["found"])

    def cpuid(self, found: Op) -> Op:
        """Tests of CPUID registers; what was found so far for other rows."""
        for register in range(4):
            asked = self.is_kind(f"cpuid{register}.test")
            if asked is not None:
                leaf = self.b.select(asked, self.place, self.b.const(0, 32))
                answer = self.b.cpuid(leaf, self.b.const(0, 32), register)
                found = self.b.select(asked, answer, found)
                self.b.store(found, FAULT, FAULT_WORDS["found"])
        return found

    def late(self, passed: Op) -> tuple[Op, Op]:
        """Whether the row has passed, a pause when its time is over; whether that is over."""
        b = self.b
        limit = self.columns["limit"]
        if self.ticks is None or not any(c.value for c in limit.cells):
            return passed, b.const(1, 1)
        edge, measures = self.is_kind(EDGE), self.is_kind(MEASURE)
        before = b.counted() if measures is not None else b.const(0, 64)
        now = b.resize(read(b, self.ticks), 32)
        since = self.ticks.since(b, now, b.load(32, LAST))
        b.store(now, LAST)
        elapsed = b.add(b.load(32, ELAPSED), since)
        pause = self.is_kind(PAUSE, TIMED)
        if pause is not None:
            with b.at(self.span(PAUSE, TIMED)):
                passed = b.select(pause, b.ule(self.column("limit"), elapsed), passed)
        timed = self.is_kind(TIMED)
        if timed is not None:
            with b.at(self.span(TIMED)):
                at = b.select(timed, b.zext(self.value, 64), b.address(SPARE))
                b.store(elapsed, ABSOLUTE, 0, (at,))
        waited = elapsed
        if edge is not None and measures is not None:
            with b.at(self.span(MEASURE)):
                longest = self.column("limit")
                look = Look(edge, measures, before, since, elapsed, longest, passed)
                passed, waited = measure(b, look, self.ticks)
        b.store(b.select(passed, b.const(0, 32), elapsed), ELAPSED)
        return passed, b.ule(self.column("limit"), waited)
