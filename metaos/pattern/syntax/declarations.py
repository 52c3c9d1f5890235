"""What stands in a device: matches, facts, registers, tables, sequences, the turn."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span
from metaos.pattern.syntax.expressions import Expr, Number
from metaos.pattern.syntax.steps import Keep, Row, Step, Write


@dataclass(frozen=True, slots=True)
class Cite:
    """Where a hardware fact is from: a `source` of the file, and the section."""

    source: str
    section: str
    span: Span


@dataclass(frozen=True, slots=True)
class SourceName:
    name: str
    title: str
    span: Span


@dataclass(frozen=True, slots=True)
class Field:
    """Bits `high` to `low`, both included; in big-endian layouts bit 0 is the last bit."""

    name: str
    high: int
    low: int
    span: Span

    @property
    def bits(self) -> int:
        return self.high - self.low + 1


@dataclass(frozen=True, slots=True)
class Register:
    """One register, or `count` of them: offset in bytes, width in bits.

    A `stream` is a data port: each access takes or gives the next item.
    """

    offset: int
    name: str
    count: int
    access: str
    page: tuple[str, str, int] | None
    cite: Cite | None
    fields: tuple[Field, ...]
    span: Span
    bits: int
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Registers:
    """A block of registers; `at` is None for the config space of the device itself."""

    name: str
    at: Expr | None
    space: str
    bits: int
    registers: tuple[Register, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Layout:
    """A record in memory or on the wire. `size` in bytes, `order` "little" or "big".

    Little: bit n of the record is bit n % 8 of byte n // 8. Big: fields were listed in
    wire order, and bit 0 is the last bit of the last byte.
    """

    name: str
    size: int
    order: str
    fields: tuple[Field, ...]
    span: Span

    def field(self, name: str) -> Field | None:
        return next((f for f in self.fields if f.name == name), None)

    def inside(self, whole: Field) -> tuple[Field, ...]:
        """The fields that are parts of another."""
        fields = (f for f in self.fields if f.bits < whole.bits)
        return tuple(f for f in fields if whole.low <= f.low and f.high <= whole.high)


@dataclass(frozen=True, slots=True)
class Table:
    """`count` elements in RAM, or at `at`: a window or another table, plus bytes.

    Elements are of `layout`, or buffers of `element_size` bytes that may begin with it.
    """

    name: str
    count: Expr
    element_size: int
    layout: str
    align: int
    at: Expr | None
    initial: Expr | None
    span: Span

    @property
    def elements(self) -> int | None:
        """The count, where the text alone says it."""
        return self.count.value if isinstance(self.count, Number) else None


@dataclass(frozen=True, slots=True)
class State:
    """The processor's own number; `count` 0 for a single one, else an array.

    `unit` is the machine file's fact of what one unit alone has, "" for any other number.
    """

    name: str
    count: int
    bits: int
    initial: Expr | None
    span: Span
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """What must be there: `kind` pci, legacy, acpi, platform or mmio.

    `name` is the legacy device's or the window's kind, the ACPI table's signature or the
    platform's part;
    `keys` are PCI ids, name and value; `entry` is the type of the structures in the ACPI table
    of which each is a device.
    """

    kind: str
    name: str
    keys: tuple[tuple[str, int], ...]
    where: Expr | None
    span: Span
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    type: str
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Learn:
    rows: tuple[Keep | Write, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Demand:
    """A build-time condition without which the rule cannot drive the device."""

    condition: Expr
    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class Sequence:
    name: str
    rows: tuple[Row, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Turn:
    steps: tuple[Step, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Clock:
    """A counter of `bits` bits that runs at `hertz`, or a step each `period` femtoseconds.

    It counts up, or `down`. Of a machine's clocks the one of the lowest `rank` tells the time.
    """

    register: Expr
    bits: int
    hertz: int
    span: Span
    down: bool = False
    period: Expr | None = None
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """The processor's time stamp counter as the clock: init measures in that many nanoseconds of
    another clock how fast it counts; `message` is said where it does not.
    """

    nanoseconds: int
    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class Access:
    """How config space is reached: `enable` | address into `select`, then `data`."""

    select: Expr
    data: Expr
    enable: int
    span: Span


@dataclass(frozen=True, slots=True)
class Interrupt:
    """How a device wakes the processor.

    `kind`: pin (the probed line of a PCI function's INTx), message (MSI), table (MSI-X, which the
    rule itself fills), window (the line that firmware's tables say of a window that no bus
    announces) or line (number `line` of the interrupt controllers, by edges).
    """

    kind: str
    line: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Waker:
    """Writing `value` to `register` interrupts this processor."""

    register: Expr
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is written to `register` is counted down to an interrupt, `counted` in the time in which
    the clock counted `passed`."""

    register: Expr
    counted: Expr
    passed: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Lines:
    """The global system interrupts that arrive at an interrupt controller: `first` and on."""

    first: Expr
    count: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Guard:
    """Rows for every function of the machine (`name` present) and every free slot (absent)."""

    name: str
    rows: tuple[Row, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Use:
    """`name = part(arguments)`: what the part declares is called `name.` and its own name."""

    name: str
    part: str
    arguments: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Because:
    """Why an overlay is needed, and what says so."""

    reason: str
    cite: Cite | None
    span: Span


@dataclass(frozen=True, slots=True)
class Unproved:
    """That no such device was ever driven by this rule, and what it was tried on instead."""

    reason: str
    span: Span
