"""Words for messages: `bits(3)`, `spoken(kind)`, `way_out(kind, expression)`."""

from __future__ import annotations

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
            return f"say which one: {spell(node)}[0] to {spell(node)}[{count - 1}]"
        case k.Element(layout=layout) if layout is not None:
            return f"say which field: {', '.join(f.name for f in layout.fields)}"
        case k.Names(members=members):
            return f"it has {', '.join(sorted(members))}"
    return ""
