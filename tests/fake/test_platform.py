"""The platform's models: UART, timer, interrupt masks, configuration space."""

from __future__ import annotations

import pytest

from metaos.ir.interpret import Memory
from metaos.ir.interpret import Ram as Region
from metaos.probe.machine import Bar, BarKind, Function, Origin
from tests.fake.bus import MemoryBus, PortSpace
from tests.fake.fault import FaultError
from tests.fake.platform import PciConfig, Pic, PmTimer, Uart16550


def function() -> Function:
    config = bytearray(256)
    config[0:4] = bytes.fromhex("86800e10")
    config[0x10:0x14] = (0xFEBC0000).to_bytes(4, "little")
    config[0x14:0x18] = (0xC001).to_bytes(4, "little")
    bars = (
        Bar(index=0, kind=BarKind.MEM32, prefetchable=False, address=0xFEBC0000, size=0x20000,
            origin=Origin.FILE),
        Bar(index=1, kind=BarKind.IO, prefetchable=False, address=0xC000, size=0x40,
            origin=Origin.FILE),
    )  # fmt: skip
    return Function(
        address="00:03.0", vendor=0x8086, device=0x100E, class_code=0x020000, revision=3,
        subsystem_vendor=0, subsystem_device=0, header_type=0, interrupt_pin=1,
        interrupt_line=11, bars=bars, capabilities=(), config=config.hex(), name="",
        origin=Origin.FILE,
    )  # fmt: skip


def pci(space: PortSpace, register: int, value: int | None = None, where: int = 0x1800) -> int:
    space.write(0xCF8, 32, 0x80000000 | where | register)
    if value is None:
        return space.read(0xCFC, 32)
    space.write(0xCFC, 32, value)
    return 0


def test_configuration_space() -> None:
    config, space = PciConfig([function()]), PortSpace()
    space.attach(0xCF8, 8, config)
    assert pci(space, 0) == 0x100E8086
    assert pci(space, 0, where=0x2000) == 0xFFFFFFFF
    pci(space, 0, 0)
    assert pci(space, 0) == 0x100E8086
    pci(space, 0x10, 0xFFFFFFFF)
    pci(space, 0x14, 0xFFFFFFFF)
    assert pci(space, 0x10) == 0xFFFE0000
    assert pci(space, 0x14) == 0xFFFFFFC1
    pci(space, 0x10, 0x3F000000)
    card = config.functions["00:03.0"]
    assert card.decodes(0) is None
    assert not card.masters
    pci(space, 4, 6)
    assert card.decodes(0) == 0x3F000000
    assert card.decodes(1) is None
    assert card.masters
    space.write(0xCF8, 32, 0x1800)
    assert space.read(0xCFC, 32) == 0xFFFFFFFF
    with pytest.raises(FaultError):
        space.read(0xCFD, 32)


def test_uart() -> None:
    uart = Uart16550(busy_reads=2)
    with pytest.raises(FaultError, match="8-bit words"):
        uart.write(0, 8, 0x41)
    for offset, value in ((3, 0x83), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)):
        uart.write(offset, 8, value)
    assert uart.baud == 115200
    assert uart.read(5, 8) & 0x20
    uart.write(0, 8, 0x41)
    with pytest.raises(FaultError, match="full"):
        uart.write(0, 8, 0x42)
    assert [uart.read(5, 8) & 0x20 for _ in range(3)] == [0, 0, 0x20]
    uart.write(0, 8, 0x42)
    assert uart.output == b"AB"
    assert uart.read(2, 8) == 0xC1
    with pytest.raises(FaultError):
        uart.read(0, 16)


def test_timer_wraps_at_24_bits() -> None:
    timer = PmTimer(start=0xFFFFF0, step=0x20)
    assert [timer.read(0, 32) for _ in range(2)] == [0x10, 0x30]
    with pytest.raises(FaultError):
        timer.write(0, 32, 0)
    with pytest.raises(FaultError):
        timer.read(0, 16)


def test_ports_without_a_device_are_faults() -> None:
    space, pic = PortSpace(), Pic()
    space.attach(0x20, 2, pic)
    space.write(0x21, 8, 0xFF)
    assert pic.mask == space.read(0x21, 8) == 0xFF
    for access in (lambda: space.read(0x22, 8), lambda: space.write(0x21, 16, 0)):
        with pytest.raises(FaultError):
            access()
    assert space.log == [("write", 0x21, 8, 0xFF), ("read", 0x21, 8, 0xFF)]


def test_memory_bus() -> None:
    ram = Region(16)
    bus = MemoryBus(Memory({"m": (0x200000, ram)}))
    bus.write(0x200003, b"abc")
    assert bus.read(0x200002, 5) == b"\0abc\0"
