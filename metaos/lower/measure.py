"""How fast the processor's time stamp counter counts: init measures it beside the machine's clock.

    rows = measuring(device, texts)          # what init does at last
    passed, waited = measure(b, look)        # what its stepper does for them in each turn

The first row waits until the clock goes on, and notes the counter; the second lets `nanoseconds`
pass by the clock, and says then what the counter is multiplied by; the third refuses a counter
that stands, or is no faster than it is made to look.

A turn looks at the counter before and behind the clock. If much was counted between the two, since
something else had the processor, it is not known well when the clock was read. So the second row
also waits until that, of its beginning and its end, is less than a part in 2^CLOSE of what was
measured, and gives up when 2^PATIENCE times the time is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.link.parts import Fill
from metaos.lower.clock import SCALE, SCALED, SCALED_BITS, Ticks
from metaos.lower.plan import DevicePlan
from metaos.lower.row import EDGE, MEASURE, SPARE, Cell, Row
from metaos.lower.text import Texts
from metaos.pattern import syntax as s

MEASURED = "clock.measured"
"""Two 64-bit numbers: the counter when the clock went on, and how exactly that is known."""
MEASURED_SIZE = 16
_NOTED, _WIDTH = 0, 8
_FRACTION = 32
"""Bits of the quotient below the point: a counter of 5 GHz is known to a part in 10^7, and the
dividend has room for minutes."""
CLOSE, PATIENCE = 10, 7
FASTEST = 1 << 21
"""In the upper half of SCALE: no counter has more than 32 GHz."""
BEGINS = (Fill(4, 1, 4, (SCALED << _FRACTION) // 1_000_000_000),)
"""A counter that is not measured yet, as where guard reports, is taken to have 1 GHz."""


def ticks() -> Ticks:
    """The processor's counter as a clock."""
    return Ticks(0, 64, SCALED_BITS, SCALED, scaled=True)


def measuring(device: DevicePlan, texts: Texts) -> list[Row]:
    """The rows by which init measures the counter, if the device is the processor's."""
    found = device.pattern.one(s.Measured)
    if found is None:
        return []
    site = texts.add(f"{device.address}: {found.message}", {}, device.address, found.span)

    def row(kind: str, place: Cell, mask: int, limit: int) -> Row:
        return Row(kind, place, Cell(0), mask, limit, site, device.address, found.span)

    spare, limit = Cell(0, SPARE), found.nanoseconds
    return [
        row(EDGE, spare, 0, limit),
        row(MEASURE, spare, 0, limit),
        row("mem32.unlike", Cell(4, SCALE), -FASTEST & 0xFFFF_FFFF, 0),
    ]


@dataclass(frozen=True, slots=True)
class Look:
    """What a stepper's turn knows when it has read the clock; `before` is the counter before that.

    `edge` and `measured` say if the row is one of the two that wait here.
    """

    edge: Op
    measured: Op
    before: Op
    since: Op
    elapsed: Op
    limit: Op
    passed: Op


def measure(b: Builder, look: Look, clock: Ticks) -> tuple[Op, Op]:
    """Whether the row has passed, and how much of its limit's time counts as over."""
    behind = b.counted()
    width = b.sub(behind, look.before)
    noted, first = b.load(64, MEASURED, _NOTED), b.load(64, MEASURED, _WIDTH)
    b.store(b.select(look.edge, behind, noted), MEASURED, _NOTED)
    b.store(b.select(look.edge, width, first), MEASURED, _WIDTH)
    counted = b.sub(behind, noted)
    scale = b.select(look.measured, _scale(b, look.elapsed, counted, clock), b.load(64, SCALE))
    b.store(scale, SCALE)
    unsure = b.shl(b.add(width, first), b.const(CLOSE, 64))
    close = b.and_(b.ule(look.limit, look.elapsed), b.ule(unsure, counted))
    went = b.ne(look.since, b.const(0, look.since.bits))
    passed = b.select(look.measured, close, b.select(look.edge, went, look.passed))
    patient = b.lshr(look.elapsed, b.const(PATIENCE, 32))
    return passed, b.select(look.measured, patient, look.elapsed)


def _scale(b: Builder, elapsed: Op, counted: Op, clock: Ticks) -> Op:
    """Scaled ticks in one of the counter's, as a fraction of 2^64; 0 where that is 1 or more."""
    each = (SCALED << _FRACTION) // clock.hertz
    dividend = b.mul(b.zext(elapsed, 64), b.const(each, 64))
    quotient = b.udiv(dividend, b.or_(counted, b.const(1, 64)))
    fits = b.ult(quotient, b.const(1 << _FRACTION, 64))
    return b.select(fits, b.shl(quotient, b.const(64 - _FRACTION, 64)), b.const(0, 64))
