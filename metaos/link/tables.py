"""Page tables: from the mappings of a layout to the words that the loader writes.

    mappings = map_all(layout, wiped)
    tables = build_tables(mappings, layout.phases, at)
    tables.roots["guard"], tables.words      # {physical address: 32-bit word}, zeros left out

Each phase has four pages of its own, PML4, PDPT, page directory and page table of the code
region, alike for all phases and in FRAME_ORDER, so that few progressions write them. Page
tables of windows and the directory of the shadows are shared by all phases that map the
same. What is not the code region is no-execute by an entry above the page where there is
one, which saves a word for each page.

Source: Intel SDM vol. 3A, 4.5 (4-level paging, tables 4-15 to 4-20).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from metaos.link.layout import (
    CODE_END,
    CODE_SLOT,
    FRAME_ORDER,
    GATES_LINEAR,
    PAGE,
    SHADOW_END,
    SLOT,
    Layout,
)
from metaos.link.manifest import Mapping
from metaos.told import told

PRESENT, WRITABLE, ACCESSED, DIRTY, BIG = 1, 2, 0x20, 0x40, 0x80
UNCACHED = 0x18
"""PCD and PWT: strongly uncacheable with the PAT as it is after reset."""
NO_EXECUTE = 1 << 63
OWN_PAGES = 4
_TABLE = PRESENT | WRITABLE | ACCESSED
_GIB = 1 << 30

_Node = tuple[tuple[int, "int | _Node"], ...]
"""A table as (index, entry) in ascending order; an entry is a leaf or a table below it."""


@dataclass(frozen=True, slots=True)
class PageTables:
    """The tables of all phases: where, how many pages, each phase's root, and their words.

    `code_tables` are the page tables of the code region, by phase. Words know the facts that
    placed what they lead to.
    """

    base: int
    pages: int
    roots: dict[str, int]
    code_tables: dict[str, int]
    words: dict[int, int]


def map_all(layout: Layout, wiped: Iterable[tuple[int, int]]) -> tuple[Mapping, ...]:
    """All that is mapped, in which phases and how.

    `wiped` are the byte ranges that wipe clears: their pages are mapped, identically and
    writable, in wipe alone.
    """
    every = layout.phases
    ram = _mapping(layout.base, layout.base, layout.scratch - layout.base, SLOT, "w", every)
    windows = list(_windows(layout))
    slots = sorted({linear for m in (ram, *windows) for linear in _slots(m)})
    found = [ram, *windows]
    found += (_mapping(s + SHADOW_END, layout.scratch, SLOT, SLOT, "ws", every) for s in slots)
    found.append(_mapping(GATES_LINEAR, layout.frames, PAGE, PAGE, "x", every))
    found += _data(layout)
    for code in layout.codes:
        size = code.pages * PAGE
        found.append(_mapping(CODE_END - size, code.frames, size, PAGE, "x", (code.name,)))
    for start, end in _page_ranges(wiped):
        found.append(_mapping(start, start, end - start, PAGE, "w", ("wipe",)))
    return tuple(sorted(found, key=lambda m: (m.linear, m.phases)))


def _windows(layout: Layout) -> Iterator[Mapping]:
    """A mapping for each run of neighbouring pages of a window."""
    for placed in layout.windows:
        window = placed.window
        phases = tuple(phase for phase in layout.phases if phase in window.phases)
        flags = "w" if window.cached else "wu"
        shift = placed.linear - window.physical
        pages = [(window.physical + p, window.physical + p + 1) for p in window.pages]
        for start, end in _page_ranges(pages) if phases else ():
            yield _mapping(start + shift, start, end - start, PAGE, flags, phases)


def _data(layout: Layout) -> Iterator[Mapping]:
    """A mapping for each group of read-only data with the same phases."""
    groups: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    shift = {}
    for placed in layout.data:
        phases = tuple(phase for phase in layout.phases if phase in placed.datum.phases)
        end = placed.linear + len(placed.datum.data)
        groups.setdefault(phases, []).append((placed.linear, end))
        shift[phases] = placed.physical - placed.linear
    for phases, ranges in groups.items():
        for start, end in _page_ranges(ranges):
            yield _mapping(start, start + shift[phases], end - start, PAGE, "", phases)


def _mapping(
    linear: int, physical: int, size: int, page: int, flags: str, phases: tuple[str, ...]
) -> Mapping:
    """`flags`: w writable, x executable, u uncached, s shadow."""
    return Mapping(
        linear=linear,
        physical=physical,
        size=size,
        page=page,
        writable="w" in flags,
        executable="x" in flags,
        cached="u" not in flags,
        shadow="s" in flags,
        phases=phases,
    )


def _slots(mapping: Mapping) -> range:
    """The 2 MiB slots that a mapping touches, by their first address."""
    return range(mapping.linear // SLOT * SLOT, mapping.linear + mapping.size, SLOT)


def _page_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Whole 4 KiB pages that hold these byte ranges, neighbours joined, ascending."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        first, last = start // PAGE * PAGE, -(-end // PAGE) * PAGE
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def build_tables(mappings: Iterable[Mapping], phases: Iterable[str], base: int) -> PageTables:
    """Write the tables of all phases from the page `base` upwards."""
    mappings, named = tuple(mappings), frozenset(phases)
    phases = tuple(phase for phase in FRAME_ORDER if phase in named)
    writer = _Writer(base + len(phases) * OWN_PAGES * PAGE)
    roots, code_tables = {}, {}
    for index, phase in enumerate(phases):
        own = base + index * OWN_PAGES * PAGE
        gibs = dict(_gibibytes(m for m in mappings if phase in m.phases))
        slots = dict(gibs.pop(0))
        code = slots.pop(CODE_SLOT)
        assert isinstance(code, tuple)
        pointers = {g: writer.place(node) | _TABLE | NO_EXECUTE for g, node in gibs.items()}
        directory = {
            slot: writer.place(entry) | _TABLE | NO_EXECUTE if isinstance(entry, tuple) else entry
            for slot, entry in slots.items()
        }
        writer.write(own, ((0, own + PAGE | _TABLE),))
        writer.write(own + PAGE, ((0, own + 2 * PAGE | _TABLE), *sorted(pointers.items())))
        directory[CODE_SLOT] = own + 3 * PAGE | _TABLE
        writer.write(own + 2 * PAGE, tuple(sorted(directory.items())))
        writer.write(own + 3 * PAGE, code)
        roots[phase], code_tables[phase] = own, own + 3 * PAGE
    return PageTables(base, (writer.end - base) // PAGE, roots, code_tables, writer.words)


def _gibibytes(mappings: Iterable[Mapping]) -> Iterator[tuple[int, _Node]]:
    """One phase's page directories by gibibyte, each with its page tables in it."""
    leaves: dict[int, dict[int, int | dict[int, int]]] = {}
    for mapping in mappings:
        for linear in range(mapping.linear, mapping.linear + mapping.size, mapping.page):
            directory = leaves.setdefault(linear // _GIB, {})
            slot, leaf = linear % _GIB // SLOT, _leaf(mapping, linear)
            if mapping.page == SLOT:
                directory[slot] = leaf
            else:
                table = directory.setdefault(slot, {})
                assert isinstance(table, dict), "layout keeps 4 KiB pages out of 2 MiB slots"
                table[linear % SLOT // PAGE] = leaf
    for gib, directory in sorted(leaves.items()):
        yield (
            gib,
            tuple(
                (slot, tuple(sorted(e.items())) if isinstance(e, dict) else e)
                for slot, e in sorted(directory.items())
            ),
        )


def _leaf(mapping: Mapping, linear: int) -> int:
    """The entry of the page at `linear`. Accessed and dirty are preset: nothing changes them."""
    frame = mapping.physical
    if not mapping.shadow:
        frame = told(frame + linear - int(mapping.linear), frame, mapping.linear)
    leaf = frame | PRESENT | ACCESSED
    leaf |= WRITABLE if mapping.writable else 0
    leaf |= DIRTY if mapping.writable or linear == GATES_LINEAR else 0  # `ltr` marks the TSS busy
    leaf |= 0 if mapping.cached else UNCACHED
    leaf |= BIG if mapping.page == SLOT else 0
    in_code = linear // SLOT == CODE_SLOT
    above = linear >= _GIB or (mapping.page == PAGE and not in_code)  # says so already
    return leaf if mapping.executable or above else leaf | NO_EXECUTE


class _Writer:
    """Tables being written: shared ones get the next free page when first seen."""

    def __init__(self, free: int) -> None:
        self.end = free
        self.words: dict[int, int] = {}
        self._placed: dict[_Node, int] = {}

    def place(self, node: _Node) -> int:
        """The address of a shared table, which is written if it is new."""
        if node not in self._placed:
            self._placed[node] = at = self.end
            self.end += PAGE
            self.write(at, node)
        return self._placed[node]

    def write(self, at: int, node: _Node) -> None:
        for index, entry in node:
            value = self.place(entry) | _TABLE if isinstance(entry, tuple) else entry
            for half in (0, 4):
                word = value >> 8 * half & 0xFFFFFFFF
                if word:
                    self.words[int(at) + 8 * index + half] = word
