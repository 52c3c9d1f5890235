"""What firmware left beside the buses: ACPI tables, serial and parallel ports.

Source: Linux Documentation/ABI/testing/sysfs-firmware-acpi, sysfs-tty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from metaos.probe.machine import AcpiTable, BarKind, Function, Legacy, Origin
from metaos.probe.sysfs.tree import Gaps, Tree, UnreadError

_TABLES = "sys/firmware/acpi/tables"
_MOST_TABLE_BYTES = 4 << 20
_HEADER = 8
"""Signature and length, which even the FACS has. ACPI 6.4 §5.2.6, §5.2.10."""
_NOT_SHOWN = "Linux shows the tables that the root table names, but not"
_TTYS, _PORTS = "sys/class/tty", "proc/ioports"
_SERIAL = re.compile(r"ttyS([0-9]{1,3})")
_PORT_LINE = re.compile(r" *([0-9a-f]{4})-([0-9a-f]{4}) : (.*)")
_PARALLEL = re.compile(r"parport[0-9]+")
_BY_PORT = 0
"""`io_type` of a UART that is reached by ports, not by memory."""


def read_tables(tree: Tree, gaps: Gaps) -> tuple[AcpiTable, ...]:
    """The tables that can be read; Linux does not say where they lie: address 0."""
    try:
        names = tree.names(_TABLES)
    except UnreadError as error:
        gaps.add("acpi tables", error)
        return ()
    tables = []
    for name in sorted(names, key=_counted):
        where = f"{_TABLES}/{name}"
        if tree.is_folder(where):
            continue
        try:
            tables.append(_table(tree, where))
        except UnreadError as error:
            gaps.add(f"acpi {tree.shown(name).removeprefix('/')}", error)
    if tables:
        gaps.add("acpi addresses", f"{_NOT_SHOWN} where they lie")
    gaps.add("acpi root tables", f"{_NOT_SHOWN} that one, nor the pointer to it")
    return tuple(tables)


def _counted(name: str) -> tuple[str, int]:
    """SSDT9 before SSDT10."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :][:9] or 0)


def _table(tree: Tree, where: str) -> AcpiTable:
    data = tree.content(where, _MOST_TABLE_BYTES)
    signature, said = data[:4], int.from_bytes(data[4:_HEADER], "little")
    if len(data) < _HEADER or said != len(data):
        raise UnreadError(
            f"{tree.shown(where)}: {len(data)} bytes, but the table's length field says {said}"
        )
    if not re.fullmatch(rb"[ -~]{4}", signature):
        raise UnreadError(f"{tree.shown(where)}: {signature!r} is no table's signature")
    return AcpiTable(
        signature=signature.decode("ascii"), address=0, data=data.hex(), origin=Origin.SYSFS
    )


def read_ports(tree: Tree, functions: Iterable[Function], gaps: Gaps) -> tuple[Legacy, ...]:
    """Serial and parallel ports that no PCI function provides, numbered in Linux's order."""
    windows = [
        range(bar.address, bar.address + bar.size)
        for function in functions
        for bar in function.bars
        if bar.kind is BarKind.IO
    ]
    found = []
    for kind, read in (("com", _serial), ("lpt", _parallel)):
        try:
            ports = [port for port in read(tree) if not any(port in w for w in windows)]
        except UnreadError as error:
            gaps.add(f"legacy {kind}", error)
            continue
        found += [
            Legacy(kind=kind, index=i, port=port, origin=Origin.SYSFS)
            for i, port in enumerate(dict.fromkeys(ports))
        ]
    return tuple(found)


def _serial(tree: Tree) -> Iterator[int]:
    """The ports of the UARTs that Linux found; `type` 0 is a number without a UART."""
    names = [name for name in tree.names(_TTYS) if _SERIAL.fullmatch(name)]
    if not names:
        raise UnreadError(f"{tree.shown(_TTYS)}: no ttyS: Linux has no driver for UARTs")
    for name in sorted(names, key=lambda name: (len(name), name)):
        where = f"{_TTYS}/{name}"
        if tree.number(f"{where}/type") == 0:
            continue
        if tree.exists(f"{where}/io_type") and tree.number(f"{where}/io_type") != _BY_PORT:
            continue
        port = tree.number(f"{where}/port")
        if not 0 < port <= 0xFFFF:
            raise UnreadError(f"{tree.shown(where)}/port:1:1: {port:#x} is no port")
        yield port


def _parallel(tree: Tree) -> Iterator[int]:
    """The ports that Linux's driver for parallel ports holds."""
    ports: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(tree.text(_PORTS).splitlines(), 1):
        where = f"{tree.shown(_PORTS)}:{number}:1"
        found = _PORT_LINE.fullmatch(line)
        if found is None:
            raise UnreadError(f"{where}: expected a range of ports, got {line[:40]!a}")
        name = found[3].strip()
        if _PARALLEL.fullmatch(name):  # its extended registers are a range of their own
            ports.setdefault(name, (int(found[1], 16), where))
    if not ports:
        raise UnreadError(f"{tree.shown(_PORTS)}: no parport: no driver, or no such port")
    for port, where in ports.values():
        if port == 0:
            raise UnreadError(f"{where}: the address is zeros (not read as root)")
        yield port
