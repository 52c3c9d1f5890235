"""What the words of the page tables are for: the account of the entries that make them.

about = page_words(plan)
about[0x1f8008]     # Word(names=("window 00:03.0.regs",), device="00:03.0", ...)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from metaos.errors import Span
from metaos.link.layout import PAGE, SLOT
from metaos.link.lists import FILL_LENGTH
from metaos.link.manifest import AccountEntry
from metaos.link.plan import Plan
from metaos.link.progressions import Progression
from metaos.link.tables import BIG
from metaos.told import facts_of

TABLES = "further tables"
_FRAME = 0x000F_FFFF_FFFF_F000


@dataclass(frozen=True, slots=True)
class Target:
    """Memory that entries lead to: physical `start` to `end`, and whose it is."""

    start: int
    end: int
    what: str
    symbols: tuple[str, ...] = ()
    device: str = ""
    span: Span | None = None


def targets(plan: Plan) -> tuple[Target, ...]:
    """All that page-table entries can lead to, whole pages, the most particular first."""
    layout, tables = plan.layout, plan.tables
    found = [Target(tables.base, tables.base + tables.pages * PAGE, TABLES)]
    found.append(Target(layout.frames, layout.frames + PAGE, "descriptor tables"))
    for placed in layout.windows:
        window = placed.window
        start, end = window.physical, window.physical + window.size
        names = (window.name,)
        found.append(Target(start, end, "window", names, window.device, window.span))
    for code in layout.codes:
        end = code.frames + code.pages * PAGE
        found.append(Target(code.frames, end, f"code of {code.name}"))
    for datum in layout.data:
        end = datum.physical + len(datum.datum.data)
        found.append(Target(datum.physical, end, "read-only data", (datum.datum.name,)))
    found.append(Target(layout.scratch, layout.scratch + SLOT, "shadows"))
    found.append(Target(layout.base, layout.scratch, "places"))
    found += (Target(start, end, "what wipe clears") for start, end in plan.wiped)
    return tuple(found)


def table_entry(plan: Plan, fill: Progression, among: Iterable[Target]) -> AccountEntry:
    """The account of a list entry that writes page-table words, or `next`."""
    words = plan.tables.words
    covered = [words[at] for at, _ in fill.words() if at in words]
    reached = [t for at, _ in fill.words() for t in _reached(words, at, among)]
    met = tuple(dict.fromkeys(reached))
    names = dict.fromkeys(t.what for t in met)
    entry = AccountEntry(
        start=0,
        end=FILL_LENGTH,
        kind="list",
        facts=facts_of(*covered),
        symbols=tuple(dict.fromkeys(name for t in met for name in t.symbols)),
        note=f"page tables: {', '.join(names)}" if covered else "next: the root of guard",
    )
    owners = {(t.device, t.span) for t in met}
    if len(owners) != 1:
        return entry
    device, span = owners.pop()
    entry = replace(entry, device=device)
    return entry if span is None else sourced(entry, span)


def sourced(entry: AccountEntry, span: Span) -> AccountEntry:
    """The entry, from that line."""
    return replace(entry, file=span.file, line=span.line, column=span.column)


def _reached(words: dict[int, int], at: int, among: Iterable[Target]) -> tuple[Target, ...]:
    """What the entry leads to that the word at `at` is half of."""
    low = at // 8 * 8
    entry = int(words.get(low, 0)) | int(words.get(low + 4, 0)) << 32
    start = entry & _FRAME
    end = start + (SLOT if entry & BIG else PAGE)
    met = tuple(t for t in among if t.start < end and start < t.end)
    return met[:1] if met and met[0].what == TABLES else met
