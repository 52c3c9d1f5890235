"""What else a PC has at its ports: UART, PM timer, interrupt controllers, PCI configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from metaos.probe.machine import Bar, BarKind, Function
from tests.fake.fault import FaultError, demand


class Uart16550:
    """A 16550 UART: what is sent through it gathers in `output`.

    After a character the holding register is full for `busy_reads` reads of LSR; a
    character written meanwhile is a fault, FIFO or not.
    Source: National Semiconductor, PC16550D, June 1995, §8.
    """

    THR, IER, FCR, LCR, MCR, LSR, MSR, SCR = range(8)

    def __init__(self, busy_reads: int = 0) -> None:
        self.output = bytearray()
        self.busy_reads = busy_reads
        self.divisor = 0
        self.registers = [0] * 8
        self._busy = 0

    @property
    def _divisor_open(self) -> bool:
        return bool(self.registers[self.LCR] & 0x80)

    def read(self, offset: int, width: int) -> int:
        demand(width == 8, f"the UART has 8-bit registers, not {width}")
        if self._divisor_open and offset < 2:
            return self.divisor >> (8 * offset) & 0xFF
        if offset == self.LSR:
            return self._line_status()
        if offset == self.FCR:  # IIR: nothing pending, and whether the FIFOs work
            return 0xC1 if self.registers[self.FCR] & 1 else 0x01
        demand(offset in (self.IER, self.LCR, self.MCR, self.SCR), f"UART register {offset} read")
        return self.registers[offset]

    def _line_status(self) -> int:
        if self._busy:
            self._busy -= 1
            return 0x00
        return 0x60

    def write(self, offset: int, width: int, value: int) -> None:
        demand(width == 8, f"the UART has 8-bit registers, not {width}")
        if self._divisor_open and offset < 2:
            shift = 8 * offset
            self.divisor = self.divisor & ~(0xFF << shift) | value << shift
        elif offset == self.THR:
            demand(self.registers[self.LCR] & 3 == 3, "a character before 8-bit words are set")
            demand(self._busy == 0, "a character while the holding register is full")
            self.output.append(value)
            self._busy = self.busy_reads
        else:
            demand(offset not in (self.LSR, self.MSR), f"UART register {offset} written")
            self.registers[offset] = value

    @property
    def baud(self) -> int:
        """Bits a second, by its 1.8432 MHz crystal; 0 before the divisor is set."""
        return 1843200 // 16 // self.divisor if self.divisor else 0


class PmTimer:
    """The ACPI PM timer: 24 bits that go on by `step` at every read (3579545 a second).

    Source: ACPI 6.4 §4.8.3.3: 32-bit reads, not writable.
    """

    def __init__(self, start: int = 0xFFFF00, step: int = 358) -> None:
        self.ticks = start
        self.step = step

    def read(self, offset: int, width: int) -> int:
        demand(offset == 0 and width == 32, f"PM timer read in {width} bits at +{offset}")
        self.ticks += self.step
        return self.ticks & 0xFFFFFF

    def write(self, offset: int, width: int, value: int) -> None:
        raise FaultError("the PM timer cannot be written")


class Pic:
    """One 8259A: its mask at offset 1. Source: Intel 8259A, 231468-003, OCW1."""

    def __init__(self) -> None:
        self.mask = 0xB8

    def read(self, offset: int, width: int) -> int:
        demand(offset == 1 and width == 8, "only the 8259A's mask is modelled")
        return self.mask

    def write(self, offset: int, width: int, value: int) -> None:
        demand(offset == 1 and width == 8, "only the 8259A's mask is modelled")
        self.mask = value


@dataclass
class PciFunction:
    """One function's configuration space of 256 bytes: a few fields can be written."""

    config: bytearray
    bars: tuple[Bar, ...]
    writable: bytearray = field(default_factory=lambda: bytearray(256))

    @classmethod
    def of(cls, function: Function) -> PciFunction:
        """The function as the machine file describes it.

        Source: PCI Local Bus 3.0 §6.2: COMMAND, cache line, latency, interrupt line, BARs.
        """
        made = cls(bytearray.fromhex(function.config), function.bars)
        made.writable[0x04:0x06] = (0x0547).to_bytes(2, "little")
        made.writable[0x0C:0x0E] = b"\xff\xff"
        made.writable[0x3C] = 0xFF
        if function.header_type & 0x7F == 1:
            made.writable[0x18:0x34] = b"\xff" * 0x1C
        for bar in function.bars:
            at = _bar_offset(bar.index)
            whole = bar.kind is BarKind.MEM64
            mask = ~(bar.size - 1) & (2**64 - 1 if whole else 2**32 - 1)
            length = 8 if whole else 4
            made.writable[at : at + length] = mask.to_bytes(length, "little")
            made.writable[at] |= bar.index == ROM  # a ROM has its own enable bit
        return made

    def read(self, offset: int, width: int) -> int:
        return int.from_bytes(self.config[offset : offset + width // 8], "little")

    def write(self, offset: int, width: int, value: int) -> None:
        for i, byte in enumerate(value.to_bytes(width // 8, "little")):
            mask = self.writable[offset + i]
            self.config[offset + i] = self.config[offset + i] & ~mask & 0xFF | byte & mask

    def decodes(self, index: int) -> int | None:
        """Where BAR `index` answers now; None while the command register closes it."""
        bar = next(b for b in self.bars if b.index == index)
        enable = 1 if bar.kind is BarKind.IO else 2
        if not self.config[4] & enable:
            return None
        width = 64 if bar.kind is BarKind.MEM64 else 32
        return self.read(_bar_offset(index), width) & ~(3 if bar.kind is BarKind.IO else 15)

    @property
    def masters(self) -> bool:
        """Whether the function may reach RAM by itself."""
        return bool(self.config[4] & 4)


ROM = 6
"""The number that a machine file gives the expansion ROM's register."""


def _bar_offset(index: int) -> int:
    return 0x30 if index == ROM else 0x10 + 4 * index


class PciConfig:
    """Configuration mechanism 1 at ports 0xCF8 to 0xCFF. Source: PCI 3.0 §3.2.2.3.2."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self.functions = {f.address: PciFunction.of(f) for f in functions}
        self.address: int = 0

    def _selected(self) -> PciFunction | None:
        bus, device, function = (self.address >> s & m for s, m in ((16, 255), (11, 31), (8, 7)))
        return self.functions.get(f"{bus:02x}:{device:02x}.{function:x}")

    def _at(self, offset: int, width: int) -> int:
        demand(offset % (width // 8) == 0, f"configuration access of {width} bits at +{offset}")
        return (self.address & 0xFC) + offset - 4

    def read(self, offset: int, width: int) -> int:
        if offset < 4:
            demand(offset == 0 and width == 32, "CONFIG_ADDRESS is read whole")
            return self.address
        found, at = self._selected(), self._at(offset, width)
        if found is None or not self.address >> 31:
            return (1 << width) - 1
        return found.read(at, width)

    def write(self, offset: int, width: int, value: int) -> None:
        if offset < 4:
            demand(offset == 0 and width == 32, "CONFIG_ADDRESS is written whole")
            self.address = value & 0x80FFFFFC
            return
        found, at = self._selected(), self._at(offset, width)
        if found is not None and self.address >> 31:
            found.write(at, width, value)
