"""What a `repeat` makes, joined into a loop of rows where its rounds are alike.

    joined([[row, ...], [row, ...], ...], span) -> rows

The loop is a row that sets the count of the rounds to come, the rows of one round, and a loop
row, which goes back to them as long as the count is not 0. What may differ from round to round is
the value that a row writes, if it is one of two (a flip row: which one in which round is in the
row), and which bit a row keeps, if it is one lower in each (a bit row: the count is added to it).
Where rounds differ in anything else, as a `repeat` around others mostly does, all stay.
"""

from __future__ import annotations

from dataclasses import replace

from metaos.errors import Span
from metaos.lower.row import Cell, Row

COUNT = "rows.count"
"""How many rounds of the loop are still to come; 0 outside of loops."""
WORD = 16
"""Bits among which a bit row counts."""
MAX_ROUNDS = 256
MAX_FLIPS = 32
"""Rounds that a flip row can tell apart."""
SAVED = 2
"""Rows that a loop has besides those of a round."""


def joined(rounds: list[list[Row]], span: Span) -> list[Row]:
    """The rows of all rounds, as a loop if that is shorter and says the same.

    `span` is where the pattern says `repeat`.
    """
    count, body = len(rounds), rounds[0]
    every = [row for rows in rounds for row in rows]
    alike = all(len(rows) == len(body) for rows in rounds)
    if not alike or count > MAX_ROUNDS or len(every) <= len(body) + SAVED:
        return every
    inner = []
    for column in zip(*rounds, strict=True):
        row = _one(column)
        if row is None:
            return every
        inner.append(row)
    base = replace(body[0], span=span, mask=0, limit=0, site=0, facts=(), aside=0, bits=0)
    place = Cell(0, COUNT)
    first = replace(base, kind="mem8.write", place=place, value=Cell(count - 1))
    last = replace(base, kind="mem8.loop", place=place, value=Cell(0), mask=0xFF, aside=len(body))
    return [first, *inner, last]


def _one(column: tuple[Row, ...]) -> Row | None:
    """The row that does in each round what the column's rows do; None if no row does."""
    first, last, left = column[0], column[-1], range(len(column) - 1, -1, -1)
    space, _, action = first.kind.partition(".")
    if first.kind == "mem8.loop" or first.place.symbol == COUNT:
        return None
    if action == "bit":
        lower = (replace(r, aside=(r.aside - n) % WORD) for r, n in zip(column, left, strict=True))
        return last if all(r == last for r in lower) else None
    if all(r == first for r in column):
        return first
    values = {r.value for r in column}
    same = all(replace(r, value=first.value) == first for r in column)
    if action != "write" or space == "config" or any(v.symbol for v in values):
        return None
    if not same or len(values) > 2 or len(column) > MAX_FLIPS:
        return None
    bits = sum(1 << n for r, n in zip(column, left, strict=True) if r.value != last.value)
    aside = next(r.value.value ^ last.value.value for r in column if r.value != last.value)
    return replace(last, kind=f"{space}.flip", aside=aside, bits=bits)
