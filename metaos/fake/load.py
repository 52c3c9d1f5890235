"""What the linker places and the loader fills, for programs that an interpreter runs.

starts = placed(lowered.places)
load(memory, lowered.places, data)
"""

from __future__ import annotations

from collections.abc import Iterable

from metaos.ir.interpret import Memory
from metaos.link.parts import Datum, Place

PLACES = 0x200000
"""The first place's linear address, at the least."""
_GAP = 16
_ALIGN = 64


def placed(places: Iterable[Place]) -> dict[str, int]:
    """An address for each place, with a gap before each that nothing may touch."""
    starts, at = {}, PLACES
    for place in places:
        align = max(place.align, _ALIGN)
        at = -(-(at + _GAP) // align) * align
        starts[place.name] = at
        at += place.size
    return starts


def load(memory: Memory, places: Iterable[Place], data: Iterable[Datum]) -> None:
    """Fill the places with their first values, relocate the tables and lock them."""
    for place in places:
        start = memory.linear(place.name)
        for fill in place.fills:
            value = fill.value + (memory.linear(fill.symbol) if fill.symbol else 0)
            for i in range(fill.count):
                at = start + fill.offset + i * fill.stride
                memory.write(at, 32, value + i * fill.step & 0xFFFF_FFFF)
    for datum in data:
        start = memory.linear(datum.name)
        for relocation in datum.relocations:
            value = memory.linear(relocation.symbol) + relocation.addend
            memory.write(start + relocation.offset, 32, value & 0xFFFF_FFFF)
        memory.lock(start)
