"""The memory map out of Linux: `read_memory(tree, gaps)`.

`firmware/memmap` is what firmware gave; `/proc/iomem` what Linux made of it, in zeros for
anyone but root.

Source: Linux Documentation/ABI/testing/sysfs-firmware-memmap; arch/x86/kernel/e820.c for the
names of kinds; ACPI Specification 6.4 §15.1 for their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from metaos.probe.machine import MemoryRange, Origin
from metaos.probe.sysfs.tree import Gaps, Tree, UnreadError

_MEMMAP, _IOMEM = "sys/firmware/memmap", "proc/iomem"
_RESERVED = 2
_KINDS = {
    "system ram": 1,
    "reserved": _RESERVED,
    "acpi tables": 3,
    "acpi non-volatile storage": 4,
    "unusable memory": 5,
    "persistent memory": 7,
    "persistent memory (legacy)": 12,
    "soft reserved": _RESERVED,
    "device reserved": _RESERVED,
    "unknown e820 type": _RESERVED,
}
"""A kind that is not defined is to be treated as reserved: ACPI 6.4 §15.1."""
_RANGE = re.compile(r"( *)([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.*)")


def read_memory(tree: Tree, gaps: Gaps) -> tuple[MemoryRange, ...]:
    """The ranges in ascending order; none if the map is not known."""
    reasons = []
    for read in (_memmap, _iomem):
        try:
            return tuple(_checked(read(tree)))
        except UnreadError as error:
            reasons.append(str(error))
    gaps.add("memory map", "; ".join(reasons))
    return ()


def _memmap(tree: Tree) -> Iterator[tuple[str, int, int, str]]:
    """(where, first byte, last byte, kind) of each entry."""
    names = [name for name in tree.names(_MEMMAP) if name.isdecimal()]
    for name in sorted(names, key=lambda name: (len(name), name)):
        where = f"{_MEMMAP}/{name}"
        start, end = tree.number(f"{where}/start"), tree.number(f"{where}/end")
        yield tree.shown(where), start, end, tree.text(f"{where}/type").strip()


def _iomem(tree: Tree) -> Iterator[tuple[str, int, int, str]]:
    """The same of the lines that are not within another."""
    ranges = []
    for number, line in enumerate(tree.text(_IOMEM).splitlines(), 1):
        found = _RANGE.fullmatch(line)
        if found is None:
            raise UnreadError(
                f"{tree.shown(_IOMEM)}:{number}:1: expected a range, got {line[:40]!a}"
            )
        if not found[1] and found[4].strip().lower() in _KINDS:
            where = f"{tree.shown(_IOMEM)}:{number}:1"
            ranges.append((where, int(found[2], 16), int(found[3], 16), found[4].strip()))
    if ranges and not any(end for _, _, end, _ in ranges):
        raise UnreadError(f"{tree.shown(_IOMEM)}: all addresses are zeros (not read as root)")
    yield from ranges


def _checked(entries: Iterable[tuple[str, int, int, str]]) -> Iterator[MemoryRange]:
    """The ranges of a map that can be true.

    Raises:
        UnreadError: ranges that end before they begin, that overlap, or no RAM at all.
    """
    last, usable, where = -1, False, ""
    for where, start, end, kind in sorted(entries, key=lambda entry: entry[1]):
        if end < start or end >= 1 << 64:
            raise UnreadError(f"{where}: the range from {start:#x} ends at {end:#x}")
        if start <= last:
            raise UnreadError(f"{where}: {start:#x} lies in the range before, up to {last:#x}")
        last = end
        number = _KINDS.get(kind.lower(), _RESERVED)
        usable |= number == 1
        size = end - start + 1
        yield MemoryRange(base=start, size=size, kind=number, origin=Origin.SYSFS)
    if not usable:
        raise UnreadError(f"{where.partition(':')[0] or 'the map'}: no range is RAM")
