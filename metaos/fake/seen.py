"""Which rows and steps examples have reached: `Seen`, filled while they run.

A row is reached when it is at the cursor. A step is reached when what it stores, moves or
reads under a guard happened, not only in the shadow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from metaos.errors import Span
from metaos.ir.program import SHADOW, Op, Program
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import walk

Line = tuple[str, int]
_STORES = frozenset({"store", "out", "outs", "ins"})
_LOADS = frozenset({"load", "in"})


@dataclass
class Seen:
    """Lines of rows that ran; of what could be stored or loaded, and was.

    `asked` are lines of conditions on a frame, `refused` those that kept one from its answer.
    """

    rows: set[Line] = field(default_factory=set)
    could: set[Line] = field(default_factory=set)
    stored: set[Line] = field(default_factory=set)
    loaded: set[Line] = field(default_factory=set)
    asked: set[Line] = field(default_factory=set)
    refused: set[Line] = field(default_factory=set)
    last: Span | None = None

    def row(self, span: Span | None) -> None:
        self.last = span
        if span is not None:
            self.rows.add((span.file, span.line))

    def note(
        self, program: Program, values: Mapping[Op, int], linear: Callable[[str], int]
    ) -> None:
        """What one turn of a program of the steady phase did, by lines."""
        if program.phase != "steady":
            return
        for op in program.ops:
            if op.span is None:
                continue
            line = op.span.file, op.span.line
            if op.kind in _STORES or op.kind in _LOADS:
                self.could.add(line)
                if _happened(op, values, linear):
                    (self.stored if op.kind in _STORES else self.loaded).add(line)
            elif op.kind == "select" and op.bits == 64:
                test, gate, _ = op.args
                self.asked.add(line)
                if not values[gate] and not values[test] and values[op] == SHADOW:
                    self.refused.add(line)


def _happened(op: Op, values: Mapping[Op, int], linear: Callable[[str], int]) -> bool:
    if op.kind in ("ins", "outs"):
        return values[op.args[1]] > 0
    if op.kind in ("in", "out"):
        return True
    assert op.address is not None
    indices = op.args[1:] if op.kind == "store" else op.args
    at = linear(op.address.symbol) + op.address.offset + sum(values[i] for i in indices)
    return at & (1 << 64) - 1 < SHADOW


@dataclass(frozen=True)
class Coverage:
    """How many rows and steps there are, and the lines of those that nothing reached."""

    rows: int
    steps: int
    missed_rows: tuple[Span, ...]
    missed_steps: tuple[Span, ...]


def coverage(pattern: Pattern, seen: Seen, rows: Collection[Span]) -> Coverage:
    """What the examples of a device's rule have reached, of its `rows` and of its turn.

    Steps that facts leave out do not count.
    """
    turn = pattern.one(s.Turn)
    steps = [x for x in _steps(turn) if (x.span.file, x.span.line) in seen.could]
    missed = [x.span for x in steps if not _reached(x, seen)]
    return Coverage(
        len(rows),
        len(steps),
        tuple(sorted((r for r in rows if (r.file, r.line) not in seen.rows), key=str)),
        tuple(missed),
    )


def _steps(turn: s.Turn | None) -> Iterator[s.Step]:
    """The steps that do something which a guard may keep from happening."""
    for node in walk(turn.steps) if turn is not None else ():
        match node:
            case s.Write() | s.Swap() | s.Move() | s.Advance() | s.Wake():
                yield node
            case s.Let(guard=guard) if guard is not None:
                yield node


def _reached(step: s.Step, seen: Seen) -> bool:
    line = step.span.file, step.span.line
    if isinstance(step, s.Let):  # from a port it is a string instruction
        return line in seen.loaded or line in seen.stored
    return line in seen.stored
