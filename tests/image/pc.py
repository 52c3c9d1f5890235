"""A PC in unicorn: RAM, ports, memory-mapped devices, CPUID, from the boot sector on.

    pc = Pc(memory_size, bios)
    pc.ports, pc.cpuid = ports, cpuid
    pc.attach(0xFEBC0000, card.size, card.read, card.write)
    pc.start(until=entry)           # real mode: the loader, up to an address it reaches
    pc.go(hooks)                    # long mode, from there

Unicorn fixes a processor's mode when it is made, so there are two over the same RAM: one
begins in real mode and runs the loader through its own mode switches; the other takes over
its control registers in 64-bit mode with paging as the loader left it. Its general
registers start with garbage: only the stack pointer is handed over.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unicorn import (
    UC_HOOK_CODE,
    UC_HOOK_INSN,
    UC_HOOK_INTR,
    UC_HOOK_MEM_INVALID,
    UC_MODE_16,
    UC_MODE_64,
    UC_PROT_ALL,
)
from unicorn import x86_const as x86

from metaos.ir.interpret import Cpuid, Ports
from tests.fake.fault import FaultError
from tests.image.bios import Bios
from tests.image.engine import Engine, EngineError, engine

BOOT_SECTOR = 0x7C00
EFER = 0xC0000080
OPEN_BUS = 16 << 20
"""Where RAM ends before this address, loads up to it find all ones and stores are lost."""
GARBAGE = 0xDEADBEEFDEADBEEF
_GENERAL = [*("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP"), *(f"R{i}" for i in range(8, 16))]

Read = Callable[[int, int], int]
Write = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Window:
    """A device's memory at a physical address: `read` and `write` take offset and bits."""

    physical: int
    size: int
    read: Read
    write: Write


class Pc:
    """One machine. `memory_size` bytes of RAM lie from address 0; it is a device's bus too."""

    def __init__(self, memory_size: int, bios: Bios) -> None:
        self.size = memory_size
        self.bios = bios
        self.ports: Ports | None = None
        self.cpuid: Cpuid | None = None
        self.instructions = 0
        self.wrong = ""
        self._ram = mmap.mmap(-1, memory_size)
        self._windows: list[Window] = []
        self.uc: Engine | None = None

    # RAM, as a device sees it: physical addresses

    def read(self, address: int, length: int) -> bytes:
        self._inside(address, length)
        return self._ram[address : address + length]

    def write(self, address: int, data: bytes) -> None:
        self._inside(address, len(data))
        self._ram[address : address + len(data)] = data

    def _inside(self, address: int, length: int) -> None:
        low = 0 <= address <= address + length <= 0xC0000
        if not low and not 0x100000 <= address <= address + length <= self.size:
            raise FaultError(f"{length} bytes at {address:#x}: no RAM is there")

    def attach(self, physical: int, size: int, read: Read, write: Write) -> None:
        """Put a device's window at a physical address."""
        self._windows.append(Window(physical, size, read, write))

    # Running

    def start(self, until: int, limit: int = 50_000_000) -> None:
        """Run the boot sector until the instruction at linear `until` in long mode.

        `instructions` counts those before it, `rep` per iteration. Raises FaultError if
        that is never reached.
        """
        uc = self._processor(UC_MODE_16)
        self.write(BOOT_SECTOR, self.bios.disk[:512])
        uc.reg_write(x86.UC_X86_REG_EDX, 0x80)
        uc.reg_write(x86.UC_X86_REG_ESP, 0x7000)
        reached = False

        def count(uc: Engine, address: int, size: int, data: Any) -> None:
            nonlocal reached
            if address == until and uc.reg_read(x86.UC_X86_REG_CR0) >> 31:
                reached = True
                uc.emu_stop()
                return
            self.instructions += 1
            if self.instructions > limit or self.read_halt(address):
                uc.emu_stop()

        uc.hook_add(UC_HOOK_CODE, count)
        self._run(uc, BOOT_SECTOR)
        if not reached:
            said = bytes(self.bios.serial).decode("latin-1").strip()
            raise FaultError(f"the loader did not reach {until:#x}: {self.wrong or said}")
        self._hand_over(uc)

    def read_halt(self, address: int) -> bool:
        """Whether the loader stands at a `hlt` in low memory: it has given up."""
        return address < 0x100000 and self._ram[address] == 0xF4

    def go(self, begin: int) -> None:
        """Run from `begin` in long mode until a hook of the caller stops `uc`."""
        assert self.uc is not None, "start comes first"
        self._run(self.uc, begin)
        if self.wrong:
            raise FaultError(self.wrong)

    def _run(self, uc: Engine, begin: int) -> None:
        try:
            uc.emu_start(begin, (1 << 64) - 1)
        except EngineError as error:
            raise FaultError(self.wrong or f"unicorn: {error}") from error

    def _hand_over(self, old: Engine) -> None:
        """Take the loader's control registers and stack into a 64-bit processor."""
        uc = self._processor(UC_MODE_64)
        uc.reg_write(x86.UC_X86_REG_CR4, old.reg_read(x86.UC_X86_REG_CR4))
        uc.msr_write(EFER, old.msr_read(EFER))
        uc.reg_write(x86.UC_X86_REG_CR3, old.reg_read(x86.UC_X86_REG_CR3))
        uc.reg_write(x86.UC_X86_REG_CR0, old.reg_read(x86.UC_X86_REG_CR0))
        for name in _GENERAL:
            uc.reg_write(getattr(x86, f"UC_X86_REG_{name}"), GARBAGE)
        uc.reg_write(x86.UC_X86_REG_RSP, old.reg_read(x86.UC_X86_REG_ESP))
        self.uc = uc

    # The processor and its hooks

    def _processor(self, mode: int) -> Engine:
        uc = engine(mode)
        uc.ctl_set_cpu_model(x86.UC_CPU_X86_HASWELL)  # what CPUID says is `cpuid`'s
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._ram))
        uc.mem_map_ptr(0, self.size, UC_PROT_ALL, ctypes.c_void_p(base))
        if self.size < OPEN_BUS:
            nothing = Window(
                self.size, OPEN_BUS - self.size, lambda _, bits: (1 << bits) - 1, _drop
            )
            uc.mmio_map(
                nothing.physical, nothing.size, _reader(nothing), None, _writer(nothing), None
            )
        for window in self._windows if mode == UC_MODE_64 else ():
            uc.mmio_map(window.physical, window.size, _reader(window), None, _writer(window), None)
        uc.hook_add(UC_HOOK_INTR, self._interrupt)
        uc.hook_add(UC_HOOK_MEM_INVALID, self._invalid)
        uc.hook_add(UC_HOOK_INSN, self._in, None, 1, 0, x86.UC_X86_INS_IN)
        uc.hook_add(UC_HOOK_INSN, self._out, None, 1, 0, x86.UC_X86_INS_OUT)
        uc.hook_add(UC_HOOK_INSN, self._identify, None, 1, 0, x86.UC_X86_INS_CPUID)
        return uc

    def _interrupt(self, uc: Engine, number: int, data: Any) -> None:
        if self.uc is None and not uc.reg_read(x86.UC_X86_REG_CR0) & 1:
            self.bios.call(uc, number)
            return
        at = uc.reg_read(x86.UC_X86_REG_EIP if self.uc is None else x86.UC_X86_REG_RIP)
        where = uc.reg_read(x86.UC_X86_REG_CR2)
        self.wrong = self.wrong or f"exception {number} at {at:#x}, CR2 {where:#x}"
        uc.emu_stop()

    def _invalid(
        self, uc: Engine, access: int, address: int, size: int, value: int, data: Any
    ) -> bool:
        self.wrong = self.wrong or f"{size} bytes at {address:#x}: nothing is there"
        return False

    def _in(self, uc: Engine, port: int, size: int, data: Any) -> int:
        assert self.ports is not None, "the ports are connected before it runs"
        return self.ports.read(port, 8 * size)

    def _out(self, uc: Engine, port: int, size: int, value: int, data: Any) -> None:
        assert self.ports is not None, "the ports are connected before it runs"
        self.ports.write(port, 8 * size, value & (1 << 8 * size) - 1)

    def _identify(self, uc: Engine, data: Any) -> int:
        assert self.cpuid is not None, "the processor is described before it runs"
        leaf, subleaf = (uc.reg_read(r) for r in (x86.UC_X86_REG_EAX, x86.UC_X86_REG_ECX))
        names = ("AX", "BX", "CX", "DX")
        wide = "R" if self.uc is not None else "E"
        for name, value in zip(names, self.cpuid(leaf, subleaf), strict=True):
            uc.reg_write(getattr(x86, f"UC_X86_REG_{wide}{name}"), value)
        return 1


def _drop(offset: int, width: int, value: int) -> None:
    """A store where nothing is."""


def _reader(window: Window) -> Callable[[Engine, int, int, Any], int]:
    return lambda uc, offset, size, data: window.read(offset, 8 * size)


def _writer(window: Window) -> Callable[[Engine, int, int, int, Any], None]:
    return lambda uc, offset, size, value, data: window.write(offset, 8 * size, value)
