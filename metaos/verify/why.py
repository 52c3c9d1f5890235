"""`metaos why IMAGE PLACE`: which rule, device and fact a byte of the image comes from.

A place is a file offset ("0x2f1"), a linear address of the code or of a place ("0x5fff10"), the
name of a symbol ("00:03.0.rx"), "phase+offset" ("steady+0x1c") or a device's address ("00:03.0").
A physical address leads to what the loader puts there. The other way round, `why_fact` finds
the bytes that depend on a fact.

    for answer in why(image, "steady+0x1c"):
        print(answer.render())
    why_fact(image, "00:03.0.bar0")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from metaos.errors import Exit, MetaosError, did_you_mean
from metaos.link.image import Image
from metaos.link.lists import FILL_LENGTH, FILLS_END, PIECE_LENGTH, PIECES_END, read_lists
from metaos.link.loader import FIXED
from metaos.link.manifest import AccountEntry, Symbol
from metaos.verify.decode import Line, ledger, place_in, straight_lines
from metaos.verify.form import check_form
from metaos.verify.laws import follow


@dataclass(frozen=True, slots=True)
class Origin:
    """One account entry that the place concerns; `text` is the instruction there, if it is code.

    `fact` is the fact that was asked for, `how` what it is to these bytes: "value" (their numbers
    are made of it) or "because" (it is why they are there). `chosen_by` are the facts by which
    the device has its pattern.
    """

    entry: AccountEntry
    place: str
    text: str = ""
    fact: str = ""
    how: str = ""
    chosen_by: tuple[str, ...] = ()

    def render(self) -> str:
        """One line: place, what it is, the rule it comes from, the facts it depends on."""
        entry = self.entry
        source = f"{entry.file}:{entry.line}:{entry.column}" if entry.file else "no source"
        parts = [self.place, self.text or entry.kind, source]
        parts[2] += "" if entry.exact else " (derived)"
        if entry.note:
            parts.append(f"({entry.note})")
        if entry.device:
            parts.append(f"device {entry.device}")
        if self.fact:
            return "  ".join([*parts, f"{HOW[self.how]} {self.fact}"])
        if entry.facts:
            parts.append("made of " + ", ".join(entry.facts))
        if entry.because:
            parts.append("because of " + ", ".join(entry.because))
        return "  ".join(parts)


_MOST = 8
"""So many names are listed where none is near."""
HOW = {"value": "made of", "because": "because of"}
"""What a fact is to bytes, in words."""


def why(image: Image, place: str) -> tuple[Origin, ...]:
    """Everything that the account says of a place.

    Raises:
        MetaosError: there is no such place, or the manifest does not fit the file.
    """
    lines = _lines(image)
    chosen = {s.address: s.because for s in image.manifest.provenance.devices}
    found = tuple(
        replace(one, chosen_by=chosen.get(one.entry.device, ()))
        for one in _find(image, lines, place)
    )
    if not found:
        raise MetaosError(f"no place '{place}' in this image", hint=_instead(image, lines, place))
    return found


def _instead(image: Image, lines: tuple[Line, ...], place: str) -> str:
    """What to ask for where there is no such place."""
    devices = [served.address for served in image.manifest.provenance.devices]
    spelled = {name for path in _known_facts(image) for name in _spellings(path)}
    if place and any(_begins(name, place) for name in spelled):
        return f"it is a fact: metaos why IMAGE --fact {place}"
    if re.fullmatch(r"[0-9a-f:]+\.[0-7]", place):
        return f"its devices: {', '.join(devices)}"
    if _number(place) is not None:
        return (
            f"offsets in the file are below {len(image.data):#x}; of code, ask for "
            f"{' or '.join(line.name + '+0x0' for line in lines)}"
        )
    names = [s.name for s in image.manifest.symbols]
    names += [*devices, *(line.name + "+0x0" for line in lines)]
    return did_you_mean(place, names, _MOST)


def why_fact(image: Image, fact: str) -> tuple[Origin, ...]:
    """All bytes that are made of a fact, then all that are there because of it.

    `fact` is a path as accounts name it, or its beginning; "00:03.0.bar0" is short for
    "functions.00:03.0.bars.0".

    Raises:
        MetaosError: the image has nothing of it, or the manifest does not fit the file.
    """
    lines = _lines(image)
    known = _known_facts(image)
    wanted = frozenset(p for p in known if any(_begins(name, fact) for name in _spellings(p)))
    if not wanted:
        names = [name for path in known for name in _spellings(path)]
        message = f"no byte of this image depends on '{fact}'"
        raise MetaosError(message, hint=did_you_mean(fact, names, _MOST))
    chosen = {s.address: s.because for s in image.manifest.provenance.devices}
    made, there = list[Origin](), list[Origin]()
    for entry in image.account:
        origin = _origin(lines, entry, entry.start)
        origin = replace(origin, chosen_by=chosen.get(entry.device, ()))
        value = [f for f in entry.facts if f in wanted]
        reasons = (*entry.because, *chosen.get(entry.device, ()))
        because = [f for f in dict.fromkeys(reasons) if f in wanted and f not in value]
        made += (replace(origin, fact=f, how="value") for f in value)
        there += (replace(origin, fact=f, how="because") for f in because)
    return (*made, *there)


def _known_facts(image: Image) -> tuple[str, ...]:
    """Every fact that something of the image depends on."""
    found = (f for e in image.account for f in (*e.facts, *e.because))
    chosen = (f for s in image.manifest.provenance.devices for f in s.because)
    return tuple(dict.fromkeys((*found, *chosen)))


def _spellings(path: str) -> tuple[str, ...]:
    """A fact's path, and how it may be said for short."""
    bare = path.partition(".")[2] or path
    return path, bare, re.sub(r"\.bars\.(\d)", r".bar\1", bare)


def _begins(path: str, fact: str) -> bool:
    return path == fact or path.startswith(fact + ".")


def _lines(image: Image) -> tuple[Line, ...]:
    """The image's code, once its manifest is known to fit it."""
    wrong = check_form(image)
    if wrong:
        raise MetaosError(
            f"the image is damaged: {wrong[0].message}",
            hint="metaos audit IMAGE",
            exit_code=Exit.LAW_BROKEN,
        )
    return straight_lines(image)


def _find(image: Image, lines: tuple[Line, ...], place: str) -> Iterator[Origin]:
    devices = {served.address for served in image.manifest.provenance.devices}
    if place in devices:
        yield from _device(image, lines, place)
        return
    for symbol in image.manifest.symbols:
        if symbol.name == place:
            yield from _symbol(image, lines, symbol)
            return
    phase, plus, offset = place.partition("+")
    number = _number(offset if plus else place)
    if number is None:
        return
    for line in lines:
        if plus and line.name == phase and number < len(line.code):
            yield from _at(image, lines, line.file_offset(number))
    if not plus:
        yield from _address(image, lines, number)


def _number(text: str) -> int | None:
    try:
        return max(int(text, 0), 0)
    except ValueError:
        return None


def _address(image: Image, lines: tuple[Line, ...], number: int) -> Iterator[Origin]:
    """A file offset if the file is that long, else a linear address in every phase that has it."""
    if number < len(image.data):
        yield from _at(image, lines, number)
        return
    for line in lines:
        offset = number - line.phase.code_linear
        if 0 <= offset < len(line.code):
            yield from _at(image, lines, line.file_offset(offset))
    for symbol in image.manifest.symbols:
        inside = number - symbol.linear
        if symbol.kind not in ("place", "window", "datum") or not 0 <= inside < symbol.size:
            continue
        if symbol.file:
            yield from _at(image, lines, place_in(symbol.file, inside))
        else:
            yield from _touching(image, lines, symbol, inside)
    yield from (o for at in _written_by(image, number) for o in _at(image, lines, at))


def _written_by(image: Image, address: int) -> Iterator[int]:
    """Where the file holds what the loader puts at a physical address, and what tells it so."""
    pieces, fills = read_lists(image.loaded)
    at = FIXED + PIECE_LENGTH * len(pieces) + len(PIECES_END)
    packed = at + FILL_LENGTH * len(fills) + len(FILLS_END)
    for number, fill in enumerate(fills):
        if any(word <= address < word + 4 for word, _ in fill.words()):
            yield at + FILL_LENGTH * number
    for piece in pieces:
        if 0 <= address - piece.destination < len(piece.data):
            yield packed + address - piece.destination
        packed += len(piece.data)


def _symbol(image: Image, lines: tuple[Line, ...], symbol: Symbol) -> Iterator[Origin]:
    """A symbol's own bytes, what else names it, and every instruction that can touch it."""
    for part in symbol.file:
        for entry in image.account:
            if entry.start < part.end and part.start < entry.end:
                yield _origin(lines, entry, entry.start)
    for entry in image.account:
        if symbol.name in entry.symbols and entry.kind != "code":
            yield _origin(lines, entry, entry.start)
    yield from _touching(image, lines, symbol, None)


def _touching(
    image: Image, lines: tuple[Line, ...], symbol: Symbol, offset: int | None
) -> Iterator[Origin]:
    """The instructions that can touch a symbol, or its byte at `offset`."""
    for one in follow(image).phases:
        seen: set[int] = set()
        for access in one.walked.accesses:
            if access.kind != "memory" or access.step.offset in seen:
                continue
            reach = access.address.high + access.size
            for base in access.address.bases:
                located = one.atlas.find(base, access.size)
                if located is None or located.shadow or located.symbol != symbol:
                    continue
                if offset is None or located.offset <= offset < located.offset + reach:
                    seen.add(access.step.offset)
                    yield from _at(image, lines, one.line.file_offset(access.step.offset))
                    break


def _device(image: Image, lines: tuple[Line, ...], device: str) -> Iterator[Origin]:
    """Every entry of a device; of code, every instruction."""
    book = ledger(image)
    for entry in image.account:
        if entry.device == device and entry.kind != "code":
            yield _origin(lines, entry, entry.start)
    for line in lines:
        for step in line.steps:
            offset = line.file_offset(step.offset)
            owner = book.entry(offset)
            if owner is not None and owner.device == device and owner.kind == "code":
                yield Origin(owner, line.place(step.offset), step.text)


def _at(image: Image, lines: tuple[Line, ...], offset: int) -> Iterator[Origin]:
    entry = ledger(image).entry(offset)
    if entry is not None:
        yield _origin(lines, entry, offset)


def _origin(lines: tuple[Line, ...], entry: AccountEntry, offset: int) -> Origin:
    for line in lines:
        base = 0
        for part in line.phase.code_file:
            if part.start <= offset < part.end:
                at = base + offset - part.start
                step = next((s for s in line.steps if s.offset <= at < s.end), None)
                return Origin(entry, line.place(at), step.text if step else "")
            base += part.end - part.start
    return Origin(entry, f"file {offset:#x}")
