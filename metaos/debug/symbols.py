"""What a debugger is to know of one phase: its code's lines, and what lies where.

    known = symbols(image, "steady", plans)
    known.units[0].rows[0]              # Row(0x5ffcea, 0x5ffcf3, "net/i8254x.pattern", 94, 13, ...)
    known.units[0].variables[0]         # Variable("rx", "00:03.0.rx", 0x200260, 256, Array(...))

Enters an image, and the plans of its devices if the machine file is at hand; without them, places
are known by name and size only. `elf.py` and `dwarf.py` write it down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from metaos.link.image import Image
from metaos.link.manifest import AccountEntry, FileRange, PhaseMap, Symbol
from metaos.lower.plan import DevicePlan, RegisterPlan, StatePlan, TablePlan
from metaos.pattern import syntax as s

_WIDTHS = (1, 2, 4, 8)
LINKER = "linker"
"""Whose the code is that no device has: what clears the start, and the change of phase."""


@dataclass(frozen=True, slots=True)
class Number:
    """`size` bytes, of which `bits` from bit `low` are an unsigned number; `big`: wire order."""

    size: int
    bits: int
    low: int = 0
    big: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a record: its lowest bit, counted from the record's first byte, and its type."""

    name: str
    low: int
    bits: int
    type: Number | Array


@dataclass(frozen=True, slots=True)
class Record:
    """`size` bytes with named members, which may overlap."""

    name: str
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """`count` elements, each `stride` bytes after the one before."""

    of: Number | Record | Array
    count: int
    stride: int


Type = Number | Record | Array
BYTE = Number(1, 8)


@dataclass(frozen=True, slots=True)
class Variable:
    """A place in memory: what its pattern calls it, and its whole name in the image."""

    name: str
    symbol: str
    address: int
    size: int
    type: Type


@dataclass(frozen=True, slots=True)
class Row:
    """Code from `low` to `high` (exclusive), linear, and its source; no `file`: it has none."""

    low: int
    high: int
    file: str
    line: int
    column: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """The code of one device in the phase, and its variables. `rows` ascend; gaps are others'."""

    device: str
    pattern: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...]

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The stretches of its code, first and one past the last address."""
        found: list[tuple[int, int]] = []
        for row in self.rows:
            if found and found[-1][1] == row.low:
                found[-1] = (found[-1][0], row.high)
            else:
                found.append((row.low, row.high))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class PhaseSymbols:
    """One phase. `named` are read-only bytes with a name; a row's is its pattern line."""

    phase: PhaseMap
    code: bytes
    units: tuple[Unit, ...]
    named: tuple[Variable, ...]


def symbols(image: Image, phase: str, plans: Iterable[DevicePlan] = ()) -> PhaseSymbols:
    """Collect them. `plans` are those of the image's devices; raises KeyError without the phase."""
    manifest = image.manifest
    found = manifest.phase(phase)
    places = [x for x in manifest.symbols if x.kind in ("place", "window") and phase in x.phases]
    planned = {plan.address: plan for plan in plans}
    rows = _rows(image, found)
    patterns = {served.address: served.pattern for served in manifest.provenance.devices}
    units = []
    for device in dict.fromkeys([*rows, *(x.device or LINKER for x in places)]):
        own = [x for x in places if (x.device or LINKER) == device]
        variables = tuple(_variables(device, own, planned.get(device)))
        pattern = patterns.get(device, device)
        units.append(Unit(device, pattern, tuple(rows.get(device, ())), variables))
    code = b"".join(image.data[part.start : part.end] for part in found.code_file)
    return PhaseSymbols(found, code, tuple(units), tuple(_data(image, phase)))


def _rows(image: Image, phase: PhaseMap) -> dict[str, list[Row]]:
    """The account's entries of the phase's code, as addresses, by device."""
    found: dict[str, list[Row]] = {}
    linear = phase.code_linear
    for part in phase.code_file:
        for entry in image.account:
            low, high = max(entry.start, part.start), min(entry.end, part.end)
            if low < high:
                row = _row(entry, linear + low - part.start, linear + high - part.start)
                found.setdefault(entry.device or LINKER, []).append(row)
        linear += part.end - part.start
    return found


def _row(entry: AccountEntry, low: int, high: int) -> Row:
    return Row(low, high, entry.file, entry.line, entry.column, entry.exact)


def _data(image: Image, phase: str) -> Iterator[Variable]:
    """The read-only data of a phase; a table of rows as its rows, by their pattern lines."""
    for datum in image.manifest.symbols:
        if datum.kind != "datum" or phase not in datum.phases:
            continue
        rows = [x for x in _entries(image, datum.file) if x[0].kind == "row" and x[0].file]
        if not rows:
            yield Variable(datum.name, datum.name, datum.linear, datum.size, _bytes(datum.size))
        for entry, at in rows:
            name, size = f"{entry.file}:{entry.line}", entry.end - entry.start
            yield Variable(name, name, datum.linear + at, size, _bytes(size))


def _entries(image: Image, parts: tuple[FileRange, ...]) -> Iterator[tuple[AccountEntry, int]]:
    """The entries that begin inside, each with its offset from the first byte."""
    before = 0
    for part in parts:
        for entry in image.account:
            if part.start <= entry.start < part.end:
                yield entry, before + entry.start - part.start
        before += part.end - part.start


def _variables(device: str, places: list[Symbol], plan: DevicePlan | None) -> Iterator[Variable]:
    """A device's places, as its pattern types them; its registers and tables in its windows."""
    linear = {x.name: x.linear for x in places}
    typed: dict[str, Variable] = {}
    for one in _planned(plan, linear) if plan is not None else ():
        typed[one.symbol] = one
    for place in places:
        if place.name not in typed:
            name = place.name.removeprefix(f"{device}.")
            kind = _bytes(place.size)
            typed[place.name] = Variable(name, place.name, place.linear, place.size, kind)
    yield from sorted(typed.values(), key=lambda x: (x.address, x.symbol))


def _planned(plan: DevicePlan, linear: Mapping[str, int]) -> Iterator[Variable]:
    """Registers in memory, tables and states, where they have a place in this phase."""
    for name, register in plan.registers.items():
        if register.space == "mmio" and register.symbol in linear:
            kind, size = _register(register)
            at = linear[register.symbol] + register.number
            yield Variable(name, plan.symbol(name), at, size, kind)
    for name, table in plan.tables.items():
        if table.symbol in linear:
            at, size = linear[table.symbol] + table.offset, table.count * table.stride
            yield Variable(name, plan.symbol(name), at, size, _table(table))
    for name, state in plan.states.items():
        if state.symbol in linear:
            kind = _state(state)
            size = kind.size if isinstance(kind, Number) else state.count * state.stride
            yield Variable(name, plan.symbol(name), linear[state.symbol], size, kind)


def _bytes(count: int) -> Type:
    """What nothing more is known of: a number of a usual width, else bytes."""
    return Number(count, 8 * count) if count in _WIDTHS else Array(BYTE, count, 1)


def _register(plan: RegisterPlan) -> tuple[Type, int]:
    size = plan.bits // 8
    kind: Number | Record = Number(size, plan.bits)
    if plan.node.fields:
        whole = Member("value", 0, plan.bits, Number(size, plan.bits))
        kind = Record(plan.node.name, size, (whole, *_members(plan.node.fields, size, "little")))
    count = plan.node.count
    return (Array(kind, count, size), count * size) if count > 1 else (kind, size)


def _table(plan: TablePlan) -> Type:
    if plan.layout is None:
        return Array(Array(BYTE, plan.stride, 1), plan.count, plan.stride)
    layout = plan.layout
    members = tuple(_members(layout.fields, layout.size, layout.order))
    return Array(Record(layout.name, plan.stride, members), plan.count, plan.stride)


def _state(plan: StatePlan) -> Type:
    size = plan.storage // 8
    number = Number(size, plan.bits, plan.scale)
    return Array(number, plan.count, plan.stride) if plan.count else number


def _members(fields: Iterable[s.Field], size: int, order: str) -> Iterator[Member]:
    """The fields of a record of `size` bytes that a debugger has a form for."""
    for field in fields:
        low, fits = field.low, field.low % 8 + field.bits <= 64
        if order == "big":
            # Bit 0 is the last bit of the last byte; what does not end on bytes fits in one.
            first, last = size - 1 - field.high // 8, size - 1 - field.low // 8
            low, fits = 8 * first + (field.low % 8 if first == last else 0), first == last
        whole = field.low % 8 == 0 and field.bits % 8 == 0
        length = field.bits // 8
        if whole and length in _WIDTHS:
            yield Member(field.name, low, field.bits, Number(length, field.bits, 0, order == "big"))
        elif whole and (length > 8 or order == "big"):
            yield Member(field.name, low, field.bits, Array(BYTE, length, 1))
        elif fits:
            yield Member(field.name, low, field.bits, _holder(low, field.bits))


def _holder(low: int, bits: int) -> Number:
    """The type that a field's bits are cut from."""
    size = next(n for n in _WIDTHS if low % 8 + bits <= 8 * n or n == 8)
    return Number(size, 8 * size)
