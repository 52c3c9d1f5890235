"""What an image cannot be made without: `demand_known(machine, patterns)`.

A machine file may lack facts, which its `unknown` names. Some of them an image does without:
without CPUID leaves it has baseline code.
"""

from __future__ import annotations

from collections.abc import Iterator

from metaos.errors import MetaosError, Problem
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Patterns
from metaos.probe.machine import Machine, Unknown, domain, unknown_fact

HOW_TO_GET = (
    "'metaos probe sysfs' as root reads it, or boot the discoverer on the machine; "
    "'metaos probe merge' adds it to this file"
)
_MOST_PROBLEMS = 10
_GUARDED = ("ids", "class", "revision", "subsystem", "header type")
"""What the guard compares of every function."""
_TYPE_1 = 1
"""A bridge's header; byte 0x19 is the bus behind it. PCI-to-PCI Bridge 1.2 §3.2.5.4."""


def demand_known(machine: Machine, patterns: Patterns) -> None:
    """Refuse a machine file that lacks what every image needs.

    Raises:
        MetaosError: with each fact, why it is not known, and how it can be had.
    """
    missing = missing_facts(machine, patterns)
    if missing:
        hidden = len(missing) - _MOST_PROBLEMS
        raise MetaosError(
            "the machine file lacks what an image needs"
            + (f" ({hidden} more facts are not shown)" if hidden > 0 else ""),
            hint=HOW_TO_GET,
            problems=[
                Problem("E0307", f"{fact.what}: not known: {fact.reason} (from {fact.origin})")
                for fact in missing[:_MOST_PROBLEMS]
            ],
        )


def missing_facts(machine: Machine, patterns: Patterns) -> tuple[Unknown, ...]:
    """What every image needs and the file says that it lacks."""
    found = (unknown_fact(machine, what) for what in _needed(machine, patterns))
    return tuple(fact for fact in found if fact is not None)


def _needed(machine: Machine, patterns: Patterns) -> Iterator[str]:
    """The names of the facts, known or not."""
    yield "memory map"
    yield "pci functions"
    for function in machine.functions:
        if domain(function.address):
            continue
        yield from (f"{function.address} {what}" for what in _GUARDED)
        if function.header_type & 0x7F == _TYPE_1:
            yield f"{function.address} bus numbers"
    for fact in machine.unknown:  # a function that was seen, and then could not be read
        if fact.what.endswith(" config header"):
            yield fact.what
    tables = {m.name for d in patterns.devices.values() for m in d.of(s.Match) if m.kind == "acpi"}
    if tables:
        yield "acpi tables"
        yield from (f"acpi {name}" for name in sorted(tables))
