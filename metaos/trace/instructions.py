"""What each instruction does to a `processor.Processor`: `RULES`, a table by mnemonic.

Source: Intel SDM vol. 2, the page of each instruction. A flag that it leaves undefined is None;
Z, S and the parity that no rule keeps included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from capstone import x86

from metaos.errors import MetaosError
from metaos.ir.evaluate import ones, swap_bytes
from metaos.trace.processor import CONDITIONS, Processor, Rule
from metaos.verify.registers import REGISTERS

_WIDTH = {"b": 8, "w": 16, "d": 32, "q": 64}


def _signed(value: int, bits: int) -> int:
    return value - (value >> (bits - 1) << bits)


def _pair(p: Processor, operands: Any) -> tuple[int, int, int]:
    """Bits of the first operand, and both; a constant is sign-extended to these bits."""
    bits = operands[0].size * 8
    return bits, p.read(operands[0]), p.read(operands[1]) & ones(bits)


def _sum(p: Processor, a: int, b: int, carry: int, bits: int) -> int:
    total = a + b + carry
    value = total & ones(bits)
    p.result(value, bits, total >> bits, ((a ^ value) & (b ^ value)) >> (bits - 1) & 1)
    return value


def _difference(p: Processor, a: int, b: int, borrow: int, bits: int) -> int:
    value = (a - b - borrow) & ones(bits)
    p.result(value, bits, int(a < b + borrow), ((a ^ b) & (a ^ value)) >> (bits - 1) & 1)
    return value


def _add(p: Processor, operands: Any) -> None:
    bits, a, b = _pair(p, operands)
    p.write(operands[0], _sum(p, a, b, 0, bits))


def _adc(p: Processor, operands: Any) -> None:
    bits, a, b = _pair(p, operands)
    p.write(operands[0], _sum(p, a, b, p.flag("C"), bits))


def _sub(p: Processor, operands: Any) -> None:
    bits, a, b = _pair(p, operands)
    p.write(operands[0], _difference(p, a, b, 0, bits))


def _sbb(p: Processor, operands: Any) -> None:
    bits, a, b = _pair(p, operands)
    p.write(operands[0], _difference(p, a, b, p.flag("C"), bits))


def _cmp(p: Processor, operands: Any) -> None:
    bits, a, b = _pair(p, operands)
    _difference(p, a, b, 0, bits)


def _test(p: Processor, operands: Any) -> None:
    bits, a, b = _pair(p, operands)
    p.result(a & b, bits, 0, 0)


def _logic(f: Callable[[int, int], int]) -> Rule:
    def rule(p: Processor, operands: Any) -> None:
        bits, a, b = _pair(p, operands)
        value = f(a, b)
        p.result(value, bits, 0, 0)
        p.write(operands[0], value)

    return rule


def _count(by: int) -> Rule:
    """INC and DEC leave the carry."""

    def rule(p: Processor, operands: Any) -> None:
        bits = operands[0].size * 8
        carry, a = p.flags["C"], p.read(operands[0])
        value = _sum(p, a, 1, 0, bits) if by > 0 else _difference(p, a, 1, 0, bits)
        p.set_flags(C=carry)
        p.write(operands[0], value)

    return rule


def _neg(p: Processor, operands: Any) -> None:
    p.write(operands[0], _difference(p, 0, p.read(operands[0]), 0, operands[0].size * 8))


def _not(p: Processor, operands: Any) -> None:
    p.write(operands[0], ~p.read(operands[0]))


def _move(p: Processor, operands: Any) -> None:
    target, source = operands
    if target.type == x86.X86_OP_REG and target.reg == x86.X86_REG_CR3:
        p.root(p.read(source))
        return
    value = p.read(source)
    p.write(target, value)


def _move_signed(p: Processor, operands: Any) -> None:
    p.write(operands[0], _signed(p.read(operands[1]), operands[1].size * 8))


def _extend(wide: str, narrow: str) -> Rule:
    def rule(p: Processor, operands: Any) -> None:
        p.put(wide, _signed(p.register(narrow), REGISTERS[narrow][1]))

    return rule


def _lea(p: Processor, operands: Any) -> None:
    p.write(operands[0], p.address(operands[1]))


def _exchange(p: Processor, operands: Any) -> None:
    a, b = p.read(operands[0]), p.read(operands[1])
    p.write(operands[0], b)
    p.write(operands[1], a)


def _select(condition: str) -> Rule:
    """The source is read whether it is moved or not; 32 bits clear the upper half."""

    def rule(p: Processor, operands: Any) -> None:
        value = p.read(operands[1])
        p.write(operands[0], value if p.holds(condition) else p.read(operands[0]))

    return rule


def _set(condition: str) -> Rule:
    def rule(p: Processor, operands: Any) -> None:
        p.write(operands[0], int(p.holds(condition)))

    return rule


def _shift(f: Callable[[int, int, int], tuple[int, int]]) -> Rule:
    """SHL, SHR, SAR: a count of 0 leaves all flags. `f` gives the result and the carry."""

    def rule(p: Processor, operands: Any) -> None:
        bits = operands[0].size * 8
        count = p.read(operands[1]) if len(operands) > 1 else 1
        count &= 0x3F if bits == 64 else 0x1F
        a = p.read(operands[0])
        if count:
            value, carry = f(a, count, bits)
            value &= ones(bits)
            p.result(
                value, bits, carry & 1, ((a ^ value) >> (bits - 1)) & 1 if count == 1 else None
            )
            a = value
        p.write(operands[0], a)

    return rule


def _left(a: int, n: int, bits: int) -> tuple[int, int]:
    return a << n, a << n >> bits


def _right(a: int, n: int, bits: int) -> tuple[int, int]:
    return a >> n, a >> (n - 1)


def _arithmetic(a: int, n: int, bits: int) -> tuple[int, int]:
    signed = _signed(a, bits)
    return signed >> n, signed >> (n - 1)


def _rotate(left: bool) -> Rule:
    """ROL, ROR: only carry and overflow change, the latter undefined but for a count of 1."""

    def rule(p: Processor, operands: Any) -> None:
        bits = operands[0].size * 8
        count = p.read(operands[1]) if len(operands) > 1 else 1
        count &= 0x3F if bits == 64 else 0x1F
        a = p.read(operands[0])
        value = _rotated(a, count if left else -count, bits)
        if count:
            p.set_flags(C=value & 1 if left else value >> (bits - 1), O=None)
        p.write(operands[0], value)

    return rule


def _rotated(a: int, left: int, bits: int) -> int:
    n = left % bits
    return (a << n | a >> (bits - n)) & ones(bits)


def _plain_shift(f: Callable[[int, int, int], int]) -> Rule:
    """BMI2's SHLX, SHRX, SARX and RORX: no flags."""

    def rule(p: Processor, operands: Any) -> None:
        bits = operands[0].size * 8
        count = p.read(operands[2]) & (0x3F if bits == 64 else 0x1F)
        p.write(operands[0], f(p.read(operands[1]), count, bits))

    return rule


def _multiply(p: Processor, operands: Any) -> None:
    """IMUL with two or three operands; the form with one is `_multiply_wide`."""
    bits = operands[0].size * 8
    if len(operands) == 1:
        _multiply_wide(p, operands, signed=True)
        return
    product = _signed(p.read(operands[-2]), bits) * _signed(p.read(operands[-1]) & ones(bits), bits)
    value = product & ones(bits)
    lost = int(_signed(value, bits) != product)
    p.set_flags(C=lost, O=lost, Z=None, S=None)
    p.write(operands[0], value)


def _multiply_wide(p: Processor, operands: Any, signed: bool = False) -> None:
    bits = operands[0].size * 8
    if bits == 8:
        raise MetaosError("trace has no rule for a multiplication of 8 bits")
    low, high = {16: ("ax", "dx"), 32: ("eax", "edx"), 64: ("rax", "rdx")}[bits]
    a, b = p.register(low), p.read(operands[0])
    product = _signed(a, bits) * _signed(b, bits) if signed else a * b
    p.put(low, product)
    p.put(high, product >> bits)
    back = _signed(product & ones(bits), bits) if signed else product & ones(bits)
    lost = int(back != product)
    p.set_flags(C=lost, O=lost, Z=None, S=None)


def _divide(p: Processor, operands: Any) -> None:
    bits = operands[0].size * 8
    if bits == 8:
        raise MetaosError("trace has no rule for a division of 8 bits")
    low, high = {16: ("ax", "dx"), 32: ("eax", "edx"), 64: ("rax", "rdx")}[bits]
    divisor, number = p.read(operands[0]), p.register(high) << bits | p.register(low)
    if not divisor or number // divisor > ones(bits):
        raise MetaosError(f"{number:#x} is divided by {divisor:#x}, which faults")
    p.put(low, number // divisor)
    p.put(high, number % divisor)
    p.set_flags(C=None, O=None, Z=None, S=None)


def _bit_test(p: Processor, operands: Any) -> None:
    bits, a, b = _pair(p, operands)
    p.set_flags(C=a >> (b % bits) & 1, S=None, O=None)


def _bit_change(f: Callable[[int, int], int]) -> Rule:
    """BTS, BTR, BTC of a register: `f` has the number and the bit's mask."""

    def rule(p: Processor, operands: Any) -> None:
        bits, a, b = _pair(p, operands)
        p.set_flags(C=a >> (b % bits) & 1, S=None, O=None)
        p.write(operands[0], f(a, 1 << b % bits))

    return rule


def _swap(p: Processor, operands: Any) -> None:
    p.write(operands[0], swap_bytes(p.read(operands[0]), operands[0].size * 8))


def _move_swapped(p: Processor, operands: Any) -> None:
    p.write(operands[0], swap_bytes(p.read(operands[1]), operands[1].size * 8))


def _and_not(p: Processor, operands: Any) -> None:
    bits = operands[0].size * 8
    value = ~p.read(operands[1]) & p.read(operands[2]) & ones(bits)
    p.result(value, bits, 0, 0)
    p.write(operands[0], value)


def _in(p: Processor, operands: Any) -> None:
    p.write(operands[0], p.port_in(p.read(operands[1]) & 0xFFFF, operands[0].size * 8))


def _out(p: Processor, operands: Any) -> None:
    p.port_out(p.read(operands[0]) & 0xFFFF, operands[1].size * 8, p.read(operands[1]))


def _cpuid(p: Processor, _operands: Any) -> None:
    found = p.cpuid(p.register("eax"), p.register("ecx"))
    for name, value in zip(("eax", "ebx", "ecx", "edx"), found, strict=True):
        p.put(name, value)


def _counted(p: Processor, _operands: Any) -> None:
    """The time stamp counter stands: no time passes here."""
    p.put("rax", 0)
    p.put("rdx", 0)


def _string(kind: str, bits: int) -> Rule:
    """INS, OUTS, MOVS, STOS and LODS upwards, as often as RCX says where there is a REP."""

    def rule(p: Processor, _operands: Any) -> None:
        for _ in range(p.register("rcx") if p.repeats else 1):
            if kind == "ins":
                value = p.port_in(p.register("dx"), bits)
            elif kind == "stos":
                value = p.register("rax") & ones(bits)
            else:
                value = p.load(p.register("rsi"), bits)
                p.put("rsi", p.register("rsi") + bits // 8)
            if kind == "outs":
                p.port_out(p.register("dx"), bits, value)
            elif kind == "lods":
                p.put({8: "al", 16: "ax", 32: "eax", 64: "rax"}[bits], value)
            else:
                p.store(p.register("rdi"), bits, value)
                p.put("rdi", p.register("rdi") + bits // 8)
        if p.repeats:
            p.put("rcx", 0)

    return rule


def _nothing(_p: Processor, _operands: Any) -> None:
    pass


_STRINGS = {
    f"{kind}{letter}": _string(kind, bits)
    for kind in ("ins", "outs", "movs", "stos", "lods")
    for letter, bits in _WIDTH.items()
}

RULES: dict[str, Rule] = {
    "add": _add, "adc": _adc, "sub": _sub, "sbb": _sbb, "cmp": _cmp, "test": _test,
    "and": _logic(lambda a, b: a & b), "or": _logic(lambda a, b: a | b),
    "xor": _logic(lambda a, b: a ^ b), "andn": _and_not, "not": _not, "neg": _neg,
    "inc": _count(1), "dec": _count(-1),
    "mov": _move, "movabs": _move, "movzx": _move, "movsx": _move_signed,
    "movsxd": _move_signed, "movbe": _move_swapped, "bswap": _swap, "lea": _lea,
    "xchg": _exchange, "cbw": _extend("ax", "al"), "cwde": _extend("eax", "ax"),
    "cdqe": _extend("rax", "eax"),
    "shl": _shift(_left), "sal": _shift(_left), "shr": _shift(_right), "sar": _shift(_arithmetic),
    "rol": _rotate(True), "ror": _rotate(False),
    "shlx": _plain_shift(lambda a, n, bits: a << n),
    "shrx": _plain_shift(lambda a, n, bits: a >> n),
    "sarx": _plain_shift(lambda a, n, bits: _signed(a, bits) >> n),
    "rorx": _plain_shift(lambda a, n, bits: _rotated(a, -n, bits)),
    "imul": _multiply, "mul": _multiply_wide, "div": _divide, "bt": _bit_test,
    "bts": _bit_change(lambda a, m: a | m), "btr": _bit_change(lambda a, m: a & ~m),
    "btc": _bit_change(lambda a, m: a ^ m),
    "in": _in, "out": _out, "cpuid": _cpuid, "rdtsc": _counted,
    "nop": _nothing, "jmp": _nothing, "sti": _nothing, "hlt": _nothing,
    "mfence": _nothing, "lfence": _nothing, "sfence": _nothing,
    **{f"cmov{c}": _select(c) for c in CONDITIONS},
    **{f"set{c}": _set(c) for c in CONDITIONS},
    **_STRINGS,
}  # fmt: skip
