"""Law 2, the page tables themselves: what the processor will walk is what the manifest says.

RAM is made as the loader will make it (`expand`: its pieces and fills, applied), and
every phase's tables are walked in it from its root. What they map has to be exactly the
manifest's mappings; the code pages have to hold the phases' bytes; `next` has to hold guard's root;
and no frame with tables or with code that still runs may be writable in any phase.

Source: Intel SDM vol. 3A, 4.5 "4-Level Paging", tables 4-15 to 4-20.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from metaos.errors import MetaosError
from metaos.link.image import Image
from metaos.link.lists import expand, read_lists
from metaos.link.manifest import Manifest, Mapping, PhaseMap
from metaos.verify.decode import concatenated
from metaos.verify.report import Violation

LAW = 2
_PAGE, _BIG = 4096, 2 << 20
_PRESENT, _WRITABLE, _UNCACHED, _LARGE = 1, 2, 0x10, 0x80
_NO_EXECUTE = 1 << 63
_FRAME = 0x000F_FFFF_FFFF_F000
_KNOWN = 0xFB | _NO_EXECUTE
"""Bits of a leaf that say nothing, or what `Leaf` has: P, R/W, PWT, PCD, A, D, PS, XD."""
_MOST_LEAVES = 1 << 20
_MOST_WORDS = 1 << 17


@dataclass(frozen=True, slots=True)
class Leaf:
    """One page: both addresses, its size, and what may be done with it.

    `odd` are the entry's bits that no page of an image has: user, global, PAT, reserved ones.
    """

    linear: int
    physical: int
    page: int
    writable: bool
    executable: bool
    cached: bool
    odd: int = 0


Memory = dict[int, bytes]


def loaded_memory(image: Image) -> tuple[Memory, str]:
    """RAM as the loader leaves it, by page; if its lists cannot be followed, why not."""
    try:
        _, fills = read_lists(image.loaded)
        if sum(fill.count for fill in fills) > _MOST_WORDS:
            return {}, "more words than any image needs"
        return expand(image), ""
    except (MetaosError, OverflowError) as error:
        return {}, str(error)


def check_tables(image: Image, memory: Memory, unloadable: str) -> tuple[Violation, ...]:
    """Every difference between the tables in RAM and the manifest's mappings."""
    if unloadable:
        return (Violation(LAW, "the loader's lists", unloadable),)
    manifest = image.manifest
    violations: list[Violation] = []
    tables: set[int] = set()
    leaves: dict[str, list[Leaf]] = {}
    for phase in manifest.phases:
        place = f"page tables of {phase.name}"
        walked = list(_leaves(memory, phase.root, tables))
        leaves[phase.name] = walked
        messages = [*_differences(phase, manifest, walked), *_content(phase, image, memory)]
        violations += [Violation(LAW, place, message) for message in messages]
    for phase in manifest.phases:
        place = f"page tables of {phase.name}"
        guarded = tables | {manifest.gates.physical, *_lasting_code(phase, manifest)}
        violations += [
            Violation(LAW, place, message) for message in _unprotected(leaves[phase.name], guarded)
        ]
    return (*violations, *_first_root(manifest, memory))


def _entries(memory: Memory, table: int) -> Iterator[tuple[int, int]]:
    """The present entries of a table, by index."""
    page = memory.get(table)
    if page is None:
        return
    for index in range(512):
        entry = int.from_bytes(page[8 * index : 8 * index + 8], "little")
        if entry & _PRESENT:
            yield index, entry


def _leaves(memory: Memory, root: int, tables: set[int]) -> Iterator[Leaf]:
    """Every page that is mapped under a root, in linear order; notes the tables walked."""
    count = 0
    stack = [(root, 39, 0, True, True)]
    while stack:
        table, shift, base, writable, executable = stack.pop()
        tables.add(table)
        below = []
        for index, entry in _entries(memory, table):
            linear = base | index << shift
            may_write = writable and bool(entry & _WRITABLE)
            may_run = executable and not entry & _NO_EXECUTE
            if shift > 12 and not (shift == 21 and entry & _LARGE):
                below.append((entry & _FRAME, shift - 9, linear, may_write, may_run))
                continue
            count += 1
            if count > _MOST_LEAVES:
                return
            page = 1 << shift
            frame = entry & _FRAME & -page
            odd = entry & ~frame & ~_KNOWN
            cached = not entry & _UNCACHED
            yield Leaf(linear, frame, page, may_write, may_run, cached, odd)
        stack += reversed(below)


def _differences(phase: PhaseMap, manifest: Manifest, walked: list[Leaf]) -> Iterator[str]:
    """Pages that are mapped and not listed, or listed and not mapped so."""
    listed = {leaf.linear: leaf for leaf in _listed(phase.name, manifest.mappings)}
    for leaf in walked:
        wanted = listed.pop(leaf.linear, None)
        if wanted is None:
            yield f"{leaf.linear:#x} is mapped, which the manifest does not list"
        elif wanted != leaf:
            yield f"{leaf.linear:#x} is mapped otherwise than the manifest lists it"
    yield from (f"{linear:#x} is listed and not mapped" for linear in sorted(listed))


def _listed(phase: str, mappings: tuple[Mapping, ...]) -> Iterator[Leaf]:
    """The manifest's mappings of a phase, page by page."""
    count = 0
    for one in mappings:
        if phase not in one.phases:
            continue
        for step in range(0, one.size, one.page):
            count += 1
            if count > _MOST_LEAVES:
                return
            yield Leaf(
                one.linear + step,
                one.physical if one.shadow else one.physical + step,
                one.page,
                one.writable,
                one.executable,
                one.cached,
            )


def _content(phase: PhaseMap, image: Image, memory: Memory) -> Iterator[str]:
    """The code pages hold the phase's bytes, and read-only data are where they are mapped."""
    pages = b"".join(memory.get(page, bytes(_PAGE)) for page in phase.code_pages)
    start = phase.code_linear % _PAGE
    if pages[start : start + phase.code_length] != concatenated(image.data, phase.code_file):
        yield "the loader does not put the phase's code into its code pages"
    for symbol in image.manifest.symbols:
        if symbol.kind != "datum" or phase.name not in symbol.phases:
            continue
        if read_memory(memory, symbol.physical, symbol.size) != concatenated(
            image.data, symbol.file
        ):
            yield f"the loader does not put {symbol.name} where it is mapped"


def read_memory(memory: Memory, physical: int, size: int) -> bytes:
    """RAM as the loader leaves it: `size` bytes at a physical address."""
    first = physical // _PAGE * _PAGE
    pages = range(first, physical + size, _PAGE)
    held = b"".join(memory.get(page, bytes(_PAGE)) for page in pages)
    return held[physical - first : physical - first + size]


def _lasting_code(phase: PhaseMap, manifest: Manifest) -> Iterator[int]:
    """Frames of code that must not change while the phase runs: wipe clears guard and init."""
    for other in manifest.phases:
        if phase.name != "wipe" or other.name not in ("guard", "init"):
            yield from other.code_pages


def _unprotected(walked: list[Leaf], guarded: set[int]) -> Iterator[str]:
    """Writable pages, and executable data, over frames that hold code or tables."""
    for leaf in walked:
        if not leaf.writable:
            continue
        inside = [frame for frame in guarded if 0 <= frame - leaf.physical < leaf.page]
        if inside:
            yield f"{leaf.linear:#x} makes the code or table at {min(inside):#x} writable"


def _first_root(manifest: Manifest, memory: Memory) -> Iterator[Violation]:
    """The loader leaves guard's root in `next`, so that guard's second turn is under it."""
    place = manifest.symbol(manifest.next).physical
    guard = manifest.phase("guard").root
    if int.from_bytes(read_memory(memory, place, 8), "little") != guard:
        yield Violation(LAW, f"{manifest.next} at {place:#x}", "does not begin with guard's root")
