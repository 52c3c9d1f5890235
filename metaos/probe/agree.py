"""One value out of what several sources say of a fact: `Verdicts.settle(...)`.

Conflicts are settled by origin, in the order of `Origin`'s members; of two equal ones the file
that was named first wins. Every conflict is kept with what each side said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from metaos.probe.machine import Machine, Origin, Unknown

_RANK = {origin: rank for rank, origin in enumerate(Origin)}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """A machine file to be merged; `order` is its place on the command line."""

    name: str
    order: int
    machine: Machine

    def lacks(self, what: str) -> bool:
        """Whether it says that it does not know `what`."""
        return any(fact.what == what for fact in self.machine.unknown)


@dataclass(frozen=True, slots=True)
class Claim(Generic[T]):
    """What a source says of a fact."""

    source: Source
    origin: Origin
    value: T

    @property
    def rank(self) -> tuple[int, int]:
        """The lower, the more it counts."""
        return _RANK[self.origin], self.source.order


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one file says of a fact on which they differ."""

    file: str
    origin: Origin
    value: str


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """A fact on which files differ; the first side is the one that was kept."""

    fact: str
    sides: tuple[Side, ...]


@dataclass(slots=True)
class Verdicts:
    """The conflicts met so far, and the facts that no side can be right about."""

    conflicts: list[Conflict] = field(default_factory=list)
    lost: list[Unknown] = field(default_factory=list)

    def settle(
        self,
        fact: str,
        claims: Sequence[Claim[T]],
        text: Callable[[T], str],
        *,
        quiet: bool = False,
    ) -> Claim[T] | None:
        """The claim that counts most; None if there is none. `text` is how a value is shown."""
        if not claims:
            return None
        ranked = sorted(claims, key=lambda claim: claim.rank)
        if not quiet and any(claim.value != ranked[0].value for claim in ranked):
            self.conflicts.append(
                Conflict(
                    fact=fact,
                    sides=tuple(
                        Side(file=c.source.name, origin=c.origin, value=text(c.value))
                        for c in ranked
                    ),
                )
            )
        return ranked[0]
