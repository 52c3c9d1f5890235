"""What the expressions of a `fake` mean: `Sight(device).number(expression, scope)`.

A device sees its registers, its own numbers, the facts of the image, and through the tables
it declares the driver's RAM, where the driver's addresses lead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from metaos.fake.numbers import Misuse, Word, binary, bits, unary, word
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted, spell

if TYPE_CHECKING:
    from metaos.fake.device import FakeDevice

MAX_ELEMENTS = 1 << 20


class Bus(Protocol):
    """The driver's RAM as a device reaches it: physical addresses, bytes."""

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Stored:
    """A register's number, with the register's fields."""

    node: s.Register
    number: int


@dataclass(frozen=True, slots=True)
class Element:
    """`size` bytes of RAM at `address`, with `layout` if they have fields."""

    address: int
    size: int
    layout: s.Layout | None


Seen = Word | Stored | Element


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule is about: what is written, what was there, which element, which frame."""

    value: Stored | None = None
    was: Stored | None = None
    index: Word | None = None
    frame: bytes = b""
    names: Mapping[str, Seen] = field(default_factory=dict)

    def named(self, name: str, seen: Seen) -> Scope:
        return replace(self, names={**self.names, name: seen})


class Sight:
    """Evaluates the expressions of one device's rules. Raises Misuse where nothing answers."""

    def __init__(self, device: FakeDevice, bus: Bus) -> None:
        self.device, self.bus = device, bus

    def number(self, node: s.Expr, scope: Scope) -> Word:
        return self.cut(self.value(node, scope), node)

    def cut(self, seen: Seen, node: s.Expr) -> Word:
        """A number; a register's is as wide as it is."""
        match seen:
            case Word():
                return seen
            case Stored():
                return word(seen.number, seen.node.bits)
        raise Misuse(f"'{spell(node)}' is no number", node.span)

    def value(self, node: s.Expr, scope: Scope) -> Seen:
        match node:
            case s.Number(value=value):
                return Word(value)
            case s.Name(text=text):
                return self.name(node, text, scope)
            case s.Member(of=of, name=name):
                return self.member(node, of, name, scope)
            case s.Index(of=of, index=index):
                return self.element(node, of, index, scope)
            case s.Slice(of=of, high=high, low=low):
                first, last = self.number(low, scope).number, self.number(high, scope).number
                return bits(self.number(of, scope), last, first)
            case s.Reference(of=of):
                found = self.value(of, scope)
                if isinstance(found, Element):
                    return word(found.address, 32)
            case s.Unary(operator=operator, operand=operand):
                return unary(operator, self.number(operand, scope))
            case s.Binary(operator="&", left=left, right=right):
                one = self.number(left, scope)  # where that is 0 the rest is not looked at
                return binary("&", one, self.number(right, scope)) if one.number else one
            case s.Binary(operator=operator, left=left, right=right):
                return binary(operator, self.number(left, scope), self.number(right, scope))
            case s.Call(function="select", arguments=(condition, a, b)):
                x, y = self.number(a, scope), self.number(b, scope)
                chosen = x if self.number(condition, scope).number else y
                wide = None if x.bits is y.bits is None else max(x.width, y.width)
                return Word(chosen.number, wide)
        raise Misuse(f"a device cannot evaluate '{spell(node)}'", node.span)

    def name(self, node: s.Expr, text: str, scope: Scope) -> Seen:
        device = self.device
        own = {"value": scope.value, "was": scope.was, "index": scope.index}.get(text)
        if text in scope.names:
            return scope.names[text]
        if own is not None:
            return own
        if text in device.registers:
            return Stored(device.plan.registers[text].node, device.registers[text][0])
        if text in device.states:
            return word(device.states[text][0], device.nodes[text].bits)
        if text == "mac":
            return Word(device.mac, 48)
        if text in device.plan.numbers:
            return Word(device.plan.numbers[text], 32)
        raise Misuse(f"the device does not see '{text}'", node.span)

    def member(self, node: s.Expr, of: s.Expr, name: str, scope: Scope) -> Seen:
        said = dotted(node)
        if said == "frame.length":
            return Word(len(scope.frame), 16)
        if said in self.device.plan.numbers:
            return Word(self.device.plan.numbers[said], 32)
        found = self.value(of, scope)
        match found:
            case Stored(node=register, number=number):
                one = next((f for f in register.fields if f.name == name), None)
                if one is not None:
                    return bits(Word(number, register.bits), one.high, one.low)
            case Element(layout=layout) if layout is not None:
                one = layout.field(name)
                if one is not None:
                    first, last = one.low // 8, one.high // 8 + 1
                    data = self.bus.read(found.address + first, last - first)
                    held = Word(int.from_bytes(data, "little") >> one.low - 8 * first)
                    return bits(held, one.bits - 1, 0)
        raise Misuse(f"'{spell(of)}' has no '{name}'", node.span)

    def element(self, node: s.Expr, of: s.Expr, index: s.Expr, scope: Scope) -> Seen:
        device = self.device
        name = of.text if isinstance(of, s.Name) else ""
        if name in device.tables:
            return self.of_table(device.tables[name], index, scope)
        if name in device.states and device.nodes[name].count:
            return word(
                device.states[name][self.index(name, index, scope)], device.nodes[name].bits
            )
        if name in device.registers and device.plan.registers[name].node.count > 1:
            at = self.index(name, index, scope)
            return Stored(device.plan.registers[name].node, device.registers[name][at])
        at = self.number(index, scope).number
        return bits(self.number(of, scope), at, at)

    def index(self, name: str, node: s.Expr, scope: Scope) -> int:
        """Which element of an array of the device's own."""
        at = self.number(node, scope).number
        held = self.device.states.get(name) or self.device.registers.get(name) or []
        if not 0 <= at < len(held):
            raise Misuse(f"'{name}' has {len(held)} elements, and {at} is asked for", node.span)
        return at

    def of_table(self, table: s.Table, index: s.Expr, scope: Scope) -> Element:
        count = min(self.number(table.count, scope).number, MAX_ELEMENTS)
        at = self.number(index, scope).number
        if not 0 <= at < count:
            text = f"'{table.name}' has {count} elements, and {at} is asked for"
            raise Misuse(text, index.span)
        layout = self.device.plan.layouts.get(table.layout)
        size = table.element_size or (layout.size if layout is not None else 0)
        assert table.at is not None, "the checks demand a place"
        return Element(self.number(table.at, scope).number + at * size, size, layout)

    def record(self, node: s.Record, fields: tuple[s.Field, ...], scope: Scope) -> int:
        """The number that `{ ... }` makes of fields."""
        known = {f.name: f for f in fields}
        result = 0
        for part in node.fields:
            one = known.get(part.name)
            if one is None:
                raise Misuse(f"no field '{part.name}'", part.span)
            value = 1 if part.value is None else self.number(part.value, scope).number
            result |= (value & (1 << one.bits) - 1) << one.low
        return result
