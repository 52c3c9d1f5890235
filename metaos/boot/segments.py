"""The parts of a machine's start, as `metaos boot-chart` reports them. Types only."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

FIRMWARE, LOADER, WAIT, ANSWER = "firmware", "loader", "wait", "answer"
"""Kinds beside those that are called as a phase: guard, init, wipe, steady."""

Position = tuple[int, int]
"""A phase by its number in the manifest, -1 before the first, and the cursor of its row."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the start, in order.

    `kind` is firmware, loader, guard, init, wait, wipe, steady (its first turn) or answer (the
    first, to a question asked again and again). `device` is whose rows it did, `file` and `line`
    say which row waited. `instructions` are exact unless `exact` is False: where firmware waits for
    a disk, of the answer, and of a long wait, in which what came right after it may be. `seconds`
    are None for what was over too quickly to be seen: its time is in the one before.
    """

    kind: str
    device: str = ""
    file: str = ""
    line: int = 0
    rows: int = 0
    turns: int = 0
    instructions: int = 0
    exact: bool = True
    seconds: float | None = None

    @property
    def name(self) -> str:
        """What it is called in a chart."""
        where = f"{self.file}:{self.line}" if self.file else ""
        return " ".join(filter(None, (self.kind, self.device, where)))


@dataclass(frozen=True, slots=True)
class Part:
    """A segment, and the positions at which it can be seen."""

    segment: Segment
    positions: frozenset[Position]
