"""The general registers of a straight line as `Value`s: whole, and the parts last written.

A write to AL leaves the rest of RAX as it was; to read AL back exactly, the part is kept
beside the whole until the next write. 32-bit writes clear the upper half.
Source: Intel SDM vol. 1, 3.4.1.1 "General-Purpose Registers in 64-Bit Mode".
"""

from __future__ import annotations

from collections import Counter

from metaos.verify.values import (
    ANY,
    MODULUS,
    WORD,
    Value,
    known,
    narrow,
    normal,
    plus,
    right,
    unknown,
)

_OLD = {"a": "rax", "b": "rbx", "c": "rcx", "d": "rdx"}
_POINTERS = ("si", "di", "bp", "sp")


def _families() -> dict[str, tuple[str, int, int]]:
    """Register name -> (64-bit name, bits, lowest bit)."""
    table: dict[str, tuple[str, int, int]] = {}
    for letter, whole in _OLD.items():
        table |= {
            whole: (whole, 64, 0),
            f"e{letter}x": (whole, 32, 0),
            f"{letter}x": (whole, 16, 0),
            f"{letter}l": (whole, 8, 0),
            f"{letter}h": (whole, 8, 8),
        }
    for name in _POINTERS:
        table |= {
            f"r{name}": (f"r{name}", 64, 0),
            f"e{name}": (f"r{name}", 32, 0),
            name: (f"r{name}", 16, 0),
            f"{name}l": (f"r{name}", 8, 0),
        }
    for number in range(8, 16):
        whole = f"r{number}"
        table |= {whole: (whole, 64, 0)}
        table |= {f"{whole}{s}": (whole, bits, 0) for s, bits in (("d", 32), ("w", 16), ("b", 8))}
    return table


REGISTERS = _families()


class Registers:
    """What each register can hold; everything at first."""

    def __init__(self) -> None:
        self._whole: dict[str, Value] = {}
        self._part: dict[str, tuple[int, Value]] = {}
        self._version: Counter[str] = Counter()

    def version(self, name: str) -> tuple[str, int]:
        """The whole register and how often it was written: what a comparison remembers."""
        whole = REGISTERS[name][0]
        return whole, self._version[whole]

    def read(self, name: str) -> Value:
        """The value of a register or a part of one, zero-extended."""
        whole, bits, low = REGISTERS[name]
        part = self._part.get(whole)
        if part and low == 0 and bits <= part[0]:
            return narrow(part[1], bits)
        value = self._whole.get(whole, ANY)
        return narrow(right(value, low, 64) if low else value, bits)

    def write(self, name: str, value: Value) -> None:
        """Put `value` in a register, or in a part of one as the processor does."""
        whole, bits, low = REGISTERS[name]
        self._version[whole] += 1
        if bits >= 32:
            self._part.pop(whole, None)
            self._whole[whole] = narrow(value, bits)
            return
        value = narrow(value, bits)
        rest = self.read(whole)
        self._part.pop(whole, None)
        mask = ((1 << bits) - 1) << low
        if rest.exact:
            kept = frozenset(b & ~mask for b in rest.bases)
            moved = Value(frozenset(b << low for b in value.bases), value.high << low)
            self._whole[whole] = plus(Value(kept), moved)
        elif rest.top <= mask:
            self._whole[whole] = unknown(bits + low)
        elif low == 0 and value.exact:
            self._whole[whole] = normal(value.bases, MODULUS - 1 - mask, mask + 1, WORD)
        else:
            self._whole[whole] = ANY
        if low == 0:
            self._part[whole] = (bits, value)

    def forget(self, name: str) -> None:
        """Say that nothing is known of a register any more; other names are ignored."""
        if name in REGISTERS:
            self.write(REGISTERS[name][0], ANY)

    def clear(self, name: str) -> None:
        """Set a whole register to 0."""
        self.write(name, known(0))
