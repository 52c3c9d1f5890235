"""Everything that can be wrong with patterns, before any machine is known.

    problems = check(load([resources.PATTERNS]))

Every problem has a code of docs/language.md, E02xx, and its place; all are collected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metaos.errors import MetaosError, Problem, Span
from metaos.pattern import (
    check_devices,
    check_facts,
    check_given,
    check_moves,
    check_overlays,
    check_places,
    check_services,
)
from metaos.pattern import syntax as s
from metaos.pattern.check_fakes import fakes
from metaos.pattern.check_steps import Flow
from metaos.pattern.names import names_of
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.report import Report
from metaos.pattern.widths import Typer


def check(patterns: Patterns) -> tuple[Problem, ...]:
    """All problems of the patterns, in the order of their places."""
    report = Report(patterns)
    for file in patterns.files:
        for of_file in (*check_places.CHECKS, check_moves.streams):
            of_file(file, report)
    uses: dict[str, frozenset[str]] = {}
    seen: dict[str, frozenset[str]] = {}
    for pattern in _whole(patterns):
        check_devices.matching(pattern, patterns, report)
        family = pattern.family if _adds_nothing(pattern) else ""
        if family not in seen:
            for of_device in (
                *check_devices.CHECKS,
                check_given.addresses,
                check_overlays.overlays,
            ):
                of_device(pattern, patterns, report)
            seen[family] = _inside(pattern, report)
            fakes(pattern, report)
        uses[pattern.name] = seen[family]
        seen.pop("", None)
    check_devices.families(patterns, report)
    check_devices.equals(patterns, report)
    check_services.check(patterns, report)
    _unused(patterns, uses, report)
    return report.problems()


def demand_sound(patterns: Patterns) -> Patterns:
    """The patterns themselves, if nothing is wrong with them.

    Raises `MetaosError` with all problems.
    """
    problems = check(patterns)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise MetaosError(f"the patterns have {count}", problems=problems)
    return patterns


def _whole(patterns: Patterns) -> list[Pattern]:
    """Patterns to look into: a family is seen through its members, if it has any."""
    parents = {d.parent for f in patterns.files for d in f.devices if d.kind == "member"}
    return [p for p in patterns.devices.values() if not (p.abstract and p.name in parents)]


def _adds_nothing(pattern: Pattern) -> bool:
    """Whether a member says what it matches and nothing else: inside it is as the next such."""
    own = pattern.lineage[-1]
    return own.kind == "member" and all(isinstance(item, s.Match) for item in own.items)


def _inside(pattern: Pattern, report: Report) -> frozenset[str]:
    """Check a pattern's expressions; the names they use."""
    typer = Typer(names_of(pattern), report)
    for of_facts in check_facts.CHECKS:
        of_facts(pattern, typer)
    Flow(pattern, typer).run()
    return frozenset(typer.used)


def _unused(patterns: Patterns, uses: Mapping[str, frozenset[str]], report: Report) -> None:
    """Facts and states that no pattern which has them ever reads."""
    of_classes = {(c.name, x.name) for c in patterns.classes.values() for x in c.items}
    raw = {d.name: d for f in patterns.files for d in f.devices}
    used: set[Span] = set()
    idle: dict[Span, str] = {}
    for name, names in uses.items():
        for item, span in _declared(raw[name], raw):
            if item in names or (patterns.devices[name].class_name, item) in of_classes:
                used.add(span)
            idle[span] = item
    for span, item in idle.items():
        if span not in used:
            at = report.word(span, item)
            report.say("E0226", f"'{item}' is never used", at, "take it out, or read it")


def _declared(device: s.Device, raw: Mapping[str, s.Device]) -> Iterator[tuple[str, Span]]:
    """What should be used by somebody, of a device and the families it is of."""
    while True:
        for item in device.items:
            match item:
                case s.Fact() | s.State():
                    yield item.name, item.span
        if not device.inherits:
            return
        device = raw[device.parent]
