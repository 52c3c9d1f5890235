"""`repeat i in 15..0`: the rows that it makes, with `i` replaced by each number in turn.

iterations(row)        # 16 tuples of rows; `mac[16 + i]` of the first is `mac[31]`
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metaos.pattern import syntax as s
from metaos.pattern.arithmetic import OPERATIONS
from metaos.pattern.parts import changed, replaced


def iterations(row: s.Repeat) -> Iterator[tuple[s.Row, ...]]:
    """The body once for each number, in order, up or down."""
    step = 1 if row.first <= row.last else -1
    for number in range(row.first, row.last + step, step):
        yield iteration(row, number)


def iteration(row: s.Repeat, number: int) -> tuple[s.Row, ...]:
    """The body of one round."""
    made: tuple[s.Row, ...] = _folded(replaced(row.body, {row.name: s.Number(number, row.span)}))
    return made


def _folded(node: Any) -> Any:
    """Operations on constants as the constants that they make."""
    if isinstance(node, tuple):
        return tuple(_folded(x) for x in node)
    node = changed(node, _folded)
    match node:
        case s.Binary(operator=operator, left=s.Number(value=a), right=s.Number(value=b)):
            if operator in OPERATIONS:
                return s.Number(OPERATIONS[operator](a, b), node.span)
        case s.Index(of=s.Number(value=a), index=s.Number(value=b)) if 0 <= b < 64:
            return s.Number(a >> b & 1, node.span)
    return node


def unrolled(rows: tuple[s.Row, ...]) -> Iterator[s.Row]:
    """The rows with none repeated any more."""
    for row in rows:
        if isinstance(row, s.Repeat):
            for body in iterations(row):
                yield from unrolled(body)
        else:
            yield row


def rows_made(rows: tuple[s.Row, ...], most: int) -> int:
    """How many rows there are when nothing is repeated any more; more than `most` is no matter."""
    count = 0
    for row in rows:
        inner = getattr(row, "body", None)
        times = abs(row.first - row.last) + 1 if isinstance(row, s.Repeat) else 1
        count += times * rows_made(inner, most) if inner is not None else 1
        if count > most:
            break
    return count
