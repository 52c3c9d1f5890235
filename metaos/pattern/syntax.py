"""The syntax tree of pattern files: frozen nodes, each with the `Span` it came from.

Expressions are shared by all blocks; what a name means is decided where it is used
(`metaos.lower`). Widths are in bits, sizes and offsets in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span

# ---- expressions ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """An integer; `10.0.2.15` is the 32-bit number whose first byte is 10."""

    value: int
    span: Span


@dataclass(frozen=True, slots=True)
class String:
    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class Name:
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Member:
    """`of.name`: a register's field, a state of a class, a service's field."""

    of: Expr
    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Index:
    """`of[index]`: an element of a table, a register of an array, one bit of a number."""

    of: Expr
    index: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Slice:
    """`of[high:low]`: bits, both ends included."""

    of: Expr
    high: Expr
    low: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Prime:
    """`of'`: the new value of a state, after this turn's writes so far."""

    of: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Reference:
    """`&of`: the address of a table or of its element."""

    of: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Unary:
    """`operator` is ~ (all bits) or ! (truth)."""

    operator: str
    operand: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Binary:
    """`operator` is one of + - * & | ^ << >> == != < <=."""

    operator: str
    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class RecordField:
    """`name = value`; without a value, a flag set (1 bit) or the value of that name."""

    name: str
    value: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Record:
    """`{ a = 1, FLAG }`: fields of a layout or a register, the others 0."""

    fields: tuple[RecordField, ...]
    span: Span


Expr = (
    Number | String | Name | Member | Index | Slice | Prime | Reference | Unary | Binary
    | Call | Record
)  # fmt: skip

# ---- steps and rows -------------------------------------------------------------------


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


Row = Write | Await | Expect | Touch | Each | Repeat | Run | Given

# ---- declarations ---------------------------------------------------------------------


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
    `keys` are PCI ids, name and value.
    """

    kind: str
    name: str
    keys: tuple[tuple[str, int], ...]
    where: Expr | None
    span: Span


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
    rule itself fills) or line (number `line` of the interrupt controllers, by edges).
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
class Guard:
    """Rows for every function of the machine (`name` present) and every free slot (absent)."""

    name: str
    rows: tuple[Row, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Part:
    """Declarations that `use` makes anew, with `parameters` replaced by its arguments."""

    name: str
    parameters: tuple[str, ...]
    items: tuple[Item, ...]
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


# ---- the device itself, for tests -------------------------------------------------------


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

    Done if `guard` holds; `itself` again and again while it holds.
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


Item = (
    Match | Fact | Learn | Demand | Registers | Layout | Table | State | Sequence | Turn | Clock
    | Access | Guard | Interrupt | Waker | Part | Use | Because | Fake | Trial | Unproved
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


# ---- services -------------------------------------------------------------------------


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
class Speak:
    """A frame that a service says unasked, in the first turn in which `when` holds.

    `fields` are its headers', this service's and those below; without `when` they are what
    any service above says too. `keeps` is what the service's states become when it is said.
    """

    when: Expr | None
    fields: tuple[Asked, ...]
    keeps: tuple[Assignment, ...]
    span: Span


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
    at most so many nanoseconds after the machine has started.
    """

    title: str
    payloads: tuple[int, ...]
    changes: tuple[Asked, ...]
    cut: int | None
    answers: tuple[Expr, ...]
    silence: bool
    span: Span
    said: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A guarded rewrite of the frames of `over` for which `where` holds.

    `states` are its own numbers, one of each a card; `keeps` is what they become with each
    frame that it accepts, and `tell` is a line that the consoles show of it.
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

    @property
    def listens(self) -> bool:
        """Something is done with the frames that it accepts, answered or not."""
        return bool(self.keeps) or self.tell is not None

    @property
    def quiet(self) -> bool:
        """It answers nothing: it only remembers, tells, or speaks for itself."""
        own = self.listens or (self.speak is not None and self.speak.when is not None)
        return own and not self.reply and self.send is None


@dataclass(frozen=True, slots=True)
class File:
    """One parsed pattern file."""

    name: str
    sources: tuple[SourceName, ...]
    classes: tuple[ClassDef, ...]
    layouts: tuple[Layout, ...]
    devices: tuple[Device, ...]
    services: tuple[Service, ...]
