"""Where everything goes: RAM, linear addresses, page frames. `Parts` enter, a `Layout` leaves.

Physical RAM, from the first usable range at or above 1 MiB:

    ... | page tables | code and data frames | 2 MiB slots of places | scratch slot
        ^ zeroed by the loader from here to the last zeroed place ^

and linear: read-only data from 4 MiB and every phase's code up to `CODE_END`, in one 2 MiB
slot; places as physical, windows above them, shadows 1 GiB higher. All lies below 2 GiB, so
that an absolute operand reaches it. docs/image.md has the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metaos.emit.code import Code
from metaos.errors import MetaosError, Span
from metaos.link.parts import PHASES, Datum, Parts, Place, Window

PAGE = 4096
SLOT = 2 << 20
MIB = 1 << 20
CODE_SLOT = 2
"""The 2 MiB slot of code and read-only data; a free entry of the loader's bootstrap page."""
DATA_LINEAR = CODE_SLOT * SLOT
GATES_LINEAR = DATA_LINEAR
"""The page of descriptor tables and the trap, in every phase; read-only data come behind it."""
CODE_END = DATA_LINEAR + SLOT
"""One past the last byte of every phase's code."""
SHADOW_END = 1 << 30
"""Linear addresses below have a shadow this much higher."""
STACK = "stack"
SPILL = "spill"
"""What is kept upwards of the stack pointer in a turn; it follows the stack, if there is any."""
STACK_SIZE = SPILL_SIZE = 256
"""The red zone below RSP is 128 bytes (System V ABI, AMD64 supplement, 3.2.2)."""
ORDER = ("guard", "init", "wipe", "steady", "report")
"""Phases as they are executed."""
FRAME_ORDER = ("wipe", "report", "steady", "init", "guard")
"""Phases as their page tables and code frames follow each other. Data frames come after, guard's
first: what is wiped lies together, and few progressions write the tables."""
WIPED_PHASES = frozenset(("guard", "init", "wipe"))
"""Read-only data of these phases alone are wiped with guard and init."""
_FIRST_SLOTS = (1, 4, 5, 6)
"""Entries of the loader's bootstrap page that are free (bootloader/boot.asm), but for 3: the
frames lie right below the places, and wipe sees some of them where they are: not in CODE_SLOT."""


@dataclass(frozen=True, slots=True)
class PhaseCode:
    """One phase's code: its length with the tail, and its frames (contiguous, ascending)."""

    name: str
    length: int
    frames: int

    @property
    def pages(self) -> int:
        return -(-self.length // PAGE)

    @property
    def linear(self) -> int:
        return CODE_END - self.length

    @property
    def physical(self) -> int:
        """Where the first byte lies: the code ends where its last frame does."""
        return self.frames + self.pages * PAGE - self.length


@dataclass(frozen=True, slots=True)
class PlacedDatum:
    """A datum and where it lies."""

    datum: Datum
    linear: int
    physical: int


@dataclass(frozen=True, slots=True)
class PlacedRam:
    """A RAM place and its address; linear is physical."""

    place: Place
    address: int


@dataclass(frozen=True, slots=True)
class PlacedWindow:
    """A window and the linear address of its first byte."""

    window: Window
    linear: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Every address of the image. The page tables go right below `frames`.

    `room` is the first usable byte of RAM; `frames` is the page of descriptor tables. The places
    fill the 2 MiB slots from `base` to `scratch`, zeroed ones first, up to `zero_end`; all slots
    are mapped in every phase.
    `end` is one past the scratch slot and so past all RAM that the image needs.
    """

    room: int
    frames: int
    codes: tuple[PhaseCode, ...]
    data: tuple[PlacedDatum, ...]
    base: int
    ram: tuple[PlacedRam, ...]
    zero_end: int
    windows: tuple[PlacedWindow, ...]
    scratch: int
    end: int

    @property
    def phases(self) -> tuple[str, ...]:
        """As they are executed."""
        names = {code.name for code in self.codes}
        return tuple(phase for phase in ORDER if phase in names)

    @property
    def memory_needed_kib(self) -> int:
        """KiB of RAM that must exist above 1 MiB."""
        return (self.end - MIB) // 1024


def present_phases(codes: Iterable[Code]) -> tuple[str, ...]:
    """The phases that have code, and wipe and report, in execution order.

    Raises:
        MetaosError: guard or steady has no code, or a code belongs to an unknown phase.
    """
    named = {code.phase for code in codes}
    for phase in sorted(named - set(PHASES)):
        raise MetaosError(f"there is no phase '{phase}'", hint=f"phases: {', '.join(PHASES)}")
    for phase in ("guard", "steady"):
        if phase not in named:
            raise MetaosError(f"nothing to link: no code for the phase '{phase}'")
    return tuple(phase for phase in ORDER if phase in named | {"wipe", "report"})


def lay_out(parts: Parts, lengths: dict[str, int], tables: int) -> Layout:
    """Place everything. `lengths` are code bytes by phase, tails included; `tables` pages.

    Raises:
        MetaosError: the machine's RAM is too small (both sizes are named), a phase's code or
            the windows' linear addresses have no room, or a name is used twice.
    """
    _refuse_doubles(parts)
    phases = tuple(lengths)
    groups = _data_groups(parts.data, phases)
    frames = 1 + sum(-(-n // PAGE) for n in lengths.values()) + sum(g.pages for g in groups)
    room, limit = _first_range(parts.memory)
    wanted = sum(_up(p.size, max(1, p.align)) for p in parts.places) + STACK_SIZE
    base = _first_slot(room, (tables + frames) * PAGE, wanted)
    first_frame = base - frames * PAGE
    codes, data = _frames(first_frame + PAGE, lengths, groups)
    ram, zero_end = _ram(parts, phases, base)
    scratch = _up(ram[-1].address + ram[-1].place.size, SLOT)
    windows = _windows(parts.windows, phases, _up(scratch + SLOT - base, 2 * SLOT) + base)
    layout = Layout(
        room, first_frame, codes, data, base, ram, zero_end, windows, scratch, scratch + SLOT
    )
    if layout.end > limit:
        have = max(0, limit - MIB) // 1024
        raise MetaosError(
            f"the image needs {layout.memory_needed_kib} KiB of RAM above 1 MiB,"
            f" the machine has {have} KiB there in one piece",
            hint="give the machine more memory, or shrink the tables and buffers",
        )
    return layout


def _refuse_doubles(parts: Parts) -> None:
    names = [x.name for group in (parts.places, parts.windows, parts.data) for x in group]
    for name in sorted({n for n in names if names.count(n) > 1}):
        raise MetaosError(f"two places of the image are called '{name}'")
    reserved = [n for n in names if n == STACK or n.startswith(("root.", "wiped."))]
    for name in reserved:
        raise MetaosError(f"the name '{name}' is the linker's own")


def _first_range(memory: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Start and end of the first usable RAM at or above 1 MiB, whole pages."""
    for base, size in memory:
        start, end = _up(max(base, MIB), PAGE), (base + size) // PAGE * PAGE
        if end > start:
            return start, end
    raise MetaosError("the machine has no usable RAM above 1 MiB")


def _first_slot(room: int, below: int, wanted: int) -> int:
    """The 2 MiB slot for `wanted` bytes of places, which must not reach the code's slot.

    `below` bytes must fit between it and `room`.
    """
    for index in _FIRST_SLOTS:
        clear = index > CODE_SLOT or index * SLOT + wanted <= DATA_LINEAR
        if clear and index * SLOT - below >= room:
            return index * SLOT
    raise MetaosError(
        f"no room for {below // 1024} KiB of code and page tables between {room:#x} and"
        f" {_FIRST_SLOTS[-1] * SLOT:#x}",
        hint="the loader needs RAM that begins at 1 MiB",
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Data that the same phases map: their offsets from the group's first page, and its pages."""

    phases: frozenset[str]
    members: tuple[tuple[Datum, int], ...]
    pages: int


def _data_groups(data: Sequence[Datum], phases: tuple[str, ...]) -> tuple[_Group, ...]:
    """Data by the phases that map them; what will be wiped first, then by earliest phase."""
    groups: dict[frozenset[str], list[tuple[Datum, int]]] = {}
    ends: dict[frozenset[str], int] = {}
    for datum in data:
        key = frozenset(datum.phases) & frozenset(phases)
        if not key or not datum.data:
            raise MetaosError(f"the datum '{datum.name}' is empty or in no phase of the image")
        offset = _up(ends.get(key, 0), max(1, datum.align))
        groups.setdefault(key, []).append((datum, offset))
        ends[key] = offset + len(datum.data)
    ordered = sorted(
        groups, key=lambda key: (not key <= WIPED_PHASES, sorted(map(ORDER.index, key)))
    )
    return tuple(_Group(key, tuple(groups[key]), -(-ends[key] // PAGE)) for key in ordered)


def _frames(
    first: int, lengths: dict[str, int], groups: tuple[_Group, ...]
) -> tuple[tuple[PhaseCode, ...], tuple[PlacedDatum, ...]]:
    """Give every phase's code and every group of data its frames, in one sweep upwards.

    Groups that no phase maps both may have the same linear addresses.
    """
    at = first
    codes: list[PhaseCode] = []
    data: list[PlacedDatum] = []
    ends = dict.fromkeys(lengths, GATES_LINEAR + PAGE)
    for name in FRAME_ORDER:
        if name in lengths:
            codes.append(PhaseCode(name, lengths[name], at))
            at += codes[-1].pages * PAGE
    for group in groups:
        linear = max(ends[phase] for phase in group.phases)
        data += [PlacedDatum(datum, linear + o, at + o) for datum, o in group.members]
        ends.update(dict.fromkeys(group.phases, linear + group.pages * PAGE))
        at += group.pages * PAGE
    for code in codes:
        if ends[code.name] + code.pages * PAGE > CODE_END:
            raise MetaosError(
                f"the code of {code.name} ({code.length} bytes) and its read-only data"
                f" ({ends[code.name] - DATA_LINEAR} bytes) do not fit in {SLOT} bytes"
            )
    return tuple(codes), tuple(data)


def _ram(parts: Parts, phases: tuple[str, ...], base: int) -> tuple[tuple[PlacedRam, ...], int]:
    """Place RAM upwards from `base`: stack, spill, `next`, what is zeroed, then the rest.

    So one region is zeroed, from the page tables to the end of these (the second result).
    """
    stack = Place(STACK, "", STACK_SIZE, 16, True, (), Span("", 0, 0, 0))
    chief = next((p for p in parts.places if p.name == parts.next), None)
    if chief is None or chief.size != 8 or not set(phases) <= set(chief.phases):
        raise MetaosError(f"'{parts.next}', which holds the next root, is no 8-byte place of all")
    empty = [p.name for p in parts.places if p.size < 1]
    if empty:
        raise MetaosError(f"the place '{empty[0]}' is empty")
    spill = [p for p in parts.places if p.name == SPILL]
    others = [p for p in parts.places if p is not chief and p not in spill]
    zeroed = [stack, *spill, chief, *(p for p in others if p.zero)]
    ram, at, zero_end = [], base, base
    for place in (*zeroed, *(p for p in others if not p.zero)):
        at = _up(at, max(1, place.align))
        ram.append(PlacedRam(place, at))
        at += place.size
        if len(ram) == len(zeroed):
            zero_end = at
    return tuple(ram), zero_end


def _windows(
    windows: Sequence[Window], phases: tuple[str, ...], start: int
) -> tuple[PlacedWindow, ...]:
    """Linear addresses for windows: those of the same phases share 2 MiB slots.

    So phases share page tables. Every other slot is left out, from the places' slot on: then
    one progression writes the shadows of all.
    """
    groups: dict[tuple[str, ...], list[Window]] = {}
    for window in windows:
        groups.setdefault(tuple(p for p in phases if p in window.phases), []).append(window)
    at = start
    placed: dict[str, PlacedWindow] = {}
    for members in groups.values():
        at = start + _up(at - start, 2 * SLOT)
        for window in sorted(members, key=lambda w: w.size):
            whole = window.size % PAGE == 0 == window.physical % PAGE
            linear = _up(at, PAGE) + (0 if whole else window.physical % PAGE)
            at = linear + window.size
            if at > SHADOW_END:
                raise MetaosError(
                    f"no linear address below 1 GiB is left for the window '{window.name}'"
                    f" of {window.device} ({window.size} bytes)"
                )
            placed[window.name] = PlacedWindow(window, linear)
    return tuple(placed[window.name] for window in windows)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
