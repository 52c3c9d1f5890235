"""A pattern's `turn` to ops: `lower_turn(plan, builder, splices)`.

Guards become gates (see `metaos.ir.program`): an access that must not happen goes to the
scratch instead. Reads see the values a turn began with; `s'` reads a state anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from metaos.errors import MetaosError
from metaos.ir.build import Builder
from metaos.ir.program import ABSOLUTE, Op
from metaos.lower.plan import DevicePlan, RegisterPlan, StatePlan, TablePlan, fail
from metaos.pattern import syntax as s


@dataclass(frozen=True, slots=True)
class Num:
    """A number of `bits` bits, kept in `op` times 2^`scale`."""

    op: Op
    bits: int
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Cond:
    """A condition: all of `tests` (1 bit each), and what `gate` already stands for."""

    tests: tuple[Op, ...]
    gate: Op | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a table, read field by field where it is used."""

    table: TablePlan
    index: Num | int


Value = Num | Cond | Element | int


@dataclass(frozen=True, slots=True)
class Frame:
    """A received frame in a buffer: 64-bit address, 32-bit length, gate of its guard.

    `least` bytes every frame has that the card delivers.
    """

    base: Op
    length: Op
    gate: Op
    least: int = 0

    def load(self, builder: Builder, bits: int, offset: int) -> Op:
        """`bits` bits of the frame from byte `offset`."""
        return builder.load(bits, ABSOLUTE, offset, (self.base,))


class Text(Protocol):
    """What a console shows: a stream of characters of 8 bits.

    `symbol` is where characters are loaded from; `constant` if nothing writes there.
    """

    @property
    def symbol(self) -> str: ...

    @property
    def constant(self) -> bool: ...

    def take(self, builder: Builder) -> tuple[Op, Op, Op]:
        """The next character, whether (1 bit) there is one, and how many came before it."""

    def advance(self, builder: Builder, taken: Op) -> None:
        """Go on by `taken` (1 bit) characters."""


Splice = Callable[[Builder, Frame], tuple[Op, Op]]
"""Services: a frame to the gate of its answer and the answer's length (16 bits)."""


class Turn:
    """Lowers the steps of one turn; names are those of the pattern."""

    def __init__(self, plan: DevicePlan, builder: Builder, frames: Splice, text: Text | None):
        self.plan = plan
        self.b = builder
        self.frames = frames
        self.text = text
        self.names: dict[str, Value] = {}
        self.loaded: dict[tuple[str, Op | None], Op] = {}
        self.sums: set[tuple[str, int]] = set()

    def lower(self) -> None:
        turn = self.plan.pattern.one(s.Turn)
        if turn is not None:
            self.steps(turn.steps, Cond(()))

    # -- gates and conditions

    def open(self) -> Op:
        return self.b.const(0, 64)

    def gate(self, cond: Cond) -> Op:
        """0 where the condition holds, else the way to the scratch."""
        gate = cond.gate if cond.gate is not None else self.open()
        for test in cond.tests:
            gate = self.b.gate(gate, test)
        return gate

    def truth(self, cond: Cond) -> Op:
        """The condition as one bit."""
        bits = list(cond.tests)
        if cond.gate is not None:
            bits.insert(0, self.b.eq(cond.gate, self.open()))
        if not bits:
            return self.b.const(1, 1)
        result = bits[0]
        for bit in bits[1:]:
            result = self.b.and_(result, bit)
        return result

    def both(self, a: Cond, b: Cond) -> Cond:
        if a.gate is not None and b.gate is not None and a.gate is not b.gate:
            return Cond((*a.tests, *b.tests, self.b.eq(b.gate, self.open())), a.gate)
        gate = a.gate if a.gate is not None else b.gate
        if a.gate is None and b.gate is not None:
            return Cond((*b.tests, *a.tests), gate)
        return Cond((*a.tests, *(t for t in b.tests if t not in a.tests)), gate)

    def condition(self, node: s.Expr | None) -> Cond:
        if node is None:
            return Cond(())
        if isinstance(node, s.Binary) and node.operator == "&" and self.is_truth(node):
            left = self.condition(node.left)
            self.gate(left)  # at once: a test beside its load is one instruction
            both = self.both(left, self.condition(node.right))
            self.gate(both)
            return both
        value = self.value(node)
        match value:
            case Cond():
                return value
            case int():
                return Cond(() if value else (self.b.const(0, 1),))
            case Num(bits=1):
                return Cond((self.plain(value, 1),))
        raise fail(node.span, "E0410", "expected a condition of 1 bit")

    def is_truth(self, node: s.Expr) -> bool:
        """Whether an expression is 1 bit wide, without lowering it."""
        match node:
            case s.Binary(operator="&", left=left, right=right):
                return self.is_truth(left) and self.is_truth(right)
            case s.Binary(operator=operator):
                return operator in ("==", "!=", "<", "<=")
            case s.Unary(operator="!"):
                return True
            case s.Name(text=text):
                known = self.names.get(text)
                return isinstance(known, Cond) or (isinstance(known, Num) and known.bits == 1)
            case s.Member(of=of, name=name):
                field = self.field_of(of, name)
                return field is not None and field.bits == 1
        return False

    # -- values

    def field_of(self, of: s.Expr, name: str) -> s.Field | None:
        if isinstance(of, s.Name):
            known = self.names.get(of.text)
            if isinstance(known, Element) and known.table.layout is not None:
                return known.table.layout.field(name)
            register = self.plan.registers.get(of.text)
            if register is not None:
                return next((f for f in register.node.fields if f.name == name), None)
        if isinstance(of, s.Index) and isinstance(of.of, s.Name):
            table = self.plan.tables.get(of.of.text)
            if table is not None and table.layout is not None:
                return table.layout.field(name)
        return None

    def plain(self, value: Value, bits: int) -> Op:
        """The number itself, `bits` wide."""
        match value:
            case int():
                return self.b.const(value, bits)
            case Cond():
                return self.b.resize(self.truth(value), bits)
            case Num(op=op, scale=scale):
                if scale:
                    op = self.b.resize(op, max(bits, op.bits))
                    op = self.b.lshr(op, self.b.const(scale, op.bits))
                return self.b.resize(op, bits)
        raise MetaosError("a table's element is not a number")

    def index(self, value: Value, stride: int) -> tuple[int, tuple[Op, ...]]:
        """The byte offset of an index: a constant part and ops of 64 bits."""
        match value:
            case int():
                return value * stride, ()
            case Num(op=op, scale=scale) if 1 << scale == stride:
                return 0, (self.b.zext(op, 64) if op.bits < 64 else op,)
        op = self.plain(value, 64)
        return 0, (self.b.mul(op, self.b.const(stride, 64)),)

    def value(self, node: s.Expr) -> Value:
        with self.b.at(node.span):
            return self._value(node)

    def _value(self, node: s.Expr) -> Value:
        match node:
            case s.Number(value=value):
                return value
            case s.Name(text=text):
                return self.name(node, text)
            case s.Member(of=of, name=name):
                return self.member(node, of, name)
            case s.Index(of=of, index=index):
                return self.element(node, of, index)
            case s.Prime(of=s.Name(text=text)) if text in self.plan.states:
                return self.read_state(self.plan.states[text], (), fresh=True)
            case s.Reference(of=of):
                return self.reference(of)
            case s.Slice(of=of, high=s.Number(value=high), low=s.Number(value=low)):
                inner = self.value(of)
                width = high - low + 1
                op = self.plain(inner, max(high + 1, inner.bits if isinstance(inner, Num) else 0))
                return Num(self.b.slice(op, high, low), width)
            case s.Unary(operator="!", operand=operand):
                return Cond((self.b.not_(self.truth(self.condition(operand))),))
            case s.Unary(operator="~", operand=operand):
                inner = self.value(operand)
                bits = inner.bits if isinstance(inner, Num) else 32
                return Num(self.b.not_(self.plain(inner, bits)), bits)
            case s.Binary():
                return self.binary(node)
        raise fail(node.span, "E0411", "this cannot stand in a turn")

    def name(self, node: s.Expr, text: str) -> Value:
        if text in self.names:
            return self.names[text]
        if text in self.plan.numbers:
            return self.plan.numbers[text]
        state = self.plan.states.get(text)
        if state is not None and not state.count:
            return self.read_state(state, ())
        register = self.plan.registers.get(text)
        if register is not None:
            return Num(self.read_register(node, register, Cond(()), 0), register.bits)
        raise fail(node.span, "E0412", f"unknown name '{text}'")

    def member(self, node: s.Expr, of: s.Expr, name: str) -> Value:
        register = self.plan.registers.get(of.text) if isinstance(of, s.Name) else None
        if register is not None and isinstance(of, s.Name) and of.text not in self.names:
            field = next(f for f in register.node.fields if f.name == name)
            whole = self.read_register(node, register, Cond(()), 0)
            return Num(self.b.slice(whole, field.high, field.low), field.bits)
        element = self.value(of)
        if not isinstance(element, Element) or element.table.layout is None:
            raise fail(node.span, "E0413", f"'{name}' is a field of no table's element")
        layout_field = element.table.layout.field(name)
        if layout_field is None:
            raise fail(node.span, "E0414", f"no field '{name}' in '{element.table.layout.name}'")
        return self.read_field(element, layout_field)

    def read_field(self, element: Element, field: s.Field) -> Num:
        """Load the least aligned unit that holds the field."""
        byte, bits = field.low // 8, 8
        while field.high // bits != field.low // bits:
            bits *= 2
        byte = field.low // bits * (bits // 8)
        offset, index = self.index(element.index, element.table.stride)
        shared = bool(element.table.window)
        whole = self.b.load(bits, element.table.symbol, offset + byte, index, ordered=shared)
        if not shared:
            self.b.barrier()  # the card writes the owner's bit last: fields are read in order
        low = field.low - byte * 8
        return Num(self.b.slice(whole, low + field.bits - 1, low), field.bits)

    def element(self, node: s.Expr, of: s.Expr, index: s.Expr) -> Value:
        fresh = isinstance(of, s.Prime)
        base = of.of if isinstance(of, s.Prime) else of
        if not isinstance(base, s.Name):
            raise fail(node.span, "E0415", "only tables and states have elements")
        table = self.plan.tables.get(base.text)
        where = self.value(index)
        if isinstance(where, Cond | Element):
            raise fail(index.span, "E0416", "an index is a number")
        if table is not None:
            return Element(table, where)
        state = self.plan.states.get(base.text)
        if state is not None and state.count:
            offset, ops = self.index(where, state.stride)
            return self.read_state(state, ops, offset, fresh)
        raise fail(node.span, "E0412", f"unknown table '{base.text}'")

    def reference(self, of: s.Expr) -> Value:
        if isinstance(of, s.Name) and of.text in self.plan.tables:
            return Num(self.b.address(self.plan.tables[of.text].symbol), 64)
        element = self.value(of)
        if not isinstance(element, Element):
            raise fail(of.span, "E0417", "only a table and its elements have addresses")
        offset, index = self.index(element.index, element.table.stride)
        return Num(self.b.address(element.table.symbol, offset, index), 64)

    def binary(self, node: s.Binary) -> Value:
        if node.operator == "&" and self.is_truth(node):
            return self.condition(node)
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(left, Num) and left.scale and isinstance(right, int):
            if node.operator in ("+", "-"):
                return self.scaled_add(left, right if node.operator == "+" else -right)
        bits = max((v.bits for v in (left, right) if isinstance(v, Num)), default=32)
        a, b = self.plain(left, bits), self.plain(right, bits)
        kinds = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor",
                 "<<": "shl", ">>": "lshr"}  # fmt: skip
        tests = {"==": self.b.eq, "!=": self.b.ne, "<": self.b.ult, "<=": self.b.ule}
        if node.operator in tests:
            return Cond((tests[node.operator](a, b),))
        return Num(self.b.two(kinds[node.operator], a, b), bits)

    def scaled_add(self, number: Num, amount: int) -> Num:
        self.sums |= {(n.name, amount) for n in self.plan.states.values()
                      if self.loaded.get((f"{n.symbol}+0", None)) is number.op}  # fmt: skip
        op = self.b.add(number.op, self.b.const(amount << number.scale, number.op.bits))
        return Num(self.wrapped(op, number.bits, number.scale), number.bits, number.scale)

    def wrapped(self, op: Op, bits: int, scale: int) -> Op:
        if bits + scale == op.bits:
            return op
        return self.b.and_(op, self.b.const((1 << bits + scale) - 1, op.bits))

    # -- states

    def read_state(
        self, state: StatePlan, index: tuple[Op, ...], offset: int = 0, fresh: bool = False
    ) -> Num:
        key = (f"{state.symbol}+{offset}", index[0] if index else None)
        if fresh or key not in self.loaded:
            op = self.b.load(state.storage, state.symbol, offset, index)
            if fresh:
                return Num(op, state.bits, state.scale)
            self.loaded[key] = op
        return Num(self.loaded[key], state.bits, state.scale)

    def stored(self, state: StatePlan, value: Value) -> Op:
        """A value as the state keeps it."""
        if isinstance(value, int):
            return self.b.const(value << state.scale, state.storage)
        if isinstance(value, Num) and value.scale == state.scale:
            op = self.b.resize(value.op, state.storage)
            return op if value.bits <= state.bits else self.wrapped(op, state.bits, state.scale)
        op = self.plain(value, state.storage)
        op = self.b.shl(op, self.b.const(state.scale, state.storage))
        return self.wrapped(op, state.bits, state.scale)

    # -- registers

    def read_register(
        self, node: s.Expr, register: RegisterPlan, guard: Cond, default: int
    ) -> Op:
        if register.space == "mmio":
            gate = self.gate(guard)
            whole = self.b.load(
                register.bits, register.symbol, register.number, (gate,), ordered=True
            )
            if not guard.tests and guard.gate is None:
                return whole
            return self.b.select(
                self.truth(guard), whole, self.b.const(default, register.bits)
            )
        if register.space == "port":
            port = self.b.const(register.number, 16)
            if not guard.tests and guard.gate is None:
                return self.b.input(port, register.bits)
            latch = self.plan.symbol("port.latch")
            self.b.store(self.b.const(default, register.bits), latch)
            count = self.b.zext(self.truth(guard), 64)
            self.b.ins(port, count, self.b.address(latch), register.bits)
            return self.b.load(register.bits, latch)
        raise fail(node.span, "E0418", "config space is reached by rows, not in a turn")

    def write_register(self, node: s.Expr, register: RegisterPlan, value: Op, guard: Cond) -> None:
        if register.space == "mmio":
            gate = self.gate(guard)
            self.b.store(value, register.symbol, register.number, (gate,), ordered=True)
        elif register.space == "port":
            port = self.b.const(register.number, 16)
            if not guard.tests and guard.gate is None:
                self.b.output(port, value)
                return
            count = self.b.zext(self.truth(guard), 64)
            self.b.outs(port, count, self.memory_of(value), register.bits)
        else:
            raise fail(node.span, "E0418", "config space is reached by rows, not in a turn")

    def memory_of(self, value: Op) -> Op:
        """Where a value lies: where it was just loaded from, if nothing else writes there."""
        if value.kind == "load" and value.address is not None and not value.ordered:
            if self.text is not None and self.text.constant and (
                value.address.symbol == self.text.symbol
            ):
                return self.b.address(value.address.symbol, value.address.offset, value.args)
        latch = self.plan.symbol("port.latch")
        self.b.store(value, latch, 4)
        return self.b.address(latch, 4)

    # -- steps

    def steps(self, steps: tuple[s.Step, ...], guard: Cond) -> None:
        for step in steps:
            with self.b.at(step.span):
                self.step(step, guard)

    def step(self, step: s.Step, guard: Cond) -> None:
        match step:
            case s.Let():
                self.let(step, guard)
            case s.Write(target=target, value=value, guard=own):
                self.write(target, value, self.both(guard, self.condition(own)))
            case s.Swap(left=left, right=right, guard=own):
                self.swap(left, right, self.both(guard, self.condition(own)))
            case s.When(guard=own, body=body):
                self.steps(body, self.both(guard, self.condition(own)))
            case s.Offer():
                self.offer(step, guard)
            case s.Take(character=character, some=some):
                if self.text is not None:
                    char, more, at = self.text.take(self.b)
                    self.names[character] = Num(char, 8)
                    self.names[some] = Cond((more,))
                    self.names[step.position or "position"] = Num(at, 8)
            case s.Advance(guard=own):
                taken = self.truth(self.both(guard, self.condition(own)))
                if self.text is not None:
                    self.text.advance(self.b, taken)
            case s.Order():
                self.b.fence()

    def let(self, step: s.Let, guard: Cond) -> None:
        if step.guard is None:
            self.names[step.name] = self.value(step.value)
            return
        own = self.both(guard, self.condition(step.guard))
        default = self.value(step.default) if step.default is not None else 0
        node, field = step.value, None
        if isinstance(node, s.Member) and isinstance(node.of, s.Name):
            field = self.field_of(node.of, node.name)
            node = node.of
        register = self.plan.registers.get(node.text) if isinstance(node, s.Name) else None
        if register is None or not isinstance(default, int):
            raise fail(step.span, "E0419", "a guarded read reads a register or one of its fields")
        shift = field.low if field is not None else 0
        whole = self.read_register(node, register, own, default << shift)
        if field is None:
            self.names[step.name] = Num(whole, register.bits)
        else:
            bits = self.b.slice(whole, field.high, field.low)
            self.names[step.name] = Num(bits, field.bits)

    def write(self, target: s.Expr, node: s.Expr, guard: Cond) -> None:
        match target:
            case s.Name(text=text) if text in self.plan.states:
                self.write_state(self.plan.states[text], node, guard)
            case s.Name(text=text) if text in self.plan.registers:
                register = self.plan.registers[text]
                value = self.register_value(register, node)
                self.write_register(target, register, value, guard)
            case s.Index(of=s.Name(text=text), index=index) if text in self.plan.tables:
                self.write_element(self.plan.tables[text], index, node, guard)
            case s.Index(of=s.Name(text=text), index=index) if text in self.plan.states:
                state = self.plan.states[text]
                value = self.stored(state, self.value(node))
                offset, ops = self.index(self.value(index), state.stride)
                self.b.store(value, state.symbol, offset, (*ops, self.gate(guard)))
            case s.Member(of=s.Index(of=s.Name(text=text), index=index), name=name) if (
                text in self.plan.tables
            ):
                self.write_field(self.plan.tables[text], index, name, node, guard)
            case _:
                raise fail(target.span, "E0420", "a turn writes states, tables and registers")

    def write_state(self, state: StatePlan, node: s.Expr, guard: Cond) -> None:
        gate = self.gate(guard)
        amount = self.counts(state, node)
        if amount is not None:
            old = self.b.load(state.storage, state.symbol, 0, (gate,))
            amount_op = self.b.const(amount << state.scale, state.storage)
            self.b.store(self.b.add(old, amount_op), state.symbol, 0, (gate,))
            return
        value = self.stored(state, self.value(node))
        self.b.store(value, state.symbol, 0, (gate,))

    def counts(self, state: StatePlan, node: s.Expr) -> int | None:
        """k for `state <- state + k` of a state that wraps by itself: added in place."""
        match node:
            case s.Binary(operator="+", left=s.Name(text=text), right=s.Number(value=amount)):
                taken = (state.name, amount) in self.sums
                return amount if text == state.name and state.wraps and not taken else None
        return None

    def register_value(self, register: RegisterPlan, node: s.Expr) -> Op:
        if not isinstance(node, s.Record):
            return self.plain(self.value(node), register.bits)
        return self.record(register.node.fields, node, register.bits, 0)

    def record(self, fields: tuple[s.Field, ...], node: s.Record, bits: int, base: int) -> Op:
        """The `bits` bits from bit `base` of a record."""
        word = self.b.const(0, bits)
        by_name = {f.name: f for f in fields}
        for part in node.fields:
            field = by_name.get(part.name)
            if field is None:
                raise fail(part.span, "E0414", f"no field '{part.name}'")
            if not base <= field.low < base + bits:
                continue
            value: Value = 1 if part.value is None else self.value(part.value)
            fits = isinstance(value, Num) and not value.scale and value.bits <= field.bits
            op = value.op if fits else self.plain(value, field.bits)  # type: ignore[union-attr]
            op = self.b.resize(op, bits)
            op = self.b.shl(op, self.b.const(field.low - base, bits))
            word = self.b.or_(word, op)
        return word

    def write_element(
        self, table: TablePlan, index: s.Expr, node: s.Expr, guard: Cond
    ) -> None:
        if not isinstance(node, s.Record) or table.layout is None:
            raise fail(node.span, "E0421", "an element is written whole: { field = value, ... }")
        where = self.value(index)
        offset, ops = self.index(where, table.stride)
        gate = self.gate(guard)
        unit = min(64, table.stride * 8)
        words = [
            self.record(table.layout.fields, node, unit, base)
            for base in range(0, table.stride * 8, unit)
        ]
        for number, word in enumerate(words):
            at = offset + number * unit // 8
            self.b.store(word, table.symbol, at, (*ops, gate), ordered=True)

    def write_field(
        self, table: TablePlan, index: s.Expr, name: str, node: s.Expr, guard: Cond
    ) -> None:
        """A field of whole bytes is stored alone; the others keep their values."""
        field = table.layout.field(name) if table.layout is not None else None
        if field is None or field.low % 8 or field.bits not in (8, 16, 32, 64):
            raise fail(node.span, "E0424", f"'{name}' is no field of 1, 2, 4 or 8 whole bytes")
        offset, ops = self.index(self.value(index), table.stride)
        value = self.plain(self.value(node), field.bits)
        gate = self.gate(guard)
        at = offset + field.low // 8
        self.b.store(value, table.symbol, at, (*ops, gate), ordered=True)

    def swap(self, left: s.Expr, right: s.Expr, guard: Cond) -> None:
        gate = self.gate(guard)
        places = []
        for node in (left, right):
            state = (
                self.plan.states.get(node.of.text)
                if isinstance(node, s.Index) and isinstance(node.of, s.Name)
                else None
            )
            if state is None or not isinstance(node, s.Index):
                raise fail(node.span, "E0422", "'swap' takes two elements of state arrays")
            value = self.value(node)
            offset, ops = self.index(self.value(node.index), state.stride)
            places.append((state, offset, ops, value))
        for (state, offset, ops, _), (_, _, _, value) in zip(places, places[::-1], strict=True):
            self.b.store(self.stored(state, value), state.symbol, offset, (*ops, gate))

    def offer(self, step: s.Offer, guard: Cond) -> None:
        element = self.value(step.frame)
        if not isinstance(element, Element):
            raise fail(step.frame.span, "E0423", "a frame lies at a table's element")
        length = self.plain(self.value(step.length), 32)
        offset, ops = self.index(element.index, element.table.stride)
        if offset or len(ops) != 1:
            raise fail(step.frame.span, "E0423", "a frame lies at an element chosen by a state")
        gate = self.gate(self.both(guard, self.condition(step.guard)))
        base = self.b.address(element.table.symbol, 0, ops)
        frame = Frame(base, length, gate, step.least)
        answered, answer_length = self.frames(self.b, frame)
        self.names[step.answered] = Cond((), answered)
        self.names[step.answer_length] = Num(answer_length, 16)
