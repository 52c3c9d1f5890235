"""The headers of a frame, service over service, and the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.bounds import Bounds
from metaos.lower.clock import Ticks
from metaos.lower.hear import Heard
from metaos.lower.known import fail
from metaos.lower.lists import Rows
from metaos.lower.passing import Queue
from metaos.lower.values import KINDS, Frame
from metaos.pattern import syntax as s
from metaos.pattern.arithmetic import COMPARISONS, OPERATIONS
from metaos.pattern.spell import dotted, walk


@dataclass(frozen=True, slots=True)
class StateAt:
    """A service's state and where it lies; `storage` is its width in memory."""

    symbol: str
    node: s.State
    card: str = ""

    @property
    def storage(self) -> int:
        return storage(self.node)


def storage(state: s.State) -> int:
    """Bits in which a service's state is kept."""
    return next(n for n in (8, 16, 32, 64) if state.bits <= n)


@dataclass(frozen=True, slots=True)
class Mine:
    """What services call `my`: the address as a number, the symbol of the MAC's 6 bytes.

    `unit` is the MAC itself, little-endian as it lies in memory, where it is folded. `card`
    is whose services these are, which the symbols of their states begin with. Where the network
    gives numbers, `ip` among them, each is what is `held` by its name.
    """

    ip: int
    mac: str
    unit: int | None = None
    card: str = ""
    mask: int = 0
    gateway: int = 0
    held: Mapping[str, StateAt] = field(default_factory=dict)

    def known(self, name: str) -> int | None:
        """A number that is known when the image is built."""
        numbers = {"ip": self.ip, "mask": self.mask, "gateway": self.gateway, "link": 1}
        return None if name in self.held else numbers.get(name)

    def symbol(self, service: s.Service, state: str) -> str:
        """The linker's name of a service's state."""
        return ".".join(x for x in (self.card, service.name, state) if x)


@dataclass(slots=True)
class Node:
    """A service in the tree: where its header starts, its gate, and what it knows.

    A `quiet` one answers nothing.
    """

    service: s.Service
    parent: Node | None
    layout: s.Layout | None
    start: int
    end: int
    bounds: Bounds
    constants: dict[str, int] = field(default_factory=dict)
    gate: Op | None = None
    children: list[Node] = field(default_factory=list)
    quiet: bool = False

    def up(self) -> list[Node]:
        """This node and its ancestors, nearest first."""
        chain, node = [], self
        while True:
            chain.append(node)
            if node.parent is None:
                return chain
            node = node.parent

    @property
    def answering(self) -> list[Node]:
        """The children that answer."""
        return [child for child in self.children if not child.quiet]


@dataclass(frozen=True, slots=True)
class FieldAt:
    """A header field: its node, and its bits in the frame counted from the frame's start."""

    node: Node
    field: s.Field

    @property
    def key(self) -> str:
        return f"{self.node.service.name}.{self.field.name}"

    @property
    def first_bit(self) -> int:
        """Bits before the field, from the frame's first bit on the wire."""
        assert self.node.layout is not None
        return self.node.start * 8 + self.node.layout.size * 8 - 1 - self.field.high


@dataclass(frozen=True, slots=True)
class Wire:
    """The queue of frames that wait for the card, and the one that its services pass frames on to.

    `wake` keeps the processor awake where a gate is open: the card beyond has had its turn.
    """

    waiting: Queue | None = None
    beyond: Queue | None = None
    wake: Callable[[Builder, Op], None] | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What a splice is made of: the services, their layouts, and what `my` is."""

    services: tuple[s.Service, ...]
    layouts: Mapping[str, s.Layout]
    mine: Mine
    tell: Callable[[Builder, str, Op], None] | None = None
    """What begins the line of a service, by its name, where a gate is open."""
    ticks: Ticks | None = None
    shown: str = ""
    """The ring of characters that consoles show."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What texts say of the system, by dotted name."""
    wire: Wire = field(default_factory=Wire)

    def list_of(self, service: s.Service, name: str) -> Rows:
        """A service's list of this name, which the checker knows to be there."""
        node = next(x for x in service.lists if x.name == name)
        fact = f"system.settings.{service.name}.{name}"
        return Rows(node, self.mine.symbol(service, name), self.mine.card, fact)

    def heard(self, service: s.Service) -> Heard | None:
        """The lines that a service hears."""
        name = self.mine.symbol(service, LINES)
        return Heard(service.hear, name) if service.hear is not None else None


LINE, LINES = "line", "lines"
"""What a service calls the first line that it has heard, and where its lines are kept."""
_KNOWN: Mapping[str, Callable[[int, int], int]] = {**OPERATIONS, **COMPARISONS}


class Headers:
    """Finds and loads header fields of one offered frame."""

    def __init__(self, given: Given, builder: Builder, frame: Frame) -> None:
        self.given = given
        self.b = builder
        self.frame = frame
        self.loads: dict[str, Op] = {}
        self.rows: dict[str, tuple[Rows, int]] = {}
        """The row of each list that is being looked at."""

    def find(self, node: Node, expression: s.Expr) -> FieldAt | None:
        """The header field an expression names, its own service's or an ancestor's."""
        match expression:
            case s.Name(text=text):
                for n in node.up():
                    found = n.layout.field(text) if n.layout is not None else None
                    if found is not None:
                        return FieldAt(n, found)
            case s.Member(name=name):
                path = dotted(expression).rpartition(".")[0]
                for n in node.up():
                    if n.service.name == path and n.layout is not None:
                        found = n.layout.field(name)
                        return FieldAt(n, found) if found is not None else None
        return None

    def constant(self, node: Node, expression: s.Expr) -> int | None:
        """The value of an expression known when the image is built."""
        match expression:
            case s.Number(value=value):
                return value
            case s.Member(of=s.Name(text="my"), name=name):
                return self.given.mine.known(name)
            case s.Name(text=text) if text in (own := {c.name: c for c in node.service.constants}):
                return self.constant(node, own[text].value)
            case s.Binary(operator=operator) if operator in _KNOWN:
                left, right = (self.constant(node, x) for x in (expression.left, expression.right))
                if left is None or right is None:
                    return None
                return _KNOWN[operator](left, right)
            case s.Call(function="select", arguments=(condition, left, right)):
                test = self.constant(node, condition)
                return None if test is None else self.constant(node, left if test else right)
        at = self.find(node, expression)
        if at is not None:
            return next((n.constants[at.key] for n in node.up() if at.key in n.constants), None)
        return None

    def widest(self, node: Node, expression: s.Expr) -> int:
        """Bits of the widest header field or state in an expression."""
        names = [x for x in walk(expression) if isinstance(x, s.Name | s.Member)]
        fields = [at.field.bits for x in names if (at := self.find(node, x))]
        states = [own.node.bits for x in names if (own := self.state(node, x))]
        addresses = [48 for x in names if dotted(x) == "my.mac"]
        return max([*fields, *states, *addresses], default=0)

    def state(self, node: Node, expression: s.Expr) -> StateAt | None:
        """The state an expression names: its own service's, or with a dot that of another."""
        owner, _, name = dotted(expression).rpartition(".")
        mine = self.given.mine
        for service in [node.service] if not owner else self.given.services:
            if owner and service.name != owner:
                continue
            for state in service.states:
                if state.name == name:
                    return StateAt(mine.symbol(service, name), state, mine.card)
        return None

    def read(self, at: StateAt) -> Op:
        """A state's number, as it is now."""
        return self.b.load(at.storage, at.symbol)

    def keep(self, node: Node, keeps: tuple[s.Assignment, ...], gate: Op) -> None:
        """States become what a service says, where the gate is open; all are read before."""
        values: list[tuple[StateAt, Op]] = []
        for one in keeps:
            with self.b.at(one.span):
                at = self.state(node, s.Name(one.field, one.span))
                if at is None:
                    raise fail(one.span, "E0437", f"no state '{one.field}'")
                values.append((at, self.kept(node, at, one.value, gate)))
        for one, (at, value) in zip(keeps, values, strict=True):
            with self.b.at(one.span):
                self.b.store(value, at.symbol, 0, (gate,))

    def kept(self, node: Node, at: StateAt, value: s.Expr, gate: Op) -> Op:
        """What a state becomes, as it is kept."""
        match value:
            case s.Binary(operator="+", left=left, right=s.Number(value=more)) if (
                self.state(node, left) == at and at.node.bits == at.storage
            ):  # counted in memory
                old = self.b.load(at.storage, at.symbol, 0, (gate,))
                return self.b.add(old, self.b.const(more, at.storage))
        number = self.number(node, value, max(32, at.storage))
        number = self.b.resize(number, at.storage)
        if at.node.bits == at.storage or (
            number.kind == "const" and not number.value >> at.node.bits
        ):
            return number
        return self.b.and_(number, self.b.const((1 << at.node.bits) - 1, at.storage))

    def mac(self) -> Op:
        """The card's own address as a number: its first byte is the highest of 48 bits."""
        mine = self.given.mine
        place = self.b.const(mine.unit, 64) if mine.unit is not None else self.b.load(64, mine.mac)
        return self.b.slice(self.b.bswap(place), 63, 16)

    def truth(self, node: Node, expression: s.Expr) -> Op:
        """A condition on numbers as one bit."""
        match expression:
            case s.Binary(operator="&", left=left, right=right):
                return self.b.and_(self.truth(node, left), self.truth(node, right))
            case s.Binary(operator="|", left=left, right=right):
                return self.b.or_(self.truth(node, left), self.truth(node, right))
            case s.Call(function="within", arguments=(number, column)):
                return self.within(node, number, column)
            case s.Unary(operator="!", operand=operand):
                return self.b.not_(self.truth(node, operand))
            case s.Binary(operator="==" | "!=" | "<" | "<=" as operator, left=left, right=right):
                bits = 64 if self.widest(node, expression) > 32 else 32
                a, b = self.number(node, left, bits), self.number(node, right, bits)
                kinds = {"==": self.b.eq, "!=": self.b.ne, "<": self.b.ult, "<=": self.b.ule}
                return kinds[operator](a, b)
        return self.b.ne(self.number(node, expression, 32), self.b.const(0, 32))

    def load(self, at: FieldAt) -> Op:
        """A field as a number, loaded once."""
        if at.key not in self.loads:
            first, bits = at.first_bit, at.field.bits
            byte, size = first // 8, 1
            while byte * 8 + size * 8 < first + bits:
                size *= 2
            whole = self.frame.load(self.b, size * 8, byte)
            if size > 1:
                whole = self.b.bswap(whole)
            low = byte * 8 + size * 8 - (first + bits)
            self.loads[at.key] = self.b.slice(whole, low + bits - 1, low)
        return self.loads[at.key]

    def number(self, node: Node, expression: s.Expr, bits: int) -> Op:
        """A number of the frame, at least `bits` wide."""
        known = self.constant(node, expression)
        if known is not None:
            return self.b.const(known, bits)
        owner, _, column = dotted(expression).partition(".")
        if owner in self.rows:
            rows, row = self.rows[owner]
            return self.b.resize(rows.load(self.b, row, column)[0], bits)
        if dotted(expression) == "frame.length":
            return self.b.resize(self.frame.length, bits)
        at, state = self.find(node, expression), self.state(node, expression)
        if at is not None:
            return self.b.resize(self.load(at), bits)
        if state is not None:
            return self.b.resize(self.read(state), bits)
        if dotted(expression) == "my.mac":
            return self.b.resize(self.mac(), bits)
        whose, _, what = dotted(expression).rpartition(".")
        heard = self.given.heard(node.service)
        if whose == LINE and heard is not None:
            found = {"waiting": heard.waiting, "lost": heard.lost}[what]
            return self.b.resize(found(self.b), bits)
        if whose == "my" and what in self.given.mine.held:
            return self.b.resize(self.read(self.given.mine.held[what]), bits)
        return self.worked_out(node, expression, bits)

    def worked_out(self, node: Node, expression: s.Expr, bits: int) -> Op:
        """An operation on numbers."""
        match expression:
            case s.Binary(operator=operator, left=left, right=right) if operator in KINDS:
                one, other = self.number(node, left, bits), self.number(node, right, bits)
                return self.b.two(KINDS[operator], one, other)
            case s.Unary(operator="~", operand=operand):
                return self.b.not_(self.number(node, operand, bits))
            case s.Slice(of=of, high=s.Number(value=high), low=s.Number(value=low)):
                whole = self.number(node, of, max(bits, 64 if high >= 32 else 32))
                return self.b.resize(self.b.slice(whole, high, low), bits)
            case s.Index(of=of, index=s.Number(value=at)):
                whole = self.number(node, of, max(bits, 64 if at >= 32 else 32))
                return self.b.resize(self.b.slice(whole, at, at), bits)
            case s.Call(function="first", arguments=(rows, condition, value, other)):
                return self.first(node, dotted(rows), condition, (value, other), bits)
            case s.Call(function="select", arguments=(condition, left, right)):
                test = self.truth(node, condition)
                one, other = self.number(node, left, bits), self.number(node, right, bits)
                return self.b.select(test, one, other)
            case s.Binary(operator="==" | "!=" | "<" | "<=") | s.Unary(operator="!"):
                return self.b.resize(self.truth(node, expression), bits)
        raise fail(expression.span, "E0432", "this is no number of the frame")

    def first(
        self, node: Node, name: str, condition: s.Expr, values: tuple[s.Expr, s.Expr], bits: int
    ) -> Op:
        """What the first row gives for which a condition holds: each row costs the same."""
        rows = self.given.list_of(node.service, name)
        found = self.number(node, values[1], bits)
        for row in reversed(range(len(rows.node.rows))):
            self.rows[name] = rows, row
            gate = self.b.const(0, 64)
            for test in conjuncts(condition):
                gate = self.b.gate(gate, self.truth(node, test))
            mine = self.b.eq(gate, self.b.const(0, 64))
            found = self.b.select(mine, self.number(node, values[0], bits), found)
        self.rows.pop(name, None)
        return found

    def within(self, node: Node, number: s.Expr, column: s.Expr) -> Op:
        """Whether a number is of a row's prefix, or in its range, as one bit."""
        name, _, what = dotted(column).partition(".")
        if name not in self.rows:
            raise fail(column.span, "E0446", "'within' looks at a column of the row of 'first'")
        rows, row = self.rows[name]
        first, second = rows.load(self.b, row, what)
        value = self.number(node, number, 32)
        if rows.column(what).kind == "prefix":
            return self.b.eq(self.b.and_(value, second), first)
        return self.b.ule(self.b.sub(value, first), second)

    def linear(self, node: Node, expression: s.Expr) -> tuple[str, int] | None:
        """An expression as name + constant."""
        known = self.constant(node, expression)
        if known is not None:
            return "0", known
        if dotted(expression) == "frame.length":
            return "frame.length", 0
        at = self.find(node, expression)
        if at is not None:
            return at.key, 0
        if isinstance(expression, s.Binary) and expression.operator == "+":
            left, right = self.linear(node, expression.left), self.linear(node, expression.right)
            if left is None or right is None or self.widest(node, expression) > 32:
                return None  # a sum in 64 bits might wrap
            if "0" in (left[0], right[0]):
                return (right[0] if left[0] == "0" else left[0]), left[1] + right[1]
        return None


def conjuncts(node: s.Expr | None) -> list[s.Expr]:
    """The parts of `a & b & c`."""
    if node is None:
        return []
    if isinstance(node, s.Binary) and node.operator == "&":
        return conjuncts(node.left) + conjuncts(node.right)
    return [node]
