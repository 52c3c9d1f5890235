"""Tests of constant bytes of a frame, joined to as few words as compare at once."""

from __future__ import annotations

from metaos.errors import Span
from metaos.told import little_endian


class Masks:
    """Masked bytes of the frame that must have given values."""

    def __init__(self) -> None:
        self.bytes: dict[int, tuple[int, int, Span]] = {}

    def add(self, first: int, bits: int, value: int, span: Span) -> bool:
        """`bits` bits from bit `first` on the wire are `value`. False if one was to be other."""
        for i in range(bits):
            byte, bit = divmod(first + i, 8)
            one = value >> (bits - 1 - i) & 1
            mask, known, at = self.bytes.get(byte, (0, 0, span))
            if mask & 0x80 >> bit and bool(known & 0x80 >> bit) != one:
                return False
            self.bytes[byte] = (mask | 0x80 >> bit, known | one * (0x80 >> bit), at)
        return True

    def covered(self) -> list[tuple[int, int, int, int, Span]]:
        """(offset, size, mask, value, span) with words as a little-endian load gives them."""
        result, offsets = [], sorted(self.bytes)
        while offsets:
            start = offsets[0]
            size = next(n for n in (8, 4, 2, 1) if self.fits(start, n))
            part = [self.bytes[start + i] for i in range(size)]
            mask = little_endian(p[0] for p in part)
            value = little_endian(p[1] for p in part)
            result.append((start, size, mask, value, part[0][2]))
            offsets = [o for o in offsets if o >= start + size]
        return result

    def fits(self, start: int, size: int) -> bool:
        """Whether `size` bytes compare at once: all whole, or all to be 0."""
        part = [self.bytes.get(start + i) for i in range(size)]
        if size == 1:
            return True
        if any(p is None for p in part):
            return False
        return all(p is not None and p[0] == 0xFF for p in part) or all(
            p is not None and p[1] == 0 for p in part
        )
