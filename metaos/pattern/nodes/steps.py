"""Lark's tree of steps and rows to nodes."""

from __future__ import annotations

from typing import Any

from lark import v_args

from metaos.pattern import syntax as s
from metaos.pattern.nodes.located import NANOSECONDS, LocatedNodes
from metaos.pattern.repeats import rows_made

MAX_REPEATED = 4_096
"""Rows that a `repeat` may make, before those that are alike are joined."""


@v_args(meta=True)
class StepNodes(LocatedNodes):
    """What a turn does, and what a start does."""

    def let(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Let(str(c[0]), c[1], c[2], c[3], self.span(meta))

    def keep(self, meta: Any, c: list[Any]) -> s.Keep:
        return s.Keep(str(c[0]), c[1], self.value(c[2]), self.span(meta))

    def write(self, meta: Any, c: list[Any]) -> s.Write:
        return s.Write(c[0], c[1], c[2], c[3], self.span(meta))

    def swap(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Swap(c[0], c[1], c[2], self.span(meta))

    def move_in(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Move(True, c[0], c[1], c[2], c[3], self.span(meta))

    def move_out(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Move(False, c[0], c[1], c[2], c[3], self.span(meta))

    def touch(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Touch(c[0], c[1], self.span(meta))

    def pause(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Pause(c[0], c[1], c[2], self.span(meta))

    def when(self, meta: Any, c: list[Any]) -> s.Step:
        return s.When(c[0], tuple(c[1:]), self.span(meta))

    def every(self, meta: Any, c: list[Any]) -> s.Step:
        period = self.value(c[0]) * NANOSECONDS[c[1]]
        return s.Every(period, tuple(c[2:]), self.span(meta))

    def wake(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Wake(c[0], self.span(meta))

    def given(self, meta: Any, c: list[Any]) -> s.Given:
        return s.Given(c[0], tuple(c[1:]), self.span(meta))

    def offer(self, meta: Any, c: list[Any]) -> s.Step:
        frame, length, least, guard, answered, answer_length = c
        skip: s.Expr | None = None
        match frame:
            case s.Binary(operator="+", left=left, right=right):
                frame, skip = left, right
        return s.Offer(
            frame, skip, length, self.value(least) if least is not None else 0, guard,
            str(answered), str(answer_length), self.span(meta),
        )  # fmt: skip

    def grant(self, meta: Any, c: list[Any]) -> s.Step:
        frame, guard, said = c
        skip: s.Expr | None = None
        match frame:
            case s.Binary(operator="+", left=left, right=right):
                frame, skip = left, right
        return s.Grant(frame, skip, guard, str(said), self.span(meta))

    def take(self, meta: Any, c: list[Any]) -> s.Step:
        position = str(c[2]) if c[2] is not None else ""
        return s.Take(str(c[0]), str(c[1]), position, self.span(meta))

    def advance(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Advance(c[0], self.span(meta))

    def order(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Order(self.span(meta))

    def await_(self, meta: Any, c: list[Any]) -> s.Row:
        within = self.value(c[1]) * NANOSECONDS[c[2]]
        return s.Await(c[0], within, c[3][1:-1], c[4], self.span(meta))

    def expect(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Expect(c[0], c[1][1:-1], c[2], self.span(meta))

    def each(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Each(str(c[0]), tuple(c[1:]), self.span(meta))

    def repeat(self, meta: Any, c: list[Any]) -> s.Row:
        row = s.Repeat(str(c[0]), self.value(c[1]), self.value(c[2]), tuple(c[3:]), self.span(meta))
        most, made = MAX_REPEATED, rows_made((row,), MAX_REPEATED)
        if made > most:
            raise self.error("E0009", f"more than {most} rows are too many", self.span(meta))
        return row

    def run(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Run(c[0][0], self.span(meta))
