"""Everything that can be wrong with patterns, before any machine is known.

    problems = check(load([resources.PATTERNS]))

Every problem has a code of docs/language.md, E02xx, and its place; all are collected.
"""

from __future__ import annotations

from metaos.errors import MetaosError, Problem, Span
from metaos.pattern import check_devices, check_facts, check_places, check_services
from metaos.pattern import syntax as s
from metaos.pattern.check_steps import Flow
from metaos.pattern.names import names_of
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.report import Report
from metaos.pattern.widths import Typer


def check(patterns: Patterns) -> tuple[Problem, ...]:
    """All problems of the patterns, in the order of their places."""
    report = Report(patterns)
    for file in patterns.files:
        for of_file in check_places.CHECKS:
            of_file(file, report)
    used: set[Span] = set()
    for pattern in _whole(patterns):
        for of_device in check_devices.CHECKS:
            of_device(pattern, patterns, report)
        used |= _inside(pattern, report)
    check_devices.families(patterns, report)
    check_devices.equals(patterns, report)
    check_services.check(patterns, report)
    _unused(patterns, used, report)
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


def _inside(pattern: Pattern, report: Report) -> set[Span]:
    """Check a pattern's expressions; the places of the declarations they use."""
    typer = Typer(names_of(pattern), report)
    for of_facts in check_facts.CHECKS:
        of_facts(pattern, typer)
    Flow(pattern, typer).run()
    return {span for name, span in _named(pattern.items) if name in typer.used}


def _named(items: tuple[s.Item, ...]) -> list[tuple[str, Span]]:
    """What should be used by somebody: facts, states, and what is learnt."""
    found = [(x.name, x.span) for x in items if isinstance(x, s.Fact | s.State)]
    found += [
        (row.name, row.span)
        for x in items
        if isinstance(x, s.Learn)
        for row in x.rows
        if isinstance(row, s.Keep)
    ]
    return found


def _unused(patterns: Patterns, used: set[Span], report: Report) -> None:
    of_classes = {(c.name, x.name) for c in patterns.classes.values() for x in c.items}
    for pattern in _whole(patterns):
        own = next(d for f in patterns.files for d in f.devices if d.span == pattern.span)
        chain = [own]
        while chain[0].kind == "member":
            parent = chain[0].parent
            chain.insert(0, next(d for f in patterns.files for d in f.devices if d.name == parent))
        for name, span in _named(tuple(i for d in chain for i in d.items)):
            if span not in used and (pattern.class_name, name) not in of_classes:
                at = report.word(span, name)
                report.say("E0226", f"'{name}' is never used", at, "take it out, or read it")
