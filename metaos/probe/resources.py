"""What a machine's DSDT says of devices in windows of memory: `wires(dsdt) -> {base: Wire}`.

A device's resources are a template, a list of descriptors that ends with one of its own. Nothing
else of AML is read: the first window of a template is its device's, and so is the interrupt in it.

Source: ACPI 6.4 §6.4 (descriptors), §6.4.3.4 (32-bit fixed memory), §6.4.3.6 (extended interrupt).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metaos.probe.machine import Wire

_FIXED_MEMORY, _INTERRUPT, _END = 0x86, 0x89, 0x79
_MEMORY_HEAD = bytes((_FIXED_MEMORY, 9, 0))
_EDGE, _LOW = 2, 4
"""Flags of an extended interrupt descriptor."""


def wires(dsdt: bytes) -> Mapping[int, Wire]:
    """The interrupt of each device that has one window and one interrupt, by the window's base."""
    found: dict[int, Wire] = {}
    at = dsdt.find(_MEMORY_HEAD)
    while at >= 0:
        base = int.from_bytes(dsdt[at + 4 : at + 8], "little")
        behind = next((x for x in _descriptors(dsdt, at) if x[0] == _INTERRUPT), None)
        if behind is not None and len(behind) >= 9 and behind[4] == 1:
            line = int.from_bytes(behind[5:9], "little")
            found.setdefault(
                base, Wire(line=line, edge=bool(behind[3] & _EDGE), low=bool(behind[3] & _LOW))
            )
        at = dsdt.find(_MEMORY_HEAD, at + 1)
    return found


def _descriptors(data: bytes, at: int) -> Iterator[bytes]:
    """The descriptors from `at` on, whole, up to the end of their template."""
    while at < len(data) and data[at] != _END:
        large = data[at] & 0x80
        size = 3 + int.from_bytes(data[at + 1 : at + 3], "little") if large else 1 + (data[at] & 7)
        yield data[at : at + size]
        at += size
