"""RAM places, windows and ports: what the finished programs and rows refer to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from metaos.ir.program import Op
from metaos.link.manifest import PortRange
from metaos.link.parts import PHASES, Fill, Place, Window
from metaos.lower import measure
from metaos.lower.clock import BEGINS, EVERY, NOW, SCALE, SOONEST, Ticks, times_told
from metaos.lower.initial import fills
from metaos.lower.loops import COUNT
from metaos.lower.plan import DevicePlan, TablePlan
from metaos.lower.row import SPARE, Row
from metaos.lower.stepper import CURSOR, ELAPSED, LAST, NEXT, PLATFORM, ConfigAccess
from metaos.lower.text import FAULT, FAULT_SIZE
from metaos.lower.work import GENERATED, MEMORY, Work, teller_of, waker_of
from metaos.match.routes import router_of
from metaos.pattern import syntax as s
from metaos.pattern.spell import walk


def platform_places(work: Work) -> None:
    def state(name: str, size: int, phases: tuple[str, ...]) -> None:
        work.places.append(Place(name, PLATFORM, size, 8, True, (), GENERATED, phases))

    state(NEXT, 8, PHASES)
    state(CURSOR, 4, ("guard", "init"))
    state(SPARE, 4, ("guard", "init"))
    state(LAST, 4, ("init",))
    state(ELAPSED, 4, ("init",))
    state(FAULT, FAULT_SIZE, ("guard", "init", "report"))  # the trap writes it from any
    state(MEMORY, 4, ("guard",))


def _used(work: Work) -> set[str]:
    """Symbols that code or rows refer to."""
    used = {op.address.symbol for p in work.programs for op in p.ops if op.address is not None}
    used |= {r.symbol for d in work.data for r in d.relocations}
    return used


def device_places(work: Work, guard_rows: Iterable[Row]) -> None:
    used = _used(work)
    in_guard = {cell.symbol for row in guard_rows for cell in (row.place, row.value)}
    used |= in_guard
    if COUNT in used:
        phases: tuple[str, ...] = ("guard", "init")
        work.places.append(Place(COUNT, PLATFORM, 4, 4, True, (), GENERATED, phases))
    consoles = work.consoles()
    for device in work.plans:
        phases = ("steady", "report") if device in consoles else ("init", "steady")
        _extra_places(work, device, used, phases)
        for table in device.tables.values():
            if table.window or table.inside:
                continue
            inner = [t for t in device.tables.values() if t.inside == table.name]
            made = tuple(fill for one in (table, *inner) for fill in _table_fills(device, one))
            work.places.append(
                Place(
                    table.symbol,
                    device.address,
                    table.count * table.stride,
                    table.node.align,
                    not table.node.element_size or bool(inner),
                    made,
                    table.node.span,
                    phases,
                )
            )
        for state in device.states.values():
            if state.symbol not in used:
                continue
            count = max(state.count, 1)
            step = state.stride if state.count else state.storage // 8
            made = fills(device, state.node.initial, count, step, None, state.scale)
            size = (count - 1) * step + -(-state.storage // 8)
            if made:  # the loader writes 4 bytes at once
                size = max(size, 4)
            work.places.append(
                Place(
                    state.symbol,
                    device.address,
                    size,
                    16 if state.count else 4,
                    True,
                    made,
                    state.node.span,
                    ("guard",) if state.symbol in in_guard else phases,
                )
            )


def service_places(work: Work) -> None:
    """The states of services, each at its card."""
    used = _used(work)
    for device in work.carriers():
        for at in work.kept:
            if at.symbol in used and at.card == device.address:
                made = fills(device, at.node.initial, 1, at.storage // 8, None)
                size = max(at.storage // 8, 4)  # the loader writes 4 bytes at once
                work.places.append(
                    Place(at.symbol, device.address, size, 8, True, made, at.node.span, ("steady",))
                )


def _table_fills(device: DevicePlan, table: TablePlan) -> tuple[Fill, ...]:
    """How a table begins, counted from its symbol."""
    made = fills(device, table.node.initial, table.count, table.stride, table.layout)
    return tuple(replace(fill, offset=fill.offset + table.offset) for fill in made)


def _extra_places(work: Work, device: DevicePlan, used: set[str], phases: tuple[str, ...]) -> None:
    def add(symbol: str, size: int, where: tuple[str, ...]) -> None:
        span = device.pattern.span
        work.places.append(Place(symbol, device.address, size, 4, True, (), span, where))

    for name, size, where in (
        ("port.latch", 8, phases),
        ("banner.at", 1, ("steady",)),
        ("report.at", 1, ("report",)),
    ):
        if device.symbol(name) in used:
            add(device.symbol(name), size, where)
    for symbol in sorted(x for x in used if x.startswith(device.symbol(EVERY))):
        add(symbol, 8, phases)
    found, told = teller_of(work), times_told(work.programs)
    if found is None or found[0] is not device:
        return
    at, span = device.address, found[1]
    if told:
        work.places.append(Place(NOW, at, 8, 8, True, BEGINS, span, told))
    if SOONEST in used:
        work.places.append(Place(SOONEST, at, 8, 8, True, (), span, ("steady",)))
    if device.pattern.one(s.Measured) is not None:
        size, phases = measure.MEASURED_SIZE, ("init", *told)
        work.places.append(Place(SCALE, at, 8, 8, True, measure.BEGINS, span, phases))
        work.places.append(Place(measure.MEASURED, at, size, 8, True, (), span, ("init",)))


def windows(work: Work, guard_rows: list[Row], init_rows: list[Row]) -> tuple[Window, ...]:
    """Each window with the pages that code and rows touch, in the phases that do."""
    touched: dict[str, dict[str, set[int]]] = {}

    def touch(symbol: str, phase: str, start: int, size: int) -> None:
        pages = touched.setdefault(symbol, {}).setdefault(phase, set())
        pages.update(range(start & ~0xFFF, start + size, 0x1000))

    spans = {
        p.symbol(t.window): t.offset + t.count * t.stride
        for p in work.plans
        for t in p.tables.values()
        if t.window
    }
    for program in work.programs:
        for op in program.ops:
            if op.address is not None and op.kind in ("load", "store"):
                size = spans.get(op.address.symbol, 8)
                touch(op.address.symbol, program.phase, op.address.offset, size)
    for phase, rows in (("guard", guard_rows), ("init", init_rows)):
        for row in rows:
            touch(row.place.symbol, phase, row.place.value, 4)
            touch(row.value.symbol, phase, row.value.value, 4)
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
                    device.symbol(name),
                    device.address,
                    window.physical,
                    window.size,
                    pages,
                    tuple(sorted(phases, key=PHASES.index)),
                    span,
                )
            )
    return tuple(result)


def lent(
    work: Work, ranges: tuple[PortRange, ...], ticks: Ticks | None, config: ConfigAccess | None
) -> dict[str, tuple[str, ...]]:
    """What of devices others use: the platform's own code the clocks and configuration space, and
    every device what wakes the processor and what leads its interrupt there, and where to say when
    something is due.
    """
    used = {config.select, config.data} if config is not None else set()
    names: list[str] = []
    if ticks is not None and ticks.symbol:
        names.append(ticks.symbol)
    elif ticks is not None:
        used.add(ticks.place)
    names += [one.name for one in ranges if one.base in used]
    if any(p.pattern.one(s.Measured) for p in work.plans):
        names += [SCALE, measure.MEASURED]
    waker = waker_of(work)
    wakes = {waker.register.symbol: tuple(p.address for p in work.plans)} if waker else {}
    return {**dict.fromkeys(names, (PLATFORM,)), **wakes, **_told(work), **_led(work)}


def _told(work: Work) -> dict[str, tuple[str, ...]]:
    """Where it is said when something is due, with the devices that say so."""
    says = [p for p in work.programs if any(_at(op) == SOONEST for op in p.ops)]
    return {SOONEST: tuple(dict.fromkeys(p.device for p in says))} if says else {}


def _at(op: Op) -> str:
    return op.address.symbol if op.address is not None else ""


def _led(work: Work) -> dict[str, tuple[str, ...]]:
    """The windows of interrupt controllers, each with the devices whose lines it leads on."""
    bound = work.bindings.bindings
    pairs = [
        (b.device.address, router.device.address)
        for b in bound
        if b.device.address in work.sleep.wakers and (router := router_of(b, bound))
    ]
    return {
        plan.symbol(name): tuple(device for device, router in pairs if router == plan.address)
        for plan in work.plans
        if any(router == plan.address for _, router in pairs)
        for name in plan.windows
    }


def ports(work: Work) -> tuple[PortRange, ...]:
    consoles = work.consoles()
    result = []
    for device in work.plans:
        registers = [r for r in device.registers.values() if r.space == "port"]
        if device in consoles:
            phases: tuple[str, ...] = ("guard", "steady", "report")
        elif device.pattern.one(s.Access):
            phases = ("guard", "init")
        elif device.pattern.one(s.Clock):
            tells = (found := teller_of(work)) is not None and found[0] is device
            phases = ("init", *(times_told(work.programs) if tells else ()))
        elif any(isinstance(n, s.Turn) for n in walk(device.pattern.items)):
            phases = ("init", "steady")
        else:
            phases = ("init",)
        for register in registers:
            result.append(
                PortRange(
                    name=f"{device.address}.{register.node.name}",
                    base=register.number,
                    length=register.bits // 8 * register.node.count,
                    device=device.address,
                    phases=phases,
                )
            )
    return tuple(result)
