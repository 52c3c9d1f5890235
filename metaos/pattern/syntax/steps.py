"""Steps, of a turn, and rows, of a start."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span
from metaos.pattern.syntax.expressions import Expr


@dataclass(frozen=True, slots=True)
class Let:
    """`name = value`, or a guarded read: `name = value when guard else default`."""

    name: str
    value: Expr
    guard: Expr | None
    default: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Keep:
    """`name := register else default`: read once and remembered (a `learn` row).

    `default` is what the rule assumes where a machine file does not say.
    """

    name: str
    value: Expr
    default: int
    span: Span


@dataclass(frozen=True, slots=True)
class Write:
    """`target <- value when guard`; `given` is a build-time condition."""

    target: Expr
    value: Expr
    guard: Expr | None
    given: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Swap:
    left: Expr
    right: Expr
    guard: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class When:
    """Guards each access inside."""

    guard: Expr
    body: tuple[Step, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Every:
    """Guards each access inside: it happens once in `period` ns."""

    period: int
    body: tuple[Step, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Offer:
    """Services are spliced here: `length` bytes at `frame` + `skip` are answered in place or not.

    The card delivers no frame shorter than `least` bytes.
    """

    frame: Expr
    skip: Expr | None
    length: Expr
    least: int
    guard: Expr | None
    answered: str
    answer_length: str
    span: Span


@dataclass(frozen=True, slots=True)
class Grant:
    """Behind an `offer`: where no frame is answered, a service may say one of its own.

    It is built at `frame` + `skip`, where `guard` holds. Then `said` holds, and so does the
    offer's `answered`; its length is that frame's.
    """

    frame: Expr
    skip: Expr | None
    guard: Expr | None
    said: str
    span: Span


@dataclass(frozen=True, slots=True)
class Take:
    """The next character of the console's text, if `some`; `advance` consumes it.

    `position` (8 bits) counts the characters before it.
    """

    character: str
    some: str
    position: str
    span: Span


@dataclass(frozen=True, slots=True)
class Advance:
    guard: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Move:
    """`read R into ELEMENT count n`, `write R from ELEMENT count n`: a block through a port.

    `inward` from the port into memory; `count` items of the register's width.
    """

    inward: bool
    register: Expr
    element: Expr
    count: Expr
    guard: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Order:
    """A store-load fence."""

    span: Span


@dataclass(frozen=True, slots=True)
class Wake:
    """The processor does not sleep behind this turn, but makes another."""

    guard: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Given:
    """Rows or steps that are in the image where `condition`, known at build time, holds."""

    condition: Expr
    body: tuple[Step, ...] | tuple[Row, ...]
    span: Span


Step = (
    Let | Write | Swap | When | Every | Offer | Grant | Take | Advance | Move | Order | Wake | Given
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Await:
    """The row does not advance until `condition`; after `within` ns it reports `message`."""

    condition: Expr
    within: int
    message: str
    given: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Expect:
    """`condition` holds, or the phase ends in a report of `message`."""

    condition: Expr
    message: str
    given: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Touch:
    """`read R`: the register is read for what reading does, its value is not kept."""

    register: Expr
    given: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Pause:
    """The next row is done so many nanoseconds later; a state may keep how many ticks of the clock
    that took."""

    nanoseconds: Expr
    kept: Expr | None
    given: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Each:
    """The rows inside once for each member of a build-time list, by its name."""

    name: str
    body: tuple[Row, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Repeat:
    """The rows inside once for each number from `first` to `last`, both included, by its name."""

    name: str
    first: int
    last: int
    body: tuple[Row, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of a part's sequence, by its name."""

    name: str
    span: Span


Row = Write | Await | Expect | Touch | Pause | Each | Repeat | Run | Given
