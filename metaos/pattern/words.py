"""Words for messages: `bits(3)`, `spoken(kind)`, what somebody may have meant."""

from __future__ import annotations

from typing import TypeGuard

from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.spell import spell


def bits(count: int) -> str:
    """A count of bits."""
    return "1 bit" if count == 1 else f"{count} bits"


def spoken(kind: k.Kind) -> str:
    """What a kind is, in a sentence."""
    match kind:
        case k.Array(of=k.Element()):
            return "a table"
        case k.Array(of=k.Reg()):
            return "an array of registers"
        case k.Array(of=k.Var()):
            return "an array of states"
        case k.Array():
            return "a list"
        case k.Element(layout=layout):
            return "an element of a table" if layout is not None else "a buffer of bytes"
        case k.Window():
            return "a window"
        case k.Ports():
            return "a block of ports"
        case k.Stretch():
            return "a stretch of bytes"
        case k.Names(name=name):
            return f"'{name}'"
        case k.Reg():
            return "a register"
        case k.Var():
            return "a state"
    return "a number"


def way_out(kind: k.Kind, node: s.Expr) -> str:
    """What to write instead of something that is no number; empty if nobody knows."""
    match kind:
        case k.Array(count=count):
            if count is None:
                return f"say which one: {spell(node)}[0]"
            return f"say which one: {spell(node)}[0] to {spell(node)}[{count - 1}]"
        case k.Element(layout=layout) if layout is not None:
            return f"say which field: {', '.join(f.name for f in layout.fields)}"
        case k.Names(members=members):
            return f"it has {', '.join(sorted(members))}"
    return ""


def low_bits(node: s.Expr, bits: int) -> str:
    """An expression cut to its lowest bits, as text."""
    high, low = s.Number(bits - 1, node.span), s.Number(0, node.span)
    return spell(s.Slice(node, high, low, node.span))


def compares(node: s.Expr) -> TypeGuard[s.Binary]:
    """Whether an expression is a comparison."""
    return isinstance(node, s.Binary) and node.operator in ("==", "!=", "<", "<=")


def meant(node: s.Binary, comparison: s.Binary) -> s.Binary:
    """`(x & 1) == 1` for `x & (1 == 1)`, `r == (x | 1)` for `(r == x) | 1`."""
    left, right = comparison.left, comparison.right
    if comparison is node.right:
        left = s.Binary(node.operator, node.left, left, node.span)
    else:
        right = s.Binary(node.operator, right, node.right, node.span)
    return s.Binary(comparison.operator, left, right, node.span)
