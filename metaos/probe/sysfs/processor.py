"""The processor: `read_cpu(tree, gaps)`.

From `/dev/cpu/N/cpuid`, else by the instruction itself, which asks this very machine, else
the words of `/proc/cpuinfo`.

Source: Linux arch/x86/kernel/cpuid.c (the offset is subleaf << 32 | leaf, an answer has 16
bytes); arch/x86/kernel/cpu/proc.c.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator

from metaos.errors import MetaosError
from metaos.probe import ask_cpuid
from metaos.probe.ask_cpuid import Ask, Registers
from metaos.probe.cpu import cpu_of
from metaos.probe.machine import Cpu, CpuidLeaf, Origin
from metaos.probe.sysfs.tree import Gaps, Tree, UnreadError

_DEVICES, _CPUINFO = "dev/cpu", "proc/cpuinfo"
_ANSWER = struct.Struct("<IIII")
_MOST_CPUINFO = 16 << 20
"""1,500 flags' bytes for each of 8,192 processors."""
_MOST_FLAGS = 1024

Leaves = tuple[CpuidLeaf, ...]


def read_cpu(tree: Tree, gaps: Gaps) -> Cpu:
    """Leaves of every processor that can be asked; else what /proc/cpuinfo says of the first."""
    reasons = []
    for read in (_devices, _instruction):
        try:
            return cpu_of(read(tree), Origin.SYSFS)
        except UnreadError as error:
            reasons.append(str(error))
    try:
        vendor, brand, flags = _cpuinfo(tree)
    except UnreadError as error:
        reasons.append(str(error))
        vendor, brand, flags = "", "", ()
    gaps.add("cpuid leaves", "; ".join(reasons))
    return Cpu(vendor=vendor, brand=brand, leaves=(), origin=Origin.SYSFS, flags=flags)


def _devices(tree: Tree) -> dict[int, Leaves]:
    """By Linux's device files; they are devices, so a copied tree has none."""
    numbers = [int(name) for name in tree.names(_DEVICES) if name.isdecimal() and len(name) < 6]
    if not numbers:
        raise UnreadError(f"{tree.shown(_DEVICES)}: no processor")
    return {number: _device(tree, f"{_DEVICES}/{number}/cpuid") for number in sorted(numbers)}


def _device(tree: Tree, path: str) -> Leaves:
    shown = tree.shown(path)
    try:
        handle = os.open(tree.root / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadError(f"{shown}: {(error.strerror or str(error)).lower()}") from error
    try:
        if not stat.S_ISCHR(os.fstat(handle).st_mode):
            raise UnreadError(f"{shown}: a copy cannot be asked")

        def ask(leaf: int, subleaf: int) -> Registers:
            answer = os.pread(handle, _ANSWER.size, subleaf << 32 | leaf)
            if len(answer) != _ANSWER.size:
                raise UnreadError(f"{shown}: {len(answer)} bytes instead of {_ANSWER.size}")
            eax, ebx, ecx, edx = _ANSWER.unpack(answer)
            return eax, ebx, ecx, edx

        return ask_cpuid.leaves(ask)
    except OSError as error:
        raise UnreadError(f"{shown}: {(error.strerror or str(error)).lower()}") from error
    finally:
        os.close(handle)


def _instruction(tree: Tree) -> dict[int, Leaves]:
    """By the instruction, on every processor that this process may run on."""
    if not tree.live:
        raise UnreadError("the instruction would ask the machine that reads the copy")
    try:
        ask = ask_cpuid.instruction()
    except MetaosError as error:
        raise UnreadError(error.message) from error
    allowed = os.sched_getaffinity(0)
    try:
        return dict(_each(ask, sorted(allowed)))
    finally:
        os.sched_setaffinity(0, allowed)


def _each(ask: Ask, numbers: list[int]) -> Iterator[tuple[int, Leaves]]:
    for number in numbers:
        try:
            os.sched_setaffinity(0, {number})
        except OSError:  # it was switched off meanwhile
            continue
        yield number, ask_cpuid.leaves(ask)


def _cpuinfo(tree: Tree) -> tuple[str, str, tuple[str, ...]]:
    """Vendor, brand, flags: of all processors those that each of them has."""
    text = tree.content(_CPUINFO, _MOST_CPUINFO).decode("latin-1")
    vendor = brand = ""
    common: set[str] | None = None
    for line in text.splitlines():
        name, _, value = line.partition(":")
        match name.strip():
            case "vendor_id":
                vendor = vendor or value.strip()[:64]
            case "model name":
                brand = brand or value.strip()[:64]
            case "flags":
                flags = set(value.split()[:_MOST_FLAGS])
                common = flags if common is None else common & flags
    if common is None:
        raise UnreadError(f"{tree.shown(_CPUINFO)}: no line 'flags', which x86 processors have")
    return vendor, brand, tuple(sorted(common))
