"""The config space of a machine file, read and written as the rows of a start do."""

from __future__ import annotations

from metaos.lower.row import FULL, Row
from metaos.lower.rows import config_address
from metaos.probe.header import ROM_INDEX
from metaos.probe.machine import BarKind, Function, Machine, domain


class ConfigSpace:
    """The config space of a machine file's functions, read and written as init's rows do.

    Base address registers keep only the address bits that their size leaves; a place with no
    function reads as all ones. Source: PCI Local Bus Specification 3.0 §6.2.5.1, §6.1.
    """

    def __init__(self, machine: Machine) -> None:
        self.functions = {
            config_address(f.address): f for f in machine.functions if not domain(f.address)
        }
        self.written: dict[int, int] = {}
        self.kept: dict[tuple[str, int], int] = {}

    def do(self, row: Row) -> None:
        """What a row does to the config space, and to what rows keep of it."""
        state = (row.value.symbol, row.value.value)
        match row.kind.partition("."):
            case ("config", _, "write"):
                self.write(row.place.value, row.value.value)
            case ("config", _, "put"):
                self.write(row.place.value, self.kept.get(state, 0))
            case ("config", _, "keep"):
                self.kept[state] = self.read(row.place.value)
            case ("config", _, "keep16"):
                self.kept[state] = self.read(row.place.value) & 0xFFFF
            case ("config", _, "keep8"):
                above = self.kept.get(state, 0) & ~0xFF
                self.kept[state] = above | self.read(row.place.value) & 0xFF

    def read(self, place: int) -> int:
        function = self.functions.get(place & ~0xFF)
        if function is None:
            return FULL
        return self.written.get(place, function.config_u32(place & 0xFC))

    def write(self, place: int, value: int) -> None:
        function = self.functions.get(place & ~0xFF)
        if function is None:
            return
        at = place & 0xFC
        if at == (0x30 if function.header_type & 0x7F == 0 else 0x38):
            value = _kept(function, ROM_INDEX, value & ~0x7FE)
        elif 0x10 <= at < (0x28 if function.header_type & 0x7F == 0 else 0x18):
            value = _kept(function, (at - 0x10) // 4, value)
        self.written[place] = value


def _kept(function: Function, index: int, value: int) -> int:
    """What a base address register holds after a write."""
    for bar in function.bars:
        if bar.index == index == ROM_INDEX:
            return value & (~(bar.size - 1) | 1) & FULL
        if bar.index == index:
            flags = function.config_u32(0x10 + 4 * index) & (3 if bar.kind == BarKind.IO else 0xF)
            return value & ~(bar.size - 1) & FULL | flags
        if bar.index + 1 == index and bar.kind == BarKind.MEM64:
            return value & ~((bar.size - 1) >> 32) & FULL
    return 0
