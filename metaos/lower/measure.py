"""How fast the processor's time stamp counter counts: init measures it beside the machine's clock.

    rows = measuring(device, texts)          # what init does at last
    passed, waited = measure(b, look)        # what its stepper does for them in each turn

The first row waits until the clock goes on, and notes the counter; the second lets `nanoseconds`
pass by the clock, and says as it goes on once more what the counter is multiplied by; the third
refuses a counter that stands, or is no faster than it is made to look.

The clock went on between its last reading and this one, so between the counter before the one and
behind the other. If something else had the processor meanwhile, it is not known well when: so
neither row ends with a turn for which that is more than half as long again as for the turn before.
The second is given up when 2^PATIENCE times its time is over.
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
"""Three 64-bit numbers: the counter when the clock went on; of the turn before, the counter before
the clock was read, and what it had counted since it was before the reading before that."""
MEASURED_SIZE = 24
_NOTED, _BEFORE, _LENGTH = 0, 8, 16
_FRACTION = 32
"""Bits of the quotient below the point: a counter of 5 GHz is known to a part in 10^7, and the
dividend has room for minutes."""
PATIENCE = 7
CLOSE = 10
"""What is measured is taken to be right to a part in 2^CLOSE: a turn of init at its beginning and
one at its end are less, of 50 ms."""
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
    now = b.counted()
    length = b.sub(now, b.load(64, MEASURED, _BEFORE))
    usual = b.load(64, MEASURED, _LENGTH)
    b.store(look.before, MEASURED, _BEFORE)
    b.store(length, MEASURED, _LENGTH)
    undisturbed = b.ule(length, b.add(usual, b.lshr(usual, b.const(1, 64))))
    went = b.and_(b.ne(look.since, b.const(0, look.since.bits)), undisturbed)
    noted = b.load(64, MEASURED, _NOTED)
    b.store(b.select(look.edge, now, noted), MEASURED, _NOTED)
    measured = _scale(b, look.elapsed, b.sub(now, noted), clock)
    b.store(b.select(look.measured, measured, b.load(64, SCALE)), SCALE)
    ended = b.and_(b.ule(look.limit, look.elapsed), went)
    passed = b.select(look.measured, ended, b.select(look.edge, went, look.passed))
    patient = b.lshr(look.elapsed, b.const(PATIENCE, 32))
    return passed, b.select(look.measured, patient, look.elapsed)


def _scale(b: Builder, elapsed: Op, counted: Op, clock: Ticks) -> Op:
    """Scaled ticks in one of the counter's, as a fraction of 2^64; 0 where that is 1 or more."""
    each = (SCALED << _FRACTION) // clock.hertz
    dividend = b.mul(b.zext(elapsed, 64), b.const(each, 64))
    quotient = b.udiv(dividend, b.or_(counted, b.const(1, 64)))
    fits = b.ult(quotient, b.const(1 << _FRACTION, 64))
    return b.select(fits, b.shl(quotient, b.const(64 - _FRACTION, 64)), b.const(0, 64))
