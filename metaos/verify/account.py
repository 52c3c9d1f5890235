"""Law 4, second half: every byte of the file is attributed, once, to something that exists."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from metaos.errors import Span
from metaos.link.image import SECTOR, SMALLEST_FILE, TRAILER_LENGTH, Image, riders, uncovered
from metaos.link.link import CLOSE
from metaos.link.loader import SIGNATURE
from metaos.link.manifest import AccountEntry, FileRange
from metaos.verify.report import Violation

LAW = 4
_LINKED = ("list", "padding", "wipe", "phase change", "trap", "descriptor")
LINKER = ("loader", *_LINKED)
CONTAINER = ("manifest", "account", "trailer", "padding")
NO_DATA = (*LINKER, *CONTAINER, "code")


def check_account(image: Image) -> tuple[Violation, ...]:
    """Every byte that is unaccounted for, and every entry that cannot be true."""
    violations = [
        Violation(LAW, f"file {part.start:#x} to {part.end:#x}", "not covered exactly once")
        for part in uncovered(image.account, len(image.data))
    ]
    entries = [e for e in image.account if 0 <= e.start < e.end <= len(image.data)]
    violations += [
        Violation(LAW, f"file {entry.start:#x} to {entry.end:#x}", message, span_of(entry))
        for entry in entries
        for message in _entry(entry, image)
    ]
    violations += _padding(image, entries)
    violations += _riders(image, entries)
    for where, ranges, kinds in _pieces(image):
        violations += _covering(where, ranges, kinds, entries)
    return tuple(violations)


def first_difference(image: Image, other: Image) -> AccountEntry | None:
    """The first entry of the loaded bytes of which two images say something else."""
    loaded = ([e for e in one.account if e.start < len(one.loaded)] for one in (image, other))
    return next((a or b for a, b in zip_longest(*loaded) if a != b), None)


def unattributed(image: Image) -> int:
    """Bytes of the file that no entry covers, or whose entry says too little to find a rule."""
    length = len(image.data)
    gaps = sum(
        max(0, min(part.end, length) - max(part.start, 0))
        for part in uncovered(image.account, length)
    )
    poor = sum(e.end - e.start for e in image.account if _poor(e) and e.end > e.start)
    return gaps + poor


def span_of(entry: AccountEntry) -> Span | None:
    """The source line that an entry names."""
    if not entry.file:
        return None
    return Span(entry.file, entry.line, entry.column, entry.column + 1)


def _poor(entry: AccountEntry) -> bool:
    """Whether an entry that must name a source line names none."""
    if entry.kind in (*_LINKED, *CONTAINER):
        return False
    return not entry.file or entry.line < 1 or (entry.kind == "code" and not entry.device)


def _entry(entry: AccountEntry, image: Image) -> Iterator[str]:
    loaded = image.manifest.loaded_sectors * SECTOR
    devices = {served.address for served in image.manifest.provenance.devices}
    content = image.data[entry.start : entry.end]
    if not entry.kind:
        yield "an entry has no kind"
    if _poor(entry):
        yield f"{entry.kind} without a pattern's file and line or without a device"
    if entry.kind in ("padding", "list") and not entry.note:
        yield f"{entry.kind} that nobody says the reason of"
    if entry.kind == "padding" and content.count(0) != len(content):
        yield "padding holds something"
    if entry.start >= loaded and entry.kind not in CONTAINER:
        yield f"{entry.kind} lies beyond what is loaded"
    if entry.start < loaded and entry.kind in CONTAINER and entry.kind != "padding":
        yield f"the {entry.kind} would be loaded"
    if entry.device and entry.device not in devices:
        yield f"attributed to {entry.device}, which the manifest does not list"


def _padding(image: Image, entries: list[AccountEntry]) -> Iterator[Violation]:
    """Padding that is more than its reason asks for."""
    loaded = image.manifest.loaded_sectors * SECTOR
    for entry in (e for e in entries if e.kind == "padding"):
        length = entry.end - entry.start
        if entry.end == len(image.data) - TRAILER_LENGTH:
            most = max(SMALLEST_FILE - TRAILER_LENGTH - entry.start, SECTOR - 1)
        elif entry.end % SECTOR == 0 or entry.end == SIGNATURE:
            most = SECTOR - 1
        else:
            most = CLOSE if entry.end < loaded else 0
        if length > most:
            place = f"file {entry.start:#x} to {entry.end:#x}"
            yield Violation(LAW, place, f"{length} bytes of padding, at most {most} are needed")


def _riders(image: Image, entries: list[AccountEntry]) -> Iterator[Violation]:
    """Manifest and account lie where the trailer says, and the account's room is minimal."""
    for kind, part in riders(image.data).items():
        mine = [e for e in entries if e.kind == kind]
        room = SECTOR if kind == "account" else 1
        if len(mine) != 1 or mine[0].start != part.start or not 0 <= mine[0].end - part.end < room:
            place = f"file {part.start:#x} to {part.end:#x}"
            yield Violation(LAW, place, f"the {kind} lies here, its account says another place")


_Piece = tuple[str, tuple[FileRange, ...], tuple[str, ...]]


def _pieces(image: Image) -> Iterator[_Piece]:
    """What the manifest says lies where, and the only kinds its entries may have.

    No kinds: any but those of the linker and of the container, which is how data are.
    """
    for phase in image.manifest.phases:
        yield f"code of {phase.name}", phase.code_file, ("code", "wipe", "phase change")
    for symbol in image.manifest.symbols:
        if symbol.kind == "datum":
            yield f"data of {symbol.name}", symbol.file, ()


def _covering(
    where: str,
    ranges: tuple[FileRange, ...],
    kinds: tuple[str, ...],
    entries: list[AccountEntry],
) -> Iterator[Violation]:
    """Entries inside code and data have a kind that fits."""
    for part in ranges:
        for entry in entries:
            if entry.end <= part.start or part.end <= entry.start:
                continue
            wrong = (
                entry.kind not in kinds if kinds else entry.kind in (*LINKER, *CONTAINER, "code")
            )
            if wrong:
                place = f"file {entry.start:#x} to {entry.end:#x}"
                yield Violation(LAW, place, f"{where} is accounted as {entry.kind}", span_of(entry))
