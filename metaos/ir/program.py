"""The `Program`: one device's part of one phase, as a straight line of typed SSA ops.

There is no branch in this form: an op runs once a turn, in order. A conditional access
adds a *gate* to its address, a 64-bit value that is 0 (do it) or `SHADOW` (go to the
scratch mapped `SHADOW` above every place), so the access itself is unconditional.

    %0 = load u8 [00:03.0.head]
    %1 = load u32 acquire [00:03.0.rx+12 + %0]
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span

SHADOW = 1 << 30
"""Distance in bytes from every mapped place to its scratch twin."""


ABSOLUTE = "absolute"
"""The symbol whose address is 0, for accesses whose whole address is in the indices."""


@dataclass(frozen=True, slots=True)
class Address:
    """A place symbol and a constant byte offset; indices are the op's arguments."""

    symbol: str
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.symbol}{self.offset:+d}" if self.offset else self.symbol


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One step. Identity is the value's name; `bits` is the result's width (0: no result).

    | kind | args | result |
    |---|---|---|
    | const | - (`value`) | the number |
    | address | indices (`address`) | 64-bit linear = physical address |
    | add sub mul and or xor shl lshr | a, b of one width | modulo 2^bits |
    | mulh | a, b of one width | the upper half of a * b |
    | udiv | a, b of one width, b seen not to be 0 | a / b rounded down |
    | eq ne ult ule | a, b of one width | 1 bit |
    | carry | a, b of one width | 1 bit: a + b does not fit |
    | select | 1-bit c, a, b | a where c else b |
    | zext trunc | a | a, wider or narrower |
    | bswap | a of 16, 32 or 64 bits | bytes reversed |
    | load | 64-bit indices (`address`) | memory at address + sum of indices |
    | store | value, 64-bit indices (`address`) | - |
    | in | 16-bit port | what the port reads (8, 16 or 32 bits) |
    | out | 16-bit port, value | - |
    | ins outs | 16-bit port, 64-bit count, 64-bit memory address (`value`: width in bits) | - |
    | cpuid | 32-bit leaf, subleaf (`value`: 0 to 3 for EAX, EBX, ECX, EDX) | that register |
    | rdtsc | - | the processor's time stamp counter, 64 bits |
    | copy | 64-bit addresses to and from, 64-bit count | `count` quadwords copied upwards |
    | fill | 64-bit address, 64-bit count | `count` quadwords of zeros stored upwards |
    | fence | - | - |
    | barrier | - | - |

    `ordered` marks an access whose place in the line a device can observe: it keeps its
    order among all ordered accesses. A `barrier` keeps every access before it before every
    access after it; it makes no instruction, since the processor keeps loads in order.
    """

    kind: str
    bits: int
    args: tuple[Op, ...] = ()
    value: int = 0
    address: Address | None = None
    ordered: bool = False
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A device's straight line in one phase. `ops` is every op, each after its arguments."""

    device: str
    phase: str
    ops: tuple[Op, ...]
