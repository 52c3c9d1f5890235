"""Law 4, first half: the manifest describes the file it rides in, and nothing impossible.

A manifest is JSON that anyone can edit, so before it is believed every number in it is held
against the file and against the address map. What passes here can be used without fear of an
endless loop, a missing name or a range outside the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from metaos.ir.program import SHADOW
from metaos.link.image import SECTOR, Image
from metaos.link.layout import CODE_END, DATA_LINEAR
from metaos.link.manifest import FileRange, Manifest, Mapping, PhaseMap, Symbol, WindowMap
from metaos.link.parts import PHASES
from metaos.verify.report import Violation

LAW = 4
LARGEST_CODE = CODE_END - DATA_LINEAR
_SPACE = 1 << 48
_PAGES = (4096, 2 << 20)
_KINDS = ("place", "window", "datum", "root", "number")


def check_form(image: Image) -> tuple[Violation, ...]:
    """Every way in which the manifest does not fit the file or the address map."""
    manifest = image.manifest
    messages = [
        *_outline(image),
        *(m for phase in manifest.phases for m in _phase(phase, manifest)),
        *(m for symbol in manifest.symbols for m in _symbol(symbol, manifest)),
        *(m for window in manifest.windows for m in _window(window)),
        *(m for mapping in manifest.mappings for m in _mapping(mapping)),
        *_names(manifest),
    ]
    return tuple(Violation(LAW, "manifest", message) for message in messages)


def _outline(image: Image) -> Iterator[str]:
    manifest, length = image.manifest, len(image.data)
    whole = manifest.loaded_sectors * SECTOR
    if not 0 < whole <= length:
        yield f"{manifest.loaded_sectors} loaded sectors do not lie in a file of {length} bytes"
    if not 0 < manifest.loaded_bytes <= whole:
        yield f"{manifest.loaded_bytes} loaded bytes are not in {manifest.loaded_sectors} sectors"
    yield from _ranges("the loader", (manifest.loader,), manifest)
    present = {phase.name for phase in manifest.phases}
    yield from (f"there is no phase '{n}'" for n in ("guard", "steady") if n not in present)
    entry = {phase.code_linear for phase in manifest.phases if phase.name == "guard"}
    if entry and manifest.entry not in entry:
        yield f"the entry {manifest.entry:#x} is not guard's first instruction"
    if set(manifest.roots) != {phase.root for phase in manifest.phases}:
        yield "the listed roots are not those of the phases"
    if not any(s.name == manifest.next and s.kind == "place" for s in manifest.symbols):
        yield f"the place '{manifest.next}', which CR3 is loaded from, is not declared"


def _phase(phase: PhaseMap, manifest: Manifest) -> Iterator[str]:
    where = f"phase {phase.name}"
    if phase.name not in PHASES:
        yield f"{where}: no such phase"
    if not 5 <= phase.code_length <= LARGEST_CODE:
        yield f"{where}: {phase.code_length} bytes of code"
    elif phase.code_linear + phase.code_length != CODE_END:
        yield f"{where}: its code does not end at {CODE_END:#x}"
    else:
        pages = -(-CODE_END // 4096) - phase.code_linear // 4096
        if pages != len(phase.code_pages):
            yield f"{where}: {len(phase.code_pages)} code pages listed, {pages} needed"
    if phase.root % 4096 or not 0 < phase.root < 1 << 32:
        yield f"{where}: the root {phase.root:#x} is no page below 4 GiB"
    if any(page % 4096 or not 0 < page < _SPACE for page in phase.code_pages):
        yield f"{where}: a code page is no page"
    yield from _ranges(where, phase.code_file, manifest)
    if _length(phase.code_file) != phase.code_length:
        yield f"{where}: its file ranges hold {_length(phase.code_file)} bytes"


def _symbol(symbol: Symbol, manifest: Manifest) -> Iterator[str]:
    where = f"symbol {symbol.name}"
    if symbol.kind not in _KINDS:
        yield f"{where}: no such kind '{symbol.kind}'"
    if symbol.kind in ("root", "number"):
        return
    if not (0 < symbol.size < _SPACE and 0 < symbol.linear < _SPACE):
        yield f"{where}: {symbol.size} bytes at {symbol.linear:#x}"
    elif symbol.kind == "datum":
        if symbol.linear < DATA_LINEAR or symbol.linear + symbol.size > CODE_END:
            yield f"{where}: read-only data lies outside the code region"
    elif symbol.linear + symbol.size > SHADOW:
        yield f"{where}: at {symbol.linear:#x} it has no room for a shadow"
    if not set(symbol.phases) <= set(PHASES):
        yield f"{where}: unknown phases {symbol.phases}"
    yield from _ranges(where, symbol.file, manifest)
    if symbol.kind == "datum" and _length(symbol.file) != symbol.size:
        yield f"{where}: its file ranges hold {_length(symbol.file)} bytes of {symbol.size}"


def _window(window: WindowMap) -> Iterator[str]:
    where = f"window {window.name}"
    if not 0 < window.linear < window.linear + window.size <= SHADOW:
        yield f"{where}: {window.size} bytes at {window.linear:#x}"
    if any(page % 4096 or not 0 <= page < window.size for page in window.pages):
        yield f"{where}: a page is not in it"


def _mapping(mapping: Mapping) -> Iterator[str]:
    where = f"mapping at {mapping.linear:#x}"
    if mapping.page not in _PAGES:
        yield f"{where}: no page is {mapping.page} bytes"
    elif any(n % mapping.page for n in (mapping.linear, mapping.size)):
        yield f"{where}: not whole pages"
    if not (0 < mapping.size < _SPACE and 0 <= mapping.linear < _SPACE):
        yield f"{where}: {mapping.size} bytes"
    if not 0 <= mapping.physical < _SPACE:
        yield f"{where}: physical address {mapping.physical:#x}"


def _names(manifest: Manifest) -> Iterator[str]:
    for what, names in (
        ("phase", [phase.name for phase in manifest.phases]),
        ("symbol", [symbol.name for symbol in manifest.symbols]),
        ("window", [window.name for window in manifest.windows]),
    ):
        yield from (
            f"{what} {n} is there twice" for n, count in Counter(names).items() if count > 1
        )
    placed = [s for s in manifest.symbols if s.kind in ("place", "window")]
    yield from _overlaps(placed)
    yield from _data_overlaps([s for s in manifest.symbols if s.kind == "datum"])
    known = {(w.name, w.linear, w.size) for w in manifest.windows}
    for symbol in manifest.symbols:
        if symbol.kind == "window" and (symbol.name, symbol.linear, symbol.size) not in known:
            yield f"symbol {symbol.name} is no listed window"
    for ports in manifest.provenance.ports:
        if not 0 <= ports.base < ports.base + ports.length <= 0x10000:
            yield f"ports {ports.name}: {ports.length} from {ports.base:#x}"


def _overlaps(symbols: Iterable[Symbol]) -> Iterator[str]:
    ordered = sorted(symbols, key=lambda s: s.linear)
    for a, b in pairwise(ordered):
        if a.linear + a.size > b.linear:
            yield f"symbols {a.name} and {b.name} overlap"


def _data_overlaps(data: list[Symbol]) -> Iterator[str]:
    """Data of different phases may lie at one linear address; those of one phase may not."""
    for phase in PHASES:
        yield from _overlaps(s for s in data if phase in s.phases)


def _ranges(where: str, ranges: tuple[FileRange, ...], manifest: Manifest) -> Iterator[str]:
    for part in ranges:
        if not 0 <= part.start < part.end <= manifest.loaded_bytes:
            yield f"{where}: bytes {part.start:#x} to {part.end:#x} are not loaded"


def _length(ranges: tuple[FileRange, ...]) -> int:
    return sum(part.end - part.start for part in ranges)
