"""Algebraic identities: what an op of known shape is worth without computing it.

`simplify` takes the op about to be made (a constant argument of a commutative op stands
last) and gives an older or simpler op, or None. Each identity holds for every value.

The ones that pay: a comparison with a constant goes through byte swaps, shifts, masks and
widenings to the bytes in memory, so that it becomes one compare with an immediate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from metaos.ir.evaluate import ones, swap_bytes
from metaos.ir.program import Op

if TYPE_CHECKING:
    from metaos.ir.build import Builder

Rule = Callable[["Builder", int, tuple[Op, ...]], Op | None]


def simplify(b: Builder, kind: str, bits: int, args: tuple[Op, ...]) -> Op | None:
    """The simpler equal of `kind` over `args`, not all of which are constants, or None."""
    rule = RULES.get(kind)
    return rule(b, bits, args) if rule is not None else None


def possible(op: Op, depth: int = 6) -> int:
    """A mask of the bits of `op` that can be 1."""
    everything = ones(op.bits)
    if op.kind == "const":
        return op.value
    if depth == 0:
        return everything
    below = [possible(a, depth - 1) for a in op.args] if op.kind in _TRANSPARENT else []
    if op.kind in ("shl", "lshr") and op.args[1].kind == "const":
        inner, by = possible(op.args[0], depth - 1), op.args[1].value
        return (inner << by if op.kind == "shl" else inner >> by) & everything
    match op.kind:
        case "zext" | "trunc":
            return below[0] & everything
        case "and":
            return below[0] & below[1]
        case "or" | "xor":
            return below[0] | below[1]
        case "select":
            return below[1] | below[2]
        case "bswap":
            return swap_bytes(below[0], op.bits)
    return everything


_TRANSPARENT = frozenset({"zext", "trunc", "and", "or", "xor", "select", "bswap"})


def _add(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    if y.kind != "const":
        return None
    if y.value == 0:
        return x
    if x.kind == "add" and x.args[1].kind == "const":
        return b.add(x.args[0], b.const(x.args[1].value + y.value, bits))
    if x.kind == "sub" and x.args[1].kind == "const":
        return b.sub(x.args[0], b.const(x.args[1].value - y.value, bits))
    if x.kind == "address" and x.address is not None:
        return b.address(x.address.symbol, x.address.offset, (*x.args, y))
    return None


def _sub(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    if x is y:
        return b.const(0, bits)
    if y.kind != "const":
        return None
    if y.value == 0:
        return x
    if x.kind == "sub" and x.args[1].kind == "const":
        return b.sub(x.args[0], b.const(x.args[1].value + y.value, bits))
    if x.kind == "add" and x.args[1].kind == "const":
        return b.add(x.args[0], b.const(x.args[1].value - y.value, bits))
    return None


def _mul(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    if y.kind == "const" and y.value in (0, 1):
        return x if y.value else y
    return None


def _upper(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    _, y = args
    return b.const(0, bits) if y.kind == "const" and y.value in (0, 1) else None


def _divided(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    return x if y.kind == "const" and y.value == 1 else None


def _and(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    if x is y:
        return x
    if y.kind != "const":
        return None
    mask = y.value & possible(x)
    if mask in (0, possible(x)):
        return x if mask else b.const(0, bits)
    if x.kind == "and" and x.args[1].kind == "const":
        return b.and_(x.args[0], b.const(x.args[1].value & mask, bits))
    if x.kind == "add" and x.args[1].kind == "const" and not x.args[1].value & _below(y.value):
        return b.and_(x.args[0], y)
    return None


def _below(mask: int) -> int:
    """All bits up to the highest of a mask."""
    return ones(mask.bit_length())


def _or(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    if x is y:
        return x
    if y.kind == "const" and y.value in (0, ones(bits)):
        return y if y.value else x
    return None


def _xor(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    if x is y:
        return b.const(0, bits)
    if y.kind != "const":
        return None
    if y.value == 0:
        return x
    if x.kind == "xor" and x.args[1].kind == "const":
        return b.xor(x.args[0], b.const(x.args[1].value ^ y.value, bits))
    if bits == 1 and x.kind in ("eq", "ne"):
        return b.two("ne" if x.kind == "eq" else "eq", *x.args)
    if bits == 1 and x.kind in ("ult", "ule"):
        return b.two("ule" if x.kind == "ult" else "ult", x.args[1], x.args[0])
    return None


def _shift(kind: str) -> Rule:
    def rule(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
        x, y = args
        if x.kind == "const" and x.value == 0:
            return x
        if y.kind != "const":
            return None
        if y.value == 0:
            return x
        if y.value >= bits:
            return b.const(0, bits)
        left = possible(x) << y.value if kind == "shl" else possible(x) >> y.value
        if left & ones(bits) == 0:
            return b.const(0, bits)
        if x.kind == kind and x.args[1].kind == "const":
            # The inner shift is below the width, so the sum does not wrap; it may reach it.
            total = x.args[1].value + y.value
            if total >= bits:
                return b.const(0, bits)
            return b.two(kind, x.args[0], b.const(total, bits))
        return None

    return rule


def _equal(kind: str) -> Rule:
    same = int(kind == "eq")

    def rule(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
        x, y = args
        if x is y:
            return b.const(same, 1)
        if y.kind != "const":
            if x.kind == y.kind and x.kind in ("bswap", "zext"):
                a, c = x.args[0], y.args[0]
                return b.two(kind, a, c) if a.bits == c.bits else None
            return _same_bit(b, kind, x, y) if x.bits == 1 else None
        if y.value & ~possible(x):
            return b.const(1 - same, 1)
        if x.bits == 1:
            return x if y.value == same else b.not_(x)
        return _through(b, kind, x, y.value)

    return rule


def _same_bit(b: Builder, kind: str, x: Op, y: Op) -> Op | None:
    """Two bits of numbers compared: one number is moved by their distance, and masked once."""
    one, other = _bit(x), _bit(y)
    if one is None or other is None:
        return None
    (low, at), (high, above) = (one, other) if one[1] <= other[1] else (other, one)
    moved = b.resize(b.lshr(high, b.const(above - at, high.bits)), low.bits)
    mask = b.const(1 << at, low.bits)
    return b.two(kind, b.and_(b.xor(low, moved), mask), b.const(0, low.bits))


def _bit(x: Op) -> tuple[Op, int] | None:
    """The number that one bit is cut out of, and which bit of it."""
    if x.kind != "trunc":
        return None
    at = 0
    while x.kind == "trunc" or (x.kind == "lshr" and x.args[1].kind == "const"):
        at += x.args[1].value if x.kind == "lshr" else 0
        x = x.args[0]
    return x, at


def _through(b: Builder, kind: str, x: Op, wanted: int) -> Op | None:
    """`x` against a constant, with the outermost op of `x` undone in the constant."""
    bits = x.bits

    def against(inner: Op, value: int) -> Op:
        return b.two(kind, inner, b.const(value, inner.bits))

    inner = x.args[0] if x.args else x
    fixed = x.args[1].value if len(x.args) == 2 and x.args[1].kind == "const" else None
    if x.kind == "bswap":
        return against(inner, swap_bytes(wanted, bits))
    if x.kind == "zext":
        return against(inner, wanted)
    if x.kind == "trunc" and inner.kind in ("lshr", "bswap", "and"):
        masked = b.and_(inner, b.const(ones(bits), inner.bits))
        return None if masked is x else against(masked, wanted)
    if fixed is None:
        return None
    if x.kind == "xor":
        return against(inner, wanted ^ fixed)
    if x.kind == "add":
        return against(inner, wanted - fixed)
    if x.kind == "sub":
        return against(inner, wanted + fixed)
    if x.kind == "lshr":
        kept = b.const(ones(bits) << fixed, bits)
        return against(b.and_(inner, kept), wanted << fixed)
    if x.kind == "and" and inner.kind == "bswap":
        mask = b.const(swap_bytes(fixed, bits), bits)
        return against(b.and_(inner.args[0], mask), swap_bytes(wanted, bits))
    if x.kind == "and" and inner.kind == "lshr" and inner.args[1].kind == "const":
        by = inner.args[1].value
        mask = b.const(fixed << by, bits)
        return against(b.and_(inner.args[0], mask), (wanted & fixed) << by)
    return None


def _ult(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    if x is y or (y.kind == "const" and y.value == 0):
        return b.const(0, 1)
    if y.kind == "const" and possible(x) < y.value:
        return b.const(1, 1)
    if y.kind == "const" and y.value == 1:
        return b.eq(x, b.const(0, x.bits))
    if x.kind == "const" and x.value >= possible(y):
        return b.const(0, 1)
    return _narrower(b, "ult", x, y)


def _ule(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    if x is y or (x.kind == "const" and x.value == 0):
        return b.const(1, 1)
    if y.kind == "const" and possible(x) <= y.value:
        return b.const(1, 1)
    if y.kind == "const" and y.value == 0:
        return b.eq(x, y)
    if x.kind == "const" and x.value > possible(y):
        return b.const(0, 1)
    return _narrower(b, "ule", x, y)


def _narrower(b: Builder, kind: str, x: Op, y: Op) -> Op | None:
    """The comparison before both sides were widened by zeros."""
    widened = [a.args[0].bits for a in (x, y) if a.kind == "zext"]
    if not widened or len(set(widened)) > 1:
        return None
    bits = widened[0]
    if any(a.kind != "zext" and (a.kind != "const" or a.value >> bits) for a in (x, y)):
        return None
    left, right = (a.args[0] if a.kind == "zext" else b.const(a.value, bits) for a in (x, y))
    return b.two(kind, left, right)


def _carry(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x, y = args
    return b.const(0, 1) if possible(x) + possible(y) <= ones(x.bits) else None


def _select(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    condition, x, y = args
    if condition.kind == "const":
        return x if condition.value else y
    if x is y:
        return x
    if bits == 1 and x.kind == y.kind == "const":
        return condition if x.value else b.not_(condition)
    if condition.kind == "xor" and condition.args[1].kind == "const":
        return b.select(condition.args[0], y, x)
    if x.kind == "select" and x.args[0] is condition:
        return b.select(condition, x.args[1], y)
    if y.kind == "select" and y.args[0] is condition:
        return b.select(condition, x, y.args[2])
    return None


def _zext(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    return b.zext(args[0].args[0], bits) if args[0].kind == "zext" else None


def _trunc(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    x = args[0]
    if x.kind in ("zext", "trunc"):
        return b.resize(x.args[0], bits)
    if x.kind == "and" and x.args[1].kind == "const" and x.args[1].value & ones(bits) == ones(bits):
        return b.trunc(x.args[0], bits)
    if x.kind == "add" and x.args[1].kind == "const" and not x.args[1].value & ones(bits):
        return b.trunc(x.args[0], bits)
    if x.kind == "bswap":
        return _swapped_slice(b, x.args[0], 0, bits)
    if x.kind == "lshr" and x.args[1].kind == "const" and x.args[0].kind == "bswap":
        return _swapped_slice(b, x.args[0].args[0], x.args[1].value, bits)
    return None


def _swapped_slice(b: Builder, x: Op, low: int, bits: int) -> Op | None:
    """Bits low to low + bits - 1 of bswap(x), taken from `x` itself where that is shorter."""
    byte, last = low // 8, (low + bits - 1) // 8
    if last * 8 >= x.bits:
        return None
    if byte == last:
        return b.slice(x, (at := x.bits - 8 - 8 * byte + low % 8) + bits - 1, at)
    if low % 8 == 0 and bits in (16, 32):
        at = x.bits - low - bits
        return b.bswap(b.slice(x, at + bits - 1, at))
    return None


def _bswap(b: Builder, bits: int, args: tuple[Op, ...]) -> Op | None:
    return args[0].args[0] if args[0].kind == "bswap" else None


RULES: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "mulh": _upper,
    "udiv": _divided,
    "and": _and,
    "or": _or,
    "xor": _xor,
    "shl": _shift("shl"),
    "lshr": _shift("lshr"),
    "eq": _equal("eq"),
    "ne": _equal("ne"),
    "ult": _ult,
    "ule": _ule,
    "carry": _carry,
    "select": _select,
    "zext": _zext,
    "trunc": _trunc,
    "bswap": _bswap,
}
