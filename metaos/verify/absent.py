"""Law 3, searched raw: nothing in an image speaks of what is not there.

    list(check_cited(image))
    list(check_absent(image, bindings))

The first holds the account's facts against the devices that are there. For the second, what
is absent has to be known too: every pattern that serves no device of the machine and every
service that the system does not name has words: its name, what it would report or show, the
ids it would be recognised by. None of them may occur anywhere in the bytes that are loaded,
whatever those bytes are said to be. Words that something present has too are no sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from metaos.errors import Span
from metaos.link.image import Image
from metaos.lower.platform import SAID
from metaos.match.bind import Bindings
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import walk
from metaos.verify.report import Violation

LAW = 3
SHORTEST = 6
"""Letters of a text that are no chance: shorter pieces are not searched for."""
_NAMED = ("functions", "acpi", "legacy", "networks", "learnt")
"""Facts whose path goes on with whose they are."""
_TOOL = b"\0".join((b"MetaOS", *(text.encode() for text in SAID)))
"""What the loader and guard say of any machine."""
_HOLE = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Word:
    """Bytes that only `owner` would put into an image, and how a person reads them."""

    raw: bytes
    shown: str
    owner: str
    span: Span


def check_absent(image: Image, bindings: Bindings) -> Iterator[Violation]:
    """Every place in the loaded bytes where a word of something absent stands."""
    loaded = image.loaded
    for word in foreign(bindings):
        at = loaded.find(word.raw)
        if at >= 0:
            text = f"holds {word.shown} of {word.owner}, which is not in this image"
            yield Violation(LAW, f"file {at:#x}", text, word.span)


def check_cited(image: Image) -> Iterator[Violation]:
    """Whatever cites a fact of a device cites one of a device that is there.

    Guard's rows alone cite a function that is not there: they see that it still is not.
    """
    provenance = image.manifest.provenance
    present = {served.address for served in provenance.devices}
    present |= set(provenance.config.functions) if provenance.config is not None else set()
    for entry in image.account:
        place = f"file {entry.start:#x} to {entry.end:#x}"
        span = Span(entry.file, entry.line, entry.column, entry.column + 1) if entry.file else None
        for fact in entry.facts:
            root, _, named = fact.partition(".")
            if root not in _NAMED or (entry.kind == "row" and entry.phase == "guard"):
                continue
            if not any(named == one or named.startswith(f"{one}.") for one in present):
                yield Violation(LAW, place, f"cites {fact}, which is not there", span)


def foreign(bindings: Bindings) -> tuple[Word, ...]:
    """The words of all patterns and services that the image has no use for."""
    served = {binding.pattern.name for binding in bindings.bindings}
    wanted = {name for service in bindings.services for name in (service.name, service.model)}
    patterns = bindings.patterns
    present: list[Word] = []
    absent: list[Word] = []
    for pattern in patterns.devices.values():
        if not pattern.abstract:
            (present if pattern.name in served else absent).extend(_of_pattern(pattern))
    for service in patterns.services.values():
        (present if service.name in wanted else absent).extend(_of_service(service))
    ids = {_id(f.vendor, f.device) for f in bindings.machine.functions}
    mine = b"\0".join((_TOOL, *(word.raw for word in present), *ids))
    found = {word.raw: word for word in absent if word.raw not in mine}
    return tuple(found.values())


def _of_pattern(pattern: Pattern) -> Iterator[Word]:
    yield from _texts([pattern.name], f"pattern {pattern.name}", pattern.span)
    for node in walk(pattern.items):
        if isinstance(node, s.Await | s.Expect):
            yield from _texts(_HOLE.split(node.message), f"pattern {pattern.name}", node.span)
    keys = dict(key for match in pattern.of(s.Match) for key in match.keys)
    if "vendor" in keys and "device" in keys:
        raw = _id(keys["vendor"], keys["device"])
        shown = f"the id {keys['vendor']:04x}:{keys['device']:04x}"
        yield Word(raw, shown, f"pattern {pattern.name}", pattern.span)


def _of_service(service: s.Service) -> Iterator[Word]:
    owner = f"service {service.name}"
    yield from _texts([service.name], owner, service.span)
    if service.say is not None:
        yield from _texts(_HOLE.split(service.say.value), owner, service.say.span)


def _texts(texts: Iterable[str], owner: str, span: Span) -> Iterator[Word]:
    for text in (text.strip() for text in texts):
        if len(text) >= SHORTEST:
            yield Word(text.encode("ascii", "replace"), f"the text '{text}'", owner, span)


def _id(vendor: int, device: int) -> bytes:
    """As configuration space has it at 0. Source: PCI 3.0 §6.2.1."""
    return (device << 16 | vendor).to_bytes(4, "little")
