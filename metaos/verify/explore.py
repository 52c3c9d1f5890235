"""Walk a phase once for every row it can stand at, so that a row's kind and place stay together.

A stepper reads the row that its cursor points at. With the cursor unknown, a port number could not
be told from a memory address: the row's kind, which gates the access, would be
any row's kind. So the walk starts at cursor 0, as the phase does, and goes on with
every cursor that it can store, until none is new: each row is walked by itself, and the
rows that can be reached are known to be all.
"""

from __future__ import annotations

from metaos.link.manifest import Symbol
from metaos.verify.decode import Line, Step
from metaos.verify.memory import Atlas
from metaos.verify.values import Value, known
from metaos.verify.walk import Access, Ground, Walk, walk

CURSOR = "rows.cursor"
"""The place that holds the byte offset of the row to do next."""
MOST_ROWS = 2048


def explore(line: Line, atlas: Atlas, ground: Ground) -> Walk:
    """Every access of a phase. One walk with anything in the cursor, if rows cannot be told."""
    cursor = next((s for s in atlas.symbols if s.name == CURSOR), None)
    plain = walk(line, atlas, ground)
    if cursor is None or not any(_touches(a, cursor) for a in plain.accesses):
        return plain
    end = max((len(data) for data in atlas.data.values()), default=0)
    seen: set[int] = {0}
    pending = [0]
    found: dict[tuple[object, ...], tuple[Access, list[int]]] = {}
    remembered: set[str] = set()
    faulting: dict[int, Step] = {}
    loads: dict[tuple[int, Value], tuple[Step, Value]] = {}
    while pending:
        row = pending.pop()
        one = walk(line, atlas, ground, {(cursor.linear, cursor.size): known(row)})
        new = _next_cursors(one, cursor)
        if new is None or len(seen | new) > MOST_ROWS or max(new, default=0) > end:
            return plain
        pending += sorted(new - seen)
        seen |= new
        for access in one.accesses:
            rows = found.setdefault(_key(access), (access, []))[1]
            if row not in rows[-1:]:
                rows.append(row)
        remembered |= one.remembered
        faulting |= {step.offset: step for step in one.faulting}
        loads |= {(step.offset, value): (step, value) for step, value in one.roots}
    ordered = sorted(found.values(), key=lambda item: item[0].step.offset)
    return Walk(
        tuple(access for access, _ in ordered),
        tuple(loads.values()),
        len(seen),
        tuple(tuple(rows) for _, rows in ordered),
        frozenset(remembered),
        tuple(faulting.values()),
    )


def _touches(access: Access, place: Symbol) -> bool:
    return access.kind == "memory" and place.linear in access.address.bases


def _next_cursors(one: Walk, cursor: Symbol) -> set[int] | None:
    """What the cursor can be in the next turn; None if that cannot be told."""
    stored = [a for a in one.accesses if a.write and _touches(a, cursor)]
    values: set[int] = set()
    for access in stored:
        if not (access.stored.exact and access.address.exact and access.size == cursor.size):
            return None
        values |= access.stored.bases
    return values


def _key(access: Access) -> tuple[object, ...]:
    return (
        access.step.offset,
        access.kind,
        access.address,
        access.size,
        access.read,
        access.write,
        access.count,
        access.stored,
        access.selected,
    )
