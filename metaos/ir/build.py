"""`Builder`: makes the ops of one `Program`, folding constants and sharing equal values.

    b = Builder("00:03.0", "steady")
    with b.at(span):
        head = b.zext(b.load(8, "00:03.0.head"), 64)
        status = b.load(8, "00:03.0.rx", 12, (head,), ordered=True)
        skip = b.gate(b.const(0, 64), b.trunc(status, 1))
        b.store(b.const(0, 8), "00:03.0.rx", 12, (head, skip))
    program = b.finish()

Pure ops with equal kind, width, arguments and value are one op. Loads and everything
ordered stay where they were asked for. Widths are checked as the table of `Op` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from metaos.errors import MetaosError, Problem, Span
from metaos.ir.evaluate import COMMUTATIVE, PURE, evaluate, ones
from metaos.ir.program import SHADOW, Address, Op, Program
from metaos.ir.simplify import simplify
from metaos.told import facts_of

ACCESS = (8, 16, 32, 64)
"""Widths of an ordered memory access; a plain one may have any multiple of 8 up to 64."""
PORT_ACCESS = (8, 16, 32)


class Builder:
    """Collects the ops of one device in one phase, in the order they are asked for."""

    def __init__(self, device: str, phase: str) -> None:
        self.device = device
        self.phase = phase
        self._ops: list[Op] = []
        self._known: dict[tuple[object, ...], Op] = {}
        self._span: Span | None = None

    @contextmanager
    def at(self, span: Span | None) -> Iterator[None]:
        """Attribute the ops made inside to `span`."""
        before, self._span = self._span, span
        try:
            yield
        finally:
            self._span = before

    # Pure values

    def const(self, value: int, bits: int) -> Op:
        """`value` modulo 2^bits; negative numbers are two's complement."""
        self._demand(1 <= bits <= 64, f"a value has 1 to 64 bits, not {bits}")
        return self._share(Op("const", bits, value=value & ones(bits)))

    def address(self, symbol: str, offset: int = 0, index: tuple[Op, ...] = ()) -> Op:
        """The 64-bit linear address of a place: symbol + offset + the sum of `index`."""
        place, rest = self._place(symbol, offset, index)
        return self._share(Op("address", 64, rest, address=place))

    def add(self, a: Op, b: Op) -> Op:
        return self.two("add", a, b)

    def sub(self, a: Op, b: Op) -> Op:
        return self.two("sub", a, b)

    def mul(self, a: Op, b: Op) -> Op:
        return self.two("mul", a, b)

    def mulh(self, a: Op, b: Op) -> Op:
        """The upper half of a * b."""
        return self.two("mulh", a, b)

    def udiv(self, a: Op, b: Op) -> Op:
        """a / b rounded down; b must be seen not to be 0, as `x | 1` is."""
        return self.two("udiv", a, b)

    def and_(self, a: Op, b: Op) -> Op:
        return self.two("and", a, b)

    def or_(self, a: Op, b: Op) -> Op:
        return self.two("or", a, b)

    def xor(self, a: Op, b: Op) -> Op:
        return self.two("xor", a, b)

    def shl(self, a: Op, b: Op) -> Op:
        """a << b; 0 where a constant b is the width or more. A variable b must stay below it."""
        return self.two("shl", a, b)

    def lshr(self, a: Op, b: Op) -> Op:
        """a >> b, zeros shifted in; the same rule for b as in `shl`."""
        return self.two("lshr", a, b)

    def eq(self, a: Op, b: Op) -> Op:
        return self.two("eq", a, b)

    def ne(self, a: Op, b: Op) -> Op:
        return self.two("ne", a, b)

    def ult(self, a: Op, b: Op) -> Op:
        return self.two("ult", a, b)

    def ule(self, a: Op, b: Op) -> Op:
        return self.two("ule", a, b)

    def carry(self, a: Op, b: Op) -> Op:
        """1 where a + b does not fit in their width."""
        return self.two("carry", a, b)

    def two(self, kind: str, a: Op, b: Op) -> Op:
        """Any op of two equally wide arguments, by its kind."""
        self._demand(a.bits == b.bits, f"{kind}: {a.bits} bits against {b.bits}")
        bits = 1 if kind in ("eq", "ne", "ult", "ule", "carry") else a.bits
        return self.pure(kind, bits, (a, b))

    def not_(self, a: Op) -> Op:
        """Every bit of `a` inverted."""
        return self.xor(a, self.const(-1, a.bits))

    def select(self, condition: Op, a: Op, b: Op) -> Op:
        """`a` where the 1-bit condition holds, else `b`."""
        self._demand(condition.bits == 1, f"select: a condition has 1 bit, not {condition.bits}")
        self._demand(a.bits == b.bits, f"select: {a.bits} bits against {b.bits}")
        return self.pure("select", a.bits, (condition, a, b))

    def zext(self, a: Op, bits: int) -> Op:
        """`a` widened with zeros; `a` itself if it is as wide."""
        self._demand(a.bits <= bits <= 64, f"zext: {a.bits} bits do not widen to {bits}")
        return a if bits == a.bits else self.pure("zext", bits, (a,))

    def trunc(self, a: Op, bits: int) -> Op:
        """The lowest `bits` bits of `a`; `a` itself if it is as narrow."""
        self._demand(1 <= bits <= a.bits, f"trunc: {a.bits} bits do not narrow to {bits}")
        return a if bits == a.bits else self.pure("trunc", bits, (a,))

    def resize(self, a: Op, bits: int) -> Op:
        """`a` widened with zeros or cut to `bits`."""
        return self.zext(a, bits) if bits >= a.bits else self.trunc(a, bits)

    def slice(self, a: Op, high: int, low: int) -> Op:
        """Bits `high` down to `low` of `a`, both inclusive."""
        self._demand(0 <= low <= high < a.bits, f"no bits {high}:{low} in a value of {a.bits}")
        return self.trunc(self.lshr(a, self.const(low, a.bits)), high - low + 1)

    def bswap(self, a: Op) -> Op:
        """The bytes of `a` reversed; one byte is its own reverse."""
        self._demand(a.bits in ACCESS, f"bswap: {a.bits} bits are not whole bytes to swap")
        return a if a.bits == 8 else self.pure("bswap", a.bits, (a,))

    def gate(self, previous: Op, condition: Op) -> Op:
        """`previous` while `condition` holds, else SHADOW: one link of a chain of guards."""
        return self.select(condition, previous, self.const(SHADOW, 64))

    def gate_any(self, a: Op, b: Op) -> Op:
        """The gate open where either of two exclusive gates is: a + b - SHADOW."""
        return self.sub(self.add(a, b), self.const(SHADOW, 64))

    def cpuid(self, leaf: int | Op, subleaf: int | Op, register: int) -> Op:
        """One 32-bit register of CPUID: 0 to 3 for EAX, EBX, ECX, EDX."""
        self._demand(0 <= register <= 3, f"cpuid: no register {register}")
        pair = tuple(self.const(x, 32) if isinstance(x, int) else x for x in (leaf, subleaf))
        self._demand(all(x.bits == 32 for x in pair), "cpuid: leaf and subleaf have 32 bits")
        return self._share(Op("cpuid", 32, pair, register))

    def counted(self) -> Op:
        """The processor's time stamp counter, as it is at this place in the line."""
        return self._append(Op("rdtsc", 64, ordered=True))

    # Accesses

    def load(
        self,
        bits: int,
        symbol: str,
        offset: int = 0,
        index: tuple[Op, ...] = (),
        ordered: bool = False,
    ) -> Op:
        """What memory holds at symbol + offset + the sum of the 64-bit `index` values."""
        self._access(bits, ordered)
        place, rest = self._place(symbol, offset, index)
        return self._append(Op("load", bits, rest, address=place, ordered=ordered))

    def store(
        self,
        value: Op,
        symbol: str,
        offset: int = 0,
        index: tuple[Op, ...] = (),
        ordered: bool = False,
    ) -> None:
        """Put `value` at symbol + offset + the sum of the 64-bit `index` values."""
        self._access(value.bits, ordered)
        place, rest = self._place(symbol, offset, index)
        self._append(Op("store", 0, (value, *rest), address=place, ordered=ordered))

    def input(self, port: Op, bits: int) -> Op:
        """Read a port of 8, 16 or 32 bits. It happens each turn: guard with `ins` instead."""
        self._port(port, bits)
        return self._append(Op("in", bits, (port,), ordered=True))

    def output(self, port: Op, value: Op) -> None:
        """Write a port of 8, 16 or 32 bits. It happens each turn: guard with `outs` instead."""
        self._port(port, value.bits)
        self._append(Op("out", 0, (port, value), ordered=True))

    def ins(self, port: Op, count: Op, address: Op, width: int) -> None:
        """Read `count` units of `width` bits from a port to memory upwards of `address`."""
        self._string("ins", port, count, address, width)

    def outs(self, port: Op, count: Op, address: Op, width: int) -> None:
        """Write `count` units of `width` bits from memory upwards of `address` to a port."""
        self._string("outs", port, count, address, width)

    def fill(self, address: Op, count: Op, ordered: bool = False) -> None:
        """Store `count` quadwords of zeros upwards of `address`."""
        self._demand(address.bits == count.bits == 64, "fill: address and count have 64 bits")
        self._append(Op("fill", 0, (address, count), ordered=ordered))

    def copy(self, to: Op, source: Op, count: Op) -> None:
        """Copy `count` quadwords upwards of `source` to where `to` is."""
        wide = to.bits == source.bits == count.bits == 64
        self._demand(wide, "copy: both addresses and the count have 64 bits")
        self._append(Op("copy", 0, (to, source, count), ordered=True))

    def fence(self) -> None:
        """Let every store before be seen before any load after."""
        self._append(Op("fence", 0, ordered=True))

    def barrier(self) -> None:
        """Keep accesses before and after apart, without an instruction."""
        self._append(Op("barrier", 0, ordered=True))

    def finish(self) -> Program:
        """The program without unused pure ops and unused plain loads."""
        return Program(self.device, self.phase, prune(tuple(self._ops)))

    # How it is done

    def pure(self, kind: str, bits: int, args: tuple[Op, ...]) -> Op:
        """Make one arithmetic op, or what it folds to. Widths are the caller's to check."""
        if all(a.kind == "const" for a in args):
            values = [a.value for a in args]
            return self.const(evaluate(kind, bits, values, args[-1].bits), bits)
        if kind in COMMUTATIVE and args[0].kind == "const":
            args = (args[1], args[0])
        simpler = simplify(self, kind, bits, args)
        return simpler if simpler is not None else self._share(Op(kind, bits, args))

    def _share(self, op: Op) -> Op:
        offset = op.address.offset if op.address is not None else 0
        # Numbers that are equal by chance are not one: each op keeps its own facts.
        key = (op.kind, op.bits, op.args, op.value, op.address, facts_of(op.value, offset))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._append(op)
        return known

    def _append(self, op: Op) -> Op:
        if self._span is not None:
            op = Op(op.kind, op.bits, op.args, op.value, op.address, op.ordered, self._span)
        self._ops.append(op)
        return op

    def _place(
        self, symbol: str, offset: int, index: tuple[Op, ...]
    ) -> tuple[Address, tuple[Op, ...]]:
        """Move constant indices into the offset."""
        self._demand(bool(symbol), "an address needs a symbol")
        self._demand(all(i.bits == 64 for i in index), "an index has 64 bits")
        for i in index:
            if i.kind == "const":
                offset += i.value - (1 << 64) * (i.value >> 63)
        return Address(symbol, offset), tuple(i for i in index if i.kind != "const")

    def _access(self, bits: int, ordered: bool) -> None:
        whole = bits in ACCESS if ordered else bits in range(8, 65, 8)
        self._demand(whole, f"memory is not accessed in {bits} bits")

    def _port(self, port: Op, bits: int) -> None:
        self._demand(port.bits == 16, f"a port number has 16 bits, not {port.bits}")
        self._demand(bits in PORT_ACCESS, f"a port is not accessed in {bits} bits")

    def _string(self, kind: str, port: Op, count: Op, address: Op, width: int) -> None:
        self._port(port, width)
        self._demand(count.bits == address.bits == 64, f"{kind}: count and address have 64 bits")
        self._append(Op(kind, 0, (port, count, address), width, ordered=True))

    def _demand(self, holds: bool, message: str) -> None:
        if not holds:
            problem = Problem("E0901", message, self._span)
            where = f"{self.device}, phase {self.phase}"
            raise MetaosError(f"ill-formed step ({where})", problems=[problem])


def prune(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """Leave out pure ops and plain loads whose result no remaining op uses."""
    used: set[Op] = set()
    kept: list[Op] = []
    for op in reversed(ops):
        optional = op.kind in PURE or (op.kind == "load" and not op.ordered)
        if op in used or not optional:
            kept.append(op)
            used.update(op.args)
    return tuple(reversed(kept))
