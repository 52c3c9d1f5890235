"""`Value`: what a register can hold at one place of a straight line, whatever arrives.

A value is the set {b + k * step} for each base b and each k with k * step <= high, modulo 2^64.
Numbers known exactly have high 0; something unknown of n bits is base 0, high 2^n - 1. So the
address `table + gate + 16 * index` keeps its table and its gate apart from its index:

    plus(plus(known(0x200000), known(0, 1 << 30)), times(unknown(8), 16))
    == Value({0x200000, 0x40200000}, high=4080, step=16)

Every operation yields a superset of what the processor can yield.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

WORD = 64
MODULUS = 1 << WORD
LIMIT = 512
"""More bases than this are not kept apart."""
FEW = 4
"""A range with at most this many members is turned into bases."""


@dataclass(frozen=True, slots=True)
class Value:
    bases: frozenset[int]
    high: int = 0
    step: int = 1

    @property
    def exact(self) -> bool:
        """Whether every member is listed."""
        return self.high == 0

    @property
    def top(self) -> int:
        """The greatest member before reduction modulo 2^64."""
        return max(self.bases) + self.high

    def __str__(self) -> str:
        few = self.exact and len(self.bases) <= FEW
        return " or ".join(f"{base:#x}" for base in sorted(self.bases)) if few else "many a number"

    def holds(self, number: int) -> bool:
        """Whether a number is a member."""
        distances = ((number - base) % MODULUS for base in self.bases)
        return any(d <= self.high and d % self.step == 0 for d in distances)


def known(*numbers: int) -> Value:
    """One of these numbers."""
    return Value(frozenset(n % MODULUS for n in numbers))


def unknown(bits: int) -> Value:
    """Any number of `bits` bits."""
    return Value(frozenset({0}), (1 << bits) - 1)


ANY = unknown(WORD)


def normal(bases: frozenset[int], high: int, step: int, bits: int) -> Value:
    """The value of `bits` bits with these members, each reduced modulo 2^bits."""
    size = 1 << bits
    if high and high // step < FEW and len(bases) * FEW <= LIMIT:
        bases = frozenset(b + k for b in bases for k in range(0, high + 1, step))
        high, step = 0, 1
    bases = frozenset(b % size for b in bases)
    if len(bases) > LIMIT or high >= size or (bits < WORD and max(bases) + high >= size):
        unit = min(step & -step, size) if high else 0
        ends = frozenset(b % unit for b in bases) if unit else bases
        if unit and len(ends) <= FEW:  # as those that have a known low byte
            return Value(ends, size - unit, unit if unit < size else 1)
        return _aligned(bases, step if high else 0, bits)
    return Value(bases, high, step if high else 1)


def _aligned(bases: frozenset[int], step: int, bits: int) -> Value:
    """Anything of `bits` bits that keeps the zeros below the lowest bit of all members."""
    union = step
    for base in bases:
        union |= base
    low = min(union & -union, 1 << (bits - 1)) if union else 1
    return Value(frozenset({0}), (1 << bits) - low, low)


def narrow(value: Value, bits: int) -> Value:
    """The lowest `bits` bits."""
    if bits == WORD or value.top < 1 << bits:
        return value
    return normal(value.bases, value.high, value.step, bits)


def widen_signed(value: Value, bits: int, to: int) -> Value:
    """A value of `bits` bits sign-extended to `to` bits."""
    value = narrow(value, bits)
    half = 1 << (bits - 1)
    if value.exact:
        return normal(frozenset(b - 2 * half * (b >= half) for b in value.bases), 0, 1, to)
    return value if value.top < half else unknown(to)


def join(a: Value, b: Value) -> Value:
    """One of the two."""
    step = gcd(a.step if a.high else 0, b.step if b.high else 0) or 1
    return normal(a.bases | b.bases, max(a.high, b.high), step, WORD)


def plus(a: Value, b: Value, bits: int = WORD) -> Value:
    """a + b modulo 2^bits."""
    step = gcd(a.step if a.high else 0, b.step if b.high else 0) or 1
    if len(a.bases) * len(b.bases) > LIMIT:
        return _aligned(a.bases | b.bases, step if a.high or b.high else 0, bits)
    bases = frozenset(x + y for x in a.bases for y in b.bases)
    return normal(bases, a.high + b.high, step, bits)


def minus(a: Value, b: Value, bits: int = WORD) -> Value:
    """a - b modulo 2^bits."""
    if not b.exact:
        step = gcd(a.step if a.high else 0, b.step) or 1
        return _aligned(a.bases | b.bases, step, bits)
    return plus(a, Value(frozenset(-x for x in b.bases)), bits)


def times(a: Value, factor: int, bits: int = WORD) -> Value:
    """a * factor modulo 2^bits, for a factor that is not negative."""
    if factor == 0:
        return known(0)
    return normal(frozenset(b * factor for b in a.bases), a.high * factor, a.step * factor, bits)


def pointwise(a: Value, b: Value, bits: int, f: Callable[[int, int], int]) -> Value:
    """f of each pair of members; anything of `bits` bits unless both are listed and few."""
    if not (a.exact and b.exact) or len(a.bases) * len(b.bases) > 16 * LIMIT:
        return unknown(bits)
    return normal(frozenset(f(x, y) for x in a.bases for y in b.bases), 0, 1, bits)


def both(a: Value, b: Value, bits: int) -> Value:
    """a & b: no greater than either, and a multiple of the mask's lowest bit."""
    a, b = narrow(a, bits), narrow(b, bits)
    if a.exact and b.exact:
        return pointwise(a, b, bits, lambda x, y: x & y)
    limit = min(_ceiling(a, bits), _ceiling(b, bits))
    step = max(_low_bit(a), _low_bit(b))
    return normal(frozenset({0}), limit - limit % step, step, bits)


def either(a: Value, b: Value, bits: int) -> Value:
    """a | b (or a ^ b where no bit is in both)."""
    a, b = narrow(a, bits), narrow(b, bits)
    if a.exact and b.exact:
        return pointwise(a, b, bits, lambda x, y: x | y)
    if disjoint(a, b):
        return plus(a, b, bits)
    mixed = blend(a, b, bits)
    ones = max(_low_ones(a), _low_ones(b))
    if ones and mixed.bases == {0}:  # they stay, whatever else there is
        return normal(frozenset({ones}), max(mixed.high - ones, 0) & ~ones, ones + 1, bits)
    return mixed


def blend(a: Value, b: Value, bits: int) -> Value:
    """Any number with no bit above the highest nor below the lowest of a's and b's."""
    width = max(_ceiling(a, bits), _ceiling(b, bits)).bit_length()
    step = min(_low_bit(a), _low_bit(b))
    ceiling = (1 << width) - 1
    return normal(frozenset({0}), ceiling - ceiling % step, step, bits)


def disjoint(a: Value, b: Value) -> bool:
    """Whether no member of one has a bit in common with any of the other."""
    for x, y in ((a, b), (b, a)):
        if x.exact and y.top < min((n & -n for n in x.bases if n), default=MODULUS):
            return True
        if x.exact and max(x.bases) < _low_bit(y):
            return True
    return False


def right(a: Value, count: int, bits: int) -> Value:
    """a >> count, zeros shifted in."""
    a = narrow(a, bits)
    if a.exact:
        return normal(frozenset(b >> count for b in a.bases), 0, 1, bits)
    return Value(frozenset({0}), _ceiling(a, bits) >> count) if count < bits else known(0)


def _low_ones(a: Value) -> int:
    """The run of ones from bit 0 on of the one number that it is; 0 for any other value."""
    (number,) = a.bases if a.exact and len(a.bases) == 1 else (0,)
    return (number ^ (number + 1)) >> 1


def _ceiling(a: Value, bits: int) -> int:
    """No member of a value of `bits` bits is greater."""
    return min(a.top, (1 << bits) - 1)


def _low_bit(a: Value) -> int:
    """The greatest power of two that divides every member."""
    union = a.step if a.high else 0
    for base in a.bases:
        union |= base
    return union & -union if union else 1 << (WORD - 1)
