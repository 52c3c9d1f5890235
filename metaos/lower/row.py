"""One row of a table: what a stepper does in a turn.

A row writes a place or tests one: `kind` is "SPACE.ACTION", SPACE one of mem8, mem16, mem32,
config, port8, port16, port32, cpuid0 to cpuid3. ACTION is write, test, keep (the 32 bits found
go where `value` says; keep8 and keep16 store fewer), put (what lies where `value` says is
written), bit (one bit found becomes one bit there), pause (nothing is done until its `limit` is
over) or timed (a pause of which is kept how many ticks of the clock it took); of rows that repeat,
see `metaos.lower.loops`, flip and loop; of those that measure, see `metaos.lower.measure`, edge and
measure. A test passes when `(found - value) & mask == 0`, which for a
value within the mask is equality under the mask, and for mask 0x80000000 is "at least value". An
`unlike` passes when a test would not.
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span

FULL = 0xFFFF_FFFF
SPARE = "rows.spare"
"""4 bytes that take the access of a row that has none in memory."""
PAUSE, TIMED = "mem32.pause", "mem32.timed"
EDGE, MEASURE = "mem32.edge", "mem32.measure"
"""Kinds of rows that are of memory alone."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A 32-bit number of a row: a constant, or the address of `symbol` plus it."""

    value: int
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `limit` in nanoseconds: 0 for one that must pass at once; `site` its text.

    Some kinds need other numbers. A bit row: `bits` is the mask of the bit that is read, `aside`
    the number of the one that is kept, in 16. A flip row: `aside` are the bits of its value that
    change, and bit n of `bits` says whether in the round with n more to come. A loop row: `aside`
    is how many rows it goes back.
    """

    kind: str
    place: Cell
    value: Cell
    mask: int
    limit: int
    site: int
    device: str
    span: Span
    facts: tuple[str, ...] = ()
    aside: int = 0
    bits: int = 0
