"""Frames that one card passes on to another: `Queue`, of which each card that gets any has one.

    queue.put(b, frame, gate, shift)    # the giver's turn: into the queue, if there is room
    queue.get(b, frame)                 # the card's own turn: the oldest goes out

A frame is copied twice, each time by one string instruction, since neither card can reach the
other's buffers: the rings, and how many frames each has, are each card's own. `head` and `tail`
count what came and what went; a queue is full where they are `SLOTS` apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.link.parts import Place
from metaos.lower.values import Frame

SLOTS = 8
"""A power of two, so that its bit alone of head - tail says that the queue is full."""
STRIDE = 2048
BEGINS = 32
"""Bytes from a slot's start, where the length stands, to the frame: room for longer headers."""
MOST = 1984
"""Bytes of the longest frame that is passed on: in its slot, and in any card's buffer of 2048."""
LONGER = 16
"""Bytes by which new headers may be longer than the old ones."""
_UNITS = 0xFE
"""The bits of a number of quadwords, an even one, that MOST bytes need."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The frames that wait for `card`. `span` is why there are any."""

    card: str
    span: Span

    def symbol(self, name: str) -> str:
        """The linker's name of a part of it."""
        return f"{self.card}.passed.{name}"

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each part; a copy from or to the last slot ends behind it, not in it."""
        return {"frames": SLOTS * STRIDE + 64, "head": 4, "tail": 4, "last": 4}

    def places(self) -> tuple[Place, ...]:
        """Its parts in RAM."""

        def place(name: str, size: int) -> Place:
            symbol, zero = self.symbol(name), name != "frames"
            return Place(symbol, self.card, size, 8, zero, (), self.span, ("steady",))

        return tuple(place(name, size) for name, size in self.sizes.items())

    def waits(self, b: Builder) -> Op:
        """Whether a frame waits, as one bit."""
        return b.ne(b.load(8, self.symbol("head")), b.load(8, self.symbol("tail")))

    def full(self, b: Builder) -> Op:
        """Whether there is no room for another, as one bit."""
        apart = b.sub(b.load(8, self.symbol("head")), b.load(8, self.symbol("tail")))
        return b.ne(b.and_(apart, b.const(SLOTS, 8)), b.const(0, 8))

    def slot(self, b: Builder, cursor: str) -> Op:
        """Where the slot lies, behind the first, that a counter is at."""
        at = b.and_(b.load(8, self.symbol(cursor)), b.const(SLOTS - 1, 8))
        return b.mul(b.zext(at, 64), b.const(STRIDE, 64))

    def room(self, b: Builder, gate: Op, length: Op) -> Op:
        """A gate narrowed: there is room for a frame of so many bytes."""
        gate = b.gate(gate, b.not_(self.full(b)))
        return b.gate(gate, b.ule(b.resize(length, 32), b.const(MOST, 32)))

    def put(self, b: Builder, frame: Frame, gate: Op, shift: Op) -> Frame:
        """Copy a frame into the queue, so many bytes behind where one begins; the frame there."""
        slot, symbol = self.slot(b, "head"), self.symbol("frames")
        count = _count(b, frame.length, gate)
        b.copy(b.address(symbol, BEGINS, (slot, shift)), frame.base, count)
        length = b.add(b.resize(frame.length, 32), b.resize(shift, 32))
        b.store(b.resize(length, 16), symbol, 0, (slot, gate))
        return Frame(b.address(symbol, BEGINS, (slot,)), length, gate)

    def sent_on(self, b: Builder, gate: Op) -> None:
        """The frame that was put there is whole."""
        self._count(b, "head", gate)

    def get(self, b: Builder, frame: Frame) -> Op:
        """Copy the oldest frame to where there is room for it, and forget it; its length."""
        slot, symbol = self.slot(b, "tail"), self.symbol("frames")
        length = b.zext(b.load(16, symbol, 0, (slot,)), 32)
        count = _count(b, length, frame.gate)
        b.copy(frame.base, b.address(symbol, BEGINS, (slot,)), count)
        self._count(b, "tail", frame.gate)
        return length

    def was_last(self, b: Builder) -> Op:
        """Whether the card's last frame was one that was passed on, as one bit."""
        return b.ne(b.load(8, self.symbol("last")), b.const(0, 8))

    def note_last(self, b: Builder, gate: Op, passed: bool) -> None:
        """Keep whether the frame that goes out now is one that was passed on."""
        b.store(b.const(int(passed), 8), self.symbol("last"), 0, (gate,))

    def _count(self, b: Builder, cursor: str, gate: Op) -> None:
        old = b.load(8, self.symbol(cursor), 0, (gate,))
        b.store(b.add(old, b.const(1, 8)), self.symbol(cursor), 0, (gate,))


def _count(b: Builder, length: Op, gate: Op) -> Op:
    """Quadwords that hold a frame, none where the gate is shut."""
    wide = b.resize(length, 64)
    units = b.lshr(b.add(wide, b.const(15, 64)), b.const(3, 64))
    units = b.and_(units, b.const(_UNITS, 64))
    return b.select(b.eq(gate, b.const(0, 64)), units, b.const(0, 64))
