"""The text form of a program, whole."""

from __future__ import annotations

from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.text import render

GOLDEN = """\
program 00:03.0 steady
  %0 = load u8 [00:03.0.head]                                ; card.pattern:57
  %1 = zext u64 %0                                           ; card.pattern:57
  %2 = load u8 acquire [00:03.0.rx+12 + %1]                  ; card.pattern:57
  %3 = trunc u1 %2
  %4 = select u64 %3, 0, 0x40000000
  %5 = add u8 %0, 0x10
  %6 = and u8 %5, 0xf0
  %7 = ult u8 %6, %2
  %8 = address u64 [00:03.0.rx+16 + %1]
  store u64 %8, [00:03.0.tx + %1 + %4]
  store u32 release 5, [00:03.0.regs+14360 + %4]             ; card.pattern:58
  %9 = in u32 0x608
  out u8 0x3f8, 0x41
  outs u8 0x3f8, %1, %8
  ins u16 0x1f0, %1, %8
  %10 = cpuid.edx 1, 0
  %11 = zext u32 %7
  %12 = xor u32 %10, %11
  %13 = sub u32 %12, %9
  store u32 %13, [00:03.0.word]
  fill %8, 2
  copy %8, %1, 2
  %14 = rdtsc u64
  %15 = or u64 %1, 1
  %16 = udiv u64 %14, %15
  %17 = mulh u64 %16, %1
  store u64 %17, [00:03.0.word]
  fence
"""


def test_golden() -> None:
    b = Builder("00:03.0", "steady")
    with b.at(Span("net/card.pattern", 57, 5, 9)):
        head = b.load(8, "00:03.0.head")
        index = b.zext(head, 64)
        status = b.load(8, "00:03.0.rx", 12, (index,), ordered=True)
    gate = b.gate(b.const(0, 64), b.trunc(status, 1))
    below = b.ult(b.and_(b.add(head, b.const(16, 8)), b.const(0xF0, 8)), status)
    slot = b.address("00:03.0.rx", 16, (index,))
    b.store(slot, "00:03.0.tx", 0, (index, gate))
    with b.at(Span("net/card.pattern", 58, 5, 9)):
        b.store(b.const(5, 32), "00:03.0.regs", 0x3818, (gate,), ordered=True)
    clock = b.input(b.const(0x608, 16), 32)
    b.output(b.const(0x3F8, 16), b.const(0x41, 8))
    b.outs(b.const(0x3F8, 16), index, slot, 8)
    b.ins(b.const(0x1F0, 16), index, slot, 16)
    mixed = b.xor(b.cpuid(1, 0, 3), b.zext(below, 32))
    b.store(b.sub(mixed, clock), "00:03.0.word")
    b.fill(slot, b.const(2, 64))
    b.copy(slot, index, b.const(2, 64))
    quotient = b.udiv(b.counted(), b.or_(index, b.const(1, 64)))
    b.store(b.mulh(quotient, index), "00:03.0.word")
    b.fence()
    program = b.finish()
    check(program)
    assert render(program) == GOLDEN
