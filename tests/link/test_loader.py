"""The boot loader, executed in unicorn under a small model of the BIOS.

The model answers the calls that boot.asm makes and can refuse any of them, which QEMU's
firmware cannot be asked to do. RAM is full of 0xA5 before, so that nothing is zero by luck.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest

from metaos.link.gates import GDT, TASK
from metaos.link.image import SECTOR, Image
from metaos.link.link import link
from metaos.link.lists import expand
from metaos.link.phases import HANDOVER
from tests.link.handmade import PROVENANCE, parts
from tests.link.walk import translate

unicorn: Any = import_module("unicorn")  # it has no types
x86: Any = import_module("unicorn.x86_const")

RAM = 8 << 20
MIB = 1 << 20
DRIVE = 0x80
MOST_INSTRUCTIONS = 14_000
MOST_CONTENT = 416
CARRY = 1


@pytest.fixture(scope="module")
def image() -> Image:
    return link(parts(), PROVENANCE)


@dataclass
class Bios:
    """What the firmware does: `refused` calls (interrupt, AH or AX) fail with carry."""

    image: Image
    refused: tuple[tuple[int, int], ...] = ()
    processor: int = x86.UC_CPU_X86_QEMU64
    a20: bool = True
    low_kib: int = 0x3C00
    high_units: int = 0x1F0
    screen: str = ""
    serial: str = ""
    reads: list[tuple[int, int]] = field(default_factory=list)
    instructions: int = 0
    arrived: bool = False

    def __post_init__(self) -> None:
        self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_16)
        self.uc.ctl_set_cpu_model(self.processor)
        self._buffer = ctypes.create_string_buffer(b"\xa5" * RAM, RAM)
        at = ctypes.addressof(self._buffer)
        if self.a20:
            self.uc.mem_map_ptr(0, RAM, 7, at)
        else:
            self.uc.mem_map_ptr(0, MIB, 7, at)
            self.uc.mem_map_ptr(MIB, MIB, 7, at)
        self.uc.mem_write(0x7C00, self.image.data[:SECTOR])
        self.uc.reg_write(x86.UC_X86_REG_EDX, DRIVE)
        self.uc.hook_add(unicorn.UC_HOOK_CODE, self._instruction)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)

    def boot(self) -> None:
        """Run until the loader leaves its page for guard, or halts."""
        self.uc.emu_start(0x7C00, 0, count=40_000)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.uc.mem_read(address, size))

    def _instruction(self, uc: Any, address: int, size: int, _: object) -> None:
        if address == HANDOVER:
            self.arrived = True
            uc.emu_stop()
            return
        self.instructions += 1
        assert 0x7C00 <= address < 0x7E00

    def _interrupt(self, uc: Any, number: int, _: object) -> None:
        ax = uc.reg_read(x86.UC_X86_REG_EAX) & 0xFFFF
        call = ax if number == 0x15 else ax >> 8
        failed = (number, call) in self.refused
        if not failed:
            {
                (0x10, 0x00): self._mode,
                (0x10, 0x0E): self._teletype,
                (0x13, 0x42): self._disk,
                (0x14, 0x00): self._port,
                (0x14, 0x01): self._send,
                (0x15, 0x2401): lambda _: None,
                (0x15, 0xE801): self._memory,
            }[number, call](ax & 0xFF)
        flags = uc.reg_read(x86.UC_X86_REG_EFLAGS) & ~CARRY
        uc.reg_write(x86.UC_X86_REG_EFLAGS, flags | failed)

    def _mode(self, al: int) -> None:
        assert al == 3
        self.screen = ""

    def _teletype(self, al: int) -> None:
        assert self.uc.reg_read(x86.UC_X86_REG_EBX) & 0xFF00 == 0, "page 0"
        self.screen += chr(al)

    def _port(self, al: int) -> None:
        assert al == 0xE3, "9600 8N1"

    def _send(self, al: int) -> None:
        assert self.uc.reg_read(x86.UC_X86_REG_EDX) & 0xFFFF == 0, "first port"
        self.serial += chr(al)

    def _disk(self, al: int) -> None:
        assert self.uc.reg_read(x86.UC_X86_REG_EDX) & 0xFF == DRIVE
        packet = self.read(self.uc.reg_read(x86.UC_X86_REG_ESI) & 0xFFFF, 16)
        count, offset, segment = (int.from_bytes(packet[i : i + 2], "little") for i in (2, 4, 6))
        sector = int.from_bytes(packet[8:], "little")
        assert packet[:2] == b"\x10\0"
        self.reads.append((sector, count))
        part = self.image.data[sector * SECTOR : (sector + count) * SECTOR]
        self.uc.mem_write(16 * segment + offset, part)

    def _memory(self, al: int) -> None:
        self.uc.reg_write(x86.UC_X86_REG_EAX, self.low_kib)
        self.uc.reg_write(x86.UC_X86_REG_EBX, self.high_units)


@pytest.fixture(scope="module")
def booted(image: Image) -> Bios:
    bios = Bios(image)
    bios.boot()
    return bios


def test_hands_over_in_long_mode(booted: Bios, image: Image) -> None:
    assert booted.arrived
    assert booted.uc.reg_read(x86.UC_X86_REG_CR0) == 0x80010011, "PG, WP, ET, PE"
    assert booted.uc.reg_read(x86.UC_X86_REG_CR4) == 0x220, "OSFXSR, PAE"
    assert booted.uc.reg_read(x86.UC_X86_REG_CR3) == 0x8000
    stack = image.manifest.symbol("stack")
    assert booted.uc.reg_read(x86.UC_X86_REG_ESP) == stack.linear + stack.size
    assert booted.screen == booted.serial == ""


def test_instruction_budget(booted: Bios) -> None:
    assert 0 < booted.instructions <= MOST_INSTRUCTIONS


def test_reads_exactly_the_sectors_needed(booted: Bios, image: Image) -> None:
    assert booted.reads == [(1, image.manifest.loaded_sectors - 1)]


def test_leaves_ram_as_the_lists_say(booted: Bios, image: Image) -> None:
    """And zero between: no byte of the old contents is left in tables, code or data."""
    manifest, memory = image.manifest, expand(image)
    first = min(manifest.roots)
    (deposit,) = manifest.deposits.values()
    zeroed = [s for s in manifest.symbols if s.name in ("stack", "next", "trace", "ring")]
    last = max(s.physical + s.size for s in zeroed)
    found = bytearray(booted.read(first, last - first))
    found[deposit - first : deposit - first + 4] = bytes(4)
    task = manifest.gates.physical + GDT + TASK + 5 - first
    assert found[task] == 0x8B, "ltr has marked the TSS busy"
    found[task] = 0x89
    for page in range(first, last, 4096):
        wanted = memory.get(page, bytes(4096))[: last - page]
        assert found[page - first :][: len(wanted)] == wanted, hex(page)


def test_deposits_the_memory_size(booted: Bios, image: Image) -> None:
    found = int.from_bytes(booted.read(image.manifest.deposits["memory_kib"], 4), "little")
    assert found == 0x3C00 + 64 * 0x1F0


def test_bootstrap_page(booted: Bios, image: Image) -> None:
    """Under it the processor finds this sector, guard's last code page and `next`."""
    (code,) = image.manifest.phase("guard").code_pages
    slot = image.manifest.symbol("next").linear
    wanted = {0x7C00: 0x7C00, HANDOVER: code + HANDOVER % 4096, slot: slot}

    def page(at: int) -> bytes:
        return booted.read(at, 4096)

    assert {linear: translate(page, 0x8000, linear) for linear in wanted} == wanted


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ({"refused": ((0x13, 0x42),)}, "disk read failed"),
        ({"processor": x86.UC_CPU_X86_PENTIUM3}, "CPU lacks 64-bit mode or NX"),
        ({"a20": False}, "BIOS lacks A20 or memory size"),
        ({"refused": ((0x15, 0xE801),)}, "BIOS lacks A20 or memory size"),
    ],
)
def test_says_what_is_wrong_and_halts(
    image: Image, trouble: dict[str, object], message: str
) -> None:
    bios = Bios(image, **trouble)  # type: ignore[arg-type]
    bios.boot()
    assert bios.screen == bios.serial == f"\r\nMetaOS: {message}"
    assert not bios.uc.reg_read(x86.UC_X86_REG_EFLAGS) & 0x200, "halted with interrupts off"
    assert bios.instructions < 1000 and not bios.arrived


def test_a_gate_that_is_open_already_will_do(image: Image) -> None:
    bios = Bios(image, refused=((0x15, 0x2401),))
    bios.boot()
    assert bios.arrived


def test_content_and_account(image: Image) -> None:
    """The loader is small, and each of its bytes has a line of boot.asm."""
    part = image.manifest.loader
    data = image.data[part.start : part.end]
    assert len(data) - data.count(0) <= MOST_CONTENT
    mine = [e for e in image.account if e.end <= part.end]
    assert {e.kind for e in mine} == {"loader", "padding"}
    assert sum(e.end - e.start for e in mine) == len(data)
