"""What a pure op's result is, given its arguments' numbers: the one definition of arithmetic.

The builder folds constants with it and the interpreter runs programs with it.

    evaluate("add", 8, (200, 100), 8) == 44
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metaos.errors import MetaosError
from metaos.told import big_endian, bytes_of

ARITHMETIC = frozenset({"add", "sub", "mul", "mulh", "udiv", "and", "or", "xor", "shl", "lshr"})
COMPARISONS = frozenset({"eq", "ne", "ult", "ule", "carry"})
COMMUTATIVE = frozenset({"add", "mul", "mulh", "and", "or", "xor", "eq", "ne", "carry"})
PURE = ARITHMETIC | COMPARISONS | {"const", "address", "select", "zext", "trunc", "bswap", "cpuid"}
"""Ops without an effect: equal ones are one value, and an unused one is left out."""

_TWO: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda a, b, bits: a + b,
    "sub": lambda a, b, bits: a - b,
    "mul": lambda a, b, bits: a * b,
    "mulh": lambda a, b, bits: a * b >> bits,
    "udiv": lambda a, b, bits: a // b,
    "and": lambda a, b, bits: a & b,
    "or": lambda a, b, bits: a | b,
    "xor": lambda a, b, bits: a ^ b,
    "shl": lambda a, b, bits: a << b if b < bits else 0,
    "lshr": lambda a, b, bits: a >> b if b < bits else 0,
    "eq": lambda a, b, bits: int(a == b),
    "ne": lambda a, b, bits: int(a != b),
    "ult": lambda a, b, bits: int(a < b),
    "ule": lambda a, b, bits: int(a <= b),
    "carry": lambda a, b, bits: (a + b) >> bits,
}


def ones(bits: int) -> int:
    """The largest number of `bits` bits."""
    return (1 << bits) - 1


def swap_bytes(value: int, bits: int) -> int:
    """`value` of `bits` bits (a multiple of 8) with its bytes in the other order."""
    return big_endian(bytes_of(value, bits // 8))


def evaluate(kind: str, bits: int, values: Sequence[int], width: int) -> int:
    """Work out one pure op: `bits` is the result's width, `width` its last argument's.

    A shift by `bits` or more gives 0, whatever a processor would make of it.

    Raises MetaosError for a kind that is not arithmetic, and for a division by 0.
    """
    two = _TWO.get(kind)
    if two is not None:
        if kind == "udiv" and not values[1]:
            raise MetaosError("a division by 0")
        return two(values[0], values[1], width) & ones(bits)
    if kind == "select":
        return values[1] if values[0] else values[2]
    if kind in ("zext", "trunc"):
        return values[0] & ones(bits)
    if kind == "bswap":
        return swap_bytes(values[0], bits)
    raise MetaosError(f"the op '{kind}' has no arithmetic")
