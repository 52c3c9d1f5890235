"""What a trace says: plain records that `--json` prints, and text and HTML are made of.

Numbers of the machine are text, "0x2a", so that JSON's readers keep all 64 bits.
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every record of a trace is: frozen, with JSON's names."""


class Changed(Record, frozen=True, kw_only=True):
    """`place` by name. `before` is "" where nobody knows: a device's register, a port."""

    place: str
    before: str
    after: str


class OpLine(Record, frozen=True, kw_only=True):
    """An op of the intermediate form, and the pattern line it comes from."""

    text: str
    file: str
    line: int
    column: int


class Step(Record, frozen=True, kw_only=True):
    """One instruction and what it did.

    `kind` is the account's; `file`, `line`, `column` are the pattern line it comes from, ""
    and 0 for the linker's own; `exact` False where that was inferred. `ir` are the ops of just
    that place. `registers` are those written, changed or not; `reads` has in `after` what was
    read; `flags` are those set of C, Z, S and O, None if the instruction left them.
    """

    offset: int
    address: str
    code: str
    text: str
    device: str
    kind: str
    file: str
    line: int
    column: int
    exact: bool
    ir: tuple[str, ...]
    registers: tuple[Changed, ...]
    flags: str | None
    reads: tuple[Changed, ...]
    writes: tuple[Changed, ...]


class Arrived(Record, frozen=True, kw_only=True):
    """A frame that was put where a card's turn looks for one, before turn `turn`.

    `assumed` is what was set so that it is offered; `closed` the lines ("file:line") of
    conditions that still keep it from being so; `address` where it lies, `length` how long the
    turn takes it for.
    """

    turn: int
    address: str
    place: str
    length: int
    offered: bool
    answered: bool
    answer: str
    assumed: tuple[Changed, ...]
    closed: tuple[str, ...]


class Turn(Record, frozen=True, kw_only=True):
    """The instructions of one turn, in order. `phase` is the one it leads to."""

    number: int
    phase: str
    steps: tuple[Step, ...]


class RowDone(Record, frozen=True, kw_only=True):
    """One row of a start phase, done by the phase's own code.

    `found` is "" for a row that only writes; `source` says who answered: "machine file",
    "--set", "assumed" (what the row wants) or "" (nobody was asked). `says` is what the
    report shows where the row does not pass.
    """

    number: int
    device: str
    kind: str
    place: str
    value: str
    mask: str
    found: str
    source: str
    passed: bool
    limit_ms: float
    says: str
    file: str
    line: int
    column: int
    instructions: int


class Trace(Record, frozen=True, kw_only=True):
    """All of it. `assumed` is what was taken for known though no device is there to say it;
    `programs` the ops of the steady phase by device, in order; `sources` the texts of the pattern
    lines, by "file:line"."""

    image: str
    phase: str
    card: str
    pattern: str
    frame: str
    about: str
    assumed: tuple[Changed, ...]
    arrivals: tuple[Arrived, ...]
    turns: tuple[Turn, ...]
    rows: tuple[RowDone, ...]
    ends: str
    programs: dict[str, tuple[OpLine, ...]]
    sources: dict[str, str]
