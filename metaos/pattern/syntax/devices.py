"""Devices, families, members and overlays, and the classes that they are of."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span
from metaos.pattern.syntax.declarations import (
    Access,
    Alarm,
    Because,
    Clock,
    Demand,
    Fact,
    Guard,
    Interrupt,
    Layout,
    Learn,
    Lines,
    Match,
    Measured,
    Registers,
    Sequence,
    State,
    Table,
    Turn,
    Unproved,
    Use,
    Waker,
)
from metaos.pattern.syntax.trials import Fake, Trial


@dataclass(frozen=True, slots=True)
class Part:
    """Declarations that `use` makes anew, with `parameters` replaced by its arguments."""

    name: str
    parameters: tuple[str, ...]
    items: tuple[Item, ...]
    span: Span


Item = (
    Match | Fact | Learn | Demand | Registers | Layout | Table | State | Sequence | Turn | Clock
    | Measured | Access | Guard | Interrupt | Waker | Alarm | Lines | Part | Use | Because | Fake
    | Trial
    | Unproved
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClassDef:
    """What all devices of a class share; `over` is what the class's services carry."""

    name: str
    items: tuple[State | Layout, ...]
    span: Span
    over: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A rule for a device: `kind` device, family, member or overlay.

    An `abstract` one, a family, does not match by itself, its members do. A family of
    another family is a member of it. An overlay is of a device or a member, and changes it.
    """

    name: str
    parent: str
    kind: str
    items: tuple[Item, ...]
    span: Span
    abstract: bool = False

    @property
    def inherits(self) -> bool:
        """Whether `parent` is another rule; else it is a class."""
        return self.kind in ("member", "overlay")
