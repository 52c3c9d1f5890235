"""The headers of a frame, service over service, and the numbers in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.bounds import Bounds
from metaos.lower.known import fail
from metaos.lower.values import Frame
from metaos.pattern import syntax as s
from metaos.pattern.arithmetic import OPERATIONS
from metaos.pattern.spell import dotted, walk


@dataclass(frozen=True, slots=True)
class Mine:
    """What services call `my`: the address as a number, the symbol of the MAC's 6 bytes.

    `unit` is the MAC itself, little-endian as it lies in memory, where it is folded.
    """

    ip: int
    mac: str
    unit: int | None = None


@dataclass(slots=True)
class Node:
    """A service in the tree: where its header starts, its gate, and what it knows."""

    service: s.Service
    parent: Node | None
    layout: s.Layout | None
    start: int
    end: int
    bounds: Bounds
    constants: dict[str, int] = field(default_factory=dict)
    gate: Op | None = None
    children: list[Node] = field(default_factory=list)

    def up(self) -> list[Node]:
        """This node and its ancestors, nearest first."""
        chain, node = [], self
        while True:
            chain.append(node)
            if node.parent is None:
                return chain
            node = node.parent


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
class Given:
    """What a splice is made of: the services, their layouts, and what `my` is."""

    services: tuple[s.Service, ...]
    layouts: Mapping[str, s.Layout]
    mine: Mine


class Headers:
    """Finds and loads header fields of one offered frame."""

    def __init__(self, given: Given, builder: Builder, frame: Frame) -> None:
        self.given = given
        self.b = builder
        self.frame = frame
        self.loads: dict[str, Op] = {}

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
            case s.Member(of=s.Name(text="my"), name="ip"):
                return self.given.mine.ip
            case s.Name(text=text) if text in (own := {c.name: c for c in node.service.constants}):
                return self.constant(node, own[text].value)
            case s.Binary(operator=operator) if operator in OPERATIONS:
                left, right = (self.constant(node, x) for x in (expression.left, expression.right))
                if left is None or right is None:
                    return None
                return OPERATIONS[operator](left, right)
        at = self.find(node, expression)
        if at is not None:
            return next((n.constants[at.key] for n in node.up() if at.key in n.constants), None)
        return None

    def widest(self, node: Node, expression: s.Expr) -> int:
        """Bits of the widest header field in an expression."""
        names = (x for x in walk(expression) if isinstance(x, s.Name | s.Member))
        return max((at.field.bits for x in names if (at := self.find(node, x))), default=0)

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
        if dotted(expression) == "frame.length":
            return self.b.resize(self.frame.length, bits)
        at = self.find(node, expression)
        if at is not None:
            return self.b.resize(self.load(at), bits)
        match expression:
            case s.Binary(operator="+", left=left, right=right):
                return self.b.add(self.number(node, left, bits), self.number(node, right, bits))
            case s.Binary(operator="-", left=left, right=right):
                return self.b.sub(self.number(node, left, bits), self.number(node, right, bits))
        raise fail(expression.span, "E0432", "this is no number of the frame")

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
