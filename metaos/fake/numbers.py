"""Numbers as the language has them: as wide as the widest part, wrapping there.

Word(3, 4) and Word(14, None): four bits, and a constant that takes the width it needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import MetaosError, Span
from metaos.pattern.arithmetic import COMPARISONS, OPERATIONS


@dataclass(frozen=True, slots=True)
class Word:
    """A number of `bits` bits; None: a constant of the text, as wide as it must be."""

    number: int
    bits: int | None = None

    @property
    def width(self) -> int:
        return self.bits if self.bits is not None else max(1, self.number.bit_length())


class Misuse(MetaosError):  # noqa: N818 - what the driver does, not what Python does
    """The driver does what this device forbids, or what nothing answers.

    `line` is the place in the `fake` that says so, None for an access that nothing declares.
    """

    def __init__(self, message: str, line: Span | None = None) -> None:
        super().__init__(message)
        self.line = line


def word(number: int, bits: int) -> Word:
    """A number cut to `bits` bits."""
    return Word(number & (1 << bits) - 1, bits)


def truth(holds: object) -> Word:
    return Word(int(bool(holds)), 1)


def unary(operator: str, a: Word) -> Word:
    if operator == "!":
        return truth(not a.number)
    return Word(~a.number) if a.bits is None else word(~a.number, a.bits)


def binary(operator: str, a: Word, b: Word) -> Word:
    """An operation, at the width that `metaos.pattern.arithmetic.sized` finds."""
    if operator in COMPARISONS:
        return truth(bool(COMPARISONS[operator](a.number, b.number)))
    found = OPERATIONS[operator](a.number, b.number)
    if a.bits is None and b.bits is None:
        return Word(found)
    match operator:
        case "&":
            return word(found, min(a.width, b.width) if a.number >= 0 <= b.number else _wide(a, b))
        case "<<":
            return word(found, a.width)
        case ">>":
            return word(found, max(1, a.width - b.number) if b.bits is None else a.width)
    return word(found, max(a.width, b.width))


def _wide(a: Word, b: Word) -> int:
    """The width of the one that is no negative constant."""
    return b.width if a.number < 0 else a.width


def bits(a: Word, high: int, low: int) -> Word:
    """Bits `high` to `low`, both included."""
    return word(a.number >> low, high - low + 1)
