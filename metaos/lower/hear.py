"""Lines that consoles show, kept for a service that sends them: `Heard(service, card)`.

    heard.take(b, ring)        # a turn: the next character of what consoles show
    heard.waiting(b)           # whether a whole line waits
    heard.said(b, gate)        # the first of them was sent

There is room for `count` lines, in a ring of slots: the text, and in a slot's last byte how long it
is. One character is taken a turn, as fast as lines are written; what of a line is beyond `size` is
left out, and a line that finds no room is counted and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from metaos.ir.build import Builder
from metaos.ir.program import ABSOLUTE, Op
from metaos.link.parts import Place
from metaos.lower.text import Shown
from metaos.pattern import syntax as s

_SPACE, _NEWLINE = 0x20, 0x0A


@dataclass(frozen=True, slots=True)
class Heard:
    """The lines of one service on one card."""

    node: s.Hear
    name: str

    @property
    def slot(self) -> int:
        """Bytes of a line's place: a power of two with room for the length."""
        return 1 << self.node.size.bit_length()

    @property
    def whole(self) -> int:
        return self.node.count * self.slot

    def places(self, card: str) -> Iterator[Place]:
        """What is written of it; all begins as zeros."""
        sizes = {"text": self.whole, "at": 4, "first": 4, "lost": 4, "shown": 4}
        for name, size in sizes.items():
            symbol = f"{self.name}.{name}"
            yield Place(symbol, card, size, 8, True, (), self.node.span, ("steady",))

    def take(self, b: Builder, ring: str) -> None:
        """One turn: the next character that consoles are shown, if there is one, to its line."""
        shown = Shown(ring, f"{self.name}.shown")
        char, some, _ = shown.take(b)
        shown.advance(b, some)
        at, text = self._offset(b, "at", 1), f"{self.name}.text"
        start, fill = b.and_(at, b.const(-self.slot, 64)), b.and_(at, b.const(self.slot - 1, 64))
        room = b.ult(fill, b.const(self.node.size, 64))
        letter = b.and_(b.ule(b.const(_SPACE, 8), char), room)
        always = b.const(0, 64)
        b.store(char, text, 0, (at, b.gate(always, letter)))
        ends = b.and_(b.eq(char, b.const(_NEWLINE, 8)), b.ne(fill, always))
        following = b.and_(b.add(start, b.const(self.slot, 64)), b.const(self.whole - 1, 64))
        full = b.eq(following, self._offset(b, "first", self.slot))
        ended = b.gate(always, ends)
        b.store(b.trunc(fill, 8), text, self.slot - 1, (start, ended))
        lost = b.zext(b.and_(ends, full), 16)
        b.store(b.add(b.load(16, f"{self.name}.lost"), lost), f"{self.name}.lost")
        goes_on = b.add(at, b.zext(letter, 64))
        behind = b.select(ends, b.select(full, start, following), goes_on)
        b.store(b.trunc(behind, 16), f"{self.name}.at")

    def waiting(self, b: Builder) -> Op:
        """Whether a whole line is there, as one bit."""
        return b.ne(self._offset(b, "at", self.slot), self._offset(b, "first", self.slot))

    def lost(self, b: Builder) -> Op:
        """How many lines found no room: 16 bits that wrap."""
        return b.load(16, f"{self.name}.lost")

    def length(self, b: Builder) -> Op:
        """Bytes of the first line that waits."""
        first = self._offset(b, "first", self.slot)
        return b.load(8, f"{self.name}.text", self.slot - 1, (first,))

    def copy(self, b: Builder, base: Op, offset: int, gate: Op) -> None:
        """The first line to `offset` bytes behind `base`; what follows it is of no meaning."""
        first = self._offset(b, "first", self.slot)
        for at in range(0, self.node.size, 8):
            piece = b.load(64, f"{self.name}.text", at, (first,))
            b.store(piece, ABSOLUTE, offset + at, (base, gate))

    def said(self, b: Builder, gate: Op) -> None:
        """Where the gate is open, the first line is gone."""
        following = b.add(self._offset(b, "first", self.slot), b.const(self.slot, 64))
        following = b.and_(following, b.const(self.whole - 1, 64))
        b.store(b.trunc(following, 16), f"{self.name}.first", 0, (gate,))

    def _offset(self, b: Builder, name: str, unit: int) -> Op:
        """A place in the ring of slots, in whole units; its mask is what bounds it."""
        mask = b.const((self.whole - 1) & -unit, 64)
        return b.and_(b.zext(b.load(16, f"{self.name}.{name}"), 64), mask)
