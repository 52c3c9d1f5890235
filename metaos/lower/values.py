"""Expressions of a turn to ops: numbers, conditions, states and elements of tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metaos.errors import MetaosError
from metaos.ir.build import Builder
from metaos.ir.program import ABSOLUTE, Op
from metaos.lower.accesses import Accesses, Cond, Element, Num, Text, Value
from metaos.lower.known import fail
from metaos.lower.plan import DevicePlan, StatePlan, TablePlan
from metaos.match.facts import OPERATORS, evaluate
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted

KINDS: Mapping[str, str] = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "&": "and",
    "|": "or",
    "^": "xor",
    "<<": "shl",
    ">>": "lshr",
}


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


class Values(Accesses):
    """Lowers expressions of one device in one phase; `names` are the turn's own."""

    def __init__(self, plan: DevicePlan, builder: Builder, text: Text | None) -> None:
        super().__init__(plan, builder, text)
        self.names: dict[str, Value] = {}
        self.loaded: dict[tuple[str, Op | None], Op] = {}
        self.renewed: dict[tuple[str, Op | None], Op] = {}  # since it was written last
        self.sums: set[tuple[str, int]] = set()

    # -- conditions

    def truth_of(self, value: Value) -> Op:
        """A number of 1 bit, or a condition, as one bit."""
        return self.truth(value) if isinstance(value, Cond) else self.plain(value, 1)

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
            case s.Binary(operator="&" | "|", left=left, right=right):
                return self.is_truth(left) and self.is_truth(right)
            case s.Binary(operator=operator):
                return operator in ("==", "!=", "<", "<=")
            case s.Unary(operator="!"):
                return True
            case s.Name(text=text):
                known = self.names.get(text, self.plan.numbers.get(text))
                if isinstance(known, int):
                    return known in (0, 1)
                return isinstance(known, Cond) or (isinstance(known, Num) and known.bits == 1)
            case s.Member(of=of, name=name):
                field = self.field_of(of, name)
                if field is None:
                    return self.plan.numbers.get(dotted(node)) in (0, 1)
                return field.bits == 1
            case s.Index(of=s.Name() as of, index=s.Number()):
                state = self.plan.states.get(of.text)
                return self.is_number(of) and not (state is not None and state.count)
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

    def at(self, table: TablePlan, index: Value) -> tuple[int, tuple[Op, ...]]:
        """The byte offset of an element behind its table's symbol."""
        offset, ops = self.index(index, table.stride)
        return table.offset + offset, ops

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
            case s.Slice(of=of):
                inner = self.value(of)
                high, low = self.end(node.high), self.end(node.low)
                width = high - low + 1
                most = 64 if not isinstance(inner, Num) else inner.bits
                if not 0 <= low <= high < most:
                    raise fail(node.span, "E0427", f"no bits {high}:{low} in {most} bits")
                if isinstance(inner, Num) and inner.scale and not low:  # it stays multiplied
                    whole = width == inner.bits
                    op = inner.op if whole else self.wrapped(inner.op, width, inner.scale)
                    return Num(op, width, inner.scale)
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
            case s.Call(function="select", arguments=(condition, a, b)):
                return self.choice(condition, a, b)
        raise fail(node.span, "E0411", "this cannot stand in a turn")

    def end(self, node: s.Expr) -> int:
        """An end of a slice, known when the image is built."""
        found = evaluate(node, self.plan.device, self.plan.facts.values)
        if not isinstance(found, int):
            raise fail(node.span, "E0411", "the ends of a slice are numbers")
        return found

    def name(self, node: s.Expr, text: str) -> Value:
        if text in self.names:
            return self.names[text]
        if text in self.plan.numbers:
            return self.plan.numbers[text]
        state = self.plan.states.get(text)
        if text in self.plan.folded and state is not None:
            return Num(self.b.const(self.plan.folded[text], state.bits), state.bits)
        if state is not None and not state.count:
            return self.read_state(state, ())
        register = self.plan.registers.get(text)
        if register is not None:
            return Num(self.read_register(node, register, self.guard, 0), register.bits)
        raise fail(node.span, "E0412", f"unknown name '{text}'")

    def member(self, node: s.Expr, of: s.Expr, name: str) -> Value:
        if dotted(node) in self.plan.numbers:
            return self.plan.numbers[dotted(node)]
        register = self.plan.registers.get(of.text) if isinstance(of, s.Name) else None
        if register is not None and isinstance(of, s.Name) and of.text not in self.names:
            field = self.field_of(of, name)
            if field is None:
                raise fail(node.span, "E0414", f"no field '{name}' in '{of.text}'")
            whole = self.read_register(node, register, self.guard, 0)
            return Num(self.b.slice(whole, field.high, field.low), field.bits)
        element = self.value(of)
        if not isinstance(element, Element) or element.table.layout is None:
            raise fail(node.span, "E0413", f"'{name}' is a field of no table's element")
        layout_field = element.table.layout.field(name)
        if layout_field is None:
            raise fail(node.span, "E0414", f"no field '{name}' in '{element.table.layout.name}'")
        if element.table.name in self.written and not element.fresh:
            text = f"'{element.table.name}' is read after this turn has written it"
            raise fail(node.span, "E0425", text, "give what is read a name before: x = ...")
        return self.read_field(element, layout_field)

    def read_field(self, element: Element, field: s.Field) -> Num:
        """Load the least aligned unit that holds the field."""
        byte, bits = field.low // 8, 8
        while field.high // bits != field.low // bits:
            bits *= 2
        byte = field.low // bits * (bits // 8)
        offset, index = self.at(element.table, element.index)
        shared = bool(element.table.window)
        whole = self.b.load(bits, element.table.symbol, offset + byte, index, ordered=shared)
        if not shared:
            self.b.barrier()  # the card writes the owner's bit last: fields are read in order
        low = field.low - byte * 8
        return Num(self.b.slice(whole, low + field.bits - 1, low), field.bits)

    def element(self, node: s.Expr, of: s.Expr, index: s.Expr) -> Value:
        if isinstance(of, s.Member | s.Slice | s.Index):  # a bit of a number
            return self.value(s.Slice(of, index, index, node.span))
        fresh = isinstance(of, s.Prime)
        base = of.of if isinstance(of, s.Prime) else of
        if not isinstance(base, s.Name):
            raise fail(node.span, "E0415", "only tables and states have elements")
        table = self.plan.tables.get(base.text)
        where = self.value(index)
        if isinstance(where, Cond | Element):
            raise fail(index.span, "E0416", "an index is a number")
        if table is not None:
            self.bounded(table, where, index)
            return Element(table, where, fresh)
        state = self.plan.states.get(base.text)
        if state is not None and state.count:
            offset, ops = self.index(where, state.stride)
            return self.read_state(state, ops, offset, fresh)
        if isinstance(where, int) and self.is_number(base):
            return self.value(s.Slice(of, index, index, node.span))
        raise fail(node.span, "E0412", f"unknown table '{base.text}'")

    def is_number(self, node: s.Name) -> bool:
        """Whether a name stands for a number, of which `x[3]` is a bit."""
        named = node.text in self.names or node.text in self.plan.registers
        return named or node.text in self.plan.states

    def bounded(self, table: TablePlan, where: Num | int, index: s.Expr) -> None:
        """An index stays in a table whose count only the machine file says.

        Of the others, the text alone has proved it.
        """
        top = where if isinstance(where, int) else (1 << where.bits) - 1
        unproved = table.node.elements is None or isinstance(where, int)
        if unproved and top >= table.count:
            text = f"'{table.name}' has {table.count} elements, this index can be {top}"
            raise fail(index.span, "E0428", text, "choose its bits: x[log2(count) - 1:0]")

    def reference(self, of: s.Expr) -> Value:
        if isinstance(of, s.Name) and of.text in self.plan.tables:
            table = self.plan.tables[of.text]
            return Num(self.b.address(table.symbol, table.offset), 64)
        element = self.value(of)
        if not isinstance(element, Element):
            raise fail(of.span, "E0417", "only a table and its elements have addresses")
        offset, index = self.at(element.table, element.index)
        return Num(self.b.address(element.table.symbol, offset, index), 64)

    def binary(self, node: s.Binary) -> Value:
        if node.operator == "&" and self.is_truth(node):
            return self.condition(node)
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(left, int) and isinstance(right, int):
            return OPERATORS[node.operator](left, right)
        if node.operator == "|" and self.is_truth(node):
            return Cond((self.b.or_(self.truth_of(left), self.truth_of(right)),))
        counts = isinstance(right, int) and node.operator in ("+", "-")
        if isinstance(left, Num) and left.scale and isinstance(right, int) and counts:
            return self.scaled_add(left, right if node.operator == "+" else -right)
        tests = {"==": self.b.eq, "!=": self.b.ne, "<": self.b.ult, "<=": self.b.ule}
        if node.operator in tests:
            return Cond((tests[node.operator](*self.sides(left, right)),))
        shifts = node.operator in ("<<", ">>")
        bits = _width(left) if shifts else max(_width(left), _width(right))
        a, b = self.plain(left, bits), self.plain(right, bits)
        return Num(self.b.two(KINDS[node.operator], a, b), bits)

    def sides(self, left: Value, right: Value) -> tuple[Op, Op]:
        """Both, equally wide; what is kept multiplied stays so beside a constant."""
        bits = max(_width(left), _width(right))
        if isinstance(left, Num) and left.scale and isinstance(right, int) and bits == left.bits:
            return left.op, self.b.const(right << left.scale, left.op.bits)
        return self.plain(left, bits), self.plain(right, bits)

    def choice(self, condition: s.Expr, a: s.Expr, b: s.Expr) -> Num:
        """`select(condition, a, b)`: both are worked out."""
        test = self.truth(self.condition(condition))
        if test.kind == "const":
            a, b = (b, a) if test.value else (a, b)
            before = dict(self.loaded)  # what is not chosen is not read
            idle = self.value(a)
            self.loaded = before
            chosen = self.value(b)
            bits = max(_width(idle), _width(chosen))
            if isinstance(chosen, Num) and chosen.scale and chosen.bits == bits:
                return chosen
            return Num(self.plain(chosen, bits), bits)
        one, other = self.value(a), self.value(b)
        bits = max(_width(one), _width(other))
        if isinstance(one, Num) and isinstance(other, Num) and one.scale == other.scale:
            size = max(one.op.bits, other.op.bits)
            both = self.b.select(test, self.b.resize(one.op, size), self.b.resize(other.op, size))
            return Num(both, bits, one.scale)
        return Num(self.b.select(test, self.plain(one, bits), self.plain(other, bits)), bits)

    def scaled_add(self, number: Num, amount: int) -> Num:
        self.sums |= {
            (n.name, amount)
            for n in self.plan.states.values()
            if self.loaded.get((f"{n.symbol}+0", None)) is number.op
        }
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
        known = self.renewed if fresh else self.loaded
        if key not in known:
            op = self.b.load(state.storage, state.symbol, offset, index)
            if fresh and index:
                return Num(op, state.bits, state.scale)
            known[key] = op
        return Num(known[key], state.bits, state.scale)

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


def _width(value: Value) -> int:
    """Bits of a number; a constant has those it needs, a condition 1."""
    match value:
        case Num(bits=bits):
            return bits
        case int():
            return max(1, value.bit_length())
    return 1
