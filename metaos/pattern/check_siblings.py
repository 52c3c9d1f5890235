"""Checks of services side by side: of two over the same one, at most one can want a frame.

check_siblings(patterns, report) -> None
"""

from __future__ import annotations

from collections.abc import Mapping

from metaos.pattern import syntax as s
from metaos.pattern.patterns import Patterns
from metaos.pattern.report import Report
from metaos.pattern.spell import spell

Exclusive = Mapping[str, frozenset[int]]
"""What a condition demands: names and the numbers each may be."""


def check_siblings(patterns: Patterns, report: Report) -> None:
    """Report each pair of services over the same one that may both want a frame."""
    by_parent: dict[str, list[s.Service]] = {}
    for service in patterns.services.values():
        if service.over not in patterns.classes and not service.model:
            by_parent.setdefault(service.over, []).append(service)
    for parent, services in by_parent.items():
        wanted = [(x, demands(x.where)) for x in services]
        for number, (service, own) in enumerate(wanted):
            for other, others in wanted[:number]:
                alone = _quiet(service, by_parent) or _quiet(other, by_parent)
                alone = alone or _exclusive(own, others)
                if not alone and not report.many:
                    report.say(
                        "E0251", f"'{service.name}' and '{other.name}' may both want a frame "
                        f"of '{parent}' ({other.span})",
                        service.where.span if service.where is not None else service.span,
                        "their 'where' must compare the same field with different constants, or "
                        "both lie over a service that has the header they share",
                    )  # fmt: skip


def _quiet(service: s.Service, above: Mapping[str, list[s.Service]]) -> bool:
    """Whether neither a service nor any above it answers."""
    over = above.get(service.name, [])
    return service.quiet or (bool(over) and all(_quiet(x, above) for x in over))


def _exclusive(one: Exclusive, other: Exclusive) -> bool:
    return any(name in other and not one[name] & other[name] for name in one)


def demands(where: s.Expr | None) -> Exclusive:
    """The constants each name must be among where the condition holds."""
    match where:
        case s.Binary(operator="==", left=left, right=s.Number(value=value)):
            return {spell(left): frozenset({value})}
        case s.Binary(operator="==", left=s.Number(value=value), right=right):
            return {spell(right): frozenset({value})}
        case s.Binary(operator="&", left=left, right=right):
            a, b = demands(left), demands(right)
            return {n: a.get(n, b.get(n, frozenset())) & b.get(n, a.get(n, frozenset()))
                    for n in {*a, *b}}  # fmt: skip
        case s.Binary(operator="|", left=left, right=right):
            a, b = demands(left), demands(right)
            return {n: a[n] | b[n] for n in a if n in b}
    return {}
