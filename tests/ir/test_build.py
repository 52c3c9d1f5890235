"""The builder folds to what the ops mean: random expressions against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaos.errors import MetaosError, Span
from metaos.ir.build import Builder
from metaos.ir.check import check, check_pruned
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import SHADOW, Op

WIDTHS = (1, 3, 8, 13, 16, 32, 48, 64)
LEAVES = 6


@dataclass(frozen=True)
class Expression:
    """A value to build and, by itself, what it must be."""

    bits: int
    build: Callable[[Builder, list[Op]], Op]
    value: Callable[[list[int]], int]
    text: str

    def __repr__(self) -> str:
        return self.text


def leaf(bits: int) -> st.SearchStrategy[Expression]:
    def make(i: int) -> Expression:
        return Expression(
            bits,
            lambda b, leaves: b.resize(leaves[i], bits),
            lambda values: values[i] % 2**bits,
            f"x{i}:{bits}",
        )

    return st.integers(0, LEAVES - 1).map(make)


def constant(bits: int) -> st.SearchStrategy[Expression]:
    top = 2**bits - 1
    telling = [0, 1, top, top ^ 1, 0xFF, 0xFF00, 0x1FFF, SHADOW, 0x0800, bits - 1, 8, 5]
    numbers = st.sampled_from(telling) | st.integers(0, top)
    return numbers.map(lambda n: n & top).map(
        lambda n: Expression(bits, lambda b, _: b.const(n, bits), lambda _: n, f"{n:#x}:{bits}")
    )


def swapped(value: int, bits: int) -> int:
    return sum(((value >> 8 * i) & 0xFF) << (bits - 8 - 8 * i) for i in range(bits // 8))


TWO: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda a, b, n: (a + b) % 2**n,
    "sub": lambda a, b, n: (a - b) % 2**n,
    "mul": lambda a, b, n: (a * b) % 2**n,
    "mulh": lambda a, b, n: a * b // 2**n,
    "and": lambda a, b, n: a & b,
    "or": lambda a, b, n: a | b,
    "xor": lambda a, b, n: a ^ b,
}
COMPARE: dict[str, Callable[[int, int, int], bool]] = {
    "eq": lambda a, b, n: a == b,
    "ne": lambda a, b, n: a != b,
    "ult": lambda a, b, n: a < b,
    "ule": lambda a, b, n: a <= b,
    "carry": lambda a, b, n: a + b >= 2**n,
}


@st.composite
def expressions(draw: st.DrawFn, bits: int, depth: int) -> Expression:
    if depth == 0:
        return draw(leaf(bits) | constant(bits))
    kinds = ["two", "two", "shift", "select", "divide", "leaf"]
    kinds += ["compare"] * 3 if bits == 1 else []
    kinds += ["bswap"] * 2 if bits in (16, 32, 64) else []
    kinds += ["zext"] if bits > 1 else []
    kinds += ["trunc"] if bits < 64 else []
    kind = draw(st.sampled_from(kinds))

    def sub(width: int) -> Expression:
        return draw(expressions(width, depth - 1))

    if kind == "two":
        return two(draw(st.sampled_from(sorted(TWO))), sub(bits), sub(bits))
    if kind == "divide":
        return divide(sub(bits), sub(bits))
    if kind == "compare":
        width = draw(st.sampled_from(WIDTHS))
        right = draw(constant(width)) if draw(st.booleans()) else sub(width)
        return compare(draw(st.sampled_from(sorted(COMPARE))), sub(width), right)
    if kind == "shift":
        return shift(draw(st.booleans()), sub(bits), draw(st.integers(0, bits)))
    if kind == "select":
        return select(sub(1), sub(bits), sub(bits))
    if kind == "bswap":
        return bswap(sub(bits))
    if kind in ("zext", "trunc"):
        widths = [w for w in WIDTHS if (w < bits if kind == "zext" else w > bits)]
        return resize(sub(draw(st.sampled_from(widths))), bits)
    return draw(leaf(bits))


def two(kind: str, a: Expression, b: Expression) -> Expression:
    n = a.bits
    return Expression(
        n,
        lambda m, x: m.two(kind, a.build(m, x), b.build(m, x)),
        lambda v: TWO[kind](a.value(v), b.value(v), n),
        f"({a} {kind} {b})",
    )


def divide(a: Expression, b: Expression) -> Expression:
    """What is divided by has its lowest bit set: it is not 0."""
    return Expression(
        a.bits,
        lambda m, x: m.udiv(a.build(m, x), m.or_(b.build(m, x), m.const(1, a.bits))),
        lambda v: a.value(v) // (b.value(v) | 1),
        f"({a} / ({b} | 1))",
    )


def compare(kind: str, a: Expression, b: Expression) -> Expression:
    return Expression(
        1,
        lambda m, x: m.two(kind, a.build(m, x), b.build(m, x)),
        lambda v: int(COMPARE[kind](a.value(v), b.value(v), a.bits)),
        f"({a} {kind} {b})",
    )


def shift(left: bool, a: Expression, by: int) -> Expression:
    n = a.bits

    def build(m: Builder, x: list[Op]) -> Op:
        amount = m.const(by, 64) if by >= 2**n else m.const(by, n)
        if amount.bits != n or amount.value != by:
            return m.const(0, n)  # an amount the width cannot hold cannot be asked for
        return (m.shl if left else m.lshr)(a.build(m, x), amount)

    def value(v: list[int]) -> int:
        if by >= 2**n:
            return 0
        return (a.value(v) << by) % 2**n if left else a.value(v) >> by

    return Expression(n, build, value, f"({a} {'<<' if left else '>>'} {by})")


def select(c: Expression, a: Expression, b: Expression) -> Expression:
    return Expression(
        a.bits,
        lambda m, x: m.select(c.build(m, x), a.build(m, x), b.build(m, x)),
        lambda v: a.value(v) if c.value(v) else b.value(v),
        f"({c} ? {a} : {b})",
    )


def bswap(a: Expression) -> Expression:
    return Expression(
        a.bits,
        lambda m, x: m.bswap(a.build(m, x)),
        lambda v: swapped(a.value(v), a.bits),
        f"bswap({a})",
    )


def resize(a: Expression, bits: int) -> Expression:
    return Expression(
        bits,
        lambda m, x: m.resize(a.build(m, x), bits),
        lambda v: a.value(v) % 2**bits,
        f"({a}):{bits}",
    )


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(WIDTHS).flatmap(lambda bits: expressions(bits, 4)),
    st.lists(st.integers(0, 2**64 - 1), min_size=LEAVES, max_size=LEAVES),
)
def test_folding_keeps_the_value(expression: Expression, inputs: list[int]) -> None:
    same_value(expression, inputs)


def same_value(expression: Expression, inputs: list[int]) -> None:
    """Build, check and run `expression`, and compare with what it must be."""
    b = Builder("d", "steady")
    leaves = [b.load(64, "in", 8 * i) for i in range(LEAVES)]
    result = b.zext(expression.build(b, leaves), 64)
    b.store(result, "out")
    program = b.finish()
    check(program)
    check_pruned(program)
    source, sink = Ram(b"".join(v.to_bytes(8, "little") for v in inputs)), Ram(8)
    run(program, Memory({"in": (0x200000, source), "out": (0x201000, sink)}))
    assert sink.read(0, 64) == expression.value(inputs)


def with_constant(draw: st.DrawFn, a: Expression) -> Expression:
    """One step from `a` that a comparison with a constant may be carried through."""
    n = a.bits
    kind = draw(
        st.sampled_from(["two", "two", "shift", "resize", "slice", "slice", "not", "nested"])
    )
    if kind == "two":
        return two(draw(st.sampled_from(sorted(TWO))), a, draw(constant(n)))
    if kind == "shift":
        return shift(draw(st.booleans()), a, draw(st.integers(0, n)))
    if kind == "resize":
        return resize(a, draw(st.sampled_from(WIDTHS)))
    if kind == "slice":
        return sliced(draw, bswap(a) if n in (16, 32, 64) and draw(st.booleans()) else a)
    if kind == "nested":
        c, other = draw(leaf(1)), draw(constant(n))
        inner = select(c, a, draw(constant(n)))
        return select(c, inner, other) if draw(st.booleans()) else select(c, other, inner)
    return two("xor", a, Expression(n, lambda b, _: b.const(-1, n), lambda _: 2**n - 1, "-1"))


def sliced(draw: st.DrawFn, a: Expression) -> Expression:
    """Some bits of `a`: shifted down, then cut or masked."""
    low = draw(st.integers(0, a.bits - 1) | st.sampled_from([8 % a.bits, 16 % a.bits]))
    width = draw(st.integers(1, a.bits - low) | st.sampled_from([1, 8, 16, 32]))
    shifted = shift(False, a, low)
    if draw(st.booleans()):
        return resize(shifted, min(width, a.bits))
    mask = 2 ** min(width, a.bits) - 1
    return two(
        "and", shifted, Expression(a.bits, lambda b, _: b.const(mask, a.bits), lambda _: mask, "m")
    )


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[Expression, list[int]]:
    """A chain of steps over an input against a number near what it is, and the inputs."""
    small = st.integers(0, 3) | st.sampled_from([0x80, 0xFF, 0x0008, 2**64 - 1])
    inputs = draw(st.lists(small | st.integers(0, 2**64 - 1), min_size=LEAVES, max_size=LEAVES))
    chain = draw(st.sampled_from(WIDTHS).flatmap(leaf))
    for _ in range(draw(st.integers(1, 4))):
        chain = with_constant(draw, chain)
    n, near = chain.bits, draw(st.sampled_from([0, 0, 0, 1, -1]))
    wanted = (chain.value(inputs) + near) % 2**n
    against = Expression(n, lambda b, _: b.const(wanted, n), lambda _: wanted, f"{wanted:#x}")
    sides = [chain, draw(st.just(against) | leaf(n) | leaf(n).map(lambda x: resize(x, n)))]
    left, right = draw(st.permutations(sides))
    result = compare(draw(st.sampled_from(sorted(COMPARE))), left, right)
    flip = Expression(1, lambda b, _: b.const(1, 1), lambda _: 1, "1")
    return (two("xor", result, flip) if draw(st.booleans()) else result), inputs


@settings(max_examples=300, deadline=None)
@given(comparisons())
def test_comparisons_carried_through_keep_their_truth(case: tuple[Expression, list[int]]) -> None:
    same_value(*case)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_every_slice_of_swapped_bytes(bits: int) -> None:
    number = 0x0123456789ABCDEF % 2**bits
    slices = [(high, low) for high in range(bits) for low in range(high + 1)]
    b = Builder("d", "steady")
    for i, (high, low) in enumerate(slices):
        b.store(b.zext(b.slice(b.bswap(b.load(bits, "in")), high, low), 64), "out", 8 * i)
    sink = Ram(8 * len(slices))
    memory = {"in": (0x200000, Ram(number.to_bytes(8, "little"))), "out": (0x400000, sink)}
    run(b.finish(), Memory(memory))
    wanted = [(swapped(number, bits) >> low) % 2 ** (high - low + 1) for high, low in slices]
    assert [sink.read(8 * i, 64) for i in range(len(slices))] == wanted


@pytest.mark.parametrize("kind", ["eq", "ne"])
def test_every_bit_against_every_bit_of_a_narrower_number(kind: str) -> None:
    wide, narrow = 0x9C35, 0xA6
    pairs = [(i, j) for i in range(16) for j in range(8)]
    b = Builder("d", "steady")
    for at, (i, j) in enumerate(pairs):
        sides = b.slice(b.load(16, "in"), i, i), b.slice(b.load(8, "in", 2), j, j)
        b.store(b.zext(b.two(kind, *sides), 8), "out", at)
    sink = Ram(len(pairs))
    held = Ram(wide.to_bytes(2, "little") + bytes([narrow]))
    run(b.finish(), Memory({"in": (0x200000, held), "out": (0x400000, sink)}))
    same = [(wide >> i & 1) == (narrow >> j & 1) for i, j in pairs]
    assert [sink.read(at, 8) for at in range(len(pairs))] == [one == (kind == "eq") for one in same]


def kinds(op: Op) -> str:
    """The shape of an expression, loads by their offset."""
    if op.kind == "const":
        return hex(op.value)
    if op.kind == "load":
        return f"m{op.address.offset if op.address else 0}"
    return f"{op.kind}{op.bits}({', '.join(kinds(a) for a in op.args)})"


CASES: list[tuple[Callable[[Builder, Op, Op], Op], str]] = [
    (lambda b, x, y: b.add(x, b.const(0, 16)), "m0"),
    (lambda b, x, y: b.and_(x, b.const(0, 16)), "0x0"),
    (lambda b, x, y: b.select(b.const(1, 1), x, y), "m0"),
    (lambda b, x, y: b.eq(b.bswap(x), b.const(0x0800, 16)), "eq1(m0, 0x8)"),
    (lambda b, x, y: b.eq(b.zext(x, 32), b.const(7, 32)), "eq1(m0, 0x7)"),
    (lambda b, x, y: b.eq(b.zext(x, 32), b.const(1 << 16, 32)), "0x0"),
    (
        lambda b, x, y: b.eq(b.slice(b.bswap(x), 12, 0), b.const(0, 13)),
        "eq1(and16(m0, 0xff1f), 0x0)",
    ),
    (
        lambda b, x, y: b.eq(b.slice(x, 15, 12), b.const(4, 4)),
        "eq1(and16(m0, 0xf000), 0x4000)",
    ),
    (lambda b, x, y: b.slice(b.bswap(x), 13, 13), "trunc1(lshr16(m0, 0x5))"),
    (lambda b, x, y: b.not_(b.eq(x, y)), "ne1(m0, m2)"),
    (
        lambda b, x, y: b.ne(
            b.slice(x, 7, 7), b.slice(b.trunc(b.lshr(y, b.const(4, 16)), 8), 7, 7)
        ),
        "ne1(and16(xor16(m0, lshr16(m2, 0x4)), 0x80), 0x0)",
    ),
    (lambda b, x, y: b.not_(b.ult(x, y)), "ule1(m2, m0)"),
    (lambda b, x, y: b.and_(b.zext(x, 32), b.const(0xFFFF, 32)), "zext32(m0)"),
    (lambda b, x, y: b.ult(b.zext(x, 32), b.const(42, 32)), "ult1(m0, 0x2a)"),
    (lambda b, x, y: b.add(b.add(x, b.const(3, 16)), b.const(-3, 16)), "m0"),
    (lambda b, x, y: b.trunc(b.zext(x, 64), 16), "m0"),
    (lambda b, x, y: b.bswap(b.bswap(x)), "m0"),
    (lambda b, x, y: b.lshr(b.lshr(x, b.const(9, 16)), b.const(9, 16)), "0x0"),
    (lambda b, x, y: b.carry(b.const(0xFFFF, 16), b.const(1, 16)), "0x1"),
    (
        lambda b, x, y: b.gate_any(b.const(SHADOW, 64), b.gate(b.const(0, 64), b.eq(x, y))),
        "select64(eq1(m0, m2), 0x0, 0x40000000)",
    ),
]


@pytest.mark.parametrize(("make", "shape"), CASES, ids=[shape for _, shape in CASES])
def test_identity(make: Callable[[Builder, Op, Op], Op], shape: str) -> None:
    b = Builder("d", "steady")
    assert kinds(make(b, b.load(16, "m"), b.load(16, "m", 2))) == shape


def test_equal_pure_ops_are_one_and_loads_are_not() -> None:
    b = Builder("d", "steady")
    x, y = b.load(32, "m"), b.load(32, "m")
    assert x is not y
    assert b.add(x, y) is b.add(x, y)
    assert b.const(5, 8) is b.const(5, 8)
    assert b.const(5, 8) is not b.const(5, 16)
    assert b.address("m", 4) is b.address("m", 4)
    assert b.cpuid(1, 0, 2) is b.cpuid(1, 0, 2)
    assert b.cpuid(1, 0, 2) is not b.cpuid(1, 0, 3)


def test_constant_indices_move_into_the_offset() -> None:
    b = Builder("d", "steady")
    x = b.zext(b.load(8, "m"), 64)
    place = b.address("m", 16, (b.const(-4, 64), x, b.const(SHADOW, 64)))
    assert str(place.address) == f"m+{12 + SHADOW}"
    assert place.args == (x,)
    assert b.add(b.address("m", 16, (x,)), b.const(8, 64)) is b.address("m", 24, (x,))


def test_finish_leaves_out_what_nothing_uses() -> None:
    b = Builder("d", "steady")
    b.add(b.load(8, "m"), b.load(8, "m", 1))
    b.load(8, "m", 2, ordered=True)
    b.input(b.const(0x61, 16), 8)
    b.cpuid(0, 0, 0)
    kept = [op.kind for op in b.finish().ops]
    assert kept == ["load", "const", "in"]


def test_spans_are_those_in_force() -> None:
    outer, inner = Span("a.pattern", 1, 1, 2), Span("b.pattern", 2, 1, 2)
    b = Builder("d", "steady")
    with b.at(outer):
        first = b.load(8, "m")
        with b.at(inner):
            second = b.load(8, "m")
        third = b.load(8, "m")
    assert [op.span for op in (first, second, third)] == [outer, inner, outer]
    assert b.load(8, "m").span is None


WRONG: list[tuple[Callable[[Builder, Op, Op], object], str]] = [
    (lambda b, x, y: b.add(x, y), "add: 16 bits against 32"),
    (lambda b, x, y: b.select(x, x, x), "a condition has 1 bit, not 16"),
    (lambda b, x, y: b.select(b.const(1, 1), x, y), "select: 16 bits against 32"),
    (lambda b, x, y: b.zext(y, 16), "32 bits do not widen to 16"),
    (lambda b, x, y: b.trunc(x, 32), "16 bits do not narrow to 32"),
    (lambda b, x, y: b.bswap(b.trunc(x, 13)), "13 bits are not whole bytes"),
    (lambda b, x, y: b.slice(x, 16, 0), "no bits 16:0 in a value of 16"),
    (lambda b, x, y: b.const(0, 65), "1 to 64 bits, not 65"),
    (lambda b, x, y: b.load(12, "m"), "not accessed in 12 bits"),
    (lambda b, x, y: b.load(48, "m", ordered=True), "not accessed in 48 bits"),
    (lambda b, x, y: b.load(8, "m", 0, (x,)), "an index has 64 bits"),
    (lambda b, x, y: b.load(8, ""), "needs a symbol"),
    (lambda b, x, y: b.store(b.trunc(x, 1), "m"), "not accessed in 1 bits"),
    (lambda b, x, y: b.input(y, 8), "a port number has 16 bits, not 32"),
    (lambda b, x, y: b.output(x, b.zext(x, 64)), "a port is not accessed in 64 bits"),
    (lambda b, x, y: b.ins(x, y, y, 8), "count and address have 64 bits"),
    (lambda b, x, y: b.fill(y, y), "fill: address and count have 64 bits"),
    (lambda b, x, y: b.copy(y, y, y), "copy: both addresses and the count have 64 bits"),
    (lambda b, x, y: b.cpuid(0, 0, 4), "no register 4"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_widths_are_refused(make: Callable[[Builder, Op, Op], object], message: str) -> None:
    b = Builder("00:03.0", "steady")
    x, y = b.load(16, "m"), b.load(32, "m")
    with (
        pytest.raises(MetaosError, match=r"00:03\.0, phase steady") as caught,
        b.at(Span("a", 3, 1, 2)),
    ):
        make(b, x, y)
    assert message in caught.value.problems[0].message
    assert str(caught.value.problems[0].span) == "a:3:1"
