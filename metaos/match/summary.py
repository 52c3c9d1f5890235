"""How much of a folder of machine files the patterns cover: `summary(machines, ...)`.

Entering: machine files by name; leaving: a `Summary`, a line for each machine and the ids that
lack a pattern, the ones that stand in the way first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from metaos.errors import MetaosError
from metaos.match.bind import bind_all
from metaos.match.report import MatchReport, match_report
from metaos.match.system import System
from metaos.pattern.patterns import Patterns
from metaos.probe.machine import Machine


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """One machine: its PCI functions, those with a pattern, and what the system still needs.

    `lacks` are the facts that an image needs and the file does not have.
    """

    machine: str
    functions: int
    served: int
    cards: tuple[str, ...]
    needs: tuple[str, ...]
    lacks: tuple[str, ...]


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A function without a pattern, by ids: on how many machines, and where it is needed."""

    ids: str
    class_code: str
    name: str
    machines: int
    needed: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of machine files; `unreadable` are files with the reason: no machine file,
    or two patterns want one device alike."""

    machines: tuple[Coverage, ...]
    gaps: tuple[Gap, ...]
    unreadable: dict[str, str]


def summary(
    machines: Mapping[str, Machine],
    patterns: Patterns,
    system: System,
    unreadable: Mapping[str, str],
) -> Summary:
    """Bind every machine. `unreadable`: the files of the folder that are no machine files.

    Raises:
        MetaosError: the system names a service that there is not.
    """
    reports: list[MatchReport] = []
    faults = dict(unreadable)
    for name, machine in machines.items():
        try:
            reports.append(match_report(bind_all(machine, patterns, system), name))
        except MetaosError as error:
            if not error.problems:  # of the system file, so of every machine
                raise
            faults[name] = error.message
    return Summary(
        machines=tuple(map(_coverage, reports)),
        gaps=tuple(_gaps(reports)),
        unreadable=faults,
    )


def _coverage(report: MatchReport) -> Coverage:
    functions = [row for row in report.devices if row.ids]
    return Coverage(
        machine=report.machine,
        functions=len(functions),
        served=sum(bool(row.pattern) for row in functions),
        cards=tuple(f"{row.address} {row.pattern}" for row in functions if row.carries),
        needs=tuple(
            f"{row.address} {row.ids}"
            for row in functions
            if row.needed == "yes" and not row.pattern
        ),
        lacks=tuple(text.partition(":")[0] for text in report.unknown),
    )


def _gaps(reports: list[MatchReport]) -> list[Gap]:
    """Every function without a pattern by its ids, the most needed and most frequent first."""
    where: dict[tuple[str, str], set[str]] = defaultdict(set)
    needed: dict[tuple[str, str], set[str]] = defaultdict(set)
    names: dict[tuple[str, str], str] = {}
    for report in reports:
        for row in report.devices:
            if row.pattern or not row.ids:
                continue
            key = (row.ids, row.class_code)
            names[key] = row.name
            where[key].add(report.machine)
            if row.needed == "yes":
                needed[key].add(report.machine)
    gaps = [
        Gap(
            ids=key[0],
            class_code=key[1],
            name=name,
            machines=len(where[key]),
            needed=len(needed[key]),
        )
        for key, name in names.items()
    ]
    return sorted(gaps, key=lambda g: (-g.needed, -g.machines, g.ids))
