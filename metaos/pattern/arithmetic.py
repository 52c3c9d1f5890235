"""Numbers without a machine: `OPERATIONS` on constants, `sized` on widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from metaos.pattern import kinds as k

HIGHEST = 1 << 256
"""Where the highest value of a chain of operations is not followed any further."""

OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << min(max(b, 0), 64),
    ">>": lambda a, b: a >> min(max(b, 0), 64),
}

COMPARISONS: Mapping[str, Callable[[int, int], int]] = {
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
}
"""1 where it holds, else 0."""


def sized(operator: str, a: k.Num, b: k.Num) -> k.Num:
    """The width and the highest value of an operation on numbers not both constant."""
    bits = max(a.bits, b.bits)
    truth = a.truth and b.truth
    match operator:
        case "&":
            return k.Num(min(a.bits, b.bits), min(a.top, b.top), truth)
        case "|" | "^":
            top = (1 << max(a.top.bit_length(), b.top.bit_length())) - 1
            return k.Num(bits, top, truth)
        case "+":
            return k.Num(bits, min(a.top + b.top, HIGHEST))
        case "*":
            return k.Num(bits, min(a.top * b.top, HIGHEST))
        case ">>" if b.value is not None and b.value >= 0:
            return k.Num(max(1, a.bits - b.value), a.top >> min(b.value, 64))
        case "<<" if b.value is not None and b.value >= 0:
            return k.Num(a.bits, min(a.top << min(b.value, 64), HIGHEST))
        case "<<" | ">>":
            return k.Num(a.bits, (1 << a.bits) - 1)
    return k.Num(bits, (1 << bits) - 1)
