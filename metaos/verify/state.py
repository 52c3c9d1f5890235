"""What the image's own RAM can hold from turn to turn: bounds for the indices loaded from it.

    settled = settle(walks, memory)
    settled["00:03.0.head"]         # Cell(size 1, multiples of 16 from 0 to 240)

A place is followed if it is only ever accessed in elements of one size and its address is never
stored, sent or preset anywhere, so that no device is told of it. Its elements begin with what the
loader leaves there; each phase is walked with what they can hold, what it stores is added, and
so on until nothing is new. That is an induction over turns: it holds as long as no
access leaves its place, which is what the bounds are for (places.py counts those without one).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from math import gcd

from metaos.ir.program import SHADOW
from metaos.link.manifest import Manifest, Symbol
from metaos.verify.decode import Line
from metaos.verify.explore import CURSOR
from metaos.verify.memory import Atlas
from metaos.verify.tables import Memory, read_memory
from metaos.verify.values import FEW, Value, narrow, unknown
from metaos.verify.walk import Access, Cell, Ground, Walk

Follow = Callable[[Line, Atlas, Ground], Walk]
Phase = tuple[Line, Atlas]

_PAGE = 4096
_ROUNDS_EXACT, _ROUNDS = 3, 12
_WIPE = "wipe"
_POINTER = 4
"""Smaller elements cannot hold an address."""
SHIFTED = ">>"
"""In the name of a symbol that is a place's address without its lowest bits."""


def settle(
    phases: Iterable[Phase], ground: Ground, manifest: Manifest, memory: Memory, follow: Follow
) -> tuple[Ground, tuple[Walk, ...]]:
    """Follow every phase until what the places can hold no longer grows.

    Leaves the ground on which it came to rest, and each phase's walk on it.
    """
    phases = tuple(phases)
    walks = [follow(line, atlas, ground) for line, atlas in phases]
    ground = _untold(phases, walks, ground, manifest, memory, follow)
    begun = dict(_beginning(manifest, _pairs(walks, phases), memory, ground.told))

    def again(cells: Mapping[str, Cell]) -> list[Walk]:
        on = ground.with_cells(cells)  # rows are exact already, and cost a walk each
        pairs = zip(walks, phases, strict=True)
        return [one if one.rows else follow(line, atlas, on) for one, (line, atlas) in pairs]

    cells = begun
    for round_ in range(_ROUNDS):
        walks = again(cells)
        grown = _grown(cells, walks, phases, exact=round_ < _ROUNDS_EXACT)
        if grown == cells:
            cells, walks = _narrowed(begun, cells, walks, phases, again)
            return ground.with_cells(cells), tuple(walks)
        cells = grown
    return ground.with_cells({}), tuple(
        follow(line, atlas, ground.with_cells({})) for line, atlas in phases
    )


def _narrowed(
    begun: dict[str, Cell],
    cells: dict[str, Cell],
    walks: list[Walk],
    phases: tuple[Phase, ...],
    again: Callable[[Mapping[str, Cell]], list[Walk]],
) -> tuple[dict[str, Cell], list[Walk]]:
    """The cells with what is in them at first and stored later alone, where that is inductive too.

    What was taken for anything, since it grew for long, may be cut by a mask before it is stored.
    The cursor of rows is not tried: it is what the rows say (explore.py).
    """
    less = _grown(begun, walks, phases, exact=True)
    tried = {name: min(cells[name], less[name], key=lambda cell: cell.value.top) for name in cells}
    tried |= {name: cells[name] for name in {CURSOR} & set(cells)}
    while tried != cells:
        narrower = again(tried)
        grown = _grown(tried, narrower, phases, exact=True)
        if grown == tried:
            return tried, narrower
        kept = {name: tried[name] if grown[name] == tried[name] else cells[name] for name in cells}
        if kept == tried:
            break
        tried = kept
    return cells, walks


def _pairs(walks: list[Walk], phases: tuple[Phase, ...]) -> list[tuple[Access, Atlas]]:
    """Every access with the atlas of its phase."""
    return [
        (access, atlas)
        for one, (_, atlas) in zip(walks, phases, strict=True)
        for access in one.accesses
    ]


def _untold(
    phases: tuple[Phase, ...],
    walks: list[Walk],
    ground: Ground,
    manifest: Manifest,
    memory: Memory,
    follow: Follow,
) -> Ground:
    """Know which places devices are told of, and follow again what relied on one of them.

    Each round tells of more places or is the last, so it ends.
    """
    while True:
        told = ground.told | _told(manifest, _pairs(walks, phases), memory)
        if told == ground.told:
            return ground
        ground = replace(ground, told=told)
        for i, (line, atlas) in enumerate(phases):
            if walks[i].remembered & told:
                walks[i] = follow(line, atlas, ground)


def _places(manifest: Manifest) -> list[Symbol]:
    """RAM places by address."""
    found = (s for s in manifest.symbols if s.kind == "place" and s.linear == s.physical)
    return sorted(found, key=lambda s: s.linear)


def _beginning(
    manifest: Manifest,
    pairs: list[tuple[Access, Atlas]],
    memory: Memory,
    told: frozenset[str],
) -> Iterator[tuple[str, Cell]]:
    """The places that can be followed, with what the loader leaves in them."""
    sizes = _element_sizes(pairs)
    for symbol in _places(manifest):
        size = sizes.get(symbol.name)
        if size is None or symbol.name in told or symbol.size % size:
            continue
        held = read_memory(memory, symbol.physical, symbol.size)
        words = {int.from_bytes(held[at : at + size], "little") for at in range(0, len(held), size)}
        yield symbol.name, Cell(size, hull(Value(frozenset(words)), 8 * size))


def _element_sizes(pairs: list[tuple[Access, Atlas]]) -> dict[str, int | None]:
    """The one size in which each place is accessed; None where there are several."""
    sizes: dict[str, int | None] = {}
    for access, atlas in pairs:
        if access.kind != "memory":
            continue
        for base in access.address.bases:
            located = atlas.find(base, access.size)
            if located is None or located.shadow or located.symbol.kind != "place":
                continue
            name, size = located.symbol.name, access.size
            whole = access.count is None and located.offset % size == 0
            sizes[name] = size if whole and sizes.get(name, size) == size else None
    return sizes


def _told(manifest: Manifest, pairs: list[tuple[Access, Atlas]], memory: Memory) -> frozenset[str]:
    """Places of which an address is stored, sent or preset somewhere, whole or shifted."""
    places = _places(manifest)
    starts = [symbol.linear for symbol in places]

    def owner(number: int) -> str:
        at = bisect_right(starts, number) - 1
        inside = at >= 0 and number < places[at].linear + places[at].size
        return places[at].name if inside else ""

    told = {owner(n) for a, _ in pairs if a.write and a.size >= _POINTER for n in a.stored.bases}
    told |= {s.name.partition(SHIFTED)[0] for s in manifest.symbols if SHIFTED in s.name}
    # What only wipe maps is the start's code and rows: nothing reads it as data of a place,
    # and bytes of code now and then look like an address.
    kept = [s for s in places if s.phases != (_WIPE,)]
    for page, held in memory.items():
        if not any(s.linear < page + _PAGE and page < s.linear + s.size for s in kept):
            continue
        for at in range(0, _PAGE, _POINTER):
            word = held[at : at + _POINTER]
            if word != b"\0\0\0\0":
                told.add(owner(int.from_bytes(word, "little")))
    return frozenset(told - {""})


def _grown(
    cells: dict[str, Cell], walks: list[Walk], phases: tuple[Phase, ...], *, exact: bool
) -> dict[str, Cell]:
    """The cells with everything that the phases store to them added.

    Not `exact`: what still grows becomes anything of its alignment, so that it comes to rest.
    """
    stored: dict[str, list[Value]] = {}
    for one, (_, atlas) in zip(walks, phases, strict=True):
        for access in one.accesses:
            if access.kind != "memory" or not access.write:
                continue
            for base in access.address.bases:
                located = atlas.find(base, access.size)
                if located and not located.shadow and located.symbol.name in cells:
                    stored.setdefault(located.symbol.name, []).append(access.stored)
    grown = dict(cells)
    for name, values in stored.items():
        size, before = cells[name].size, cells[name].value
        bits = 8 * size
        after = hull(_union([before, *(narrow(v, bits) for v in values)], bits), bits)
        if after != before and not exact:
            low = _low_bit(after)
            after = Value(frozenset({0}), (1 << bits) - low, low) if low < 1 << bits else after
        grown[name] = Cell(size, after)
    return grown


def _union(values: list[Value], bits: int) -> Value:
    """One value with all members of several."""
    bases = frozenset(b for v in values for b in v.bases)
    high = max(v.high for v in values)
    step = 0
    for value in values:
        step = gcd(step, value.step if value.high else 0)
    if max(bases) + high >= 1 << bits:
        return unknown(bits)
    return Value(bases, high, step or 1)


def hull(value: Value, bits: int) -> Value:
    """The value as one range with a step; a few numbers stay as they are."""
    if value.exact and len(value.bases) <= FEW:
        return value
    low = min(value.bases)
    step = value.step if value.high else 0
    for base in value.bases:
        step = gcd(step, base - low)
    high = value.top - low
    if low + high >= 1 << bits:
        return unknown(bits)
    return Value(frozenset({low}), high, step or 1)


def _low_bit(value: Value) -> int:
    """The greatest power of two that divides every member."""
    union = value.step if value.high else 0
    for base in value.bases:
        union |= base
    return union & -union if union else SHADOW
