"""The alarm of an image that sleeps: it wakes when the next thing is due.

    begin(b, ticks, now)                # where steady reads the clock: at `limit` at the latest
    ...                                 # whatever is due says when: `metaos.lower.clock.Due.again`
    set_alarm(device, node, ticks, by)  # behind all of them: the program that writes the register

It is set anew in every turn: whoever woke the processor, it is right when that sleeps again.
"""

from __future__ import annotations

from metaos.ir.build import Builder
from metaos.ir.program import Op, Program
from metaos.lower.accesses import Cond
from metaos.lower.clock import NOW, SOONEST, Ticks
from metaos.lower.known import fail
from metaos.lower.measure import CLOSE
from metaos.lower.plan import DevicePlan
from metaos.lower.row import FULL
from metaos.lower.values import Values
from metaos.pattern import syntax as s


def limit(ticks: Ticks) -> int:
    """How far ahead an alarm is at most: half of the counter's wrap, since NOW is right only if the
    clock is read again before that; 32 bits, so that a product with 32 more fits into 64."""
    return min(1 << (ticks.bits - 1), FULL)


def begin(b: Builder, ticks: Ticks, now: Op) -> None:
    """Nothing is due yet."""
    b.store(b.add(now, b.const(limit(ticks), 64)), SOONEST)


def set_alarm(device: DevicePlan, node: s.Alarm, ticks: Ticks, by: Ticks) -> Program:
    """Write the register so that it is counted down when the soonest thing is due, or later.

    `by` is init's clock, in whose ticks the rule says how long something was counted. Both that and
    the clock are known to a part in 2^CLOSE: the alarm is later by this, since one that rings early
    costs a turn.
    """
    b = Builder(device.address, "steady")
    with b.at(node.span):
        values = Values(device, b, None)
        name = node.register.text if isinstance(node.register, s.Name) else ""
        register = device.registers.get(name)
        if register is None or register.space == "config":
            raise fail(node.register.span, "E0470", "an alarm is set by a port or a window")
        counted, passed = (
            b.zext(values.plain(values.value(x), 32), 64) for x in (node.counted, node.passed)
        )
        left = b.sub(b.load(64, SOONEST), b.load(64, NOW))
        one, most = b.const(1, 64), b.const((1 << register.bits) - 1, 64)
        # Odd, so not 0, and less by one at most.
        divisor = b.or_(b.sub(_in_ticks(b, passed, ticks, by), one), one)
        count = b.udiv(b.mul(left, counted), divisor)
        count = b.add(b.add(count, b.lshr(count, b.const(CLOSE, 64))), one)
        count = b.trunc(b.select(b.ult(most, count), most, count), register.bits)
        values.write_register(node.register, register, count, Cond(()))
    return b.finish()


def _in_ticks(b: Builder, passed: Op, ticks: Ticks, by: Ticks) -> Op:
    """What `by` has counted, 32 bits, as `ticks` count it: rounded down."""
    if ticks.hertz == by.hertz:
        return passed
    fraction = 32 - (ticks.hertz // by.hertz).bit_length()
    each = b.const((ticks.hertz << fraction) // by.hertz, 64)
    return b.lshr(b.mul(passed, each), b.const(fraction, 64))
