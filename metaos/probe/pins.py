"""Where pins of PCI functions arrive, as a DSDT says: `pins_of(functions, dsdt)`.

AML is not run. A route is known by its shape: a package of a slot of bus 0, a pin, and the device
that the pin goes through, or 0 and the interrupt. A device counts that has one interrupt alone; one
of several is a chipset's router, for which it is a choice. Where routes contradict each other,
nothing is said.

Source: ACPI 6.4 §6.2.13 (_PRT), §6.4.3.6 (interrupts), §20.2.2 (names), §20.2.3 (integers), §20.2.4
(lengths), §20.2.5.2 (devices), §20.2.5.4 (packages).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from metaos.probe.machine import Function, Origin, Pin, Wire

_DEVICE, _PACKAGE = b"\x5b\x82", b"\x12"
_ELEMENTS = 4
_WIDTHS = {0x0A: 1, 0x0B: 2, 0x0C: 4}
"""Bytes of an integer behind its prefix; 0 and 1 are their own."""
_NAME = re.compile(rb"[A-Z_][A-Z0-9_]{3}")
_WIRES = re.compile(rb"\x89(..)(.)(.)(.{4})", re.DOTALL)
_EDGE, _LOW = 2, 4
_EVERY_FUNCTION = 0xFFFF
_PINS = 4


def pins_of(functions: Iterable[Function], dsdt: bytes) -> tuple[Pin, ...]:
    """The functions of bus 0 that have a pin of which the DSDT says where it arrives."""
    routes = _routes(dsdt)
    found = ((f, routes.get((_slot(f), f.interrupt_pin - 1))) for f in functions)
    return tuple(
        Pin(address=f.address, interrupt=wire, origin=Origin.QEMU)
        for f, wire in found
        if wire is not None
    )


def _slot(function: Function) -> int:
    """The device number on bus 0; -1 elsewhere."""
    return int(function.address[3:5], 16) if function.address.startswith("00:") else -1


def _routes(dsdt: bytes) -> Mapping[tuple[int, int], Wire]:
    """What a slot's pin, from 0 on, is led to."""
    devices = dict(_devices(dsdt))
    found: dict[tuple[int, int], set[Wire]] = {}
    for slot, pin, source, line in _entries(dsdt):
        wire = devices.get(source) if source else Wire(line=line, edge=False, low=True)
        if wire is not None:
            found.setdefault((slot, pin), set()).add(wire)
    return {place: wires.pop() for place, wires in found.items() if len(wires) == 1}


def _entries(dsdt: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """Of each package that is a route: slot, pin, the device's name or nothing, the interrupt."""
    at = -1
    while (at := dsdt.find(_PACKAGE, at + 1)) >= 0:
        inside = _block(dsdt, at + 1)
        if not inside or inside[0] != _ELEMENTS:
            continue
        address, rest = _integer(inside[1:])
        pin, rest = _integer(rest)
        name = _NAME.match(rest)
        source, rest = (name[0], rest[4:]) if name else (b"", rest)
        zero, rest = (0, rest) if name else _integer(rest)
        line, rest = _integer(rest)
        if address is None or pin is None or line is None or zero != 0 or rest:
            continue
        if address & _EVERY_FUNCTION == _EVERY_FUNCTION and pin < _PINS:
            yield address >> 16, pin, source, line


def _devices(dsdt: bytes) -> Iterator[tuple[bytes, Wire]]:
    """The devices that have one interrupt, by their last name."""
    at = -1
    while (at := dsdt.find(_DEVICE, at + 1)) >= 0:
        inside = _block(dsdt, at + len(_DEVICE))
        name = _NAME.match(inside)
        wires = {(flags[0], count[0], line) for _, flags, count, line in _WIRES.findall(inside)}
        if name is None or len(wires) != 1:
            continue
        ((flags, count, line),) = wires
        if count == 1:
            number = int.from_bytes(line, "little")
            yield name[0], Wire(line=number, edge=bool(flags & _EDGE), low=bool(flags & _LOW))


def _block(data: bytes, at: int) -> bytes:
    """What follows a length at `at` and is so long; empty if that is beyond the end."""
    if at >= len(data):
        return b""
    more = data[at] >> 6
    length = data[at] & (0x0F if more else 0x3F)
    length |= int.from_bytes(data[at + 1 : at + 1 + more], "little") << 4
    return data[at + 1 + more : at + length] if at + length <= len(data) else b""


def _integer(data: bytes) -> tuple[int | None, bytes]:
    """The integer at the start, None if there is none, and what follows."""
    if data[:1] in (b"\0", b"\1"):
        return data[0], data[1:]
    width = _WIDTHS.get(data[0], 0) if data else 0
    if not width or len(data) <= width:
        return None, data
    return int.from_bytes(data[1 : 1 + width], "little"), data[1 + width :]
