"""A machine as people look at it: `tree(machine)`: buses, what is on them, what is behind these.

The records are what `metaos show --json` writes; `metaos.cli_tree` renders them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from metaos.match.names import class_name, device_name
from metaos.match.processor import ShownProcessor, shown_processor
from metaos.probe.acpi import read_acpi
from metaos.probe.acpi_tables import Acpi
from metaos.probe.bridge import Bridge, Forwarded, read_bridge
from metaos.probe.capabilities import capability_name, extended_name
from metaos.probe.header import read_extended
from metaos.probe.machine import (
    Bar,
    Emulator,
    Function,
    Learnt,
    Legacy,
    Machine,
    MemoryRange,
    Mmio,
    Unknown,
    domain,
)

_DEEPEST = 32
"""Bridges above one another; what is deeper is shown as a bus of its own. And no bus is behind
itself: what a bridge leads to has a higher number."""


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What every record here is."""


class ShownCapability(_Shown, frozen=True, kw_only=True):
    """An entry of either capability list."""

    name: str
    id: int
    offset: int


class ShownWindow(_Shown, frozen=True, kw_only=True):
    """What a bridge forwards; `end` is the last address."""

    kind: str
    start: int
    end: int


class ShownFunction(_Shown, frozen=True, kw_only=True):
    """A function; of a bridge `buses` are its first and last behind it, and `behind` these."""

    address: str
    ids: str
    subsystem: str
    class_code: str
    revision: str
    class_name: str
    name: str
    mac: str
    bars: tuple[Bar, ...]
    capabilities: tuple[ShownCapability, ...]
    buses: tuple[int, int] | None
    forwards: tuple[ShownWindow, ...]
    behind: tuple[ShownBus, ...]


class ShownBus(_Shown, frozen=True, kw_only=True):
    """A bus and the functions on it."""

    domain: int
    number: int
    functions: tuple[ShownFunction, ...]


class ShownMachine(_Shown, frozen=True, kw_only=True):
    """All of a machine file but the raw bytes; `tables` are signatures, `acpi` what they say."""

    processor: ShownProcessor
    memory: tuple[MemoryRange, ...]
    buses: tuple[ShownBus, ...]
    legacy: tuple[Legacy, ...]
    tables: tuple[str, ...]
    acpi: Acpi
    mmio: tuple[Mmio, ...]
    learnt: tuple[Learnt, ...]
    emulator: Emulator | None
    unknown: tuple[Unknown, ...]


def tree(machine: Machine) -> ShownMachine:
    """The machine, its functions under the bridges that lead to them."""
    return ShownMachine(
        processor=shown_processor(machine.cpu),
        memory=machine.memory,
        buses=_Buses(machine).roots(),
        legacy=machine.legacy,
        tables=tuple(table.signature for table in machine.acpi),
        acpi=read_acpi(machine.acpi),
        mmio=machine.mmio,
        learnt=machine.learnt,
        emulator=machine.emulator,
        unknown=machine.unknown,
    )


class _Buses:
    """The functions by bus, and which bridge leads to each bus."""

    def __init__(self, machine: Machine) -> None:
        self.macs = {network.address: network.mac for network in machine.networks}
        self.unknown = {fact.what for fact in machine.unknown}
        self.on: dict[tuple[int, int], list[Function]] = {}
        self.bridges: dict[str, Bridge] = {}
        self.leads: dict[tuple[int, int], str] = {}
        self.depth: dict[tuple[int, int], int] = {}
        for function in machine.functions:
            bus = _bus(function)
            self.on.setdefault(bus, []).append(function)
            bridge = read_bridge(bytes.fromhex(function.config))
            if bridge is None:
                continue
            self.bridges[function.address] = bridge
            below, deep = (bus[0], bridge.secondary), self.depth.get(bus, 0) + 1
            if bridge.secondary > bus[1] and deep <= _DEEPEST and below not in self.leads:
                self.leads[below] = function.address
                self.depth[below] = deep

    def roots(self) -> tuple[ShownBus, ...]:
        return tuple(self._bus(bus) for bus in sorted(self.on) if bus not in self.leads)

    def _bus(self, bus: tuple[int, int]) -> ShownBus:
        return ShownBus(
            domain=bus[0],
            number=bus[1],
            functions=tuple(self._function(f) for f in self.on[bus]),
        )

    def _function(self, function: Function) -> ShownFunction:
        bridge = self.bridges.get(function.address)
        behind = [
            bus for bus, by in self.leads.items() if by == function.address and bus in self.on
        ]
        ids = (function.subsystem_vendor, function.subsystem_device)

        def lacks(what: str) -> bool:
            return f"{function.address} {what}" in self.unknown

        no_class = lacks("class") and not function.class_code >> 8  # else only its last byte
        return ShownFunction(
            address=function.address,
            ids="ids unknown" if lacks("ids") else f"{function.vendor:04x}:{function.device:04x}",
            subsystem=f"{ids[0]:04x}:{ids[1]:04x}" if any(ids) else "",
            class_code="unknown" if no_class else f"{function.class_code:06x}",
            revision="unknown" if lacks("revision") else f"{function.revision:02x}",
            class_name="" if no_class else class_name(function.class_code),
            name=function.name if lacks("ids") and function.name else device_name(function),
            mac=self.macs.get(function.address, ""),
            bars=function.bars,
            capabilities=_capabilities(function),
            buses=(bridge.secondary, bridge.subordinate) if bridge else None,
            forwards=_windows(bridge.forwards) if bridge else (),
            behind=tuple(self._bus(bus) for bus in behind),
        )


def _bus(function: Function) -> tuple[int, int]:
    return domain(function.address), int(function.address[-7:-5], 16)


def _capabilities(function: Function) -> tuple[ShownCapability, ...]:
    return tuple(
        [
            ShownCapability(name=capability_name(c.id), id=c.id, offset=c.offset)
            for c in function.capabilities
        ]
        + [
            ShownCapability(name=extended_name(x.id), id=x.id, offset=x.offset)
            for x in read_extended(bytes.fromhex(function.config))
        ]
    )


def _windows(forwards: Iterable[Forwarded]) -> tuple[ShownWindow, ...]:
    return tuple(ShownWindow(kind=f.kind, start=f.start, end=f.end - 1) for f in forwards)
