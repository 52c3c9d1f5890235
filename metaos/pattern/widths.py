"""What an expression is and how wide: `width_of(expression, names) -> int | None`.

    typer = Typer(names, report)
    typer.number(expression)        # Num(bits=5, top=31), or None after a reported problem

`names` are what the expression may speak of (`metaos.pattern.kinds`). Every operation is
pure and total; a number is as wide as its widest part, a constant as wide as it must be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from metaos.errors import Span
from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.arithmetic import OPERATIONS, sized
from metaos.pattern.report import Report
from metaos.pattern.spell import spell
from metaos.pattern.words import bits as bits_of
from metaos.pattern.words import compares, low_bits, meant, spoken, way_out

Read = Callable[[k.Reg, s.Expr], None]


def width_of(expression: s.Expr, names: Mapping[str, k.Kind], report: Report) -> int | None:
    """How many bits a number has; None for what is none."""
    with report.muted():
        found = Typer(names, report).number(expression)
    return found.bits if found is not None else None


class Typer:
    """Finds the kinds of expressions and reports what cannot be.

    `read` is told of every register whose value is taken; `used` gathers the names.
    """

    def __init__(
        self, names: Mapping[str, k.Kind], report: Report, read: Read | None = None
    ) -> None:
        self.names = dict(names)
        self.later: dict[str, Span] = {}
        self.report = report
        self.read = read
        self.used: set[str] = set()

    def say(self, code: str, message: str, span: Span, hint: str = "") -> None:
        self.report.say(code, message, span, hint)

    # ---- what it is

    def kind(self, node: s.Expr, use: bool = True) -> k.Kind:
        """The kind of an expression; `use` False where a place is only written."""
        match node:
            case s.Number(value=value):
                return k.constant(value)
            case s.Name(text=text):
                return self._name(node, text, use)
            case s.Member(of=of, name=name):
                return self._member(node, self.kind(of, use), name)
            case s.Index(of=of, index=index):
                return self._index(node, self.kind(of, use), index)
            case s.Slice():
                return self._slice(node)
            case s.Prime(of=of):
                return self._prime(node, self.kind(of, use))
            case s.Reference(of=of):
                return self._reference(node, self.kind(of, use))
            case s.Unary():
                return self._unary(node)
            case s.Binary():
                return self._binary(node)
            case s.Call():
                return self._call(node)
            case s.Record():
                hint = "'{ ... }' is what a register or an element of a table becomes"
                return self._wrong(node, "fields in braces are no number", hint)
            case s.String():
                return self._wrong(node, "a text is no number")

    def number(self, node: s.Expr) -> k.Num | None:
        """The number an expression is; None if it is none, which is reported."""
        return self.value(self.kind(node), node)

    def value(self, kind: k.Kind, node: s.Expr) -> k.Num | None:
        """The number of what was found to be of a kind; a register is read."""
        match kind:
            case k.Num():
                return kind
            case k.Kept(node=register):
                return k.fact(register.bits)
            case k.Reg(node=register):
                self._read(kind, node)
                return k.number(register.bits)
            case k.Var(node=state):
                return k.number(state.bits)
            case k.Unknown():
                return None
        self._wrong(node, f"'{spell(node)}' is {spoken(kind)}, no number", way_out(kind, node))
        return None

    def condition(self, node: s.Expr | None) -> k.Num | None:
        """Check what must be true or false, one bit; the number it is."""
        found = self.number(node) if node is not None else None
        if node is not None and found is not None and found.top > 1:
            self.say(
                "E0209", f"a condition has 1 bit, '{spell(node)}' has {found.bits}", node.span,
                f"compare it: {spell(s.Binary('!=', node, s.Number(0, node.span), node.span))}",
            )  # fmt: skip
        return found

    def given(self, node: s.Expr | None) -> None:
        """Check a condition that chooses when the image is built."""
        found = self.condition(node)
        if node is not None and found is not None and not found.fixed:
            text = f"'given' chooses when the image is built, '{spell(node)}' is not known then"
            self.say("E0256", text, node.span, "say 'when', in a turn")

    def built(self, node: s.Expr | None) -> k.Num | None:
        """A number that is known when the image is built."""
        found = self.number(node) if node is not None else None
        if node is not None and found is not None and not found.fixed:
            text = f"'{spell(node)}' is not known when the image is built"
            self.say("E0206", text, node.span)
        return found

    def fits(self, node: s.Expr, bits: int, what: str) -> None:
        """Check that a value fits the `bits` bits of `what`."""
        found = self.number(node)
        bits = min(bits, 4096)
        if found is None:
            return
        if found.value is not None:
            if not -(1 << bits) <= found.value < 1 << bits:
                most = f"{(1 << bits) - 1:#x}" if bits > 3 else str((1 << bits) - 1)
                self.say(
                    "E0203", f"{spell(node)} does not fit the {bits_of(bits)} of '{what}'",
                    node.span, f"at most {most}",
                )  # fmt: skip
        elif found.bits > bits and found.top >> bits:
            self.say(
                "E0203", f"{bits_of(found.bits)} do not fit the {bits_of(bits)} of '{what}'",
                node.span, f"say which bits: {low_bits(node, bits)}",
            )  # fmt: skip

    def record(self, node: s.Record, fields: tuple[s.Field, ...], what: str) -> None:
        """Check the fields of `{ ... }` written to a register or an element called `what`."""
        known = {f.name: f for f in fields}
        seen: set[str] = set()
        for part in node.fields:
            at = self.report.word(part.span, part.name)
            field = known.get(part.name)
            if field is None:
                hint = self.report.near(part.name, known) or "it has no fields"
                self.say("E0202", f"'{what}' has no field '{part.name}'", at, hint)
                if part.value is not None:
                    self.number(part.value)
                continue
            others = (known[n] for n in seen)
            if part.name in seen:
                self.say("E0210", f"'{part.name}' is said twice", at)
            elif shared := [f for f in others if f.low <= field.high and field.low <= f.high]:
                self.say("E0210", f"'{part.name}' has bits of '{shared[0].name}', said before", at)
            seen.add(part.name)
            if part.value is not None:
                self.fits(part.value, field.bits, f"{what}.{part.name}")
            elif field.bits > 1:
                message = f"'{part.name}' has {field.bits} bits, a flag alone is 1"
                self.say("E0203", message, at, f"say its value: {part.name} = ...")

    # ---- helpers

    def _wrong(self, node: s.Expr, message: str, hint: str = "") -> k.Unknown:
        self.say("E0206", message, node.span, hint)
        return k.UNKNOWN

    def _read(self, register: k.Reg, node: s.Expr) -> None:
        if self.read is not None:
            self.read(register, node)

    def _name(self, node: s.Expr, text: str, use: bool) -> k.Kind:
        if use:
            self.used.add(text)
        found = self.names.get(text)
        if found is None:
            hint = self.report.near(text, self.names)
            hint = k.ELSEWHERE.get(text, hint)
            if text in self.later:
                hint = f"it is set further down, in line {self.later[text].line}"
            self.say("E0201", f"unknown name '{text}'", node.span, hint)
            self.names[text] = k.UNKNOWN
        return found or k.UNKNOWN

    def _member(self, node: s.Member, of: k.Kind, name: str) -> k.Kind:
        at = _end(node, name)
        match of:
            case k.Unknown():
                return of
            case k.Names(name=what, members=members):
                if name in members:
                    return members[name]
                hint = self.report.near(name, members)
                self.say("E0202", f"'{what}' has no '{name}'", at, hint)
                return k.UNKNOWN
            case k.Kept(node=register):
                found = self._field(register.fields, register.name, name, at)
                return replace(found, built=True) if isinstance(found, k.Num) else found
            case k.Reg(node=register):
                self._read(of, node)
                return self._field(register.fields, register.name, name, at)
            case k.Element(layout=layout) if layout is not None:
                return self._field(layout.fields, layout.name, name, at)
            case k.Stretch() if name == "length":
                return k.number(16)
        hint = way_out(of, node.of)
        self.say("E0202", f"{spoken(of)} has no '{name}'", at, hint)
        return k.UNKNOWN

    def _field(
        self, fields: tuple[s.Field, ...], what: str, name: str, at: Span
    ) -> k.Num | k.Unknown:
        for field in fields:
            if field.name == name:
                return k.number(field.bits) if field.bits > 1 else k.BIT
        hint = self.report.near(name, [f.name for f in fields]) or "it lists no fields"
        self.say("E0202", f"'{what}' has no field '{name}'", at, hint)
        return k.UNKNOWN

    def _index(self, node: s.Index, of: k.Kind, index: s.Expr) -> k.Kind:
        found = self.number(index)
        match of:
            case k.Unknown():
                return of
            case k.Array(name=name, of=element, count=count):
                if found is not None and count is not None:
                    self._bounded(index, found, name, count)
                return element
            case k.Num() | k.Var() | k.Reg():
                self._bit(node, of, found, index)
                return k.BIT
        return self._wrong(node, f"{spoken(of)} has no elements")

    def _bounded(self, index: s.Expr, found: k.Num, name: str, count: int) -> None:
        """An index is in range by what it is; nothing is tested when the image runs."""
        if found.value is not None:
            if not 0 <= found.value < count:
                message = f"'{name}' has elements 0 to {count - 1}, no {found.value}"
                self.say("E0207", message, index.span)
        elif not found.built and found.top >= count and 1 << found.bits > count:
            reach = min(found.top, (1 << found.bits) - 1)
            message = f"'{name}' has {count} elements, '{spell(index)}' can be {reach}"
            bits = count.bit_length() - 1
            hint = f"{bits_of(bits)} cannot leave it: {low_bits(index, bits)}"
            self.say("E0207", message, index.span, hint if bits else "")

    def _bit(self, node: s.Index, of: k.Kind, found: k.Num | None, index: s.Expr) -> None:
        bits = self._width(of, node.of)
        if found is None or bits is None:
            return
        if found.value is None:
            self.say("E0205", "which bit is meant must be a constant", index.span)
        elif not 0 <= found.value < bits:
            message = f"'{spell(node.of)}' has bits {bits - 1}:0, no {found.value}"
            self.say("E0205", message, index.span)

    def _width(self, kind: k.Kind, node: s.Expr) -> int | None:
        """The width of a kind that is a number; a register is read."""
        match kind:
            case k.Num(value=None, bits=bits):
                return bits
            case k.Num():
                return 64
            case k.Var(node=state):
                return state.bits
            case k.Reg(node=register):
                self._read(kind, node)
                return register.bits
        return None

    def _slice(self, node: s.Slice) -> k.Kind:
        kind = self.kind(node.of)
        high, low = self.number(node.high), self.number(node.low)
        bits = self._width(kind, node.of)
        if bits is None:
            if not isinstance(kind, k.Unknown):
                return self._wrong(node, f"{spoken(kind)} has no bits", way_out(kind, node.of))
            return k.UNKNOWN
        return self.slice_bits(node, bits, high, low)

    def slice_bits(self, node: s.Slice, bits: int, high: k.Num | None, low: k.Num | None) -> k.Kind:
        """The number that bits `high` to `low` of `bits` bits make."""
        if high is None or low is None:
            return k.UNKNOWN
        if not (high.fixed and low.fixed):
            self.say("E0205", "the ends of a slice must be constants", node.span)
        elif high.value is None or low.value is None:
            return k.UNKNOWN  # how wide it is, the machine file says
        elif high.value < low.value:
            hint = f"the higher bit comes first: [{low.value}:{high.value}]"
            message = f"bits {high.value}:{low.value} run backwards"
            self.say("E0205", message, node.span, hint)
        elif high.value >= bits:
            message = f"'{spell(node.of)}' has bits {bits - 1}:0, no {high.value}:{low.value}"
            self.say("E0205", message, node.span)
        else:
            return k.number(high.value - low.value + 1)
        return k.UNKNOWN

    def _prime(self, node: s.Prime, of: k.Kind) -> k.Kind:
        match of:
            case k.Unknown() | k.Var() | k.Array(of=k.Var() | k.Element()):
                return of
        hint = "a state and a table's elements have a new value beside their old one"
        return self._wrong(node, f"{spoken(of)} has no new value", hint)

    def _reference(self, node: s.Reference, of: k.Kind) -> k.Kind:
        match of:
            case k.Unknown() | k.Element() | k.Array(of=k.Element()):
                return k.ADDRESS
        return self._wrong(node, f"{spoken(of)} has no address", "a table has, and its elements")

    # ---- operations

    def _unary(self, node: s.Unary) -> k.Kind:
        found = self.number(node.operand)
        if node.operator == "!":
            return replace(k.TRUTH, built=found is not None and found.fixed)
        if found is None:
            return k.UNKNOWN
        if found.value is not None:
            return k.constant(~found.value)
        return replace(k.number(found.bits), built=found.built)

    def _binary(self, node: s.Binary) -> k.Kind:
        left = self.kind(node.left)
        if isinstance(left, k.Stretch) and node.operator in ("==", "!="):
            return self._same_bytes(node)
        if node.operator == "+" and isinstance(left, k.Window | k.Array):
            return self._further(node, left)
        a, b = self.value(left, node.left), self.number(node.right)
        if node.operator in ("==", "!=", "<", "<="):
            if a is None or b is None:
                return k.TRUTH
            self._comparable(node, a, b)
            return replace(k.TRUTH, built=a.fixed and b.fixed)
        if a is None or b is None:
            return k.UNKNOWN
        if node.operator in ("&", "|", "^"):
            self._same_sort(node, a, b)
        if a.value is not None and b.value is not None:
            return self._constants(node, a.value, b.value)
        found = sized(node.operator, a, b)
        return replace(found, built=a.fixed and b.fixed) if isinstance(found, k.Num) else found

    def _further(self, node: s.Binary, left: k.Window | k.Array) -> k.Kind:
        """Some bytes behind the start of a window or a table."""
        kind = region(left) if isinstance(left, k.Array) else left
        if not isinstance(kind, k.Window):
            self.value(left, node.left)
            return k.UNKNOWN
        by = self.built(node.right)
        if kind.size is None or by is None or by.value is None:
            return k.Window()
        return k.Window(max(0, kind.size - by.value))

    def _same_bytes(self, node: s.Binary) -> k.Kind:
        if not isinstance(self.kind(node.right), k.Stretch | k.Unknown):
            self._wrong(node.right, f"'{spell(node.right)}' is not bytes, the other side is")
        return k.TRUTH

    def _comparable(self, node: s.Binary, a: k.Num, b: k.Num) -> None:
        """A comparison whose result is known says something else than it means."""
        for number, constant, of, at in (
            (a, b, node.left, node.right),
            (b, a, node.right, node.left),
        ):
            if constant.value is None or number.value is not None:
                continue
            if constant.value > number.top:
                self.say(
                    "E0204", f"'{spell(of)}' has {bits_of(number.bits)}, it is never "
                    f"{_written(at)}", at.span, f"it is at most {number.top:#x}",
                )  # fmt: skip
        if node.operator == "<" and b.value == 0:
            self.say("E0204", "no number is below 0", node.span)

    def _same_sort(self, node: s.Binary, a: k.Num, b: k.Num) -> None:
        """`x & 1 == 1` means `x & (1 == 1)`."""
        for wide, narrow, comparison in ((a, b, node.right), (b, a, node.left)):
            if narrow.truth and wide.top > 1 and compares(comparison):
                hint = f"comparisons bind tighter; is {spell(meant(node, comparison))} meant?"
                self.say(
                    "E0209", f"'{node.operator}' joins {bits_of(wide.bits)} with the truth of "
                    f"'{spell(comparison)}'", node.span, hint,
                )  # fmt: skip
                return

    def _constants(self, node: s.Binary, a: int, b: int) -> k.Kind:
        if node.operator in ("<<", ">>") and not 0 <= b < 64:
            self.say("E0205", f"a shift by {b} leaves nothing of 64 bits", node.right.span)
            return k.UNKNOWN
        value = OPERATIONS[node.operator](a, b)
        if abs(value) >> 64:
            self.say("E0203", f"'{spell(node)}' has more than 64 bits", node.span)
            return k.UNKNOWN
        return k.constant(value)

    def _select(self, condition: s.Expr, a: s.Expr, b: s.Expr) -> k.Kind:
        """One of two numbers, as wide as the wider."""
        self.condition(condition)
        one, other = self.number(a), self.number(b)
        if one is None or other is None:
            return k.UNKNOWN
        truth = one.truth and other.truth
        return k.Num(max(one.bits, other.bits), max(one.top, other.top), truth)

    def _first(self, rows: s.Expr, condition: s.Expr, a: s.Expr, b: s.Expr) -> k.Kind:
        """What the first row of a list gives for which a condition holds, else another number."""
        if not isinstance(self.kind(rows), k.Names):
            return self._wrong(rows, f"'{spell(rows)}' is no list")
        return self._select(condition, a, b)

    def _call(self, node: s.Call) -> k.Kind:
        at = self.report.word(node.span, node.function)
        arity = k.FUNCTIONS.get(node.function)
        if arity is None:
            hint = self.report.near(node.function, k.FUNCTIONS)
            self.say("E0208", f"unknown function '{node.function}'", at, hint)
            return k.UNKNOWN
        given, (least, most) = len(node.arguments), arity
        if not least <= given <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            message = f"'{node.function}' takes {wanted} arguments, given {given}"
            self.say("E0208", message, at)
            return k.UNKNOWN
        if node.function == "capability":
            return self._capability(node)
        if node.function in ("log2", "min"):
            return self._chosen(node)
        if node.function == "memory":
            found = [self.number(argument) for argument in node.arguments]
            return k.Window(found[1].value if found[1] is not None else None)
        if node.function == "select":
            return self._select(*node.arguments)
        if node.function == "first":
            return self._first(*node.arguments)
        if node.function == "within":
            for argument in node.arguments:
                self.number(argument)
            return k.BIT
        for argument in node.arguments:
            kind = self.kind(argument)
            if node.function == "update" or not isinstance(kind, k.Stretch):
                self.value(kind, argument)
        return k.number(16)

    def _capability(self, node: s.Call) -> k.Kind:
        self.fits(node.arguments[0], 8, "a capability's id")
        if len(node.arguments) > 1:
            inner = Typer({**self.names, **k.CAPABILITY.members}, self.report)
            inner.condition(node.arguments[1])
            self.used |= inner.used
        return k.CAPABILITY

    def _chosen(self, node: s.Call) -> k.Kind:
        """A function of numbers that are known when the image is built."""
        found = [self.built(argument) for argument in node.arguments]
        bits = [n.bits for n in found if n is not None]
        return k.fact(7 if node.function == "log2" else max(bits, default=1))


def region(array: k.Array) -> k.Kind:
    """The bytes of a table, as a place for others; what is no table is none."""
    if not isinstance(array.of, k.Element):
        return array
    table, layout = array.of.table, array.of.layout
    stride = table.element_size or (layout.size if layout is not None else 0)
    return k.Window(stride * array.count if array.count is not None and stride else None)


def _end(node: s.Expr, word: str) -> Span:
    """The last `word` of an expression."""
    span = node.span
    return Span(
        span.file, span.line, max(span.column, span.end_column - len(word)), span.end_column
    )


def _written(node: s.Expr) -> str:
    """A number as it stands in the pattern, decimal or not."""
    if isinstance(node, s.Number):
        decimal = str(int(node.value))
        if node.span.end_column - node.span.column == len(decimal):
            return decimal
    return spell(node)
