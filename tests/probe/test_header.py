"""Configuration headers: BAR sizes from what a register reads after all ones."""

from __future__ import annotations

from metaos.probe.header import read_capabilities, read_function
from metaos.probe.machine import Bar, BarKind, Capability, Origin


def header(changes: dict[int, bytes]) -> bytes:
    config = bytearray(256)
    for offset, data in changes.items():
        config[offset : offset + len(data)] = data
    return bytes(config)


def dword(value: int) -> bytes:
    return value.to_bytes(4, "little")


def bar(index: int, kind: BarKind, address: int, size: int, prefetchable: bool = False) -> Bar:
    return Bar(
        index=index,
        kind=kind,
        prefetchable=prefetchable,
        address=address,
        size=size,
        origin=Origin.DISCOVERER,
    )


def test_bars_of_every_kind() -> None:
    config = header(
        {
            0x10: dword(0xFEBC0000),
            0x14: dword(0x0000C001),
            0x18: dword(0x4000000C) + dword(0x8),
            0x30: dword(0xFEB80001),
        }
    )
    sizing = (0xFFFE0000, 0xFFFFFFC1, 0x0000000C, 0xFFFFFFFE, 0, 0, 0xFFFC0001)
    assert read_function("00:03.0", config, sizing).bars == (
        bar(0, BarKind.MEM32, 0xFEBC0000, 0x20000),
        bar(1, BarKind.IO, 0xC000, 0x40),
        bar(2, BarKind.MEM64, 0x8_4000_0000, 0x2_0000_0000, prefetchable=True),
        bar(6, BarKind.MEM32, 0xFEB80000, 0x40000),
    )


def test_a_port_bar_without_upper_bits() -> None:
    config = header({0x10: dword(1)})
    assert read_function("00:01.0", config, (0x0000FFF1, *(0,) * 6)).bars[0].size == 16


def test_a_bridge_has_two_bars_and_its_rom_elsewhere() -> None:
    config = header({0x0E: b"\x81", 0x10: dword(0xFE000000), 0x38: dword(0xFD000000)})
    function = read_function("00:02.0", config, (0xFFFFF000, 0, 0xFFFF0000))
    assert [(b.index, b.size) for b in function.bars] == [(0, 0x1000), (6, 0x10000)]
    assert function.subsystem_vendor == 0


def test_a_function_that_was_not_sized_has_no_bars() -> None:
    assert read_function("00:02.0", header({0x10: dword(0xFE000000)}), ()).bars == ()


def test_capabilities_in_list_order_and_no_endless_list() -> None:
    config = header({0x06: b"\x10", 0x34: b"\xe0", 0xE0: b"\x05\x50", 0x50: b"\x01\xe0"})
    assert tuple(read_capabilities(config)) == (
        Capability(id=5, offset=0xE0),
        Capability(id=1, offset=0x50),
    )


def test_no_capabilities_without_the_status_bit() -> None:
    assert tuple(read_capabilities(header({0x34: b"\xe0", 0xE0: b"\x05"}))) == ()
