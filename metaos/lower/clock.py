"""Time as a counter tells it: how it is read, and when a thing is due again.

    read(b, ticks)                      # what the counter shows
    tell_time(b, ticks)                 # steady begins with it: NOW goes on with the counter
    it = due(b, ticks, "com0.every.0", n)
    it.again(b, gate)                   # where `it.holds`: n nanoseconds later again

The processor's time stamp counter tells the time as a clock of `SCALED` ticks a second: how fast
it counts is known when `init` has measured it (`metaos.lower.measure`), and the place SCALE says
what it is multiplied by.

A counter wraps, NOW does not: its low bits are the counter as the last turn read it, and it
goes on by the difference. So it is right while a turn is shorter than the counter's wrap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from metaos.ir.build import Builder
from metaos.ir.program import Op, Program
from metaos.link.parts import PHASES, Fill

NOW = "clock.now"
"""64 bits: the clock's ticks, from `BEGUN` on, as this turn began."""
SOONEST = "clock.soonest"
"""64 bits: the soonest time at which something is due, as far as this turn has come."""
EVERY = "every."
"""What the places of a device begin with that say when something is due again."""
_BEGUN = 1 << 24
BEGUN = _BEGUN << 32
"""What NOW begins with: more than any period, so that everything is due at first. Above it
there is room for 100 years at 5 GHz."""
BEGINS = (Fill(4, 1, 4, _BEGUN),)
SCALE = "clock.scale"
"""64 bits: ticks of the scaled counter in one of the processor's, as a fraction of 2^64."""
SCALED, SCALED_BITS = 16_000_000, 56
"""What the processor's counter looks like to all the rest: a clock as slow as none is, which goes
on for 142 years."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """A counter: its place, the bits that are read and those that count, and its rate.

    `symbol` is its window, or "" for a port. It counts up, or `down`. `scaled`: it is the
    processor's, which is nowhere but in the processor. With an `alarm` whatever is due says when at
    SOONEST.
    """

    place: int
    width: int
    bits: int
    hertz: int
    symbol: str = ""
    down: bool = False
    scaled: bool = False
    alarm: bool = False

    def of(self, nanoseconds: int) -> int:
        """Ticks in a time, rounded up."""
        return -(-nanoseconds * self.hertz // 1_000_000_000)

    def since(self, b: Builder, now: Op, before: Op) -> Op:
        """The ticks from one reading to the next, both of one width, without the wrap."""
        passed = b.sub(before, now) if self.down else b.sub(now, before)
        return b.and_(passed, b.const((1 << min(self.bits, now.bits)) - 1, now.bits))


def read(b: Builder, ticks: Ticks) -> Op:
    """What the counter shows, `width` bits."""
    if ticks.scaled:
        return b.mulh(b.counted(), b.load(64, SCALE))
    if ticks.symbol:
        return b.load(ticks.width, ticks.symbol, ticks.place, ordered=True)
    return b.input(b.const(ticks.place, 16), ticks.width)


def tell_time(b: Builder, ticks: Ticks) -> Op:
    """Bring NOW up to date: what it is."""
    now = b.load(64, NOW)
    shown = b.resize(read(b, ticks), 64)
    before = b.sub(b.const(0, 64), now) if ticks.down else now
    later = b.add(now, ticks.since(b, shown, before))
    b.store(later, NOW)
    return later


def times_told(programs: Iterable[Program]) -> tuple[str, ...]:
    """The phases in which a program looks at NOW."""
    looks = {
        p.phase for p in programs for op in p.ops if op.address is not None
        and op.address.symbol == NOW
    }  # fmt: skip
    return tuple(phase for phase in PHASES if phase in looks)


@dataclass(frozen=True, slots=True)
class Due:
    """Whether a period is over: `now`, and `holds` (1 bit).

    At `symbol` lies when that is so next, 64 bits that begin as 0: it is due at once.
    """

    symbol: str
    now: Op
    last: Op
    holds: Op
    period: Op
    alarm: bool = False

    def again(self, b: Builder, gate: Op) -> None:
        """Where `gate` is open: a period later; what was missed meanwhile is not made up for.

        What waits for something else is looked at a period later too.
        """
        following = b.add(self.last, self.period)
        missed = b.ule(following, self.now)
        later = b.select(missed, b.add(self.now, self.period), following)
        b.store(later, self.symbol, 0, (gate,))
        if self.alarm:
            at, soonest = b.select(self.holds, later, self.last), b.load(64, SOONEST)
            b.store(b.select(b.ult(at, soonest), at, soonest), SOONEST)


def due(b: Builder, ticks: Ticks, symbol: str, nanoseconds: int) -> Due:
    """What is to happen every so many nanoseconds, next at the time that lies at `symbol`."""
    now, last = b.load(64, NOW), b.load(64, symbol)
    period = b.const(ticks.of(nanoseconds), 64)
    return Due(symbol, now, last, b.ule(last, now), period, ticks.alarm)
