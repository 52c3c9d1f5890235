"""The firmware calls that a boot loader makes, answered by the harness.

Source: Ralf Brown's Interrupt List: INT 10h AH=00h, 0Eh; INT 13h AH=41h, 42h; INT 14h
AH=00h, 01h; INT 15h AX=2401h, E801h, E820h. Any other call is a fault.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from unicorn import x86_const as x86

from tests.fake.fault import FaultError, demand
from tests.image.engine import Engine

SECTOR = 512
CARRY = 1


@dataclass
class Bios:
    """Firmware over one disk. `screen` and `serial` gather what the loader prints.

    `memory` are (base, size, kind) as E820 tells them; `disk_fails` makes every read fail.
    """

    disk: bytes
    memory: tuple[tuple[int, int, int], ...]
    disk_fails: bool = False
    screen: bytearray = field(default_factory=bytearray)
    serial: bytearray = field(default_factory=bytearray)
    sectors: list[tuple[int, int]] = field(default_factory=list)
    calls: int = 0

    def call(self, uc: Engine, number: int) -> None:
        """Answer one software interrupt; the carry flag says if it failed."""
        ax = uc.reg_read(x86.UC_X86_REG_EAX) & 0xFFFF
        self.calls += 1
        done = self._answer(uc, number, ax)
        flags = uc.reg_read(x86.UC_X86_REG_EFLAGS)
        uc.reg_write(x86.UC_X86_REG_EFLAGS, flags & ~CARRY if done else flags | CARRY)

    def _answer(self, uc: Engine, number: int, ax: int) -> bool:
        high, low = ax >> 8, ax & 0xFF
        if (number, high) == (0x10, 0x0E):
            self.screen.append(low)
        elif (number, high) == (0x14, 0x01):
            self.serial.append(low)
        elif (number, high) == (0x13, 0x41):
            uc.reg_write(x86.UC_X86_REG_BX, 0xAA55)
        elif (number, high) == (0x13, 0x42):
            return self._read_sectors(uc)
        elif (number, ax) == (0x15, 0xE801):
            return self._memory_sizes(uc)
        elif (number, ax) == (0x15, 0xE820):
            return self._memory_range(uc)
        elif (number, high) not in ((0x10, 0x00), (0x14, 0x00)) and (number, ax) != (0x15, 0x2401):
            raise FaultError(f"INT {number:#x} with AX={ax:#06x}: no such call is modelled")
        return True

    def _read_sectors(self, uc: Engine) -> bool:
        demand(uc.reg_read(x86.UC_X86_REG_DL) == 0x80, "DL is not the boot drive")
        segment = uc.reg_read(x86.UC_X86_REG_DS)
        packet = uc.mem_read(16 * segment + uc.reg_read(x86.UC_X86_REG_SI), 16)
        size, count, offset, to, sector = struct.unpack("<BxHHHQ", packet)
        demand(size == 16 and 0 < count <= 127, f"a read of {count} sectors, packet of {size}")
        demand(offset + count * SECTOR <= 0x10000, "a read across the end of its segment")
        self.sectors.append((sector, count))
        data = self.disk[sector * SECTOR : (sector + count) * SECTOR]
        if self.disk_fails or len(data) < count * SECTOR:
            return False
        uc.mem_write(16 * to + offset, data)
        return True

    def _above(self, start: int, end: int) -> int:
        """Bytes of usable memory that begin exactly at `start`, cut at `end`."""
        for base, size, kind in self.memory:
            if kind == 1 and base <= start < base + size:
                return min(base + size, end) - start
        return 0

    def _memory_sizes(self, uc: Engine) -> bool:
        kib, blocks = self._above(1 << 20, 16 << 20) >> 10, self._above(16 << 20, 1 << 32) >> 16
        for register, value in (("A", kib), ("C", kib), ("B", blocks), ("D", blocks)):
            uc.reg_write(getattr(x86, f"UC_X86_REG_{register}X"), value)
        return True

    def _memory_range(self, uc: Engine) -> bool:
        index = uc.reg_read(x86.UC_X86_REG_EBX)
        if index >= len(self.memory):
            return False
        base, size, kind = self.memory[index]
        segment = uc.reg_read(x86.UC_X86_REG_ES)
        at = 16 * segment + uc.reg_read(x86.UC_X86_REG_DI)
        uc.mem_write(at, struct.pack("<QQI", base, size, kind))
        uc.reg_write(x86.UC_X86_REG_EBX, (index + 1) % len(self.memory))
        uc.reg_write(x86.UC_X86_REG_EAX, 0x534D4150)
        uc.reg_write(x86.UC_X86_REG_ECX, 20)
        return True
