"""What of configuration space an image was made from, as numbers for the config space's rule.

    folded(numbers, functions)["00:03.0"]       # ({"at": 2, "mask": 0xFFFFFFFF, "value": ...},)

Where a capability lies and what it says is in addresses, rows and constants of the image; guard
holds it against the machine before anything is touched. What `init` writes over need not be there
before: it comes out the same. But a capability's id cannot be written. Words are counted from
config byte 0x40, since what lies before has lists of its own (decoders.py).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

from metaos.lower.decoders import Words, word
from metaos.lower.row import Row
from metaos.lower.rows import config_address
from metaos.lower.work import Work
from metaos.probe.machine import Function
from metaos.told import facts_of

_FIRST, _END = 0x40, 0x100
_CONFIG = re.compile(r"functions\.(?P<address>.+)\.config\.(?P<at>0x[0-9a-f]+)\.u(?P<bits>\d+)")
_OFFSET = re.compile(r"functions\.(?P<address>.+)\.capabilities\.(?P<id>0x[0-9a-f]+)\.offset")


def folded(
    numbers: Iterable[int], functions: Iterable[Function], written: Collection[int] = ()
) -> Mapping[str, tuple[Words, ...]]:
    """For each function the words of its configuration space that `numbers` are made from.

    `written` are the places of words that are written whole.
    """
    known = {function.address: function for function in functions}
    masks: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for fact in facts_of(*numbers):
        for address, at in _bytes(fact, known, written):
            if _FIRST <= at < _END:
                masks[address][at & ~3] |= 0xFF << 8 * (at & 3)
    return {
        address: tuple(_word(known[address], at, mask) for at, mask in sorted(words.items()))
        for address, words in masks.items()
    }


def numbers_in(work: Work, rows: Iterable[Row]) -> Iterator[int]:
    """Every number that goes into the code, the rows and the windows of an image."""
    for row in rows:
        yield from (row.place.value, row.value.value, row.mask)
    for program in work.programs:
        for op in program.ops:
            yield op.value
            if op.address is not None:
                yield op.address.offset
    for plan in work.plans:
        yield from (window.physical for window in plan.windows.values())


def places_written(rows: Iterable[Row]) -> frozenset[int]:
    """The places of the words of configuration space that rows write to."""
    return frozenset(row.place.value for row in rows if row.kind in ("config.write", "config.put"))


def _bytes(
    fact: str, known: Mapping[str, Function], written: Collection[int]
) -> Iterator[tuple[str, int]]:
    """The config bytes that a fact is: those of a number, or the id of a capability."""
    if found := _CONFIG.fullmatch(fact):
        own, first = config_address(found["address"]), int(found["at"], 16)
        for at in range(first, first + int(found["bits"]) // 8):
            if own + (at & ~3) not in written:
                yield found["address"], at
    elif found := _OFFSET.fullmatch(fact):
        one, identity = known[found["address"]], int(found["id"], 16)
        yield from ((one.address, c.offset) for c in one.capabilities if c.id == identity)


def _word(function: Function, at: int, mask: int) -> Words:
    return {"at": (at - _FIRST) // 4, "mask": mask, "value": word(function, at) & mask}
