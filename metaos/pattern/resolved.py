"""One rule with all that it inherits, and where each line of it is from.

    shown = resolved("i82540em", patterns)
    shown.lines[0]     # Line(file="classes/net.pattern", line=4, text="  state mac : u48 ...")

Lines are those of the files. A part's stand after each `use` of it, with the names the part has
for things; what they are called there is the use's name, a dot, and that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from metaos.errors import MetaosError, Span, did_you_mean
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern, Patterns


@dataclass(frozen=True, slots=True)
class Origin:
    """A declaration that something is made of: `says` is its first line."""

    name: str
    says: str
    file: str
    line: int
    because: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file; `first` where another item begins than in the line before."""

    file: str
    line: int
    text: str
    first: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """An inherited item that does not count, and where what took its place is."""

    item: str
    file: str
    line: int
    by_file: str
    by_line: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """A rule as it is built from: `origins` are itself, then what it is of, one after another."""

    name: str
    of: str
    origins: tuple[Origin, ...]
    lines: tuple[Line, ...]
    replaced: tuple[Replaced, ...]
    unproved: str = ""


def resolved(name: str, patterns: Patterns) -> Resolved:
    """The device, family or service of that name.

    Raises:
        MetaosError: there is none.
    """
    if name in patterns.devices:
        return _device(patterns.devices[name], patterns)
    if name in patterns.services:
        return _service(patterns.services[name], patterns)
    known = (*patterns.devices, *patterns.services)
    raise MetaosError(f"no pattern '{name}'", hint=did_you_mean(name, known))


def _device(pattern: Pattern, patterns: Patterns) -> Resolved:
    class_ = patterns.classes[pattern.class_name]
    origins = [
        Origin(
            d.name, _text(d.span, patterns).strip(), d.span.file, d.span.line,
            next((x.reason for x in d.items if isinstance(x, s.Because)), ""),
        )
        for d in reversed(pattern.lineage)
    ]  # fmt: skip
    origins.append(_origin(class_.name, class_.span, patterns))
    parts = {x.name: x for x in pattern.written if isinstance(x, s.Part)}
    used = {x.part for x in pattern.written if isinstance(x, s.Use)}
    spans = [
        inner.span
        for item in pattern.written
        if not (isinstance(item, s.Part) and item.name in used)
        for inner in (item, *_made(item, parts))
    ]
    replaced = tuple(
        Replaced(
            _text(old.span, patterns).strip(), old.span.file, old.span.line,
            new.span.file, new.span.line,
        )
        for old, new in pattern.replaced
    )  # fmt: skip
    lines = tuple(_lines(spans, patterns))
    made_of = tuple(origins)
    return Resolved(pattern.name, pattern.class_name, made_of, lines, replaced, pattern.unproved)


def _made(item: s.Item, parts: dict[str, s.Part]) -> tuple[s.Item, ...]:
    """What a `use` makes."""
    part = parts.get(item.part) if isinstance(item, s.Use) else None
    return part.items if part is not None else ()


def _service(service: s.Service, patterns: Patterns) -> Resolved:
    origins = [_origin(service.name, service.span, patterns)]
    parent = patterns.services.get(service.over)
    while parent is not None:
        origins.append(_origin(parent.name, parent.span, patterns))
        parent = patterns.services.get(parent.over)
    header = patterns.layouts.get(service.header)
    spans = [service.span, *([header.span] if header is not None else [])]
    lines = tuple(_lines(spans, patterns))
    return Resolved(service.name, service.over, tuple(origins), lines, ())


def _origin(name: str, span: Span, patterns: Patterns) -> Origin:
    return Origin(name, _text(span, patterns).strip(), span.file, span.line)


def _lines(spans: Iterable[Span], patterns: Patterns) -> Iterator[Line]:
    """The lines that begin at the spans, with the blocks below them."""
    before = ("", 0)
    for span in spans:
        source = patterns.sources[span.file]
        if (span.file, span.line) == before:
            continue  # `state a, b` is two items of one line
        before = (span.file, span.line)
        for number in _extent(source.lines, span.line):
            yield Line(span.file, number, source.line(number).rstrip(), number == span.line)


def _extent(lines: list[str], first: int) -> range:
    """The numbers of a line and of those that lie deeper behind it, comments included."""
    deep, last = _indent(lines[first - 1]), first
    for number in range(first + 1, len(lines) + 1):
        text = lines[number - 1].strip()
        if text and _indent(lines[number - 1]) <= deep:
            break
        last = number if text else last
    return range(first, last + 1)


def _indent(line: str) -> int:
    return len(line.expandtabs()) - len(line.expandtabs().lstrip())


def _text(span: Span, patterns: Patterns) -> str:
    return patterns.sources[span.file].line(span.line)
