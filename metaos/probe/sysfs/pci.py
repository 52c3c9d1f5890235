"""PCI functions out of sysfs: `read_functions(tree, gaps)`.

`config` has the config bytes: 64 for a user, all of them for root. `resource` has what Linux
found each window to be: a line of start, end and flags, windows 0 to 5 and the ROM first.

Source: Linux Documentation/PCI/sysfs-pci.rst; include/linux/ioport.h for the flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from metaos.probe.header import ROM_INDEX, placed_bars, read_function
from metaos.probe.machine import (
    CONFIG_SIZES,
    Bar,
    BarKind,
    Function,
    Origin,
    address_order,
)
from metaos.probe.sysfs.tree import Gaps, Tree, UnreadError

DEVICES = "sys/bus/pci/devices"
_NAME = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}:[01][0-9a-f]\.[0-7])")
_ROOTS = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}")
_LINE = re.compile(r"0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16})")
_DEEPEST = 64
"""Bridges above one another; deeper is a tree that was made up."""
_HEADER, _PCI, _ALL = 64, 256, 4096
_HAS_CAPABILITIES = 0x10
"""STATUS bit 4. PCI Local Bus Specification 3.0 §6.2.3."""
_PCI_EXPRESS = 0x10
"""Capability id. PCI Code and ID Assignment 1.11 §2."""
_FLAG_IO, _FLAG_MEMORY, _FLAG_PREFETCH, _FLAG_64 = 0x100, 0x200, 0x2000, 0x100000
_FLAG_FIXED = 0x10
"""Of windows: not what the register says, but a place that Linux knows otherwise, such as the
ports of IDE in compatibility mode."""
_FLAG_SHADOW = 0x02
"""Of the ROM: a copy in RAM, not what the register says."""
_LEAST = {BarKind.IO: 4, BarKind.MEM32: 16, BarKind.MEM64: 16}
_MOST = {BarKind.IO: 1 << 16, BarKind.MEM32: 1 << 32, BarKind.MEM64: 1 << 64}


@dataclass(frozen=True, slots=True)
class Window:
    """A line of `resource`; all zeros if there is no such window."""

    start: int
    end: int
    flags: int


def address_of(name: str) -> str:
    """A machine file's address for Linux's name ("0000:00:1f.2"); "" if it is none."""
    found = _NAME.fullmatch(name)
    if found is None:
        return ""
    return found[2] if int(found[1], 16) == 0 else f"{found[1]}:{found[2]}"


def read_functions(tree: Tree, gaps: Gaps) -> tuple[Function, ...]:
    """Every function that firmware or Linux found, in address order.

    Virtual functions are left out: Linux switched them on, they are not there at a start.
    """
    found = []
    for address, path in _paths(tree, gaps).items():
        if tree.exists(f"{path}/physfn"):
            continue
        function = _function(tree, address, path, gaps)
        if function is not None:
            found.append(function)
    return tuple(sorted(found, key=lambda f: address_order(f.address)))


def _paths(tree: Tree, gaps: Gaps) -> Mapping[str, str]:
    """The folder of each function by its address."""
    walked = dict(_walk(tree, "sys/devices", 0))
    try:
        names = tree.names(DEVICES)
    except UnreadError as error:
        if not walked:
            gaps.add("pci functions", error)
        return walked
    paths = {}
    for name in names:
        address = address_of(name)
        if not address:
            continue
        path = f"{DEVICES}/{name}"
        paths[address] = path if tree.is_folder(path) else walked.get(address, path)
    return paths


def _walk(tree: Tree, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Functions by the folders in which they lie below the root buses, no links followed."""
    try:
        names = tree.names(path) if depth < _DEEPEST else []
    except UnreadError:
        return
    for name in names:
        inner = f"{path}/{name}"
        address = address_of(name)
        if not address and not _ROOTS.fullmatch(name):
            continue
        if tree.link(inner) or not tree.is_folder(inner):
            continue
        if address:
            yield address, inner
        yield from _walk(tree, inner, depth + 1)


def _function(tree: Tree, address: str, path: str, gaps: Gaps) -> Function | None:
    try:
        config = _config(tree, path)
        function = read_function(address, config, (), origin=Origin.SYSFS)
        _demand_rest(function, f"{tree.shown(path)}/config", gaps)
    except UnreadError as error:
        if not tree.is_folder(path):
            gaps.add(f"{address} config header", f"{error}; removed while it was read")
            return None
        bare = _without_config(tree, address, path, error, gaps)
        if bare is None:
            return None
        config, function = b"", bare
    bars = tuple(_bars(tree, address, path, config, gaps))
    return msgspec.structs.replace(function, bars=bars)


def _config(tree: Tree, path: str) -> bytes:
    """As many config bytes as there are, a length that a machine file may have."""
    where = f"{path}/config"
    content = tree.content(where, _ALL)
    size = max(size for size in CONFIG_SIZES if size <= len(content))
    if size < _HEADER:
        raise UnreadError(f"{tree.shown(where)}: {len(content)} bytes, a header has {_HEADER}")
    if content[:4] in (b"\xff\xff\xff\xff", bytes(4)):
        raise UnreadError(f"{tree.shown(where)}: no ids: the device is switched off or was removed")
    return content[:size]


def _demand_rest(function: Function, where: str, gaps: Gaps) -> None:
    """Say what lies beyond the config bytes that could be read."""
    size = len(function.config) // 2
    if size < _PCI:
        reason = f"{where} has {size} bytes: Linux shows all of them to root only"
        gaps.add(f"{function.address} config from {size:#x}", reason)
        if bytes.fromhex(function.config)[6] & _HAS_CAPABILITIES:
            gaps.add(f"{function.address} capabilities", reason)
    elif size < _ALL and any(c.id == _PCI_EXPRESS for c in function.capabilities):
        reason = f"{where} has {size} bytes: Linux had no way to read more, or did not copy it"
        gaps.add(f"{function.address} config from {size:#x}", reason)


def _without_config(
    tree: Tree, address: str, path: str, why: UnreadError, gaps: Gaps
) -> Function | None:
    """A function by the ids that Linux shows beside its config bytes."""
    ids: dict[str, int] = {}
    for name in ("vendor", "device", "class", "revision", "subsystem_vendor", "subsystem_device"):
        try:
            most = {"class": 0xFFFFFF, "revision": 0xFF}.get(name, 0xFFFF)
            value = tree.number(f"{path}/{name}")
            if value > most:
                raise UnreadError(f"{tree.shown(path)}/{name}:1:1: {value:#x} is beyond {most:#x}")
            ids[name] = value
        except UnreadError as error:
            if name in ("vendor", "device", "class"):
                gaps.add(f"{address} config header", f"{why}; {error}")
                return None
            gaps.add(f"{address} {name.partition('_')[0]}", error)
    if ids["vendor"] == 0xFFFF:
        gaps.add(f"{address} config header", why)
        return None
    for what in ("header type", "interrupt", "capabilities", "config from 0x0"):
        gaps.add(f"{address} {what}", why)
    return Function(
        address=address,
        vendor=ids["vendor"],
        device=ids["device"],
        class_code=ids["class"],
        revision=ids.get("revision", 0),
        subsystem_vendor=ids.get("subsystem_vendor", 0),
        subsystem_device=ids.get("subsystem_device", 0),
        header_type=0,
        interrupt_pin=0,
        interrupt_line=0,
        bars=(),
        capabilities=(),
        config="",
        name="",
        origin=Origin.SYSFS,
    )


def _bars(tree: Tree, address: str, path: str, config: bytes, gaps: Gaps) -> Iterator[Bar]:
    """The windows that both Linux and the registers speak of."""
    where = f"{path}/resource"
    placed = placed_bars(config) if config else None
    try:
        windows = _windows(tree, where)
    except UnreadError as error:
        for index in placed if placed is not None else range(ROM_INDEX + 1):
            gaps.add(f"{address} bar {index} size", error)
        return
    for index, window in sorted(windows.items()):
        if placed is not None and index not in placed:
            continue
        special = _FLAG_SHADOW if index == ROM_INDEX else _FLAG_FIXED
        register = placed[index] if placed is not None else _register(window)
        if window.flags & special:
            if register[2]:
                reason = f"{tree.shown(where)}:{index + 1}:1: not what the register decodes"
                gaps.add(f"{address} bar {index} size", reason)
            continue
        if not window.flags:
            if register[2]:
                gaps.add(
                    f"{address} bar {index} size",
                    f"{tree.shown(where)}:{index + 1}:1: Linux has no window for the register",
                )
            continue
        bar = _bar(index, register, window)
        if isinstance(bar, Bar):
            yield bar
        else:
            gaps.add(f"{address} bar {index} size", f"{tree.shown(where)}:{index + 1}:1: {bar}")


def _windows(tree: Tree, where: str) -> dict[int, Window]:
    windows = {}
    lines = tree.text(where).splitlines()
    if len(lines) <= ROM_INDEX:
        raise UnreadError(f"{tree.shown(where)}:{len(lines) + 1}:1: cut off: 7 lines are wanted")
    for index, line in enumerate(lines[: ROM_INDEX + 1]):
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise UnreadError(
                f"{tree.shown(where)}:{index + 1}:1: expected start, end and flags,"
                f" got {line[:40]!a}"
            )
        windows[index] = Window(*(int(digits, 16) for digits in found.groups()))
    return windows


def _register(window: Window) -> tuple[BarKind, bool, int]:
    """What the register would say, of a window whose register could not be read.

    Linux before 2.6.38 left the register's own type bits in the flags, here 4: 64 bits wide.
    """
    if window.flags & _FLAG_IO:
        return BarKind.IO, False, window.start
    wide = window.flags & _FLAG_64 or window.flags & 0x6 == 0x4
    kind = BarKind.MEM64 if wide else BarKind.MEM32
    return kind, bool(window.flags & _FLAG_PREFETCH), window.start


def _bar(index: int, register: tuple[BarKind, bool, int], window: Window) -> Bar | str:
    """The window, or why it cannot be true."""
    kind, prefetchable, address = register
    size = window.end - window.start + 1
    if bool(window.flags & _FLAG_IO) == bool(window.flags & _FLAG_MEMORY):
        return f"flags {window.flags:#x} are neither ports nor memory"
    if (kind is BarKind.IO) != bool(window.flags & _FLAG_IO):
        return f"flags {window.flags:#x}, but the register is {kind}"
    if size & size - 1 or not _LEAST[kind] <= size < _MOST[kind]:
        return f"{size:#x} bytes are no window of {kind}"
    if address % size:
        return f"{size:#x} bytes, but the register is at {address:#x}"
    return Bar(
        index=index,
        kind=kind,
        prefetchable=prefetchable,
        address=address,
        size=size,
        origin=Origin.SYSFS,
    )
