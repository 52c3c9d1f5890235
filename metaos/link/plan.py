"""All addresses of an image before any of its bytes is final: the `Plan`.

    plan = make_plan(parts, low_end)
    plan.symbols["root.steady"].linear

How many page tables there are depends on the layout and the layout on them, so both are made
anew until they agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from metaos.errors import MetaosError
from metaos.link.gates import Entries
from metaos.link.layout import (
    GATES_LINEAR,
    PAGE,
    STACK,
    WIPED_PHASES,
    Layout,
    lay_out,
    present_phases,
)
from metaos.link.loader import LOW
from metaos.link.manifest import FileRange, Gates, Mapping, Symbol
from metaos.link.parts import Parts
from metaos.link.phases import tail_length, wipe_length
from metaos.link.tables import PageTables, build_tables, map_all

_NEAR = 512
"""Wiped ranges no farther apart are one: another range costs 13 bytes of code."""
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything lies. `wiped` are the byte ranges that wipe clears, multiples of 8."""

    layout: Layout
    tables: PageTables
    mappings: tuple[Mapping, ...]
    wiped: tuple[tuple[int, int], ...]
    symbols: dict[str, Symbol]


def make_plan(parts: Parts, low_end: int) -> Plan:
    """Place everything; the loader and what it loads end at the physical address `low_end`.

    Raises:
        MetaosError: as `lay_out` and `present_phases` do.
    """
    phases = present_phases(parts.codes)
    ranges, tables = 2, 0
    lists = [*(c.relocations for c in parts.codes), *(d.relocations for d in parts.data)]
    named = sorted({relocation.symbol for one in lists for relocation in one})
    for _ in range(_ROUNDS):
        layout = lay_out(parts, _lengths(parts, phases, ranges), tables)
        wiped = _wiped(layout, low_end)
        mappings = map_all(layout, wiped)
        built = build_tables(mappings, layout.phases, layout.frames - tables * PAGE)
        if (len(wiped), built.pages) == (ranges, tables):
            symbols = {s.name: s for s in _symbols(layout, built, wiped, named)}
            symbols |= {s.name: s for s in _numbers(parts, named)}
            return Plan(layout, built, mappings, wiped, symbols)
        ranges, tables = len(wiped), built.pages
    raise MetaosError("the linker found no stable layout")


def gates_of(parts: Parts, plan: Plan) -> tuple[Gates, Entries]:
    """The page of descriptor tables; its file range is still empty."""
    trap, symbols, layout = parts.trap, plan.symbols, plan.layout
    gates = Gates(
        linear=GATES_LINEAR,
        physical=layout.frames,
        interrupts=parts.interrupts,
        fault=trap.fault,
        place=trap.place,
        wanted=trap.wanted,
        found=trap.found,
        site=trap.site,
        in_steady=trap.in_steady,
        elsewhere=trap.elsewhere,
        file=FileRange(start=0, end=0),
    )
    first = {code.name: code.linear for code in layout.codes}
    stack = symbols[STACK]
    to = Entries(
        steady=first["steady"],
        report=first["report"],
        steady_root=symbols["root.steady"].physical,
        report_root=symbols["root.report"].physical,
        next_place=symbols[parts.next].linear,
        fault=symbols[trap.fault].linear,
        stack_end=stack.linear + stack.size,
    )
    return gates, to


def _lengths(parts: Parts, phases: tuple[str, ...], ranges: int) -> dict[str, int]:
    """Bytes of each phase's code, the linker's own included."""
    lengths = {phase: tail_length(phase, bool(parts.interrupts)) for phase in phases}
    lengths["wipe"] += wipe_length(ranges)
    for code in parts.codes:
        lengths[code.phase] += len(code.text)
    return lengths


def _wiped(layout: Layout, low_end: int) -> tuple[tuple[int, int], ...]:
    """The loader with all that it loaded, guard's and init's code, and data of them alone."""
    ranges = [(LOW, low_end)]
    for code in layout.codes:
        if code.name in ("guard", "init"):
            ranges.append((code.physical, code.physical + code.length))
    for placed in layout.data:
        if frozenset(placed.datum.phases) & frozenset(layout.phases) <= WIPED_PHASES:
            ranges.append((placed.physical, placed.physical + len(placed.datum.data)))
    joined: list[tuple[int, int]] = []
    for start, end in sorted((start // 8 * 8, -(-end // 8) * 8) for start, end in ranges):
        if joined and start - joined[-1][1] <= _NEAR:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def _numbers(parts: Parts, named: Collection[str]) -> Iterator[Symbol]:
    """What is no address, and its high bits where a relocation names them."""
    for name, value in parts.numbers.items():
        yield Symbol(name=name, kind="number", linear=value, physical=value, size=0)
        for part in (n for n in named if n.startswith(f"{name}>>")):
            high = value >> int(part.rpartition(">>")[2])
            yield Symbol(name=part, kind="number", linear=high, physical=high, size=0)


def _symbols(
    layout: Layout, tables: PageTables, wiped: tuple[tuple[int, int], ...], named: Collection[str]
) -> Iterator[Symbol]:
    """Every name; data get their file ranges when they have some.

    `named` are the symbols that relocations name: of high bits of addresses, those alone.
    """

    def mapped(phases: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(phase for phase in layout.phases if phase in phases)

    for ram in layout.ram:
        yield Symbol(
            name=ram.place.name,
            kind="place",
            linear=ram.address,
            physical=ram.address,
            size=ram.place.size,
            device=ram.place.device,
            phases=mapped(ram.place.phases),
        )
        for name in (n for n in named if n.startswith(f"{ram.place.name}>>")):
            high = ram.address >> int(name.rpartition(">>")[2])
            yield Symbol(name=name, kind="number", linear=high, physical=high, size=0)
    for index, (start, end) in enumerate(wiped):
        name, size = f"wiped.{index}", end - start
        yield Symbol(
            name=name, kind="place", linear=start, physical=start, size=size, phases=("wipe",)
        )
    for window in layout.windows:
        yield Symbol(
            name=window.window.name,
            kind="window",
            linear=window.linear,
            physical=window.window.physical,
            size=window.window.size,
            device=window.window.device,
            phases=mapped(window.window.phases),
        )
    for placed in layout.data:
        yield Symbol(
            name=placed.datum.name,
            kind="datum",
            linear=placed.linear,
            physical=placed.physical,
            size=len(placed.datum.data),
            phases=mapped(placed.datum.phases),
        )
    for phase, root in tables.roots.items():
        yield Symbol(name=f"root.{phase}", kind="root", linear=root, physical=root, size=PAGE)
    need = layout.memory_needed_kib
    yield Symbol(name="memory_needed_kib", kind="number", linear=need, physical=need, size=0)
