"""A page-table walk of the tests' own: what the processor finds under a root.

Written from the Intel SDM vol. 3A, 4.5, not from the linker: rights are joined over all levels
(writable if all are, no-execute if any is).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metaos.link.manifest import Mapping

Read = Callable[[int], bytes]
"""The 4096 bytes of the physical page at an address."""

FRAME = 0x000FFFFFFFFFF000


@dataclass(frozen=True)
class Mapped:
    """Where one linear page leads, and its rights."""

    physical: int
    size: int
    writable: bool
    executable: bool
    cached: bool


def walk(read: Read, root: int) -> dict[int, Mapped]:
    """Everything that is mapped under `root`, by the linear address of each page."""
    found: dict[int, Mapped] = {}

    def level(table: int, shift: int, linear: int, writable: bool, executable: bool) -> None:
        page = read(table)
        for index in range(512):
            entry = int.from_bytes(page[8 * index : 8 * index + 8], "little")
            if not entry & 1:
                assert entry == 0, f"not present but not zero: {entry:#x} in {table:#x}"
                continue
            assert not entry & 4, "user page"
            at = linear + (index << shift)
            w, x = writable and bool(entry & 2), executable and not entry >> 63
            leaf = shift == 12 or bool(entry & 0x80)
            if not leaf:
                level(entry & FRAME, shift - 9, at, w, x)
                continue
            assert shift < 30, "a page of 1 GiB"
            found[at] = Mapped(entry & FRAME, 1 << shift, w, x, not entry & 0x10)

    level(root, 39, 0, True, True)
    return found


def translate(read: Read, root: int, linear: int) -> int:
    """The physical address of one linear address; nothing else under `root` is looked at."""
    table = root
    for shift in (39, 30, 21, 12):
        index = linear >> shift & 511
        entry = int.from_bytes(read(table)[8 * index : 8 * index + 8], "little")
        assert entry & 1, f"{linear:#x} is not mapped"
        table = entry & FRAME
        if shift == 12 or (shift < 39 and entry & 0x80):
            return (table & -(1 << shift)) + linear % (1 << shift)
    raise AssertionError


def promised(mappings: tuple[Mapping, ...], phase: str) -> dict[int, Mapped]:
    """The same from a manifest."""
    found = {}
    for m in mappings:
        for offset in range(0, m.size, m.page) if phase in m.phases else ():
            physical = m.physical if m.shadow else m.physical + offset
            found[m.linear + offset] = Mapped(physical, m.page, m.writable, m.executable, m.cached)
    return found
