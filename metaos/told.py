"""`Told`: a number that knows which facts it was made from.

    base = Told(0xFEB80000, ("functions.00:03.0.bars.0.address",))
    facts_of(base + 0x1000 | 3)      # ("functions.00:03.0.bars.0.address",)

It is an `int`: it is equal to one, hashes as one, and goes wherever one goes. Arithmetic gives
numbers that know the facts of all that they were made from. A comparison gives a plain truth:
what is *decided* by a fact does not carry it, only what is made of its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self


class Told(int):
    """An int with `facts`: paths into the machine file or the system file, each once."""

    facts: tuple[str, ...]

    def __new__(cls, value: int, facts: Iterable[str]) -> Self:
        made = super().__new__(cls, value)
        made.facts = tuple(dict.fromkeys(facts))
        return made

    def bit_length(self) -> Told:
        return Told(super().bit_length(), self.facts)


def facts_of(*numbers: int) -> tuple[str, ...]:
    """The facts behind some numbers, each once, in order; of plain numbers none."""
    return tuple(dict.fromkeys(f for n in numbers if isinstance(n, Told) for f in n.facts))


def told(value: int, *sources: int) -> int:
    """`value` with the facts of what it was made from; a plain int if there are none."""
    facts = facts_of(*sources)
    return Told(value, facts) if facts else int(value)


def little_endian(data: Iterable[int]) -> int:
    """The number that bytes make, the lowest first, with the facts of all of them."""
    return sum(byte << 8 * i for i, byte in enumerate(data))


def big_endian(data: Iterable[int]) -> int:
    """The number that bytes make, the highest first, with the facts of all of them."""
    return little_endian(reversed(tuple(data)))


def bytes_of(value: int, length: int) -> list[int]:
    """The lowest `length` bytes of a number, the lowest first, each with its facts."""
    return [value >> 8 * i & 0xFF for i in range(length)]


_BY_ZERO = (int.__mul__, int.__rmul__, int.__and__, int.__rand__)
"""Of these a 0 decides the result: it is 0 because of that one alone."""


def _kept(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The int's own operation, whose result has the facts of its operands."""

    def keep(self: Told, *others: int) -> Any:
        value = operation(self, *others)
        if value is NotImplemented:
            return value
        nothing = [n for n in (self, *others) if n == 0] if operation in _BY_ZERO else []
        return Told(value, facts_of(*(nothing or (self, *others))))

    return keep


_TWO = ["add", "sub", "mul", "and", "or", "xor", "lshift", "rshift", "floordiv", "mod"]
_ONE = ["neg", "invert", "abs", "pos"]
for _name in (*_TWO, *(f"r{name}" for name in _TWO), *_ONE):
    setattr(Told, f"__{_name}__", _kept(getattr(int, f"__{_name}__")))
