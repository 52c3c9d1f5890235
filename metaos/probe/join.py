"""Make a `Machine` of what the discoverer printed and what only QEMU knows.

Entering: a `Dump`, the learn rows that were run, and QEMU's names by PCI address; leaving:
a `Machine`, in order, each fact with its origin.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from metaos.probe.cpu import describe
from metaos.probe.header import read_function
from metaos.probe.learn import LearnRow, learnt
from metaos.probe.lines import Dump, FunctionLines, MemoryLine, TableLines
from metaos.probe.machine import (
    SCHEMA,
    AcpiTable,
    Cpu,
    CpuidLeaf,
    Emulator,
    Function,
    Legacy,
    Machine,
    MemoryRange,
    Mmio,
    Network,
    Origin,
)

_RSDP = b"RSD PTR "
_NETWORK = 0x02
"""PCI base class: network controller. PCI Code and ID Assignment 1.11 §1.3."""


@dataclass(frozen=True, slots=True)
class Named:
    """What an emulator calls the device at an address; `mac` is empty if it has none."""

    name: str
    mac: str = ""


def join(
    dump: Dump,
    rows: Sequence[LearnRow] = (),
    named: Mapping[str, Named] | None = None,
    emulator: Emulator | None = None,
    mmio: tuple[Mmio, ...] = (),
) -> Machine:
    """Put the facts together.

    Raises:
        MetaosError: a learn row failed.
    """
    named = named or {}
    functions = sorted((_function(f, named) for f in dump.functions), key=lambda f: f.address)
    return Machine(
        schema=SCHEMA,
        cpu=_cpu(dump),
        memory=tuple(_memory(dump.memory)),
        functions=tuple(functions),
        legacy=tuple(
            Legacy(kind=p.kind, index=p.index, port=p.port, origin=Origin.DISCOVERER)
            for p in dump.ports
        ),
        acpi=acpi_tables(dump),
        networks=tuple(
            Network(address=f.address, mac=named[f.address].mac, origin=Origin.QEMU)
            for f in functions
            if f.class_code >> 16 == _NETWORK and f.address in named and named[f.address].mac
        )
        + tuple(
            Network(address=x.address, mac=named[x.address].mac, origin=Origin.QEMU)
            for x in mmio
            if x.address in named and named[x.address].mac
        ),
        learnt=learnt(rows, dump),
        emulator=emulator,
        mmio=mmio,
    )


def _cpu(dump: Dump) -> Cpu:
    leaves = tuple(
        CpuidLeaf(
            leaf=line.leaf,
            subleaf=line.subleaf,
            eax=line.registers[0],
            ebx=line.registers[1],
            ecx=line.registers[2],
            edx=line.registers[3],
        )
        for line in sorted(dump.cpuid, key=lambda line: (line.leaf, line.subleaf))
    )
    vendor, brand = describe(leaves)
    return Cpu(vendor=vendor, brand=brand, leaves=leaves, origin=Origin.DISCOVERER)


def _memory(lines: Iterable[MemoryLine]) -> list[MemoryRange]:
    """The ranges in ascending order. ACPI 6.4 §15.1: empty ones are to be ignored.

    Where firmware lets ranges overlap, the higher kind counts, as Linux has it: only kind 1 is
    free to use.
    """
    ranges = sorted((x.base, min(x.base + x.size, 1 << 64), x.kind) for x in lines if x.size)
    if any(a[1] > b[0] for a, b in itertools.pairwise(ranges)):
        ranges = _disjoint(ranges)
    return [
        MemoryRange(base=start, size=stop - start, kind=kind, origin=Origin.DISCOVERER)
        for start, stop, kind in ranges
    ]


def _disjoint(ranges: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Cut overlapping ranges at every edge; the higher kind has each piece."""
    edges = sorted({edge for start, stop, _ in ranges for edge in (start, stop)})
    pieces: list[tuple[int, int, int]] = []
    for low, high in itertools.pairwise(edges):
        kinds = [kind for start, stop, kind in ranges if start <= low and high <= stop]
        if not kinds:
            continue
        if pieces and pieces[-1][1:] == (low, max(kinds)):
            pieces[-1] = (pieces[-1][0], high, max(kinds))
        else:
            pieces.append((low, high, max(kinds)))
    return pieces


def _function(lines: FunctionLines, named: Mapping[str, Named]) -> Function:
    function = read_function(lines.address, lines.config, lines.sizing)
    known = named.get(lines.address)
    if known is None:
        return function
    return msgspec.structs.replace(function, name=known.name, name_origin=Origin.QEMU)


def acpi_tables(dump: Dump) -> tuple[AcpiTable, ...]:
    """The ACPI tables that were printed."""
    return tuple(_table(table) for table in dump.tables)


def _table(lines: TableLines) -> AcpiTable:
    signature = _RSDP if lines.data.startswith(_RSDP) else lines.data[:4]
    return AcpiTable(
        signature=signature.decode("latin-1"),
        address=lines.address,
        data=lines.data.hex(),
        origin=Origin.DISCOVERER,
    )
