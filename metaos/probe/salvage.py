"""A `Machine` out of those of the discoverer's lines that are there: `salvage(log)`.

Entering: a `Log`; leaving: a machine. What a lost line would have said is in `unknown`, with the
place of the damage as reason: of a function or a table of which some lines are there, exactly
what is lost; of a gap that may hide whole ones, every kind of thing that may be in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from metaos.errors import MetaosError, Problem
from metaos.probe.check import check
from metaos.probe.header import BARS, ROM_INDEX, ROMS, layout_of, placed_bars, read_function
from metaos.probe.join import join
from metaos.probe.lines import Dump, Line, TableLines, dump
from metaos.probe.log import Gap, Log
from metaos.probe.machine import CONFIG_SIZES, Function, Machine, Origin, Unknown

_CHUNK = 16
_CONFIG_LINES = 256 // _CHUNK
_HEADER_BYTES = 64
_BRIDGE = 1
_NETWORK = 0x02
"""PCI base class: network controller. PCI Code and ID Assignment 1.11 §1.3."""
_ORDER = ("metaos-discoverer", "cpuid", "e820", "com", "lpt", "pci", "acpi", "learn", "end")
_KIND = {"bars": "pci", "rom": "pci", "stuck": "learn"}
_LOST = {
    "cpuid": "cpuid leaves",
    "e820": "memory map",
    "com": "legacy ports",
    "lpt": "legacy ports",
    "pci": "pci functions",
    "acpi": "acpi tables",
}
"""What may be incomplete where lines of a kind may be lost."""
_NO_MAC = "the discoverer knows no card, and an address is in the card's own registers"


@dataclass(slots=True)
class _Block:
    """The lines of one function or table by their place in it; `length` 0: not known."""

    key: str
    lines: dict[int, Line] = field(default_factory=dict)
    length: int = 0


def salvage(log: Log) -> Machine:
    """Put together what is there.

    Raises:
        MetaosError: the lines contradict one another.
    """
    functions = _blocks(log, "pci")
    tables = _blocks(log, "acpi")
    for block in functions.values():
        block.length = _function_length(block)
    for block in tables.values():
        block.length = _table_length(block)
    lost = _Lost(log)
    whole = [b for b in tables.values() if _complete(b)]
    machine = join(_dump(log, functions.values(), whole))
    read = [x for b in functions.values() if (x := _function(b, lost)) is not None]
    for block in tables.values():
        if block not in whole:
            lost.say(_table_name(block), _missing(block))
    for name, gap in _hidden(log, functions, tables):
        lost.gap(name, gap)
    for function in read:
        if function.class_code >> 16 == _NETWORK:
            lost.facts.setdefault(f"{function.address} mac", _NO_MAC)
    machine = msgspec.structs.replace(
        machine,
        functions=tuple(sorted(read, key=lambda f: f.address)),
        unknown=tuple(
            Unknown(what=what, reason=reason, origin=Origin.DISCOVERER)
            for what, reason in lost.facts.items()
        ),
    )
    faults = [Problem("E0803", f"{where}: {what}") for where, what in check(machine)]
    if faults:
        raise MetaosError(f"{log.source}: the lines contradict one another", problems=faults[:10])
    return machine


class _Lost:
    """What is lost, by the fact's name, and why."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.facts: dict[str, str] = {}

    def say(self, what: str, after: Line | None) -> None:
        """A fact whose line should come after one that is there, or before the first."""
        gap = self._log.gap_after(-1 if after is None else after.number)
        reason = self._log.told(gap) if gap else f"{self._log.source}: its line is not there"
        self.facts.setdefault(what, reason)

    def gap(self, what: str, gap: Gap) -> None:
        self.facts.setdefault(what, self._log.told(gap))


def _blocks(log: Log, kind: str) -> dict[str, _Block]:
    """The lines of each function, or of each table, by its key."""
    found: dict[str, _Block] = {}
    for line in log.lines.values():
        if _KIND.get(line.tag, line.tag) == kind and _regular(line):
            block = found.setdefault(line.words[0], _Block(line.words[0]))
            block.lines.setdefault(_place(line), line)
    return found


def _regular(line: Line) -> bool:
    """Whether a line is one that the discoverer makes; others with a right checksum are not."""
    if line.tag not in ("pci", "acpi"):
        return True
    whole = line.tag == "acpi" or len(line.words[2]) == 2 * _CHUNK
    return whole and int(line.words[1], 16) % _CHUNK == 0


def _place(line: Line) -> int:
    """Where in its block a line stands."""
    if line.tag == "bars":
        return _CONFIG_LINES
    if line.tag == "rom":
        return _CONFIG_LINES + 1
    return int(line.words[1], 16) // _CHUNK if line.tag in ("pci", "acpi") else 0


def _function_length(block: _Block) -> int:
    """Lines of a function, which its header's type decides; 0 where that line is lost."""
    if 0 not in block.lines:
        return 0
    layout = layout_of(bytes.fromhex(block.lines[0].words[2]))
    return _CONFIG_LINES + (layout in BARS) + (layout in ROMS)


def _table_length(block: _Block) -> int:
    """Lines of a table, by its length field; an RSDP's by its revision. 0 if that is lost."""
    if 0 not in block.lines:
        return 0
    data = bytes.fromhex(block.lines[0].words[2])
    size = int.from_bytes(data[4:8], "little")
    if data.startswith(b"RSD PTR "):
        size = 36 if data[15:16] >= b"\x02" else 20
    return -(-size // _CHUNK)


def _complete(block: _Block) -> bool:
    return block.length > 0 and all(place in block.lines for place in range(block.length))


def _missing(block: _Block) -> Line | None:
    """The last line before the first that is missing; None if the first one is."""
    after = None
    for place in range(block.length):
        if place not in block.lines:
            return after
        after = block.lines[place]
    return after


def _table_name(block: _Block) -> str:
    if 0 not in block.lines:
        return f"acpi table at 0x{block.key.lstrip('0') or '0'}"
    data = bytes.fromhex(block.lines[0].words[2])
    name = "RSD PTR" if data.startswith(b"RSD PTR ") else data[:4].decode("latin-1")
    return f"acpi {''.join(c if c.isprintable() else '?' for c in name)}"


def _dump(log: Log, functions: Iterable[_Block], tables: Iterable[_Block]) -> Dump:
    """The lines of whole tables and of everything but functions, as the strict reader's."""
    single = [x for x in log.lines.values() if x.tag in ("cpuid", "e820", "com", "lpt")]
    told = dump(single)
    return Dump(
        cpuid=told.cpuid,
        memory=told.memory,
        ports=told.ports,
        functions=(),
        tables=tuple(TableLines(int(b.key, 16), _bytes(b, b.length)) for b in tables),
        learnt=(),
        stuck=(),
    )


def _bytes(block: _Block, count: int) -> bytes:
    return b"".join(bytes.fromhex(block.lines[place].words[2]) for place in range(count))


def _function(block: _Block, lost: _Lost) -> Function | None:
    """As much of a function as there is; None where not even its ids are."""
    address = block.key
    if 0 not in block.lines:
        lost.say(f"{address} config header", None)
        return None
    have = next((n for n in range(_CONFIG_LINES) if n not in block.lines), _CONFIG_LINES)
    size = max(size for size in CONFIG_SIZES if size <= have * _CHUNK)
    config = _bytes(block, size // _CHUNK)
    if size < _HEADER_BYTES:
        return _bare(block, lost)
    sizing = _sizing(block)
    function = read_function(address, config, sizing)
    if size < _CONFIG_LINES * _CHUNK:
        after = block.lines[have - 1]
        lost.say(f"{address} config from {size:#x}", after)
        lost.say(f"{address} capabilities", after)
    for index in placed_bars(config):
        rom = index == ROM_INDEX
        place = _CONFIG_LINES + rom
        if place not in block.lines:
            before = [block.lines[p] for p in sorted(block.lines) if p < place]
            lost.say(f"{address} bar {index} size", before[-1])
    return function


def _sizing(block: _Block) -> Sequence[int]:
    """What the BARs read, then the ROM; a lost `bars` line leaves no size for any of them."""
    values = [int(w, 16) for p in (_CONFIG_LINES,) if p in block.lines for w in _words(block, p)]
    if not values:
        values = [0] * BARS.get(layout_of(bytes.fromhex(block.lines[0].words[2])), 0)
    rom = block.lines.get(_CONFIG_LINES + 1)
    return [*values, *(int(word, 16) for word in (rom.words[1:] if rom else ()))]


def _words(block: _Block, place: int) -> tuple[str, ...]:
    return block.lines[place].words[1:]


def _bare(block: _Block, lost: _Lost) -> Function:
    """A function of which the ids are there and not the whole header."""
    address = block.key
    first = bytes.fromhex(block.lines[0].words[2])
    read = read_function(address, first.ljust(_HEADER_BYTES, b"\0"), ())
    after = _missing(block)
    layout = layout_of(first)
    bars = [*range(BARS.get(layout, 0)), *([ROM_INDEX] if layout in ROMS else [])]
    names = ["subsystem", "interrupt", *(["bus numbers"] if layout == _BRIDGE else [])]
    for what in (*names, *(f"bar {i} size" for i in bars), "capabilities", "config from 0x0"):
        lost.say(f"{address} {what}", after)
    return msgspec.structs.replace(
        read,
        config="",
        subsystem_vendor=0,
        subsystem_device=0,
        interrupt_pin=0,
        interrupt_line=0,
        bars=(),
        capabilities=(),
    )


def _hidden(
    log: Log, functions: dict[str, _Block], tables: dict[str, _Block]
) -> Iterator[tuple[str, Gap]]:
    """Each kind of thing of which whole ones may lie in a gap, with the gap."""
    blocks = {"pci": functions, "acpi": tables}

    def block(line: Line | None) -> _Block | None:
        kind = "" if line is None else _KIND.get(line.tag, line.tag)
        return blocks[kind].get(line.words[0]) if line and kind in blocks else None

    for gap in log.gaps:
        left = log.lines.get(gap.first - 1)
        right = log.lines.get(gap.last + 1) if gap.last >= 0 else None
        before, after = block(left), block(right)
        if left and right and before is not None and before is after:
            continue
        rest = before.length - 1 - _place(left) if left and before and before.length else 0
        begin = _place(right) if right and after else 0
        if gap.last < 0 or rest + begin != gap.last - gap.first + 1:
            yield from ((name, gap) for name in _between(left, right))


def _between(left: Line | None, right: Line | None) -> list[str]:
    """What may be lost between two lines, or before the first, or after the last."""
    start = _ORDER.index(_KIND.get(left.tag, left.tag)) if left else 0
    stop = _ORDER.index(_KIND.get(right.tag, right.tag)) if right else len(_ORDER) - 1
    kinds = _ORDER[start : stop + 1]
    return list(dict.fromkeys(_LOST[kind] for kind in kinds if kind in _LOST))
