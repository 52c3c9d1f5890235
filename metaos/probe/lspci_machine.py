"""Make a `Machine` of what `lspci` printed: `lspci_machine(text, source)`.

The config bytes of a hex dump are the truth and the words only add to them, as the windows'
sizes. What neither says is named in `Machine.unknown`, with what would have said it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from metaos.errors import Problem
from metaos.probe.header import placed_bars, read_function
from metaos.probe.lspci import sightings
from metaos.probe.machine import (
    SCHEMA,
    Bar,
    BarKind,
    Cpu,
    Function,
    Machine,
    Origin,
    Unknown,
)
from metaos.probe.paste import refuse
from metaos.probe.sighting import Region, Sighting

_PCI = 256
_NETWORK = 0x02
"""PCI base class: network controller. PCI Code and ID Assignment 1.11 §1.3."""
_BRIDGE = 1
_HAS_CAPABILITIES = 0x10
"""In the status register. PCI Local Bus Specification 3.0 §6.2.3."""
_NO_WINDOW = (BarKind.MEM32, False, 0)
"""What a register says that reads 0."""
_ONLY_PCI = "lspci shows PCI functions only"
_LEAST = {BarKind.IO: 4, BarKind.MEM32: 16, BarKind.MEM64: 16}
_MOST = {BarKind.IO: 1 << 16, BarKind.MEM32: 1 << 32, BarKind.MEM64: 1 << 64}

Placed = dict[int, tuple[BarKind, bool, int]]


def lspci_machine(text: str, source: str = "lspci") -> tuple[Machine, tuple[str, ...]]:
    """The machine, and what a person should know of how it was read.

    Raises:
        MetaosError: as `metaos.probe.lspci.sightings`; or a window cannot be.
    """
    seen = sightings(text, source)
    problems = [fault for one in seen for fault in _impossible(one, source)]
    if problems:
        raise refuse(source, "not what lspci prints", problems)
    unknown = [(what, _ONLY_PCI) for what in ("cpuid leaves", "memory map")]
    unknown += [(what, _ONLY_PCI) for what in ("acpi tables", "legacy ports")]
    if not any(one.address == "00:00.0" for one in seen):
        reason = "there is no 00:00.0 in the text, so it is not of all functions"
        unknown.append(("pci functions", reason))
    for one in seen:
        unknown += [(f"{one.address} {what}", reason) for what, reason in _missing(one)]
    machine = Machine(
        schema=SCHEMA,
        cpu=Cpu(vendor="", brand="", leaves=(), origin=Origin.LSPCI),
        memory=(),
        functions=tuple(_function(one) for one in seen),
        legacy=(),
        acpi=(),
        networks=(),
        learnt=(),
        unknown=tuple(Unknown(what=w, reason=r, origin=Origin.LSPCI) for w, r in unknown),
    )
    return machine, tuple(_notes(seen))


def _function(seen: Sighting) -> Function:
    vendor, device = seen.ids or (0, 0)
    subsystem = seen.subsystem or (0, 0)
    if seen.config:
        function = read_function(seen.address, seen.config, (), origin=Origin.LSPCI)
    else:
        function = Function(
            address=seen.address,
            vendor=vendor,
            device=device,
            class_code=(seen.class_code or 0) << 8 | (seen.prog_if or 0),
            revision=seen.revision or 0,
            subsystem_vendor=subsystem[0],
            subsystem_device=subsystem[1],
            header_type=seen.header_type or 0,
            interrupt_pin=seen.interrupt_pin or 0,
            interrupt_line=0,
            bars=(),
            capabilities=(),
            config="",
            name="",
            origin=Origin.LSPCI,
        )
    capabilities = function.capabilities
    if len(seen.config) < _PCI and seen.capabilities is not None:
        capabilities = seen.capabilities
    return msgspec.structs.replace(
        function,
        bars=tuple(_bars(seen)),
        capabilities=capabilities,
        name=seen.name,
        name_origin=Origin.LSPCI if seen.name else None,
    )


def _bars(seen: Sighting) -> Iterator[Bar]:
    """The windows whose size is known."""
    for index, ((kind, prefetchable, address), region) in sorted(_windows(seen).items()):
        if region is not None and region.size:
            yield Bar(
                index=index,
                kind=kind,
                prefetchable=prefetchable,
                address=address,
                size=region.size,
                origin=Origin.LSPCI,
            )


def _windows(
    seen: Sighting,
) -> dict[int, tuple[tuple[BarKind, bool, int], Region | None]]:
    """Each register's window, and how the text shows it; no more than those that may be one."""
    if not seen.config:
        return {
            region.index: ((region.kind, region.prefetchable, region.address or 0), region)
            for region in seen.regions or ()
            if region.index is not None
            and not region.virtual
            and region.kind is not None
            and region.prefetchable is not None
        }
    placed = placed_bars(seen.config)
    shown = _shown(seen.regions or (), placed)
    return {index: (window, shown.get(index)) for index, window in placed.items()}


def _shown(regions: tuple[Region, ...], placed: Placed) -> dict[int, Region]:
    """Which of the regions each register has: the one that names it, else by kind and address.

    Linux shows some where the register says something else, as the shadow of a ROM.
    """
    found: dict[int, Region] = {}
    for region in regions:
        for index, window in placed.items():
            if index not in found and _is(region, index, window):
                found[index] = region
                break
    return found


def _is(region: Region, index: int, window: tuple[BarKind, bool, int]) -> bool:
    """Whether a region is what register `index` says."""
    kind, _, address = window
    if region.kind is not None and (region.kind is BarKind.IO) != (kind is BarKind.IO):
        return False
    if region.index is None:
        return window != _NO_WINDOW and region.address == address
    if window == _NO_WINDOW:  # one that is not placed, or none
        return region.index == index and region.kind is kind and not region.address
    return region.index == index and (region.address == address or not region.virtual)


def _impossible(seen: Sighting, source: str) -> Iterator[Problem]:
    """Windows that no register can have."""
    for index, ((kind, _, address), region) in _windows(seen).items():
        if region is None or not region.size:
            continue
        what = ""
        if not _LEAST[kind] <= region.size < _MOST[kind]:
            what = f"bar {index} of {seen.address}: {kind} has no window of {region.size:#x} bytes"
        elif address % region.size:
            what = f"bar {index} of {seen.address}: {address:#x} is no multiple of its size"
        elif address >= _MOST[kind]:
            what = f"bar {index} of {seen.address}: {address:#x} is too large for {kind}"
        if what:
            yield Problem("E0814", what, span=region.row.span(source), text=region.row.original)


def _missing(seen: Sighting) -> Iterator[tuple[str, str]]:
    """What neither bytes nor words say of a function, by `Machine.unknown`'s names, and why."""
    if seen.config:
        yield from _missing_with_config(seen)
    else:
        yield from _missing_without_config(seen)
    class_code = seen.config[0x0B] << 8 if seen.config else seen.class_code
    if class_code is not None and class_code >> 8 == _NETWORK:
        yield "mac", "lspci does not show it"


def _missing_with_config(seen: Sighting) -> Iterator[tuple[str, str]]:
    size = len(seen.config)
    if size < _PCI:
        yield f"config from {size:#x}", "lspci -xxx as root prints all of it"
        if not seen.capabilities and seen.config[0x06] & _HAS_CAPABILITIES:
            yield "capabilities", f"the list lies beyond the first {size} config bytes"
    windows = _windows(seen)
    for index, (window, region) in windows.items():
        if not (region and region.size) and (region or window != _NO_WINDOW):
            yield f"bar {index} size", "config bytes have no sizes; lspci -vv shows them"
    known = [region for _, region in windows.values() if region is not None]
    if seen.regions is None and any(window == _NO_WINDOW for window, _ in windows.values()):
        yield "bars", "a register that reads 0 may be a window that is not placed; lspci -vv tells"
    elif any(region not in known for region in seen.regions or ()):
        yield "bars", "the text shows a window that is in no register"


def _missing_without_config(seen: Sighting) -> Iterator[tuple[str, str]]:
    if seen.ids is None:
        yield "ids", "the text has names only; lspci -nn shows the ids too"
    if seen.class_code is None:
        yield "class", "the text has its name only; lspci -nn shows the number too"
    elif seen.prog_if is None:
        yield "class", "its last byte is not shown; lspci -v shows it"
    if seen.revision is None:
        yield "revision", "the text does not show it"
    if seen.subsystem is None:
        yield "subsystem", "the text does not show its ids; lspci -nnv does"
    yield "header type", "words do not show all of it; lspci -x prints the bytes"
    yield "interrupt", "words show Linux's number, not the register; lspci -x prints the bytes"
    if seen.header_type == _BRIDGE:
        yield "bus numbers", "a machine file has them in config bytes; lspci -x prints those"
    yield "config from 0x0", "lspci -xxx as root prints the bytes"
    if seen.capabilities is None:
        yield "capabilities", "the text does not show all of the list; lspci -vv as root does"
    if not seen.indexed:
        yield "bars", "the text does not show which register has which window; lspci -vv does"
        return
    shown = {region.index for region in seen.regions or () if region.index is not None}
    for index in sorted(shown - {bar.index for bar in _bars(seen)}):
        yield f"bar {index} size", "the text does not show it"


def _notes(seen: tuple[Sighting, ...]) -> Iterator[str]:
    dumped = sum(1 for one in seen if one.config)
    yield f"{len(seen)} function{'s' * (len(seen) != 1)}, {dumped} with config bytes"
    nameless = [one.address for one in seen if not one.config and one.ids is None]
    if nameless:
        some = ", ".join(nameless[:5]) + (", ..." if len(nameless) > 5 else "")
        yield f"names without ids, which are unknown now: {some}; run lspci -nn"
    for one in seen:
        said = one.ids
        held = one.config and read_function(one.address, one.config, ())
        if said and held and said != (held.vendor, held.device):
            called, bytes_say = (
                f"{said[0]:04x}:{said[1]:04x}",
                f"{held.vendor:04x}:{held.device:04x}",
            )
            yield (
                f"line {one.row.number}: {one.address} is called {called}, but its config bytes"
                f" say {bytes_say}, which counts"
            )
