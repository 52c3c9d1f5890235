"""`lower(bindings) -> Lowered`: every phase's programs, places, windows and tables.

The guard is made last (`guard`), since it tests for the CPU features that the finished
code uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metaos.emit.target import CpuFeature
from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.program import Op, Program
from metaos.link.manifest import PortRange
from metaos.link.parts import PHASES, Datum, DatumLine, Fill, Place, Window
from metaos.lower.initial import fills
from metaos.lower.plan import DevicePlan, RegisterPlan, fail, plan, walk
from metaos.lower.rows import FULL, Cell, Row, RowLowering, config_address
from metaos.lower.services import Mine, Services
from metaos.lower.stepper import (
    CURSOR, ELAPSED, LAST, NEXT, PLATFORM, SPARE, ConfigAccess, Ticks, stepper,
)  # fmt: skip
from metaos.lower.text import (
    DIGITS, FAULT, FAULT_SIZE, REPORT, TEXT_SIZE, TEXTS, WRITTEN, Shown, Texts, literal,
    write_report,
)  # fmt: skip
from metaos.lower.turn import Frame, Turn
from metaos.match.bind import Binding, Bindings
from metaos.match.facts import number
from metaos.pattern import syntax as s
from metaos.probe.machine import Function

MEMORY = "memory_kib"
MEMORY_NEEDED = "memory_needed_kib"
GENERATED = Span("generated", 1, 1, 2)
"""Where the parts no pattern speaks of come from: the stepper's own code and state."""


@dataclass(frozen=True)
class Lowered:
    """What goes on to emission and the linker; the guard is not in it yet."""

    bindings: Bindings
    plans: tuple[DevicePlan, ...]
    programs: tuple[Program, ...]
    places: tuple[Place, ...]
    windows: tuple[Window, ...]
    data: tuple[Datum, ...]
    ports: tuple[PortRange, ...]
    guard_rows: tuple[Row, ...]
    texts: Texts
    config: ConfigAccess | None


@dataclass
class _Lowering:
    bindings: Bindings
    plans: list[DevicePlan]
    texts: Texts = field(default_factory=Texts)
    programs: list[Program] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    data: list[Datum] = field(default_factory=list)
    touched: dict[str, dict[str, set[int]]] = field(default_factory=dict)

    def of_class(self, name: str) -> list[DevicePlan]:
        return [p for p in self.plans if p.pattern.class_name == name]

    def carriers(self) -> list[DevicePlan]:
        """Devices whose turn offers frames."""
        turns = [(p, p.pattern.one(s.Turn)) for p in self.plans]
        return [p for p, t in turns if t and any(isinstance(x, s.Offer) for x in t.steps)]

    def consoles(self) -> list[DevicePlan]:
        turns = [(p, p.pattern.one(s.Turn)) for p in self.plans]
        return [p for p, t in turns if t and any(isinstance(x, s.Take) for x in t.steps)]


def lower(bindings: Bindings) -> Lowered:
    """Lower all but the guard."""
    work = _Lowering(bindings, [plan(b) for b in bindings.bindings])
    config = _config(work)
    ticks = _ticks(work)
    _platform_places(work)
    guard_rows = [r for p in work.consoles() for r in _sequence(work, p, "init")]
    guard_rows += _function_guards(work)
    init_rows = _init_rows(work)
    program, datum = stepper("init", tuple(init_rows), then="wipe", ticks=ticks, config=config)
    work.programs.append(program)
    work.data.append(datum)
    _steady(work)
    _report(work)
    _device_places(work)
    return Lowered(
        bindings, tuple(work.plans), tuple(work.programs), tuple(work.places),
        _windows(work, guard_rows, init_rows), tuple(work.data),
        _ports(work, ticks, config), tuple(guard_rows), work.texts, config,
    )  # fmt: skip


def guard(lowered: Lowered, used: tuple[CpuFeature, ...]) -> tuple[Program, tuple[Datum, ...]]:
    """The guard's program and table, and the report's texts, now complete."""
    texts = lowered.texts
    rows = [_feature_row(feature, texts) for feature in used]
    rows.append(_memory_row(texts))
    rows += lowered.guard_rows
    program, datum = stepper("guard", tuple(rows), then="init", ticks=None, config=lowered.config)
    lines = tuple(DatumLine(x.start, x.end, x.device, "text", x.span) for x in texts.said)
    digits = texts.digit_bytes()
    shown = DatumLine(0, len(digits), PLATFORM, "constant", GENERATED)
    data = (
        datum,
        Datum(TEXTS, ("report",), bytes(texts.data), 1, (), lines),
        Datum(DIGITS, ("report",), digits, 4, (), (shown,)),
    )
    return program, data


# ---- the parts no device owns ---------------------------------------------------------


def _platform_places(work: _Lowering) -> None:
    def state(name: str, size: int, phases: tuple[str, ...]) -> None:
        work.places.append(Place(name, PLATFORM, size, 8, True, (), GENERATED, phases))

    state(NEXT, 8, PHASES)
    state(CURSOR, 4, ("guard", "init"))
    state(SPARE, 4, ("guard", "init"))
    state(LAST, 4, ("init",))
    state(ELAPSED, 4, ("init",))
    state(FAULT, FAULT_SIZE, ("guard", "init", "report"))
    state(MEMORY, 4, ("guard",))


def _config(work: _Lowering) -> ConfigAccess | None:
    for device in work.plans:
        access = device.pattern.one(s.Access)
        if access is not None:
            select, data = (_port_of(device, x) for x in (access.select, access.data))
            return ConfigAccess(select.number, data.number, access.enable)
    return None


def _ticks(work: _Lowering) -> Ticks | None:
    for device in work.plans:
        clock = device.pattern.one(s.Clock)
        if clock is not None:
            register = _port_of(device, clock.register)
            return Ticks(register.number, register.bits, clock.bits, clock.hertz)
    return None


def _port_of(device: DevicePlan, node: s.Expr) -> RegisterPlan:
    register = device.registers.get(node.text) if isinstance(node, s.Name) else None
    if register is None or register.space != "port":
        raise fail(node.span, "E0470", "expected a register among I/O ports")
    return register


# ---- rows -----------------------------------------------------------------------------


def _sequence(
    work: _Lowering,
    device: DevicePlan,
    name: str,
    names: Mapping[str, int] | None = None,
    lists: Mapping[str, tuple[Mapping[str, int], ...]] | None = None,
) -> list[Row]:
    sequence = device.pattern.named(s.Sequence).get(name)
    if sequence is None:
        return []
    function = device.device.function
    config = config_address(function.address) if function is not None else None
    lowering = RowLowering(device, work.texts, names or {}, lists or {}, config)
    return lowering.lower(sequence.rows)


def _init_rows(work: _Lowering) -> list[Row]:
    consoles = work.consoles()
    rows: list[Row] = []
    for device in work.plans:
        if device in consoles:
            continue
        rows += _attach(work, device)
        rows += _sequence(work, device, "init")
    return rows


def _attach(work: _Lowering, device: DevicePlan) -> list[Row]:
    """The rows that place a function's windows, as the config space's rule says."""
    function = device.device.function
    used = {w.bar for w in device.windows.values() if w.bar is not None}
    rule = next((p for p in work.plans if p.pattern.one(s.Access)), None)
    if function is None or not used or rule is None:
        return []
    sequence = rule.pattern.named(s.Sequence).get("attach")
    if sequence is None:
        return []
    bars = [b for b in function.bars if b.index in used]
    for bar in bars:
        if not bar.address:
            raise fail(
                device.pattern.span, "E0471",
                f"{function.address}: BAR {bar.index} has no address in the machine file",
                "probe the machine after its firmware has assigned addresses",
            )  # fmt: skip
    names = {
        "bars.io": int(any(b.kind == "io" for b in bars)),
        "bars.memory": int(any(b.kind != "io" for b in bars)),
    }
    members = tuple(
        {
            "index": b.index, "size": b.size, "address": b.address & FULL,
            "high": b.address >> 32, "wide": int(b.kind == "mem64"),
            "flags": _bar_flags(function, b.index),
        }
        for b in bars
    )  # fmt: skip
    facts = tuple(f"functions.{function.address}.bars.{b.index}" for b in bars)
    lowering = RowLowering(
        rule, work.texts, names, {"bar": members}, config_address(function.address), facts
    )
    rows = lowering.lower(sequence.rows)
    return [_owned(row, device.address) for row in rows]


def _owned(row: Row, device: str) -> Row:
    return Row(
        row.kind, row.place, row.value, row.mask, row.limit, row.site, device, row.span, row.facts
    )


def _bar_flags(function: Function, index: int) -> int:
    """The read-only low bits of a memory BAR. Source: PCI 3.0 §6.2.5.1."""
    at = 2 * (0x10 + 4 * index)
    return int(function.config[at : at + 2], 16) & 0xF


def _function_guards(work: _Lowering) -> list[Row]:
    """A row for every function of the machine and for every free slot beside one."""
    rule = next((p for p in work.plans if p.pattern.of(s.Guard)), None)
    if rule is None:
        return []
    guards = rule.pattern.named(s.Guard)
    machine = work.bindings.machine
    rows: list[Row] = []
    for function in machine.functions:
        if "present" not in guards:
            break
        names = {
            "function.id": function.device << 16 | function.vendor,
            "function.class_revision": function.class_code << 8 | function.revision,
            "function.subsystem": function.subsystem_device << 16 | function.subsystem_vendor,
            "function.has_subsystem": int(function.header_type & 0x7F == 0),
        }
        facts = (f"functions.{function.address}",)
        lowering = RowLowering(
            rule, work.texts, names, {}, config_address(function.address), facts
        )
        rows += lowering.lower(guards["present"].rows)
    for address in free_slots(machine.functions) if "absent" in guards else ():
        lowering = RowLowering(
            rule, work.texts, {}, {}, config_address(address), (f"functions.{address}",)
        )
        rows += lowering.lower(guards["absent"].rows)
    return rows


def free_slots(functions: tuple[Function, ...]) -> tuple[str, ...]:
    """Where a function could be that is not there: slots of used buses, and the other
    functions of multi-function devices (header type bit 7).

    Source: PCI Local Bus Specification 3.0 §3.2.2.3.4, §6.2.1.
    """
    present = {f.address for f in functions}
    many = {f.address[:5] for f in functions if f.address.endswith(".0") and f.header_type & 0x80}
    free = []
    for bus in sorted({f.address[:2] for f in functions}):
        for slot in (f"{bus}:{device:02x}" for device in range(32)):
            numbers = range(8) if slot in many else range(1)
            free += [a for n in numbers if (a := f"{slot}.{n}") not in present]
    return tuple(free)


def _feature_row(feature: CpuFeature, texts: Texts) -> Row:
    text = f"this CPU lacks {feature.name}, which the image was made for; probe and build again"
    site = texts.add(text, {}, PLATFORM, GENERATED)
    bit = 1 << feature.bit
    fact = f"cpu.leaves.{feature.leaf:#x}"
    return Row(
        f"cpuid{feature.register}.test", Cell(feature.leaf), Cell(bit), bit, 0, site, PLATFORM,
        GENERATED, (fact,),
    )  # fmt: skip


def _memory_row(texts: Texts) -> Row:
    text = "memory changed: expected {wanted:x8} KiB above 1 MiB or more, found {found:x8}; "
    site = texts.add(text + "probe and build again", {}, PLATFORM, GENERATED)
    return Row(
        "mem.test", Cell(0, MEMORY), Cell(0, MEMORY_NEEDED), 1 << 31, 0, site, PLATFORM,
        GENERATED, ("memory",),
    )  # fmt: skip


# ---- turns ----------------------------------------------------------------------------


def _steady(work: _Lowering) -> None:
    carried = [x for x in work.bindings.services if x.say is None]
    interface = work.bindings.system.interface
    for number_, device in enumerate(work.carriers()):
        mine = Mine(int(interface.ip) + number_, device.symbol("mac"))
        services = Services(tuple(carried), work.bindings.patterns.layouts, mine)
        builder = Builder(device.address, "steady")
        Turn(device, builder, services, None).lower()
        work.programs.append(builder.finish())
    banner = _banner(work)
    if banner is None:
        return
    for device in work.consoles():
        cursor = device.symbol("banner.at")
        builder = Builder(device.address, "steady")
        Turn(device, builder, _no_frames, Shown(banner, cursor, True)).lower()
        work.programs.append(builder.finish())


def _banner(work: _Lowering) -> str | None:
    """The datum of what is said at start; None if nothing is, or nobody could show it."""
    said = [x for x in work.bindings.services if x.say is not None]
    if not said or not work.consoles():
        return None
    assert said[0].say is not None
    system = work.bindings.system
    names = {"my.ip": str(system.interface.ip), "my.name": system.name}
    template = said[0].say.value
    span = said[0].say.span
    text = literal(template, names, span).encode("ascii", "replace") + b"\r\n\0"
    if len(text) > TEXT_SIZE:
        raise fail(span, "E0472", f"the text has {len(text)} characters, at most {TEXT_SIZE}")
    # A console's position has 8 bits: it stays inside, whatever the text's end.
    line = DatumLine(0, TEXT_SIZE, PLATFORM, "text", span, ("system.address",))
    work.data.append(Datum("banner", ("steady",), text.ljust(TEXT_SIZE, b"\0"), 1, (), (line,)))
    return "banner"


def _report(work: _Lowering) -> None:
    """The report's writer, then the consoles; a machine without consoles just parks."""
    consoles = work.consoles()
    builder = Builder(PLATFORM, "report")
    if consoles:
        with builder.at(consoles[0].pattern.span):
            write_report(builder)
        for name, size in ((REPORT, TEXT_SIZE), (WRITTEN, 1)):
            place = Place(name, PLATFORM, size, 4, True, (), GENERATED, ("report",))
            work.places.append(place)
    work.programs.append(builder.finish())
    for device in consoles:
        builder = Builder(device.address, "report")
        shown = Shown(REPORT, device.symbol("report.at"), True)
        Turn(device, builder, _no_frames, shown).lower()
        work.programs.append(builder.finish())


def _no_frames(builder: Builder, frame: Frame) -> tuple[Op, Op]:
    raise AssertionError("a console offers no frames")


# ---- places ---------------------------------------------------------------------------


def _used(work: _Lowering) -> set[str]:
    """Symbols that code or rows refer to."""
    used = {op.address.symbol for p in work.programs for op in p.ops if op.address is not None}
    used |= {r.symbol for d in work.data for r in d.relocations}
    return used


def _device_places(work: _Lowering) -> None:
    used = _used(work)
    consoles = work.consoles()
    for device in work.plans:
        phases = ("steady", "report") if device in consoles else ("init", "steady")
        _extra_places(work, device, used, phases)
        for table in device.tables.values():
            if table.window:
                continue
            made = fills(device, table.node.initial, table.count, table.stride, table.layout)
            work.places.append(
                Place(
                    table.symbol, device.address, table.count * table.stride, table.node.align,
                    table.layout is not None, made, table.node.span, phases,
                )  # fmt: skip
            )
        for state in device.states.values():
            if state.symbol not in used:
                continue
            count = max(state.count, 1)
            step = state.stride if state.count else state.storage // 8
            made = fills(device, state.node.initial, count, step, None, state.scale)
            size = (count - 1) * step + -(-state.storage // 8)
            work.places.append(
                Place(
                    state.symbol, device.address, size, 16 if state.count else 4, True, made,
                    state.node.span, phases,
                )  # fmt: skip
            )


def _extra_places(
    work: _Lowering, device: DevicePlan, used: set[str], phases: tuple[str, ...]
) -> None:
    for name, size, where in (
        ("port.latch", 8, phases), ("banner.at", 1, ("steady",)), ("report.at", 1, ("report",)),
    ):  # fmt: skip
        symbol = device.symbol(name)
        if symbol in used:
            span = device.pattern.span
            work.places.append(Place(symbol, device.address, size, 4, True, (), span, where))


def _windows(
    work: _Lowering, guard_rows: list[Row], init_rows: list[Row]
) -> tuple[Window, ...]:
    """Each window with the pages that code and rows touch, in the phases that do."""
    touched: dict[str, dict[str, set[int]]] = {}

    def touch(symbol: str, phase: str, start: int, size: int) -> None:
        pages = touched.setdefault(symbol, {}).setdefault(phase, set())
        pages.update(range(start & ~0xFFF, start + size, 0x1000))

    spans = {p.symbol(t.window): t.count * t.stride for p in work.plans
             for t in p.tables.values() if t.window}  # fmt: skip
    for program in work.programs:
        for op in program.ops:
            if op.address is not None and op.kind in ("load", "store"):
                size = spans.get(op.address.symbol, 8)
                touch(op.address.symbol, program.phase, op.address.offset, size)
    for phase, rows in (("guard", guard_rows), ("init", init_rows)):
        for row in rows:
            touch(row.place.symbol, phase, row.place.value, 4)
    result = []
    for device in work.plans:
        for name, window in device.windows.items():
            phases = touched.get(device.symbol(name), {})
            if not phases:
                continue
            pages = tuple(sorted(set().union(*phases.values())))
            span = next(f.span for f in device.pattern.of(s.Fact) if f.name == name)
            result.append(
                Window(
                    device.symbol(name), device.address, window.physical, window.size, pages,
                    tuple(sorted(phases, key=PHASES.index)), span,
                )
            )
    return tuple(result)


def _ports(
    work: _Lowering, ticks: Ticks | None, config: ConfigAccess | None
) -> tuple[PortRange, ...]:
    consoles = work.consoles()
    result = []
    for device in work.plans:
        registers = [r for r in device.registers.values() if r.space == "port"]
        if device in consoles:
            phases: tuple[str, ...] = ("guard", "steady", "report")
        elif device.pattern.one(s.Access):
            phases = ("guard", "init")
        elif any(isinstance(n, s.Turn) for n in walk(device.pattern.items)):
            phases = ("init", "steady")
        else:
            phases = ("init",)
        for register in registers:
            result.append(
                PortRange(
                    name=f"{device.address}.{register.node.name}", base=register.number,
                    length=register.bits // 8, device=device.address, phases=phases,
                )  # fmt: skip
            )
    return tuple(result)
