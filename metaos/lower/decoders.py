"""What the functions of a machine decode, as numbers for the config space's rule.

`decoders(functions, ours)` gives, for each function, three lists of words of its header:

- `fixed`: base addresses that are not there, and a bridge's windows: what they hold;
- `apart`: base addresses that somebody else set, and which of our windows they may not be over;
- `sized`: base addresses as they read after all ones: their sizes and kinds.

Words are counted from config byte 0x10. Sources: PCI Local Bus Specification 3.0 §6.2.5 (base
addresses and expansion ROM); PCI-to-PCI Bridge Architecture Specification 1.2 §3.2.5 (windows).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from metaos.lower.known import fail
from metaos.lower.row import FULL
from metaos.lower.work import GENERATED
from metaos.probe.header import BARS, ROM_INDEX, ROMS
from metaos.probe.machine import Bar, BarKind, Function
from metaos.told import Told

HEADER = 0x10
"""The config byte of word 0."""
SUBSYSTEM_END = 0x40
"""Config bytes that a machine file must have of a function for its decoders to be known."""
BRIDGE = 1
"""Header type of a bridge to another bus."""
_BRIDGES = 0x06
_HOST = 0x0600
"""Classes: every kind of bridge, and the host's, which answers for RAM. Source: PCI Code and ID
Assignment 1.11 §1.7."""
_LEAST = 16
"""Bytes of the smallest memory window. Source: PCI 3.0 §6.2.5.1; emulators have smaller ones."""
_PORTS = 0xFFFC
"""Address bits of ports that every function has; the upper 16 may be 0."""
_ROM_ADDRESS, _ROM_ENABLE = 0xFFFFF800, 1
_FORWARDED = ((0x1C, 0xFFFF), (0x20, FULL), (0x24, FULL), (0x28, FULL), (0x2C, FULL))
"""Config bytes and bits of a bridge's windows: ports (the rest is status), memory, prefetchable
memory, and the upper halves of the latter."""

Words = dict[str, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """A window that the image places."""

    device: str
    bar: Bar


@dataclass(frozen=True, slots=True)
class Decoders:
    """One function's lists, each member with `at`, `mask` and `value`; `sized` with `ones`.

    `pauses`: its windows may be off while they are sized. Bridges stay on, since a console may
    lie behind, and what shows text does too.
    """

    address: str
    pauses: bool
    fixed: tuple[Words, ...]
    apart: tuple[Words, ...]
    sized: tuple[Words, ...]


def decoders(
    functions: Collection[Function], ours: Collection[Placed], consoles: Collection[str]
) -> Iterator[Decoders]:
    """The lists of each function of which the machine file has a whole header.

    Raises:
        MetaosError: the machine file has another function's window over one of ours.
    """
    for function in functions:
        if len(function.config) // 2 < SUBSYSTEM_END or layout(function) not in BARS:
            continue
        mine = {p.bar.index for p in ours if p.device == function.address}
        strangers = [b for b in function.bars if b.index not in mine]
        sized = () if function.class_code >> 8 == _HOST else tuple(_sized(function))
        bridge = function.class_code >> 16 == _BRIDGES or layout(function) == BRIDGE
        yield Decoders(
            address=function.address,
            pauses=bool(sized) and not bridge and function.address not in consoles,
            fixed=tuple(_fixed(function)),
            apart=tuple(x for bar in strangers for x in _apart(function, bar, ours)),
            sized=sized,
        )


def layout(function: Function) -> int:
    """The header type without the bit that says "several functions"."""
    return function.header_type & 0x7F


def word(function: Function, at: int) -> int:
    """32 bits of the config bytes, from byte `at` on."""
    return Told(function.config_u32(at), (f"functions.{function.address}.config.{at:#04x}.u32",))


def _byte(function: Function, bar: Bar) -> int:
    """The config byte of a base address."""
    return ROMS[layout(function)] if bar.index == ROM_INDEX else HEADER + 4 * bar.index


def _word(at: int, mask: int, value: int, **more: int) -> Words:
    return {"at": (at - HEADER) // 4, "mask": mask, "value": value & mask, **more}


def flags(function: Function, bar: Bar) -> int:
    """The read-only low bits: four of memory, two of ports. Source: PCI 3.0 §6.2.5.1."""
    return word(function, _byte(function, bar)) & (3 if bar.kind is BarKind.IO else 15)


def _fixed(function: Function) -> Iterator[Words]:
    taken = {_byte(function, bar) for bar in function.bars}
    taken |= {_byte(function, bar) + 4 for bar in function.bars if bar.kind is BarKind.MEM64}
    all_ = [HEADER + 4 * index for index in range(BARS[layout(function)])]
    all_ += [ROMS[layout(function)]] if layout(function) in ROMS else []
    for at in all_:
        if at not in taken and not word(function, at):
            yield _word(at, FULL, 0)
    if layout(function) == BRIDGE:
        for at, mask in _FORWARDED:
            yield _word(at, mask, word(function, at))


def _sized(function: Function) -> Iterator[Words]:
    """What is written, and what is then read of the bits that every such window has."""
    for bar in function.bars:
        at = _byte(function, bar)
        decoded = ~(bar.size - 1)
        if bar.index == ROM_INDEX:
            yield _word(at, _ROM_ADDRESS, decoded, ones=_ROM_ADDRESS)
            continue
        memory = FULL & ~0xE if bar.size == _LEAST else FULL
        mask = _PORTS | 3 if bar.kind is BarKind.IO else memory
        yield _word(at, mask, decoded | flags(function, bar), ones=FULL)
        if bar.size >> 32:
            yield _word(at + 4, FULL, decoded >> 32, ones=FULL)


def _apart(function: Function, bar: Bar, ours: Collection[Placed]) -> Iterator[Words]:
    """For each of our windows of its kind a word that shows that `bar` is not over it.

    Windows are powers of two and lie at multiples of their size: two overlap if their addresses
    are the same down to the larger one's size.
    """
    ports = bar.kind is BarKind.IO
    for mine in ours:
        if (mine.bar.kind is BarKind.IO) != ports:
            continue
        at = _byte(function, bar)
        bits = _PORTS if ports else _ROM_ADDRESS if bar.index == ROM_INDEX else FULL & ~0xF
        same = ~(bar.size - 1 | mine.bar.size - 1)
        tests = [_word(at, same & bits, mine.bar.address)]
        if bar.kind is BarKind.MEM64:
            tests.append(_word(at + 4, same >> 32 & FULL, mine.bar.address >> 32))
        elif bar.index == ROM_INDEX:
            tests.append(_word(at, _ROM_ENABLE, _ROM_ENABLE))
        for test in tests:
            if word(function, HEADER + 4 * test["at"]) & test["mask"] != test["value"]:
                yield test
                break
        else:
            if not word(function, 4) & (1 if ports else 2):
                continue
            raise fail(
                GENERATED,
                "E0473",
                f"{function.address}: BAR {bar.index} lies over {mine.device}'s BAR"
                f" {mine.bar.index}, {mine.bar.address:#x}",
                "the machine file cannot be right: probe the machine again",
            )
