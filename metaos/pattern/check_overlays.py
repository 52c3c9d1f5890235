"""Checks of overlays: each says why, matches more, and changes what is there and nothing else."""

from __future__ import annotations

from metaos.errors import Span
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern, Patterns, identity
from metaos.pattern.report import Report

ADDED = (s.Match, s.Because, s.Learn, s.Demand, s.Fake, s.Trial, s.Unproved)
"""What an overlay adds to what it overlays; everything else of it replaces."""


def overlays(pattern: Pattern, patterns: Patterns, report: Report) -> None:
    """Check a pattern that is an overlay."""
    own = pattern.lineage[-1]
    if own.kind == "overlay":
        below = patterns.devices[own.parent]
        _reasons(own, report)
        _keys(own, below, report)
        _changes(own, below, report)


def _reasons(own: s.Device, report: Report) -> None:
    """One reason, of which a source is named."""
    reasons = [x for x in own.items if isinstance(x, s.Because)]
    hint = 'because "what is different" @source section'
    if not reasons:
        report.say("E0261", f"overlay '{own.name}' does not say why", own.span, hint)
    for one in reasons[:1]:
        if not one.reason.strip():
            report.say("E0261", "this reason says nothing", one.span, hint)
        elif one.cite is None:
            report.say("E0261", "no source is named for this reason", one.span, hint)
    for more in reasons[1:]:
        at = Span(more.span.file, more.span.line, more.span.column, more.span.column + 7)
        report.say("E0210", f"overlay '{own.name}' says why twice", at)


def _keys(own: s.Device, below: Pattern, report: Report) -> None:
    """It asks for more than what it overlays, so that it wins where both match."""
    matches = [x for x in own.items if isinstance(x, s.Match)]
    said = {pair for m in below.of(s.Match) for pair in m.keys}
    more = [pair for m in matches for pair in m.keys if pair not in said]
    if not more and all(m.where is None for m in matches):
        at = matches[0].span if matches else own.span
        text = f"'{own.name}' matches all that '{below.name}' does, and no less"
        report.say("E0262", text, at, "name a revision, a subsystem or a condition: match ...")


def _changes(own: s.Device, below: Pattern, report: Report) -> None:
    """What it declares takes the place of something."""
    there = {identity(x): x for x in below.written}
    names = {x.name for x in below.written if _named(x)}  # type: ignore[union-attr]
    for item in own.items:
        if isinstance(item, ADDED) or identity(item) in there:
            continue
        word = type(item).__name__.lower()
        name = getattr(item, "name", "")
        what = f"{word} '{name}'" if name else word
        hint = report.near(name, names) if name else "an overlay only replaces"
        text = f"'{below.name}' has no {what} that could be replaced"
        report.say("E0260", text, report.word(item.span, name or word), hint)
    if all(isinstance(x, s.Match | s.Because | s.Fake | s.Trial | s.Unproved) for x in own.items):
        text = f"overlay '{own.name}' changes nothing of '{below.name}'"
        report.say("E0263", text, own.span, "declare again what is different")


def _named(item: s.Item) -> bool:
    return hasattr(item, "name") and not isinstance(item, s.Match)
