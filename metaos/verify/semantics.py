"""What the instructions that LLVM emits for integers do to a walk: a table by mnemonic.

A rule takes the walker and the instruction's operands, the first being the destination. Of the
flags only what flags.py holds is followed: what depends on others can be either. An
instruction without a rule yields anything, which is always true; the rules are there so that
addresses stay known.
Source: Intel SDM vol. 2, the page of each instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from metaos.verify.flags import CARRY, COMPARED, EITHER, RESULT, Flags, outcomes, refined
from metaos.verify.values import (
    Value,
    both,
    disjoint,
    either,
    join,
    known,
    minus,
    narrow,
    plus,
    pointwise,
    right,
    times,
    unknown,
    widen_signed,
)

if TYPE_CHECKING:
    from metaos.verify.walk import Walker

Rule = Callable[["Walker", Any], None]

_KEEPING = """mov movabs movzx movsx movsxd lea xchg not bswap nop jmp in out cpuid rdtsc mfence
    lfence sfence cbw cwde cdqe cwd cdq cqo shlx shrx sarx rorx mulx pdep pext movbe"""
KEEP_FLAGS = frozenset(_KEEPING.split())
"""Besides cmov, set and string moves: these leave the flags as they were."""


def _two(f: Callable[[Value, Value, int], Value], valid: frozenset[str] = RESULT) -> Rule:
    """`op a, b`: a becomes f(a, b). `valid`: what its flags say."""

    def rule(walker: Walker, operands: Any) -> None:
        bits = operands[0].size * 8
        b = walker.read(operands[1])
        if bits == 64 and operands[1].size < 8:
            b = widen_signed(b, operands[1].size * 8, 64)
        result = f(walker.read(operands[0]), b, bits)
        walker.write(operands[0], result)
        walker.flags = Flags(result, known(0), bits, valid=valid)

    return rule


def _one(f: Callable[[Value, int], Value]) -> Rule:
    """`op a`: a becomes f(a)."""

    def rule(walker: Walker, operands: Any) -> None:
        walker.write(operands[0], f(walker.read(operands[0]), operands[0].size * 8))

    return rule


def _move(walker: Walker, operands: Any) -> None:
    walker.write(operands[0], walker.read(operands[1]))


def _move_signed(walker: Walker, operands: Any) -> None:
    source, target = operands[1].size * 8, operands[0].size * 8
    walker.write(operands[0], widen_signed(walker.read(operands[1]), source, target))


def _lea(walker: Walker, operands: Any) -> None:
    walker.write(operands[0], narrow(walker.address(operands[1]), operands[0].size * 8))


def _select(condition: str) -> Rule:
    """A 32-bit cmov clears the upper half even if it does not move."""

    def rule(walker: Walker, operands: Any) -> None:
        bits = operands[0].size * 8
        moved = _where(walker, operands[1], condition, True)
        stayed = _where(walker, operands[0], condition, False)
        possible = outcomes(walker.flags, condition)
        if possible == EITHER:
            moved = join(moved, stayed)
        walker.write(operands[0], narrow(moved if True in possible else stayed, bits))

    return rule


def _where(walker: Walker, operand: Any, condition: str, holds: bool) -> Value:
    """An operand's value where a condition holds, or does not."""
    value = walker.read(operand)
    name = walker.name(operand)
    if not name:
        return value
    return refined(value, walker.registers.version(name), walker.flags, condition, holds)


def _set(condition: str) -> Rule:
    """The byte is 1 where the condition holds, else 0."""

    def rule(walker: Walker, operands: Any) -> None:
        walker.write(operands[0], _bit(outcomes(walker.flags, condition)))

    return rule


def _bit(possible: frozenset[bool]) -> Value:
    return known(*(int(x) for x in possible))


def _compare(walker: Walker, operands: Any) -> None:
    bits = operands[0].size * 8
    a, b = walker.read(operands[0]), _signed(walker.read(operands[1]), operands[1], bits)
    name = walker.name(operands[0])
    version = walker.registers.version(name) if name else None
    walker.flags = Flags(narrow(a, bits), narrow(b, bits), bits, version)


def _test(walker: Walker, operands: Any) -> None:
    bits = operands[0].size * 8
    a, b = walker.read(operands[0]), _signed(walker.read(operands[1]), operands[1], bits)
    if not _same(operands):
        walker.flags = Flags(both(a, b, bits), known(0), bits)
        return
    name = walker.name(operands[0])
    walker.flags = Flags(a, known(0), bits, walker.registers.version(name))


def _bit_test(walker: Walker, operands: Any) -> None:
    """`bt a, b` leaves the bit in the carry alone: as if 0 were compared with it."""
    bits = operands[0].size * 8
    a, b = walker.read(operands[0]), walker.read(operands[1])
    picked = pointwise(a, b, bits, lambda x, y: x >> (y % bits) & 1)
    walker.flags = Flags(known(0), picked, bits, valid=CARRY)


def _exchange(walker: Walker, operands: Any) -> None:
    a, b = walker.read(operands[0]), walker.read(operands[1])
    walker.write(operands[0], b)
    walker.write(operands[1], a)


def _multiply(walker: Walker, operands: Any) -> None:
    """`imul a, b` and `imul a, b, constant`; the form with one operand leaves RDX:RAX unknown."""
    bits = operands[0].size * 8
    if len(operands) == 1:
        walker.read(operands[0])
        _forget_product(walker)
        return
    a, b = walker.read(operands[-2]), walker.read(operands[-1])
    walker.write(operands[0], _product(a, b, bits))


def _multiply_wide(walker: Walker, operands: Any) -> None:
    walker.read(operands[0])
    _forget_product(walker)


def _divide(walker: Walker, operands: Any) -> None:
    """`div r` of 16 bits or more divides RDX:RAX; of 8 bits AX, of which nothing is known here."""
    wide = operands[0].size > 1
    high = narrow(walker.registers.read("rdx"), operands[0].size * 8) if wide else unknown(8)
    walker.divide(walker.read(operands[0]), high)
    _forget_product(walker)


def _forget_product(walker: Walker) -> None:
    walker.registers.forget("rax")
    walker.registers.forget("rdx")


def _product(a: Value, b: Value, bits: int) -> Value:
    for x, y in ((a, b), (b, a)):
        if y.exact and len(y.bases) == 1:
            return times(x, next(iter(y.bases)), bits)
    return pointwise(a, b, bits, lambda x, y: x * y)


def _xor(walker: Walker, operands: Any) -> None:
    bits = operands[0].size * 8
    if _same(operands):
        walker.write(operands[0], known(0))
        walker.flags = Flags(known(0), known(0), bits)
        return
    a, b = walker.read(operands[0]), _signed(walker.read(operands[1]), operands[1], bits)
    if a.exact and b.exact:
        result = pointwise(a, b, bits, lambda x, y: x ^ y)
    else:
        result = plus(a, b, bits) if disjoint(a, b) else unknown(bits)
    walker.write(operands[0], result)
    walker.flags = Flags(result, known(0), bits)


def _subtract(walker: Walker, operands: Any) -> None:
    bits = operands[0].size * 8
    if _same(operands):
        walker.write(operands[0], known(0))
        return
    a, b = walker.read(operands[0]), _signed(walker.read(operands[1]), operands[1], bits)
    walker.write(operands[0], minus(a, b, bits))
    walker.flags = Flags(narrow(a, bits), narrow(b, bits), bits)


def _subtract_borrow(walker: Walker, operands: Any) -> None:
    """`sbb r, r` is 0 or all ones: LLVM's way to widen a carry to a mask."""
    bits = operands[0].size * 8
    borrow = _bit(outcomes(walker.flags, "b"))
    if _same(operands):
        walker.write(operands[0], minus(known(0), borrow, bits))
    else:
        a, b = walker.read(operands[0]), _signed(walker.read(operands[1]), operands[1], bits)
        walker.write(operands[0], minus(minus(a, b, bits), borrow, bits))
    walker.flags = None


def _signed(value: Value, operand: Any, bits: int) -> Value:
    """Constants narrower than the operation are sign-extended."""
    own = operand.size * 8
    return widen_signed(value, own, bits) if own < bits else value


def _same(operands: Any) -> bool:
    a, b = operands[0], operands[1]
    return bool(a.type == b.type == 1 and a.reg == b.reg)


def _shift_left(a: Value, b: Value, bits: int) -> Value:
    count = _count(b, bits)
    if count is None:
        return pointwise(a, both(b, known(0x3F if bits == 64 else 0x1F), 8), bits, _shl)
    return times(narrow(a, bits), 1 << count, bits)


def _shift_right(a: Value, b: Value, bits: int) -> Value:
    count = _count(b, bits)
    return unknown(bits) if count is None else right(a, count, bits)


def _shl(x: int, y: int) -> int:
    return x << y


def _count(b: Value, bits: int) -> int | None:
    """A shift's constant count, masked as the processor does; None if it is not constant."""
    if not b.exact or len(b.bases) != 1:
        return None
    return next(iter(b.bases)) & (0x3F if bits == 64 else 0x1F)


def _shift_of(f: Callable[[Value, Value, int], Value]) -> Rule:
    """`op a, count` and, for one operand, a count of 1; BMI2's `op a, b, count`, without flags.

    A count of 0 leaves the flags, any other sets ZF and SF by the result (Intel SDM vol. 2, SAL).
    """

    def rule(walker: Walker, operands: Any) -> None:
        bits = operands[0].size * 8
        count = walker.read(operands[-1]) if len(operands) > 1 else known(1)
        source = operands[1] if len(operands) == 3 else operands[0]
        result = f(walker.read(source), count, bits)
        walker.write(operands[0], result)
        if len(operands) < 3 and _count(count, bits):
            walker.flags = Flags(result, known(0), bits, valid=RESULT)

    return rule


def _bswap(a: Value, bits: int) -> Value:
    def swap(x: int, _: int) -> int:
        return int.from_bytes(x.to_bytes(bits // 8, "little"), "big")

    return pointwise(narrow(a, bits), known(0), bits, swap)


def _add_carry(walker: Walker, operands: Any) -> None:
    bits = operands[0].size * 8
    carry = _bit(outcomes(walker.flags, "b"))
    a, b = walker.read(operands[0]), _signed(walker.read(operands[1]), operands[1], bits)
    walker.write(operands[0], plus(plus(a, b, bits), carry, bits))
    walker.flags = None


def _neg(walker: Walker, operands: Any) -> None:
    """The carry is set unless the operand was 0: as if 0 were compared with it."""
    bits = operands[0].size * 8
    a = narrow(walker.read(operands[0]), bits)
    walker.write(operands[0], minus(known(0), a, bits))
    walker.flags = Flags(known(0), a, bits)


def _not(a: Value, bits: int) -> Value:
    return minus(known((1 << bits) - 1), narrow(a, bits), bits)


def _nothing(_walker: Walker, _operands: Any) -> None:
    pass


_CONDITIONS = "a ae b be c e g ge l le na nae nb nbe nc ne ng nge nl nle no np ns nz o p pe po s z"
CONDITIONS = tuple(_CONDITIONS.split())

RULES: dict[str, Rule] = {
    "mov": _move,
    "movabs": _move,
    "movzx": _move,
    "movsx": _move_signed,
    "movsxd": _move_signed,
    "lea": _lea,
    "xchg": _exchange,
    "add": _two(plus),
    "adc": _add_carry,
    "sub": _subtract,
    "sbb": _subtract_borrow,
    "and": _two(both, COMPARED),
    "or": _two(either, COMPARED),
    "xor": _xor,
    "not": _one(_not),
    "neg": _neg,
    "inc": _one(lambda a, bits: plus(a, known(1), bits)),
    "dec": _one(lambda a, bits: minus(a, known(1), bits)),
    "bswap": _one(_bswap),
    "imul": _multiply,
    "mul": _multiply_wide,
    "div": _divide,
    "shl": _shift_of(_shift_left),
    "sal": _shift_of(_shift_left),
    "shr": _shift_of(_shift_right),
    "shlx": _shift_of(_shift_left),
    "shrx": _shift_of(_shift_right),
    "cmp": _compare,
    "test": _test,
    "bt": _bit_test,
    "jmp": _nothing,
    "nop": _nothing,
    **{f"cmov{c}": _select(c) for c in CONDITIONS},
    **{f"set{c}": _set(c) for c in CONDITIONS},
}

_SETTING = ("add", "adc", "sub", "sbb", "and", "or", "xor", "neg", "cmp", "test", "bt")
FOLLOWED = KEEP_FLAGS | {*_SETTING, *(k + c for k in ("cmov", "set") for c in CONDITIONS)}
"""Instructions after which the walker's flags are right; before any other they are dropped.

A shift is another: only by a count that is known does it leave flags.
"""
