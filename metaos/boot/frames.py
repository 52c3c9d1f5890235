"""Frames made of layouts: a chain of services gives the headers, bytes give the fields.

Nothing here knows a protocol. A service's header is a layout, the services it lies over
give the headers before it, and names mean what the pattern files say:

    chain = chain_of("echo", services, layouts)
    view = View(chain, len(chain.layers) - 1, frame, len(frame), given)
    view.number("length")       # a field of the innermost header
    view.resolve(("outer", "header"))

Errors in expressions are `Problem`s with the span of the pattern file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from metaos.errors import MetaosError, Problem, Span, did_you_mean
from metaos.pattern import syntax
from metaos.pattern.arithmetic import COMPARISONS

ROOT = "frame"
"""What the outermost service lies over, and the name of the whole frame's bytes."""

ASKED = "asked"
_STRETCHES = ("header", "payload", "message", ROOT)
_ARITHMETIC = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}


@dataclass(frozen=True, slots=True)
class Value:
    """A number; `bits` is its width, or None for a plain number that fits any."""

    number: int
    bits: int | None = None


Given = Mapping[str, Value]
"""What names with a dot mean besides fields: "my.ip" and its like."""


class TooShortError(Exception):
    """A frame ends before the field that was asked for."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One service of a chain; its header, if it has one, begins at byte `offset`."""

    service: syntax.Service
    layout: syntax.Layout | None
    offset: int

    @property
    def size(self) -> int:
        return self.layout.size if self.layout else 0

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Chain:
    """Services from the outermost to the one in question."""

    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Bytes of all headers."""
        return self.layers[-1].end

    def index(self, name: str) -> int | None:
        """Where the service called `name` is in the chain."""
        names = [layer.service.name for layer in self.layers]
        return names.index(name) if name in names else None


def chain_of(
    name: str, services: Mapping[str, syntax.Service], layouts: Mapping[str, syntax.Layout]
) -> Chain:
    """The chain that ends in the service `name`.

    Raises:
        MetaosError: a service or layout on the way does not exist, or the way is a circle.
    """
    way: list[syntax.Service] = []
    while name != ROOT:
        service = services.get(name)
        if service is None or service in way:
            what = "lies over itself" if service else "does not exist"
            raise _wrong(f"service '{name}' {what}", way[-1].span if way else None)
        way.append(service)
        name = service.over
    layers: list[Layer] = []
    for service in reversed(way):
        own = {layout.name: layout for layout in service.layouts}
        layout = own.get(service.header) or layouts.get(service.header)
        if service.header and layout is None:
            hint = did_you_mean(service.header, [*own, *layouts])
            raise _wrong(f"unknown layout '{service.header}'", service.span, hint)
        layers.append(Layer(service, layout, layers[-1].end if layers else 0))
    return Chain(tuple(layers))


@dataclass(frozen=True, slots=True)
class View:
    """A frame seen from one layer of a chain.

    `extent` is where the frame's content ends: what follows is padding. `asked` is the
    question to which the frame is the answer. `blank` names a field (layer index and name)
    that counts as 0, the one that is being computed.
    """

    chain: Chain
    own: int
    frame: bytes
    extent: int
    given: Given
    asked: View | None = None
    blank: tuple[int, str] | None = None

    def at(self, layer: int) -> View:
        """The same frame seen from another layer."""
        return dataclasses.replace(self, own=layer)

    def evaluate(self, expression: syntax.Expr) -> Value | bytes:
        """What `expression` is, a number or bytes.

        Raises:
            TooShortError: the frame ends too early.
            MetaosError: an expression that means nothing here, with its place.
        """
        match expression:
            case syntax.Number(value=value):
                return Value(value)
            case syntax.Name() | syntax.Member():
                return self.resolve(path_of(expression), expression.span)
            case syntax.Unary(operator=operator, operand=operand):
                return self._unary(operator, operand)
            case syntax.Binary(operator=operator, left=left, right=right):
                return _binary(operator, self.evaluate(left), self.evaluate(right), expression.span)
            case syntax.Slice(of=of, high=high, low=low):
                first, last = self._integer(low), self._integer(high)
                return _bits(self._value(of), last, first, expression.span)
            case syntax.Index(of=of, index=index):
                at = self._integer(index)
                return _bits(self._value(of), at, at, expression.span)
            case syntax.Call(function="sum16", arguments=arguments):
                return sum16([self.evaluate(argument) for argument in arguments])
            case syntax.Call(function="select", arguments=(condition, left, right)):
                return self.evaluate(left if self._integer(condition) else right)
            case syntax.Call(function=name):
                raise _wrong(f"'{name}' has no meaning in a question", expression.span)
        raise _wrong("this has no meaning in a question", expression.span)

    def resolve(self, path: tuple[str, ...], span: Span) -> Value | bytes:
        """What the dotted name `path` is: a field, a stretch of bytes, something given."""
        if path[0] == ASKED and self.asked and len(path) > 1:
            return self.asked.resolve(path[1:], span)
        known = self.given.get(".".join(path))
        if known is not None:
            return known
        for length in range(len(path) - 1, 0, -1):
            layer = self.chain.index(".".join(path[:length]))
            if layer is not None:
                return self._part(layer, path[length:], path, span)
        return self._part(self.own, path, path, span)

    def field(self, layer: int, field: syntax.Field) -> int:
        """The number in `field` of a layer's header."""
        if self.blank == (layer, field.name):
            return 0
        at = self.chain.layers[layer]
        assert at.layout is not None
        return read_field(self.frame[at.offset : at.end], at.layout, field)

    def _part(
        self, index: int, rest: tuple[str, ...], path: tuple[str, ...], span: Span
    ) -> Value | bytes:
        layer = self.chain.layers[index]
        if rest[0] in _STRETCHES:
            stretch = self._stretch(index, rest[0])
            if rest[1:] == ("length",):
                return Value(len(stretch))
            if len(rest) == 1:
                return stretch
        constant = next((x for x in layer.service.constants if (x.name,) == rest), None)
        if constant is not None:
            return Value(self._integer(constant.value), constant.bits)
        field = layer.layout.field(rest[0]) if layer.layout and len(rest) == 1 else None
        if field is None:
            fields = [f.name for f in layer.layout.fields] if layer.layout else []
            hint = did_you_mean(rest[-1], [*fields, *_STRETCHES, *self.given])
            raise _wrong(f"unknown name '{'.'.join(path)}'", span, hint)
        return Value(self.field(index, field), field.bits)

    def _stretch(self, index: int, name: str) -> bytes:
        layer = self.chain.layers[index]
        start = {"header": layer.offset, "message": layer.offset, "payload": layer.end}.get(name, 0)
        end = layer.end if name == "header" else self.extent
        if end > len(self.frame) or start > end:
            raise TooShortError(f"{name} of {layer.service.name}")
        frame = self.frame
        if self.blank:
            blanked, field = self.blank
            frame = write_field(frame, self.chain.layers[blanked], field, 0)
        return frame[start:end]

    def _value(self, expression: syntax.Expr) -> Value:
        value = self.evaluate(expression)
        if isinstance(value, bytes):
            raise _wrong("a number is needed here, not bytes", expression.span)
        return value

    def _integer(self, expression: syntax.Expr) -> int:
        return self._value(expression).number

    def _unary(self, operator: str, operand: syntax.Expr) -> Value:
        value = self._value(operand)
        if operator == "!":
            return Value(int(value.number == 0), 1)
        if value.bits is None:
            raise _wrong("'~' needs a number of known width", operand.span)
        return Value(value.number ^ (1 << value.bits) - 1, value.bits)


def path_of(expression: syntax.Expr) -> tuple[str, ...]:
    """The names of a dotted expression, in order.

    Raises:
        MetaosError: it is not one.
    """
    match expression:
        case syntax.Name(text=text):
            return (text,)
        case syntax.Member(of=of, name=name):
            return (*path_of(of), name)
    raise _wrong("a dotted name is needed here", expression.span)


def read_field(header: bytes, layout: syntax.Layout, field: syntax.Field) -> int:
    """The number in `field` of `header`. Raises TooShortError if it is not all there."""
    if len(header) < layout.size:
        raise TooShortError(f"{layout.name}.{field.name}")
    whole = int.from_bytes(header[: layout.size], _order(layout))
    return whole >> field.low & (1 << field.bits) - 1


def write_field(frame: bytes, layer: Layer, name: str, number: int) -> bytes:
    """`frame` with the field `name` of a layer's header replaced; the field must exist."""
    field = layer.layout.field(name) if layer.layout else None
    assert layer.layout is not None and field is not None
    order = _order(layer.layout)
    whole = int.from_bytes(frame[layer.offset : layer.end], order)
    mask = (1 << field.bits) - 1 << field.low
    header = (whole & ~mask | number << field.low & mask).to_bytes(layer.size, order)
    return frame[: layer.offset] + header + frame[layer.end :]


def _order(layout: syntax.Layout) -> Literal["big", "little"]:
    return "big" if layout.order == "big" else "little"


def sum16(parts: list[Value | bytes]) -> Value:
    """The ones' complement sum of 16-bit words, big endian; each part is padded to words.

    Source: RFC 1071 §1.
    """
    total = 0
    for part in parts:
        data = part if isinstance(part, bytes) else _to_bytes(part)
        words = data + b"\0" * (len(data) % 2)
        total += sum(int.from_bytes(words[i : i + 2], "big") for i in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return Value(total, 16)


def _to_bytes(value: Value) -> bytes:
    bits = value.bits or 16
    return value.number.to_bytes(-(-bits // 16) * 2, "big")


def _binary(operator: str, left: Value | bytes, right: Value | bytes, span: Span) -> Value:
    if isinstance(left, bytes) or isinstance(right, bytes):
        if type(left) is not type(right) or operator not in ("==", "!="):
            raise _wrong(f"'{operator}' does not go with bytes", span)
        return Value(int((left == right) == (operator == "==")), 1)
    if operator in COMPARISONS:
        return Value(COMPARISONS[operator](left.number, right.number), 1)
    if operator in ("<<", ">>"):
        number = left.number << right.number if operator == "<<" else left.number >> right.number
        return _wrapped(number, left.bits)
    if None not in (left.bits, right.bits) and left.bits != right.bits:
        raise _wrong(f"'{operator}' of {left.bits} and {right.bits} bits", span)
    return _wrapped(_ARITHMETIC[operator](left.number, right.number), left.bits or right.bits)


def _wrapped(number: int, bits: int | None) -> Value:
    return Value(number if bits is None else number & (1 << bits) - 1, bits)


def _bits(value: Value, high: int, low: int, span: Span) -> Value:
    if not 0 <= low <= high or (value.bits is not None and high >= value.bits):
        raise _wrong(f"no bits {high}:{low} in {value.bits} bits", span)
    return Value(value.number >> low & (1 << high - low + 1) - 1, high - low + 1)


def _wrong(message: str, span: Span | None, hint: str = "") -> MetaosError:
    return MetaosError(
        "the examples of the patterns cannot be run",
        problems=[Problem("E0701", message, span, hint)],
    )
