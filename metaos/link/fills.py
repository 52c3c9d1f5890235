"""The fill list: page tables and RAM's initial values as the loader writes them.

    fills, problems = make_fills(parts, plan)
    fills[0]      # (Progression(...), AccountEntry(kind="list", ...))

A place's fills keep their device and source line; a page table's have those of the window
that they map; gates and `next` have neither.
"""

from __future__ import annotations

from collections.abc import Iterator

from metaos.errors import Problem
from metaos.link.gates import gate_fills
from metaos.link.layout import PlacedRam
from metaos.link.lists import FILL_LENGTH
from metaos.link.manifest import AccountEntry
from metaos.link.pages import sourced, table_entry, targets
from metaos.link.parts import Fill, Parts
from metaos.link.plan import Plan, gates_of
from metaos.link.progressions import LONGEST, Progression, progressions
from metaos.told import facts_of

Listed = tuple[Progression, AccountEntry]
"""A fill and its account entry, which counts from the list entry's first byte."""

_GATES = AccountEntry(
    start=0, end=FILL_LENGTH, kind="list", note="gates: what exceptions and interrupts run"
)


def make_fills(parts: Parts, plan: Plan) -> tuple[tuple[Listed, ...], tuple[Problem, ...]]:
    """All fills, and what is wrong with those of the places."""
    root = plan.symbols["root.guard"].physical
    gates, to = gates_of(parts, plan)
    words = {**plan.tables.words, plan.symbols[parts.next].physical: root}
    plain = {int(at): int(word) for at, word in words.items()}
    among = targets(plan)
    listed = [(one, table_entry(plan, one, among)) for one in progressions(plain)]
    listed += [(one, _GATES) for one in gate_fills(gates, to)]
    problems: list[Problem] = []
    for ram in plan.layout.ram:
        for fill in ram.place.fills:
            message = _objection(fill, ram, plan)
            if message:
                what = f"{ram.place.device}: the initial value of '{ram.place.name}' {message}"
                problems.append(Problem("E0602", what, ram.place.span))
            else:
                listed.extend(_place_fill(fill, ram, plan))
    return tuple(listed), tuple(problems)


def _objection(fill: Fill, ram: PlacedRam, plan: Plan) -> str:
    """Why the loader cannot write this fill; empty if it can."""
    last = fill.offset + (fill.count - 1) * fill.stride
    if not 0 < fill.count <= LONGEST:
        return f"is repeated {fill.count} times"
    if not 0 <= fill.stride <= LONGEST or not 0 <= fill.step <= LONGEST:
        return f"has stride {fill.stride} and step {fill.step}, both must be below 65536"
    if fill.offset < 0 or last + 4 > ram.place.size:
        return f"passes the end of its {ram.place.size} bytes"
    if fill.symbol and fill.symbol not in plan.symbols:
        return f"names '{fill.symbol}', which is not in the image"
    return ""


def _place_fill(fill: Fill, ram: PlacedRam, plan: Plan) -> Iterator[Listed]:
    place = ram.place
    value = fill.value + (plan.symbols[fill.symbol].linear if fill.symbol else 0)
    address = ram.address + fill.offset
    entry = AccountEntry(
        start=0,
        end=FILL_LENGTH,
        kind="list",
        device=place.device,
        facts=facts_of(address, fill.count, fill.stride, value, fill.step),
        symbols=tuple(sorted({place.name, fill.symbol} - {""})),
        note=f"how {place.name} begins",
    )
    entry = sourced(entry, place.span)
    yield Progression(address, fill.count, fill.stride, value & 0xFFFFFFFF, fill.step), entry
