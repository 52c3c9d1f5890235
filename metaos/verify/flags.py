"""What the last comparison left in the flags, as far as its operands are known.

Enough to decide conditions on exact numbers (a row's kind) and to say what a compared register
is where a condition holds: after `cmp eax, 48`, `cmove eax, ecx` keeps no 48 in EAX.
Source: Intel SDM vol. 1, appendix B "EFLAGS Condition Codes".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metaos.verify.values import Value

EITHER = frozenset({False, True})
COMPARED = frozenset({"e", "b", "be", "l", "le", "s"})
RESULT = frozenset({"e", "s"})
"""What an addition leaves: its carry and overflow are not those of a comparison with 0."""
CARRY = frozenset({"b"})
_PAIRS = 1024

_SYNONYMS = {
    "z": "e",
    "nz": "ne",
    "c": "b",
    "nae": "b",
    "nb": "ae",
    "nc": "ae",
    "na": "be",
    "nbe": "a",
    "nge": "l",
    "nl": "ge",
    "ng": "le",
    "nle": "g",
}
_OPPOSITE = {"ne": "e", "ae": "b", "a": "be", "ge": "l", "g": "le", "ns": "s"}


@dataclass(frozen=True, slots=True)
class Flags:
    """After `cmp a, b` (or `sub`) of `bits` bits; `test` and the like compare a result with 0.

    `register` is the whole register that held a and its version then; None if it was none.
    `valid` are the conditions that say what a comparison's would; others say nothing.
    """

    a: Value
    b: Value
    bits: int
    register: tuple[str, int] | None = None
    valid: frozenset[str] = COMPARED


def outcomes(flags: Flags | None, condition: str) -> frozenset[bool]:
    """What a condition can be."""
    condition = _SYNONYMS.get(condition, condition)
    if condition in _OPPOSITE:
        return frozenset(not x for x in outcomes(flags, _OPPOSITE[condition]))
    test = _TESTS.get(condition)
    if flags is None or test is None or condition not in flags.valid:
        return EITHER
    a, b, bits = flags.a, flags.b, flags.bits
    if not (a.exact and b.exact) or len(a.bases) * len(b.bases) > _PAIRS:
        return EITHER
    return frozenset(test(x, y, bits) for x in a.bases for y in b.bases)


def refined(
    value: Value, register: tuple[str, int], flags: Flags | None, condition: str, holds: bool
) -> Value:
    """A register's value where the condition holds (or does not); only equality says something."""
    condition = _SYNONYMS.get(condition, condition)
    if flags is None or flags.register != register or condition not in ("e", "ne"):
        return value
    if "e" not in flags.valid:
        return value
    if not (flags.b.exact and len(flags.b.bases) == 1 and value == flags.a and value.exact):
        return value
    equal = (condition == "e") == holds
    kept = value.bases & flags.b.bases if equal else value.bases - flags.b.bases
    return Value(kept) if kept else value


def _signed(x: int, bits: int) -> int:
    return x - (x >> (bits - 1) << bits)


_TESTS: dict[str, Callable[[int, int, int], bool]] = {
    "e": lambda x, y, bits: x == y,
    "b": lambda x, y, bits: x < y,
    "be": lambda x, y, bits: x <= y,
    "l": lambda x, y, bits: _signed(x, bits) < _signed(y, bits),
    "le": lambda x, y, bits: _signed(x, bits) <= _signed(y, bits),
    "s": lambda x, y, bits: bool((x - y) >> (bits - 1) & 1),
}
