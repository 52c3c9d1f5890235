"""`lower(bindings) -> Lowered`: every phase's programs, places, windows and tables.

The guard is made last (`guard`), since it tests for the CPU features that the finished
code uses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from metaos.emit.target import CpuFeature
from metaos.ir.build import Builder
from metaos.ir.program import Program
from metaos.link.manifest import PortRange
from metaos.link.parts import Datum, DatumLine, Place, Trap, Window
from metaos.lower import alarm
from metaos.lower.claims import demand_claims, first_claims
from metaos.lower.clock import Ticks, tell_time, times_told
from metaos.lower.headers import Mine, StateAt
from metaos.lower.known import fail
from metaos.lower.measure import ticks as measured_ticks
from metaos.lower.pass_on import given_by, hearing_cards, queues_of, wire_of
from metaos.lower.places import (
    device_places,
    lent,
    platform_places,
    ports,
    service_places,
    windows,
)
from metaos.lower.plan import DevicePlan, Waker, plan
from metaos.lower.platform import (
    feature_row,
    folded_guards,
    function_guards,
    init_rows,
    memory_rows,
    processor_guards,
    sequence_rows,
)
from metaos.lower.row import Row
from metaos.lower.services import Services, demand_grants
from metaos.lower.stepper import PLATFORM, ConfigAccess, stepper
from metaos.lower.tell import POSITION, SITE, VALUES, Lines, lines_of, write_line
from metaos.lower.tell import TEXT as TOLD
from metaos.lower.text import (
    DIGITS,
    EXCEPTION,
    FAULT,
    FAULT_SITE,
    FAULT_WORDS,
    REPORT,
    TEXT_SIZE,
    TEXTS,
    WRITTEN,
    Shown,
    Texts,
    literal,
    write_report,
)
from metaos.lower.turn import Splice, Turn
from metaos.lower.work import (
    GENERATED,
    Work,
    alarm_of,
    clock_ticks,
    config_access,
    teller_of,
    waker_of,
)
from metaos.match.bind import Binding, Bindings, is_measured
from metaos.match.cards import Role, address_fact, carried_by, roles
from metaos.match.sleep import WAKES, Sleep, numbers_of, sleep_of
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted, walk
from metaos.probe.machine import Machine
from metaos.told import Told


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
    console_rows: tuple[Row, ...]
    guard_rows: tuple[Row, ...]
    texts: Texts
    config: ConfigAccess | None
    trap: Trap
    init_rows: tuple[Row, ...] = ()
    lent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ticks: Ticks | None = None
    sleep: Sleep = field(default_factory=lambda: Sleep(False))


def _plan(
    binding: Binding,
    bindings: Bindings,
    given: Mapping[str, int],
    hearing: Collection[str],
    wakers: Collection[str],
) -> DevicePlan:
    """The places of one device; `hearing` are the cards that take all frames of their wires,
    `wakers` the devices whose interrupts wake the processor."""
    machine = bindings.machine
    units = unit_facts(machine, binding.device.address) if bindings.fold_units else None
    address = binding.device.address
    own = {"system.hears": int(address in hearing), WAKES: int(address in wakers)}
    return plan(binding, machine.learnt, units, {**given, **own})


def unit_facts(machine: Machine, address: str) -> dict[str, int]:
    """What the machine file says of one unit of a device alone, by the name that states give it."""
    for network in machine.networks:
        if network.address == address:
            mac = bytes.fromhex(network.mac.replace(":", ""))
            value = int.from_bytes(mac, "little")
            return {"network.mac": Told(value, (f"networks.{address}.mac",))}
    return {}


def lower(bindings: Bindings, *, telling: bool = False) -> Lowered:
    """Lower all but the guard. `telling`: steady reads the clock, though nobody may ask."""
    sleep = sleep_of(bindings)
    given = numbers_of(sleep, bindings)
    hearing = hearing_cards(bindings)
    plans = first_claims(
        _plan(b, bindings, given, hearing, sleep.wakers) for b in bindings.bindings
    )
    demand_claims(plans, bindings.machine)
    kept = {plan.address for plan in plans}
    served = tuple(b for b in bindings.bindings if b.device.address in kept)
    bindings = replace(bindings, bindings=served)
    work = Work(bindings, list(plans), sleep)
    config = config_access(work)
    ticks = clock_ticks(work)
    told = measured_ticks() if is_measured(bindings.bindings) else ticks
    if told is not None:
        told = replace(told, alarm=alarm_of(work) is not None)
    platform_places(work)
    console_rows = [r for p in work.consoles() for r in sequence_rows(work, p, "init")]
    guard_rows = [*processor_guards(work), *function_guards(work)]
    rows = init_rows(work)
    sayable = _sayable(rows, bool(work.consoles()))
    program, datum = stepper("init", sayable, then="wipe", ticks=ticks, config=config)
    work.programs.append(program)
    work.data.append(datum)
    lines = _lines(work)
    _steady(work, told, lines, ticks)
    _report(work, told)
    _tell_time(work, told, telling)
    guard_rows += folded_guards(work, rows)
    device_places(work, guard_rows)
    service_places(work)
    for queue in queues_of(_parts(work), bindings.services).values():
        work.places += queue.places()
    owned = ports(work)
    return Lowered(
        bindings,
        tuple(work.plans),
        tuple(work.programs),
        tuple(work.places),
        windows(work, [*console_rows, *guard_rows], rows),
        tuple(work.data),
        owned,
        tuple(console_rows),
        tuple(guard_rows),
        work.texts,
        config,
        _trap(work),
        tuple(rows),
        lent(work, owned, ticks, config)
        | told_by(work, lines)
        | given_by(_parts(work), bindings.services),
        told,
        sleep,
    )


def _trap(work: Work) -> Trap:
    """What an exception leaves for the report, and the two texts that there are for it."""
    words = FAULT_WORDS
    trap = Trap(FAULT, words["place"], words["wanted"], words["found"], FAULT_SITE)
    if not work.consoles():
        return trap
    steady, elsewhere = (
        work.texts.add(EXCEPTION.format(phase), {}, PLATFORM, GENERATED)
        for phase in ("steady", "the start")
    )
    return replace(trap, in_steady=steady, elsewhere=elsewhere)


def guard(lowered: Lowered, used: tuple[CpuFeature, ...]) -> tuple[Program, tuple[Datum, ...]]:
    """The guard's program and table, and the report's texts, now complete."""
    texts = lowered.texts
    rows = _sayable(guard_rows(lowered, used), _says(lowered))
    program, datum = stepper("guard", rows, then="init", ticks=None, config=lowered.config)
    lines = tuple(DatumLine(x.start, x.end, x.device, "text", x.span) for x in texts.said)
    digits = texts.digit_bytes()
    shown = DatumLine(0, len(digits), PLATFORM, "constant", GENERATED)
    if not _says(lowered):
        return program, (datum,)
    data = (
        datum,
        Datum(TEXTS, ("report",), bytes(texts.data), 1, (), lines),
        Datum(DIGITS, ("report",), digits, 4, (), (shown,)),
    )
    return program, data


def guard_rows(lowered: Lowered, used: tuple[CpuFeature, ...]) -> tuple[Row, ...]:
    """All rows of the guard, in order. Texts are added to the report's once."""
    rows = list(lowered.console_rows)  # so that what follows can be reported
    rows += [feature_row(feature, lowered.texts) for feature in used]
    rows += memory_rows(lowered.windows, lowered.texts)
    return (*rows, *lowered.guard_rows)


def _says(lowered: Lowered) -> bool:
    """Whether a console can show a report."""
    return any(p.phase == "report" and p.device != PLATFORM for p in lowered.programs)


def _sayable(rows: Iterable[Row], says: bool) -> tuple[Row, ...]:
    """Rows name no text in an image that has no console to show it."""
    return tuple(row if says else replace(row, site=0) for row in rows)


# ---- turns ----------------------------------------------------------------------------


def card_services(
    bindings: Bindings,
    cards: Sequence[DevicePlan],
    lines: Lines | None = None,
    ticks: Ticks | None = None,
    waker: Waker | None = None,
) -> Iterator[tuple[DevicePlan, Services]]:
    """Each of the machine's cards, which are `cards`, with the services that it carries.

    `lines` is what these can tell on consoles, `waker` what keeps the processor awake.
    """
    parts = roles(bindings.system, [device.address for device in cards])
    queues = queues_of(parts, bindings.services)
    for device, role in zip(cards, parts, strict=True):
        ip = Told(int(role.interface.ip), (address_fact(bindings.system, role.card),))
        mac = device.folded.get("mac")
        carried = carried_by(role, bindings.services)
        mine = Mine(ip, device.symbol("mac"), mac, device.address)
        mask = Told(int(role.interface.netmask), ip.facts)
        mine = replace(mine, mask=mask, gateway=role.gateway)
        mine = replace(mine, held=_held(mine, role, carried) | _link(device))
        tell = lines.teller(device.address) if lines is not None else None
        shown = TOLD if lines is not None else ""
        layouts, names = bindings.patterns.layouts, {"my.name": bindings.system.name}
        wire = wire_of(role, queues, carried, waker)
        yield device, Services(carried, layouts, mine, tell, ticks, shown, names, wire)


def _link(device: DevicePlan) -> dict[str, StateAt]:
    """Where a card's rule keeps whether the link is up, if it does."""
    state = device.states.get("link")
    turn = device.pattern.one(s.Turn)
    steps = [x for x in walk(turn) if isinstance(x, s.Write)]
    if state is None or not any(dotted(x.target) == state.name for x in steps):
        return {}
    return {"link": StateAt(state.symbol, state.node, device.address)}


_HELD = {"address": "ip", "mask": "mask", "gateway": "gateway"}
"""States of a service that is given an address, and how services call them of `my`."""


def _held(mine: Mine, role: Role, carried: Sequence[s.Service]) -> dict[str, StateAt]:
    """Where a card keeps the numbers that the network gives it."""
    return {
        _HELD[state.name]: StateAt(mine.symbol(service, state.name), state, mine.card)
        for service in carried
        for state in service.states
        if service.name == role.giver and state.name in _HELD
    }


def _lines(work: Work) -> Lines | None:
    carried = list(card_services(work.bindings, work.carriers()))
    demand_grants(carried)
    for _, own in carried:
        own.demand()
    system = work.bindings.system
    cursors = tuple(x.symbol("banner.at") for x in work.consoles())
    return lines_of(carried, cursors, system, work.bindings.services)


def told_by(work: Work, lines: Lines | None) -> dict[str, tuple[str, ...]]:
    """What cards may write to begin a line, and the cursors of consoles, which they look at."""
    cards = tuple(device.address for device in work.carriers())
    names = (SITE, POSITION, VALUES, *lines.cursors) if lines is not None else ()
    return dict.fromkeys(names, cards)


def _parts(work: Work) -> tuple[Role, ...]:
    """What each card is to do."""
    return roles(work.bindings.system, [device.address for device in work.carriers()])


def _tell(work: Work, lines: Lines, ticks: Ticks | None) -> None:
    """The writer's turn, and the consoles' that show what it writes."""
    builder = Builder(PLATFORM, "steady")
    with builder.at(work.consoles()[0].pattern.span):
        write_line(builder)
    work.programs.append(builder.finish())
    work.data += lines.data()
    work.places += lines.places()
    for device in work.consoles():
        _turn(work, device, "steady", None, Shown(TOLD, device.symbol("banner.at")), ticks)


def _steady(work: Work, ticks: Ticks | None, lines: Lines | None, waiting: Ticks | None) -> None:
    """`ticks` tell the time, `waiting` is the clock of init, by which the alarm was measured."""
    waker = waker_of(work)
    for device, services in card_services(work.bindings, work.carriers(), lines, ticks, waker):
        _turn(work, device, "steady", services, None, ticks)
        work.kept += services.states()
        work.places += services.places()
        work.data += services.data()
    for device in work.others():
        _turn(work, device, "steady", None, None, ticks)
    if lines is not None:
        _tell(work, lines, ticks)
    elif (banner := _banner(work)) is not None:
        for device in work.consoles():
            shown = Shown(banner, device.symbol("banner.at"))
            _turn(work, device, "steady", None, shown, ticks)
    found = alarm_of(work)
    if found is not None and ticks is not None and waiting is not None:
        work.programs.append(alarm.set_alarm(*found, ticks, waiting))
    for device in work.controllers():
        _turn(work, device, "steady", None, None, ticks)


def _tell_time(work: Work, ticks: Ticks | None, telling: bool) -> None:
    """A phase in which somebody looks at the time begins with reading the clock."""
    found = teller_of(work)
    if found is None or ticks is None:
        return
    device, span = found
    for phase in times_told(work.programs) or (("steady",) if telling else ()):
        builder = Builder(device.address, phase)
        with builder.at(span):
            now = tell_time(builder, ticks)
            if ticks.alarm and phase == "steady":
                alarm.begin(builder, ticks, now)
        phases = [p.phase for p in work.programs]
        first = phases.index(phase) if phase in phases else len(phases)
        work.programs.insert(first, builder.finish())


def _turn(
    work: Work,
    device: DevicePlan,
    phase: str,
    frames: Splice | None,
    text: Shown | None,
    ticks: Ticks | None,
) -> None:
    """A device's turn in a phase: its program, and the constants that it sends to ports."""
    builder = Builder(device.address, phase)
    waker = waker_of(work) if phase == "steady" else None
    turn = Turn(device, builder, frames, text, ticks, waker)
    turn.lower()
    program = builder.finish()
    if program.ops:
        work.programs.append(program)
    work.data += turn.constants.data(device.address, phase)


_SAID = {"address": "my.ip", "name": "my.name"}
"""What of the system file a text can say, and how the text calls it."""


def _banner(work: Work) -> str | None:
    """The datum of all that is said at start; None if nothing is, or nobody could show it."""
    said = [x for x in work.bindings.services if x.say is not None]
    if not said or not work.consoles():
        return None
    system = work.bindings.system
    names = {"my.ip": system.shown_address, "my.name": system.name}
    text, lines = bytearray(), list[DatumLine]()
    for say in (x.say for x in said if x.say is not None):
        start = len(text)
        text += literal(say.value, names, say.span).encode("ascii", "replace") + b"\r\n"
        length = len(text) + 1
        if length > TEXT_SIZE:
            raise fail(say.span, "E0472", f"the text has {length} characters, at most {TEXT_SIZE}")
        facts = tuple(f"system.{f}" for f, n in _SAID.items() if f"{{{n}}}" in say.value)
        lines.append(DatumLine(start, len(text), PLATFORM, "text", say.span, facts))
    # A console's position has 8 bits: it stays inside, whatever the text's end.
    lines[-1] = replace(lines[-1], end=TEXT_SIZE)
    data = bytes(text).ljust(TEXT_SIZE, b"\0")
    work.data.append(Datum("banner", ("steady",), data, 1, (), tuple(lines)))
    return "banner"


def _report(work: Work, ticks: Ticks | None) -> None:
    """The report's writer, then the consoles; a machine without consoles just parks."""
    consoles = work.consoles()
    builder = Builder(PLATFORM, "report")
    if consoles:
        shows = work.bindings.patterns.classes[consoles[0].pattern.class_name]
        with builder.at(shows.span):  # the class wants it, whichever of its devices is there
            write_report(builder)
        for name, size in ((REPORT, TEXT_SIZE), (WRITTEN, 1)):
            place = Place(name, PLATFORM, size, 4, True, (), GENERATED, ("report",))
            work.places.append(place)
    work.programs.append(builder.finish())
    ticks = replace(ticks, alarm=False) if ticks is not None else None  # it never sleeps
    for device in consoles:
        shown = Shown(REPORT, device.symbol("report.at"))
        _turn(work, device, "report", None, shown, ticks)
