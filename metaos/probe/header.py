"""Read a PCI function's configuration header: ids, BARs, capabilities.

Entering: its first 64, 256 or 4096 config bytes and what its base address registers read
after all ones were written to them; leaving: a `Function`.

Source: PCI Local Bus Specification 3.0 §6.1, §6.2, §6.7; PCI-to-PCI Bridge Architecture
1.2 §3.2; PCI Express Base 3.0 §7.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metaos.probe.machine import Bar, BarKind, Capability, Function, Origin

ROM_INDEX = 6
"""The index by which a `Bar` says that it is the expansion ROM."""

BARS = {0: 6, 1: 2, 2: 1}
"""Base address registers by header type."""
ROMS = {0: 0x30, 1: 0x38}
_SUBSYSTEMS = {0: 0x2C, 2: 0x40}
_STATUS_CAPABILITIES = 0x10
_EXTENDED = 0x100
_POINTERS = {0: 0x34, 1: 0x34, 2: 0x14}


@dataclass(frozen=True, slots=True)
class Extended:
    """One entry of the extended capability list."""

    id: int
    version: int
    offset: int


def read_function(
    address: str, config: bytes, sizing: Sequence[int], *, origin: Origin = Origin.DISCOVERER
) -> Function:
    """Decode the header in `config`; `sizing` are the answers of the BARs, then of the ROM."""
    subsystem = _SUBSYSTEMS.get(layout_of(config))
    return Function(
        address=address,
        vendor=_word(config, 0x00),
        device=_word(config, 0x02),
        class_code=_dword(config, 0x08) >> 8,
        revision=config[0x08],
        subsystem_vendor=_word(config, subsystem) if subsystem else 0,
        subsystem_device=_word(config, subsystem + 2) if subsystem else 0,
        header_type=config[0x0E],
        interrupt_pin=config[0x3D],
        interrupt_line=config[0x3C],
        bars=tuple(_bars(config, sizing, origin)),
        capabilities=tuple(read_capabilities(config)),
        config=config.hex(),
        name="",
        origin=origin,
    )


def read_capabilities(config: bytes) -> Iterator[Capability]:
    """Follow the capability list as far as the bytes go.

    It ends at a pointer that is 0 or was followed before.
    """
    if not config[0x06] & _STATUS_CAPABILITIES or layout_of(config) not in _POINTERS:
        return
    seen: set[int] = set()
    offset = config[_POINTERS[layout_of(config)]] & 0xFC
    while 0x40 <= offset < len(config) - 1 and offset not in seen:
        seen.add(offset)
        yield Capability(id=config[offset], offset=offset)
        offset = config[offset + 1] & 0xFC


def read_extended(config: bytes) -> Iterator[Extended]:
    """Follow the extended capability list, which begins at 0x100; source: PCIe 3.0 §7.9.

    It ends at an offset that is 0 or was followed before, or beyond the bytes.
    """
    seen: set[int] = set()
    offset = _EXTENDED
    while _EXTENDED <= offset <= len(config) - 4 and offset not in seen:
        seen.add(offset)
        word = _dword(config, offset)
        if word in (0, 0xFFFFFFFF):
            return
        yield Extended(id=word & 0xFFFF, version=word >> 16 & 0xF, offset=offset)
        offset = word >> 20 & 0xFFC


def placed_bars(config: bytes) -> dict[int, tuple[BarKind, bool, int]]:
    """Every base address register by index as (kind, prefetchable, address), sized or not.

    The upper half of a 64-bit one has no entry.
    """
    layout = layout_of(config)
    result: dict[int, tuple[BarKind, bool, int]] = {}
    index = 0
    while index < BARS.get(layout, 0):
        low = _dword(config, 0x10 + 4 * index)
        kind = _kind(low)
        high = 0
        if kind is BarKind.MEM64 and index + 1 < BARS[layout]:
            high = _dword(config, 0x14 + 4 * index)
        address = high << 32 | low & (0xFFFFFFFC if kind is BarKind.IO else 0xFFFFFFF0)
        result[index] = (kind, kind is not BarKind.IO and bool(low & 8), address)
        index += 2 if kind is BarKind.MEM64 else 1
    if layout in ROMS:
        result[ROM_INDEX] = (BarKind.MEM32, False, _dword(config, ROMS[layout]) & 0xFFFFF800)
    return result


def _bars(config: bytes, sizing: Sequence[int], origin: Origin) -> Iterator[Bar]:
    registers = BARS.get(layout_of(config), 0)
    for index, (kind, prefetchable, address) in placed_bars(config).items():
        position = registers if index == ROM_INDEX else index
        if position >= len(sizing):
            continue
        mask = sizing[position]
        if kind is BarKind.MEM64:
            upper = sizing[position + 1] if position + 1 < len(sizing) else 0
            size = _size((upper << 32 | mask) & ~0xF, 64)
        elif kind is BarKind.IO:
            # A device may hardwire the upper 16 address bits to 0.
            size = _size(mask & 0xFFFC, 16)
        else:
            size = _size(mask & (0xFFFFF800 if index == ROM_INDEX else 0xFFFFFFF0), 32)
        if size:
            yield Bar(
                index=index,
                kind=kind,
                prefetchable=prefetchable,
                address=address,
                size=size,
                origin=origin,
            )


def _size(mask: int, bits: int) -> int:
    """How much a register decodes whose writable address bits are `mask`: its lowest bit."""
    return mask & -mask & (1 << bits) - 1


def _kind(register: int) -> BarKind:
    if register & 1:
        return BarKind.IO
    return BarKind.MEM64 if register & 6 == 4 else BarKind.MEM32


def layout_of(config: bytes) -> int:
    return config[0x0E] & 0x7F


def _word(config: bytes, offset: int) -> int:
    return int.from_bytes(config[offset : offset + 2], "little")


def _dword(config: bytes, offset: int) -> int:
    return int.from_bytes(config[offset : offset + 4], "little")
