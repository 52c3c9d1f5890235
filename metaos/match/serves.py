"""Whether an image made for machine A would serve machine B: `obstacles(made, b, made_b)`.

No rule is written a second time: the rows that the guard and init of A's image run are run
here against what B's file holds. What no row tests (an I/O port that firmware chose, a fact
folded into a turn) is found by lowering B too and comparing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from metaos.emit.code import Code
from metaos.emit.features import REGISTERS
from metaos.ir.text import render
from metaos.link.image import Image
from metaos.lower.lower import Lowered
from metaos.lower.row import Row
from metaos.lower.stepper import PLATFORM
from metaos.lower.text import FAULT_WORDS, Texts
from metaos.lower.work import MEMORY
from metaos.match.config_space import ConfigSpace
from metaos.match.untold import untold_row
from metaos.probe.bridge import read_bridge
from metaos.probe.cpu import answer
from metaos.probe.header import ROM_INDEX
from metaos.probe.machine import Bar, BarKind, Function, Machine, domain, unknown_fact

MIB = 1 << 20
UNLIKE = ".unlike"
TESTS = (".test", UNLIKE)
"""Kinds of rows that may fail."""


@dataclass(frozen=True)
class Made:
    """One machine's image, and the stages before it that are compared."""

    lowered: Lowered
    guard: tuple[Row, ...]
    codes: tuple[Code, ...]
    image: Image


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """Why A's image does not serve B.

    `by` is who notices: "guard" (before anything is touched) and "init" stop with `text`;
    "nobody" is what no row of the image tests; "unknown": B's file does not say whether a row
    passes. `facts` are paths into the machine files.
    """

    by: str
    device: str
    text: str
    facts: tuple[str, ...] = ()


def obstacles(
    made: Made, b: Machine, made_b: Made | None, placed_b: Lowered | None
) -> tuple[Obstacle, ...]:
    """All of them, in the order in which they would be met; none if A's image serves B.

    What comes after the first phase that stops is not asked, since it never runs. `placed_b`
    is B lowered with its windows where A's image puts them (`as_placed`). Without both (no image
    can be made for B) only the rows speak.
    """
    refused = tuple(_failing("guard", made.guard, made, b, made_b))
    if refused:
        return refused
    stopped = tuple(_failing("init", made.lowered.init_rows, made, b, made_b))
    if stopped:
        return stopped
    rows = (*made.guard, *made.lowered.init_rows)
    return (*_unnoticed(made, b, placed_b), *_untold(rows, b))


def _untold(rows: tuple[Row, ...], b: Machine) -> Iterator[Obstacle]:
    """Each fact that rows test and B's file does not know, once."""
    told: set[str] = set()
    for row in rows:
        fact = untold_row(b, row) if row.kind.endswith(TESTS) else None
        if fact is not None and fact.what not in told:
            told.add(fact.what)
            text = f"{fact.what}: not known of B: {fact.reason}"
            yield Obstacle(by="unknown", device=device_of(row), text=text, facts=row.facts)


# ---- rows -----------------------------------------------------------------------------


def _failing(
    phase: str, rows: tuple[Row, ...], made: Made, b: Machine, made_b: Made | None
) -> Iterator[Obstacle]:
    space = ConfigSpace(b)
    theirs: tuple[Row, ...] = ()
    if made_b is not None:
        theirs = made_b.guard if phase == "guard" else made_b.lowered.init_rows
    known = {(r.kind, r.place, r.mask): r.value.value for r in theirs if not r.place.symbol}
    for row in rows:
        space.do(row)
        if not row.kind.endswith(TESTS) or untold_row(b, row) is not None:
            continue
        wanted = row.value.value
        if row.place.symbol == MEMORY:
            wanted = wanted or made.image.manifest.memory_needed_kib
            found: int | None = high_memory(b) // 1024
        elif row.kind.startswith("config."):
            found = space.read(row.place.value)
        elif row.kind.startswith("cpuid"):
            found = _cpuid(b, row)
        else:  # a port or a window: what B's own row expects there is what B has
            found = known.get((row.kind, row.place, row.mask))
        if found is not None and bool((found - wanted) & row.mask) != row.kind.endswith(UNLIKE):
            text = words(made, row, wanted, found)
            yield Obstacle(by=phase, device=device_of(row), text=text, facts=row.facts)


def device_of(row: Row) -> str:
    """The function a row of the config space's rule is about; else the row's own device."""
    for fact in row.facts if row.device != PLATFORM else ():
        if fact.startswith("functions."):
            return fact.removeprefix("functions.")[:7]
    return row.device


def _cpuid(b: Machine, row: Row) -> int:
    """A register of a leaf; a leaf that the file lacks has no feature."""
    return answer(b.cpu, row.place.value)[int(row.kind[len("cpuid")])]


def high_memory(machine: Machine) -> int:
    """Bytes of usable RAM from 1 MiB up to the first hole: what firmware reports as extended
    memory.

    Source: ACPI Specification 6.4 §15.1 (kinds of range); its E801h has no holes.
    """
    end = MIB
    for start, stop in usable(machine):
        if start <= end < stop:
            end = stop
    return end - MIB


def usable(machine: Machine) -> list[tuple[int, int]]:
    """(first, one past last) byte of each range of RAM, ascending."""
    return sorted((r.base, r.base + r.size) for r in machine.memory if r.kind == 1)


def words(made: Made, row: Row, wanted: int, found: int) -> str:
    """What an image says of a row that fails, or would if it had a console."""
    says = any(p.phase == "report" and p.device != PLATFORM for p in made.lowered.programs)
    return (spoken if says else unspoken)(made.lowered.texts, row, wanted, found)


def spoken(texts: Texts, row: Row, wanted: int, found: int) -> str:
    """The words that the image itself shows when a row's test fails."""
    words = {
        FAULT_WORDS["place"]: row.place.value,
        FAULT_WORDS["wanted"]: wanted,
        FAULT_WORDS["found"]: found,
    }
    end = texts.data.index(0, row.site)
    said = ""
    for code in texts.data[row.site : end]:
        if code & 0x80:
            word, shift, mask = texts.digits[code & 0x7F]
            said += f"{words[word] >> shift & mask:x}"
        else:
            said += chr(code)
    return said.strip()


def unspoken(_: Texts, row: Row, wanted: int, found: int) -> str:
    """What a row tests, for an image that has no console and so no words for it."""
    place = row.place.value
    if row.place.symbol == MEMORY:
        what = "are too many" if row.kind.endswith(UNLIKE) else "of memory above 1 MiB are needed"
        return f"{wanted} KiB {what}, B has {found}"
    if row.kind.startswith("cpuid"):
        register = REGISTERS[int(row.kind[len("cpuid")])]
        return f"CPUID leaf {place:#x} {register}: bits {row.mask:#x} are needed, B lacks them"
    where = f"{device_of(row)} register {place & 0xFF:02x}"
    if not row.kind.startswith("config."):
        where = f"{row.device} {row.kind.partition('.')[0]} {place:#x}"
    if row.kind.endswith(UNLIKE):
        return f"{where}: found {found:08x}, in a window of the image"
    return f"{where}: expected {wanted:08x}, found {found & row.mask:08x}"


# ---- what no row tests ----------------------------------------------------------------


def _unnoticed(made: Made, b: Machine, placed_b: Lowered | None) -> Iterator[Obstacle]:
    yield from _collisions(made, b)
    yield from _ram(made, b)
    if placed_b is not None:
        yield from _folded(made.lowered, placed_b)


def as_placed(a: Machine, b: Machine) -> Machine:
    """B with the windows of A's functions where A has them: an image programs these itself."""
    ours = {f.address: f for f in a.functions}
    functions = []
    for function in b.functions:
        mine = ours.get(function.address)
        places = {x.index: x.address for x in mine.bars} if mine is not None else {}
        bars = tuple(
            msgspec.structs.replace(bar, address=places.get(bar.index, bar.address))
            for bar in function.bars
        )
        functions.append(msgspec.structs.replace(function, bars=bars))
    return msgspec.structs.replace(b, functions=tuple(functions))


def _ram(made: Made, b: Machine) -> Iterator[Obstacle]:
    """RAM the image uses that B has for something else; the guard only counts it."""
    end = MIB + made.image.manifest.memory_needed_kib * 1024
    if unknown_fact(b, "memory map") is not None:
        return
    if end > MIB + high_memory(b):
        text = f"the image uses RAM up to {end:#x}, of which B's firmware keeps a part"
        yield Obstacle(by="nobody", device="platform", text=text, facts=("memory",))


def _collisions(made: Made, b: Machine) -> Iterator[Obstacle]:
    """Windows that the image places where B has something else, or out of a bridge's reach."""
    functions = {f.address: f for f in b.functions}
    placed = {(w.device, w.physical): w.size for w in made.lowered.windows}
    ours = {(d, bar.index): bar for d, _ in placed for bar in _bars(made, d, placed)}
    for (device, _), bar in ours.items():
        if bar.kind == BarKind.IO or device not in functions:
            continue
        start, stop = bar.address, bar.address + bar.size
        name = f"the image places {device} bar {bar.index} at {start:#x}"
        fact = (f"functions.{device}.bars.{bar.index}",)
        for function in b.functions:
            for other in function.bars:
                taken = _decodes(function, other) or function.address == device
                if (function.address, other.index) in ours or not taken:
                    continue
                if other.kind != BarKind.IO and _overlap(start, stop, other):
                    where = f"{function.address} bar {other.index}"
                    text = f"{name}, where B has {where}"
                    yield Obstacle(by="nobody", device=device, text=text, facts=fact)
        if any(start < end and base < stop for base, end in usable(b)):
            text = f"{name}, where B has RAM"
            yield Obstacle(by="nobody", device=device, text=text, facts=fact)
        for bridge in _bridges_above(b, device):
            if not any(lo <= start and stop <= hi for lo, hi in _forwarded(bridge)):
                text = f"{name}, which B's bridge {bridge.address} does not forward"
                yield Obstacle(by="nobody", device=device, text=text, facts=fact)


def _bars(made: Made, device: str, placed: dict[tuple[str, int], int]) -> list[Bar]:
    """The registers of a function that the image itself programs."""
    function = next(
        (f for f in made.lowered.bindings.machine.functions if f.address == device), None
    )
    if function is None:
        return []
    return [bar for bar in function.bars if (device, bar.address) in placed]


def _decodes(function: Function, bar: Bar) -> bool:
    """Whether firmware left a memory register on. Source: PCI 3.0 §6.2.2, §6.2.5.2."""
    if not bar.address or not function.config_u32(4) & 2:
        return False
    rom = 0x30 if function.header_type & 0x7F == 0 else 0x38
    return bar.index != ROM_INDEX or bool(function.config_u32(rom) & 1)


def _overlap(start: int, stop: int, bar: Bar) -> bool:
    return bool(bar.address) and start < bar.address + bar.size and bar.address < stop


def _bridges_above(machine: Machine, address: str) -> Iterator[Function]:
    """Every bridge whose buses hold `address`. Source: PCI-to-PCI Bridge 1.2 §3.2.5."""
    bus = int(address[:2], 16)
    for function in machine.functions:
        if function.header_type & 0x7F == 1 and not domain(function.address):
            buses = function.config_u32(0x18)
            if buses >> 8 & 0xFF <= bus <= buses >> 16 & 0xFF and buses >> 8 & 0xFF:
                yield function


def _forwarded(bridge: Function) -> list[tuple[int, int]]:
    """The memory ranges a bridge forwards."""
    read = read_bridge(bytes.fromhex(bridge.config))
    forwards = read.forwards if read is not None else ()
    return [(f.start, f.end) for f in forwards if f.kind != "ports"]


def _folded(ours: Lowered, theirs: Lowered) -> Iterator[Obstacle]:
    """What was folded into A's devices and would be folded otherwise for B."""
    patterns_a, patterns_b = _bound(ours), _bound(theirs)
    for device, pattern in patterns_a.items():
        if device not in patterns_b:
            text = f"the image drives {device} by pattern {pattern}; B has no such device"
        elif patterns_b[device] != pattern:
            text = f"the image drives {device} by pattern {pattern}, B needs {patterns_b[device]}"
        else:
            what = differing(ours, theirs, device)
            if not what:
                continue
            text = f"the image holds other {', '.join(what)} for {device} than B needs"
        yield Obstacle(by="nobody", device=device, text=text, facts=(device,))


def _bound(lowered: Lowered) -> dict[str, str]:
    return {x.device.address: x.pattern.name for x in lowered.bindings.bindings}


def differing(ours: Lowered, theirs: Lowered, device: str) -> tuple[str, ...]:
    """Which things of a device are not the same in both."""
    things = {
        "steps": _steps, "rows": _rows, "ports": _ports, "windows": _windows,
        "initial values": _places,
    }  # fmt: skip
    return tuple(name for name, of in things.items() if of(ours, device) != of(theirs, device))


def _steps(lowered: Lowered, device: str) -> object:
    return [render(p) for p in lowered.programs if p.device == device]


def _rows(lowered: Lowered, device: str) -> object:
    rows = (*lowered.console_rows, *lowered.init_rows)
    return [(r.kind, r.place, r.value, r.mask, r.limit) for r in rows if r.device == device]


def _ports(lowered: Lowered, device: str) -> object:
    return [(p.name, p.base, p.length) for p in lowered.ports if p.device == device]


def _windows(lowered: Lowered, device: str) -> object:
    return [(w.name, w.size, w.physical) for w in lowered.windows if w.device == device]


def _places(lowered: Lowered, device: str) -> object:
    return [(p.name, p.size, p.fills) for p in lowered.places if p.device == device]
