"""The device itself, as its pattern says it for tests, and examples of a driver at work."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span
from metaos.pattern.syntax.declarations import State, Table
from metaos.pattern.syntax.expressions import Expr
from metaos.pattern.syntax.steps import Expect, Let, When, Write


@dataclass(frozen=True, slots=True)
class Has:
    """`place = value`: what the machine says of the fake, `acpi.u32[76]`, `bar[0]` (its size)."""

    place: Expr
    value: int
    span: Span


@dataclass(frozen=True, slots=True)
class HasCapability:
    """A PCI capability: its id, and numbers (`u8`, offset, value) from its first byte on."""

    id: int
    numbers: tuple[tuple[str, int, int], ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Put:
    """`length` bytes of the frame from byte `start` on go to `place`; None: from 0, all."""

    start: Expr | None
    length: Expr | None
    place: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Send:
    """`length` bytes at `place` go out as a frame."""

    length: Expr
    place: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Show:
    """A character is shown."""

    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Reset:
    """The registers go to 0, then the `on reset` rules are done."""

    span: Span


Act = Let | Write | When | Expect | Put | Send | Show | Reset


@dataclass(frozen=True, slots=True)
class Rule:
    """What a device does on `event`: reset, read or write of `register`, frame, or itself.

    Done if `guard` holds; `itself` again and again while it holds. By `interrupt` nothing is done:
    the device interrupts while the guard holds.
    """

    event: str
    register: Expr | None
    guard: Expr | None
    acts: tuple[Act, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Fake:
    """The device's side of its registers and of the tables it is told of.

    Tables lie where the driver said, at addresses known when the device looks.
    """

    has: tuple[Has, ...]
    capabilities: tuple[HasCapability, ...]
    tables: tuple[Table, ...]
    states: tuple[State, ...]
    rules: tuple[Rule, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Asked:
    """How a peer fills a field (`path` of one name) of a question, or one of a parent's."""

    path: tuple[str, ...]
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Text:
    """What a console is given to show."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Arrival:
    """Frames of these lengths come, in bytes: ones that the services answer, or not."""

    lengths: tuple[int, ...]
    answered: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Turns:
    """So many turns pass."""

    count: int
    span: Span


@dataclass(frozen=True, slots=True)
class Sent:
    """Frames of these lengths, and no others, have gone out since the last such line."""

    lengths: tuple[int, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Shown:
    """This text, and no other, was shown since the last such line."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Then:
    """A condition holds now, of the device's places and the driver's."""

    condition: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Fails:
    """The start ends in a report of the row that says `text`."""

    text: str
    span: Span


TrialLine = Asked | Text | Arrival | Turns | Sent | Shown | Then | Fails


@dataclass(frozen=True, slots=True)
class Trial:
    """An example of a device: what happens, and what must be seen, in order."""

    title: str
    lines: tuple[TrialLine, ...]
    span: Span
