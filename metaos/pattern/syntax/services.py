"""Services: what is done with a frame, what is said unasked, and examples of both."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span
from metaos.pattern.syntax.declarations import Demand, Layout, State, Use
from metaos.pattern.syntax.expressions import Expr, String
from metaos.pattern.syntax.trials import Asked


@dataclass(frozen=True, slots=True)
class Constant:
    name: str
    bits: int
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Assignment:
    """A field of the answer and its value, read from the received frame.

    With a dot, `sum.checksum`, it is a field of a service below. What states become is said so too.
    """

    field: str
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Named:
    """A name for an expression of a service."""

    name: str
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Speak:
    """A frame that a service says unasked, in the first turn in which `when` holds.

    `fields` are its headers', this service's and those below; without `when` they are what
    any service above says too. `keeps` is what the service's states become when it is said.
    `text` follows the headers; it ends in a line that was heard.
    """

    when: Expr | None
    fields: tuple[Asked, ...]
    keeps: tuple[Assignment, ...]
    span: Span
    text: String | None = None


@dataclass(frozen=True, slots=True)
class Hear:
    """The last `count` lines that consoles show, the first `size` characters of each."""

    count: int
    size: int
    span: Span


@dataclass(frozen=True, slots=True)
class Pass:
    """A frame that is accepted goes out of another card.

    With a `layout`, that is what stands in it before the payload, in place of the headers so far,
    and `fields` are the layout's. `when` may leave some out. `keeps` is what the service's states
    become when it goes.
    """

    layout: str
    when: Expr | None
    fields: tuple[Asked, ...]
    keeps: tuple[Assignment, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Column:
    """What each row of a list has: a number, or the numbers of a `prefix` or of a `range`.

    Without an `initial` value a row has to say it; a prefix or a range that it does not is of all.
    """

    name: str
    bits: int
    kind: str
    initial: int | None
    span: Span


@dataclass(frozen=True, slots=True)
class List:
    """Rows that the system file gives, in its order; of `rows` each has a number for each column,
    and a second one: a prefix's mask, or how far a range reaches beyond its first number."""

    name: str
    columns: tuple[Column, ...]
    span: Span
    rows: tuple[tuple[tuple[int, int], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a service's states become once in every `period` nanoseconds."""

    period: int
    keeps: tuple[Assignment, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Example:
    """A question and what must come back.

    `payloads`: lengths in bytes of the random payload, one question each. `changes`
    override the `ask` values. `cut`: only so many bytes of the frame are sent.
    `answers` are conditions on the answer's fields (`asked.F` is the question's); none
    means silence. With `said`, nothing is asked: a frame for which they hold comes unasked,
    at most so many nanoseconds after the machine has started. With `passed`, a frame for which
    they hold goes out of the other card.
    """

    title: str
    payloads: tuple[int, ...]
    changes: tuple[Asked, ...]
    cut: int | None
    answers: tuple[Expr, ...]
    silence: bool
    span: Span
    said: int | None = None
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A guarded rewrite of the frames of `over` for which `where` holds.

    `states` are its own numbers, one of each a card; `keeps` is what they become with each
    frame that it accepts, and `tell` is a line that the consoles show of it. `uses` are services
    of which it has one of its own; of such a one `model` is the service that it is made
    from, and `given` says which of its constants is which of its user's. One that `hears` wants
    all frames of the wire, whomever they are for.
    """

    name: str
    over: str
    where: Expr | None
    layouts: tuple[Layout, ...]
    header: str
    constants: tuple[Constant, ...]
    accept: tuple[Expr, ...]
    reply: tuple[Assignment, ...]
    send: Expr | None
    say: String | None
    ask: tuple[Asked, ...]
    examples: tuple[Example, ...]
    span: Span
    states: tuple[State, ...] = ()
    keeps: tuple[Assignment, ...] = ()
    speak: Speak | None = None
    tell: String | None = None
    pulses: tuple[Pulse, ...] = ()
    named: tuple[Named, ...] = ()
    demands: tuple[Demand, ...] = ()
    uses: tuple[Use, ...] = ()
    given: tuple[tuple[str, str], ...] = ()
    hear: Hear | None = None
    model: str = ""
    passing: Pass | None = None
    hears: bool = False
    lists: tuple[List, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """The names of the services that it has of its own."""
        return tuple(f"{self.name}.{use.name}" for use in self.uses)

    @property
    def listens(self) -> bool:
        """Something is done with the frames that it accepts, answered or not."""
        return bool(self.keeps) or self.tell is not None or self.passing is not None

    @property
    def quiet(self) -> bool:
        """It answers nothing: it only remembers, tells, passes on, or speaks for itself."""
        own = self.listens or (self.speak is not None and self.speak.when is not None)
        return own and not self.reply and self.send is None
