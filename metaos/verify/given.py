"""Law 3: an address that a device is given lies in that device's own RAM.

A device that is bus master writes where it was told to. What it is told is seen in the bytes: what
code and rows store to its registers, its ports and the tables that it reads, and what the loader
leaves in these tables. Whatever of that is an address of a place has to be of a place of the same
device, and if it has an index, inside that place however far the index goes.

A number is an address if it has an index on a place's address, or if the account says
that the bytes it is made in name the place; any other number that happens to be one is not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from metaos.link.manifest import Manifest, Symbol
from metaos.lower.stepper import PLATFORM
from metaos.verify.decode import Ledger, Line, place_in
from metaos.verify.memory import Atlas
from metaos.verify.places import NEVER, Resolved
from metaos.verify.report import Violation
from metaos.verify.tables import Memory, read_memory
from metaos.verify.values import Value

LAW = 3
_POINTER = 4


@dataclass(frozen=True, slots=True)
class Ram:
    """The image's RAM places, to be asked whose a number's place is."""

    places: tuple[Symbol, ...]
    starts: tuple[int, ...]

    def at(self, number: int) -> Symbol | None:
        """The place that holds the byte at this address."""
        index = bisect_right(self.starts, number) - 1
        if index < 0:
            return None
        place = self.places[index]
        return place if number < place.linear + place.size else None


def ram_of(manifest: Manifest) -> Ram:
    found = (s for s in manifest.symbols if s.kind == "place" and s.linear == s.physical)
    places = tuple(sorted(found, key=lambda s: s.linear))
    return Ram(places, tuple(s.linear for s in places))


def check_given(
    line: Line,
    resolved: Iterable[Resolved],
    atlas: Atlas,
    told: frozenset[str],
    ram: Ram,
    book: Ledger,
) -> Iterator[Violation]:
    """Every address that a phase gives to a device and that is not that device's."""
    resolved = tuple(resolved)
    rows = next((s for s in atlas.symbols if s.name == f"rows.{line.name}"), None)
    stride = min((row for one in resolved for row in one.rows if row), default=0)
    for one in resolved:
        if not _gives(one, told):
            continue
        offset = one.access.step.offset
        for row in one.rows or (None,):
            if row is None or rows is None:
                at = line.file_offset(offset)
                named = _named(book, line.file_offset(0), line.file_offset(len(line.code) - 1) + 1)
            else:
                at = place_in(rows.file, row)
                named = _named(book, at, at + stride)
            entry = book.entry(at)
            device = entry.device if entry else ""
            for message in _misplaced(one.access.stored, device, named.get(device, set()), ram):
                text = f"{one.access.step.text}: {message}"
                yield Violation(LAW, line.place(offset), text, book.span(at))


def _named(book: Ledger, start: int, end: int) -> dict[str, set[str]]:
    """The symbols that bytes of the file name by relocations, by the device they are for."""
    named: dict[str, set[str]] = {}
    for entry in book.between(start, end):
        named.setdefault(entry.device, set()).update(entry.symbols)
    return named


def _gives(one: Resolved, told: frozenset[str]) -> bool:
    """Whether a device sees what an access writes."""
    access = one.access
    if not access.write or access.size < _POINTER or access.count == NEVER:
        return False
    return one.device_memory or any(hit.symbol.name in told for hit in one.hits)


def _misplaced(given: Value, device: str, named: set[str], ram: Ram) -> Iterator[str]:
    """What is wrong with a number that `device` is given."""
    for base in sorted(given.bases):
        place = ram.at(base)
        if place is None or (given.exact and place.name not in named):
            continue
        if place.device != device:
            owner = place.device or "the linker"
            yield f"gives {device} the address of {place.name}, which is {owner}'s"
        elif base - place.linear + given.high >= place.size:
            yield f"the address that it gives may lie outside {place.name}"


def check_preset(
    manifest: Manifest, told: frozenset[str], memory: Memory, ram: Ram
) -> Iterator[Violation]:
    """Every address in a table that the loader fills, and that is another device's place."""
    for table in ram.places:
        if table.name not in told or table.device in ("", PLATFORM):
            continue
        held = read_memory(memory, table.physical, table.size)
        for at in range(0, len(held) - _POINTER + 1, _POINTER):
            place = ram.at(int.from_bytes(held[at : at + _POINTER], "little"))
            if place is not None and place.device not in (table.device, "", PLATFORM):
                text = f"begins with the address of {place.name}, which is {place.device}'s"
                yield Violation(LAW, f"{table.name}+{at:#x}", text)
