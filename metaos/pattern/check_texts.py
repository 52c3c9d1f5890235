"""Checks of the texts that consoles show: `message(report, text, span)`, `said(...)`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from metaos.errors import Span
from metaos.pattern import kinds as k
from metaos.pattern.report import Report

FOUND = ("place", "wanted", "found")
"""What a row that fails leaves behind, 32 bits each: shown as {found}, {found[15:0]:x4}."""

_HOLE = re.compile(r"([a-z_.]+)(?:\[(\d{1,4}):(\d{1,4})\])?(?::x(\d{1,4}))?")


def message(report: Report, text: str, span: Span) -> None:
    """A row's message: what it shows is known then, in hexadecimal digits."""
    for hole, at in _holes(report, text, span):
        name, high, low, digits = hole.groups()
        if name not in FOUND:
            report.say("E0254", f"no text shows '{name}'", at, report.near(name, FOUND))
        elif high is not None and not int(low) <= int(high) < 32:
            report.say("E0205", f"'{name}' has bits 31:0, no {high}:{low}", at)
        elif digits is not None and not 1 <= int(digits) <= 8:
            report.say("E0254", f"'{name}' has 1 to 8 digits, not {digits}", at)


def said(report: Report, text: str, span: Span, states: Iterable[str] = ()) -> None:
    """A service's text: what it shows is known when the image is built, or a state's digits."""
    known = [*(f"my.{name}" for name in k.HOST), *states]
    for hole, at in _holes(report, text, span):
        if hole[1] not in known:
            report.say("E0254", f"no text shows '{hole[1]}'", at, report.near(hole[1], known))


def _holes(report: Report, text: str, span: Span) -> Iterable[tuple[re.Match[str], Span]]:
    """The {names} of a text, each with its place."""
    odd = next((c for c in text if not " " <= c <= "~"), None)
    if odd is not None:
        report.say(
            "E0254", f"a console shows printable ASCII, given {odd!r}", _at(report, span, odd)
        )
    for found in re.finditer(r"\{([^{}]*)\}|[{}]", text):
        at = _at(report, span, found[0])
        hole = _HOLE.fullmatch(found[1] or "")
        if hole is None:
            hint = "write {name}, {name:x4} or {name[15:0]:x4}"
            report.say("E0254", f"'{found[0]}' shows nothing", at, hint)
        else:
            yield hole, at


def _at(report: Report, span: Span, part: str) -> Span:
    """Where a part of a text stands in its line."""
    source = report.patterns.sources.get(span.file)
    line = source.line(span.line) if source is not None else ""
    quote = line.find('"', span.column - 1)
    start = line.find(part, max(quote, span.column - 1))
    return Span(span.file, span.line, start + 1, start + 1 + len(part)) if start >= 0 else span
