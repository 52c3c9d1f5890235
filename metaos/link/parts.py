"""What the linker is given: `Parts`, all that goes into one image, before placement.

Symbols are the names of places, windows and data, plus `root.PHASE` for the physical
address of a phase's page-table root, and `PLACE>>BITS` for the high bits of a place's
address. A RAM place's linear address is its physical one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metaos.emit.code import Code, Relocation
from metaos.errors import Span

PHASES = ("guard", "init", "wipe", "steady", "report")


def shifted(place: str, bits: int) -> str:
    """The symbol of a place's address without its lowest bits."""
    return f"{place}>>{bits}"


@dataclass(frozen=True, slots=True)
class Fill:
    """Initial values in RAM, an arithmetic progression written by the loader.

    32-bit stores at `offset` + i * `stride`, of `value` (+ the address of `symbol`, if
    given) + i * `step`, for i below `count`. `stride` and `step` are below 2^16.
    """

    offset: int
    count: int
    stride: int
    value: int
    step: int = 0
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """RAM of a device: a table, buffers or state. Zeroed at hand-over if `zero`, then filled.

    Places are mapped writable and no-execute in every phase of `phases`.
    """

    name: str
    device: str
    size: int
    align: int
    zero: bool
    fills: tuple[Fill, ...]
    span: Span
    phases: tuple[str, ...] = PHASES


@dataclass(frozen=True, slots=True)
class Window:
    """A device's memory window; only the 4 KiB pages in `pages` (offsets) are mapped.

    `physical` is where the window is placed; `device` owns it. Mapped in `phases` only,
    writable, no-execute, uncacheable unless `cached`.
    """

    name: str
    device: str
    physical: int
    size: int
    pages: tuple[int, ...]
    phases: tuple[str, ...]
    span: Span
    cached: bool = False


@dataclass(frozen=True, slots=True)
class DatumLine:
    """Bytes `start` to `end` of a datum and where they come from.

    `kind` is for the account: "row", "text", "constant" ...; `facts` are the facts that their
    numbers are made of, `because` those that are why they are there at all.
    """

    start: int
    end: int
    device: str
    kind: str
    span: Span
    facts: tuple[str, ...] = ()
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Datum:
    """Read-only bytes of the phases in `phases`: rows and texts. No-execute, read-only.

    A datum of guard and init alone is wiped with them.
    """

    name: str
    phases: tuple[str, ...]
    data: bytes
    align: int
    relocations: tuple[Relocation, ...]
    lines: tuple[DatumLine, ...]


@dataclass(frozen=True, slots=True)
class Trap:
    """What an exception leaves for the report phase.

    In the place `fault` at these offsets: the low half of RIP, of CR2, the vector, and `in_steady`
    or, from another phase, `elsewhere`: the number of the report's text.
    """

    fault: str
    place: int
    wanted: int
    found: int
    site: int
    in_steady: int = 0
    elsewhere: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """One image's content. `codes` are in execution order within each phase.

    Wipe and report are phases even without codes of their own; another phase whose codes are
    absent from `codes` has no page and no root. In every phase but steady, the linker appends
    the phase change: load CR3 from the 64-bit state place `next`, then the backward jmp;
    steady gets the jmp alone.
    `next` is the name of that place; the loader sets it to `root.guard`.
    `memory` are (base, size) of usable RAM from the machine file, ascending.
    If there are `interrupts`, gates for so many vectors from 32 on, steady sleeps before its jmp.
    `numbers` are symbols that are no addresses. `deposits` names the RAM words the loader fills
    by BIOS ("memory_kib").
    """

    codes: tuple[Code, ...]
    places: tuple[Place, ...]
    windows: tuple[Window, ...]
    data: tuple[Datum, ...]
    next: str
    memory: tuple[tuple[int, int], ...]
    trap: Trap
    deposits: tuple[str, ...] = ()
    interrupts: int = 0
    numbers: Mapping[str, int] = field(default_factory=dict)
