"""Whether a `Machine` can be true: its fields against one another.

Entering: a `Machine` whose fields have the right types; leaving: what contradicts itself,
as pairs of JSON path and message.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from metaos.probe.cpu import describe
from metaos.probe.header import ROM_INDEX, placed_bars, read_function
from metaos.probe.machine import (
    CONFIG_SIZES,
    AcpiTable,
    Bar,
    BarKind,
    Cpu,
    CpuidLeaf,
    Function,
    Machine,
    MemoryRange,
    Unknown,
    address_order,
    unknown_fact,
)

Fault = tuple[str, str]

_ADDRESS = re.compile(r"((?!0{4,8}:)[0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_HEX = re.compile(r"([0-9a-f]{2})*")
_PCI = 256
_HEADER_FIELDS = (
    "vendor",
    "device",
    "class_code",
    "revision",
    "subsystem_vendor",
    "subsystem_device",
    "header_type",
    "interrupt_pin",
    "interrupt_line",
)
_LEAST_SIZE = {BarKind.IO: 4, BarKind.MEM32: 16, BarKind.MEM64: 16}
_SPACE = {BarKind.IO: 1 << 16, BarKind.MEM32: 1 << 32, BarKind.MEM64: 1 << 64}


def check(machine: Machine) -> Iterator[Fault]:
    """What in `machine` contradicts itself."""
    yield from _cpu(machine.cpu)
    yield from _memory(machine.memory)
    usable = any(entry.kind == 1 for entry in machine.memory)
    if not usable and unknown_fact(machine, "memory map") is None:
        yield "memory", "no range is usable (kind 1)"
    last = ""
    for i, function in enumerate(machine.functions):
        path = f"functions[{i}]"
        if not _ADDRESS.fullmatch(function.address):
            yield f"{path}.address", f"'{function.address}' is not of the form 00:1f.7"
        elif last and address_order(function.address) <= address_order(last):
            yield f"{path}.address", f"{function.address} must come before {last}, and once"
        else:
            last = function.address
        yield from _function(function, path)
    for i, table in enumerate(machine.acpi):
        yield from _table(table, f"acpi[{i}]")
    for i, port in enumerate(machine.legacy):
        if port.port == 0:
            yield f"legacy[{i}].port", "no device is at port 0"
    for i, one in enumerate(machine.mmio):
        if not one.base or not one.size or one.base + one.size > 1 << 52:
            yield f"mmio[{i}].base", f"no window has {one.size:#x} bytes at {one.base:#x}"
        if not _HEX.fullmatch(one.data):
            yield f"mmio[{i}].data", "these are no hex digits of whole bytes"
    addresses = {function.address for function in machine.functions}
    addresses |= {one.address for one in machine.mmio}
    for i, network in enumerate(machine.networks):
        if network.address not in addresses:
            yield f"networks[{i}].address", f"there is no function {network.address}"
        if not _MAC.fullmatch(network.mac):
            yield f"networks[{i}].mac", f"'{network.mac}' is not of the form 52:54:00:12:34:56"
    seen: set[tuple[str, str, str]] = set()
    for i, fact in enumerate(machine.learnt):
        key = (fact.device, fact.pattern, fact.name)
        if key in seen:
            yield f"learnt[{i}].name", f"'{fact.name}' of {fact.device} is there twice"
        seen.add(key)
    yield from _unknown(machine.unknown)


def _unknown(facts: tuple[Unknown, ...]) -> Iterator[Fault]:
    seen: set[str] = set()
    for i, fact in enumerate(facts):
        if not fact.what:
            yield f"unknown[{i}].what", "it names nothing"
        elif fact.what in seen:
            yield f"unknown[{i}].what", f"'{fact.what}' is there twice"
        seen.add(fact.what)


def _cpu(cpu: Cpu) -> Iterator[Fault]:
    yield from _leaves(cpu.leaves, "cpu.leaves")
    numbers = [other.number for other in cpu.others]
    for i, other in enumerate(cpu.others):
        yield from _leaves(other.leaves, f"cpu.others[{i}].leaves")
        if other.number in numbers[:i]:
            yield f"cpu.others[{i}].number", f"processor {other.number} is there twice"
    vendor, brand = describe(cpu.leaves)
    if cpu.vendor != vendor and cpu.leaves:
        yield "cpu.vendor", f"'{cpu.vendor}', but leaf 0 says '{vendor}'"
    if cpu.brand != brand and cpu.leaves:
        yield "cpu.brand", f"'{cpu.brand}', but leaves 0x80000002 to 4 say '{brand}'"


def _leaves(leaves: tuple[CpuidLeaf, ...], path: str) -> Iterator[Fault]:
    for i, (before, after) in enumerate(itertools.pairwise(leaves), 1):
        if (before.leaf, before.subleaf) >= (after.leaf, after.subleaf):
            yield f"{path}[{i}]", f"leaf {after.leaf:#x} subleaf {after.subleaf} is out of order"


def _memory(ranges: tuple[MemoryRange, ...]) -> Iterator[Fault]:
    end = 0
    for i, entry in enumerate(ranges):
        if entry.size == 0:
            yield f"memory[{i}].size", "a range of no bytes"
        if entry.base + entry.size > 1 << 64:
            yield f"memory[{i}].size", "the range goes beyond 2^64"
        if entry.base < end:
            yield f"memory[{i}].base", f"{entry.base:#x} lies below {end:#x}, the end of the last"
        end = max(end, entry.base + entry.size)


def _function(function: Function, path: str) -> Iterator[Fault]:
    if not _HEX.fullmatch(function.config) or len(function.config) // 2 not in CONFIG_SIZES:
        digits = ", ".join(str(2 * size) for size in CONFIG_SIZES)
        yield f"{path}.config", f"expected {digits} digits (0-9, a-f)"
        return
    config = bytes.fromhex(function.config)
    if not config:
        said = {b.index: _said(b) for b in function.bars if b.index <= ROM_INDEX}
        yield from _bars(function, said, path)
        return
    read = read_function(function.address, config, ())
    for name in (*_HEADER_FIELDS, *(["capabilities"] * (len(config) >= _PCI))):
        ours, theirs = getattr(function, name), getattr(read, name)
        if ours != theirs:
            yield f"{path}.{name}", f"{_show(ours)}, but the config bytes say {_show(theirs)}"
    yield from _bars(function, placed_bars(config), path)


def _said(bar: Bar) -> tuple[BarKind, bool, int]:
    return bar.kind, bar.prefetchable, bar.address


def _bars(
    function: Function, placed: dict[int, tuple[BarKind, bool, int]], path: str
) -> Iterator[Fault]:
    last = -1
    for i, bar in enumerate(function.bars):
        where = f"{path}.bars[{i}]"
        if bar.index <= last:
            yield f"{where}.index", f"{bar.index} must come before {last}, and once"
        last = max(last, bar.index)
        if bar.index not in placed:
            yield f"{where}.index", f"this header has no base address register {bar.index}"
            continue
        yield from _bar(bar, placed[bar.index], where)


def _bar(bar: Bar, placed: tuple[BarKind, bool, int], path: str) -> Iterator[Fault]:
    kind, prefetchable, address = placed
    if bar.kind is not kind:
        yield f"{path}.kind", f"{bar.kind}, but the config bytes say {kind}"
        return
    if bar.prefetchable != prefetchable:
        yield f"{path}.prefetchable", f"{bar.prefetchable}, but the config bytes say {prefetchable}"
    if bar.address != address:
        yield f"{path}.address", f"{bar.address:#x}, but the config bytes say {address:#x}"
    if bar.size < _LEAST_SIZE[kind] or bar.size & bar.size - 1 or bar.size >= _SPACE[kind]:
        yield f"{path}.size", f"{bar.size:#x} is no power of two that {kind} can have"
    elif bar.address % bar.size:
        yield f"{path}.address", f"{bar.address:#x} is not a multiple of the size {bar.size:#x}"


def _table(table: AcpiTable, path: str) -> Iterator[Fault]:
    if not table.data or not _HEX.fullmatch(table.data):
        yield f"{path}.data", "expected pairs of digits (0-9, a-f)"
        return
    data = bytes.fromhex(table.data)
    if not data.startswith(table.signature.encode("latin-1", "replace")) or not table.signature:
        yield f"{path}.signature", f"'{table.signature}', but the data begin with {data[:8]!r}"
    elif len(table.signature) == 4 and int.from_bytes(data[4:8], "little") != len(data):
        said = int.from_bytes(data[4:8], "little")
        yield f"{path}.data", f"{len(data)} bytes, but the table's length field says {said}"


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{item.id:#04x} at {item.offset:#04x}" for item in value) + "]"
    return f"{value:#x}" if isinstance(value, int) else repr(value)
