"""Laws 5 and 7 as far as the bytes show them: what may run on an unknown machine, and how long.

Guard and report run on a processor that nothing is known of yet, so they have baseline
instructions only; the other phases have those of the features that the manifest lists, which
guard has checked. That guard touches nothing but what the machine file allows is law 3
applied to guard's own windows and ports.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from capstone import x86

from metaos.link.manifest import Manifest
from metaos.verify.decode import Ledger, Line, Step
from metaos.verify.report import Violation
from metaos.verify.walk import Walk

GUARDED, CONSTANT = 5, 7
BEFORE_GUARD = ("guard", "report")
LONGEST_STRING = 1 << 24
"""More units than this are no bound worth the name."""

_BY_GROUP = {
    x86.X86_GRP_BMI: "bmi",
    x86.X86_GRP_BMI2: "bmi2",
    x86.X86_GRP_ADX: "adx",
    x86.X86_GRP_AVX: "avx",
    x86.X86_GRP_AVX2: "avx2",
}
_BY_NAME = {"popcnt": "popcnt", "lzcnt": "lzcnt", "tzcnt": "bmi", "movbe": "movbe"}


def check_features(line: Line, manifest: Manifest, book: Ledger) -> Iterator[Violation]:
    """Instructions that a processor may lack, where guard has not made sure of it."""
    listed = {f.removeprefix("+") for f in manifest.provenance.cpu_features if f[:1] != "-"}
    allowed = set() if line.name in BEFORE_GUARD else listed
    for step in line.steps:
        for feature in sorted(_needs(step) - allowed):
            yield Violation(
                GUARDED,
                line.place(step.offset),
                f"needs the CPU feature {feature}, which is not certain here: {step.text}",
                book.span(line.file_offset(step.offset)),
            )


def _needs(step: Step) -> set[str]:
    groups: Any = step.insn.groups
    needed = {_BY_GROUP[group] for group in groups if group in _BY_GROUP}
    if step.mnemonic in _BY_NAME:
        needed.add(_BY_NAME[step.mnemonic])
    return needed


def check_bounds(line: Line, walked: Walk, book: Ledger) -> Iterator[Violation]:
    """Repeated string instructions whose count has no bound that the bytes show."""
    for access in walked.accesses:
        if access.count is not None and access.count.top > LONGEST_STRING:
            yield Violation(
                CONSTANT,
                line.place(access.step.offset),
                f"nothing bounds the count: {access.step.text}",
                book.span(line.file_offset(access.step.offset)),
            )


def largest_counts(line: Line, walked: Walk) -> Iterator[tuple[str, int]]:
    """The place and the largest count of each repeated string instruction."""
    largest: dict[int, int] = {}
    for access in walked.accesses:
        if access.count is not None:
            offset = access.step.offset
            largest[offset] = max(largest.get(offset, 0), access.count.top)
    yield from ((line.place(offset), count) for offset, count in sorted(largest.items()))
