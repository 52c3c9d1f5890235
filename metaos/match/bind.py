"""Which pattern serves which device, and why: `bind(machine, patterns, system)`.

A device is what a pattern can match: a PCI function ("00:03.0"), a device that firmware
names ("com0"), an ACPI table ("FACP"), a structure in one ("APIC@34", by its offset), a part of
the platform ("pci") or a window of memory that no bus announces ("mmio@feb00e00").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from metaos.errors import Exit, MetaosError, Problem, did_you_mean
from metaos.match.facts import evaluate
from metaos.match.known import HOW_TO_GET
from metaos.match.names import device_name
from metaos.match.routes import router_of, routes
from metaos.match.rows import rows_of
from metaos.match.system import System, setting_value
from metaos.pattern import syntax as s
from metaos.pattern.names import ENTRIES, TICK_CLASS
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.spell import dotted, walk
from metaos.probe.acpi import madt_entries
from metaos.probe.machine import (
    AcpiTable,
    Function,
    Legacy,
    Machine,
    Mmio,
    Unknown,
    domain,
    unknown_fact,
)
from metaos.told import Told

_UNREAD = {
    "vendor": "ids",
    "device": "ids",
    "subsystem_vendor": "subsystem",
    "subsystem_device": "subsystem",
    "capability": "capabilities",
}
"""The names by which a match's keys are unknown, where they are other ones."""
TICK = "tick"
"""The part of the platform that interrupts again and again; it is asked for where it is needed."""
FRAME = "frame"
"""What services lie over that answer what a card has received."""

LINK = "system.link"
"""What the rules of cards call that a service wants to know if the link is up."""

NO_SERVICE = "the system has no service for it"
OTHER_CLOCK = "another clock tells the time"
NO_LINE = "no device that wakes the processor has a line of it"
"""Why a card, a clock or an interrupt controller is left alone that a pattern could serve."""


@dataclass(frozen=True, slots=True)
class Device:
    """Something of the machine that a pattern can match; one of function, legacy, table, mmio is
    set.

    Of a structure in a table, `entry` are its bytes. `unknown` is what could not be read.
    """

    address: str
    kind: str
    function: Function | None = None
    legacy: Legacy | None = None
    table: AcpiTable | None = None
    mmio: Mmio | None = None
    entry: range | None = None
    unknown: tuple[Unknown, ...] = ()

    def unread(self, what: str) -> Unknown | None:
        """Why `what` of it ("capabilities", "bar 0 size") could not be read."""
        return next((x for x in self.unknown if x.what == f"{self.address} {what}"), None)


@dataclass(frozen=True, slots=True)
class Loser:
    """A pattern that did not get a device, and why.

    `untold`: nothing that is known speaks against it, but something it asks for is not known.
    """

    pattern: str
    why: str
    untold: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """A device and the pattern that serves it."""

    device: Device
    pattern: Pattern
    why: str
    losers: tuple[Loser, ...]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A device without a pattern, with the nearest ones."""

    device: Device
    losers: tuple[Loser, ...]


@dataclass(frozen=True, slots=True)
class Bindings:
    """All that the lowering needs: who serves whom, and which services are wanted."""

    machine: Machine
    system: System
    patterns: Patterns
    bindings: tuple[Binding, ...]
    services: tuple[s.Service, ...]
    unmatched: tuple[Unmatched, ...]
    fold_units: bool = False


def devices(machine: Machine) -> tuple[Device, ...]:
    """Everything of the machine that a pattern may match, in a fixed order."""
    found = [Device("pci", "platform")] if machine.functions else []
    found += [x for t in _first_of_each(machine) for x in _in_table(t)]
    found += [Device(f"{x.kind}{x.index}", "legacy", legacy=x) for x in machine.legacy]
    found += [
        Device(f.address, "pci", function=f, unknown=_unknown(machine, f.address))
        for f in machine.functions
    ]
    found += [Device(x.address, "mmio", mmio=x) for x in machine.mmio]
    return tuple(found)


def _in_table(table: AcpiTable) -> Iterator[Device]:
    """The table, and behind it the structures in it, if each may be a device."""
    yield Device(table.signature, "acpi", table=table)
    if table.signature in ENTRIES:
        for _, entry in madt_entries(bytes.fromhex(table.data)):
            address = f"{table.signature}@{entry.start:x}"
            yield Device(address, "acpi", table=table, entry=entry)


def _unknown(machine: Machine, address: str) -> tuple[Unknown, ...]:
    return tuple(fact for fact in machine.unknown if fact.what.startswith(f"{address} "))


def _first_of_each(machine: Machine) -> list[AcpiTable]:
    tables: dict[str, AcpiTable] = {}
    for table in machine.acpi:
        tables.setdefault(table.signature, table)
    return list(tables.values())


def bind(machine: Machine, patterns: Patterns, system: System) -> Bindings:
    """Bind every device; raises with `Exit.NO_PATTERN` where the system lacks one it needs."""
    bindings = bind_all(machine, patterns, system)
    _demand_told(bindings)
    demand_needed(bindings)
    return bindings


def _demand_told(bindings: Bindings) -> None:
    """Refuse a machine of which it cannot be told whether a pattern serves a device."""
    carried = any(x.over == FRAME for x in bindings.services)
    losers = [x for b in bindings.bindings for x in b.losers]
    losers += [x for u in bindings.unmatched for x in u.losers]
    untold = [
        loser
        for loser in losers
        if loser.untold and (carried or not offers(bindings.patterns.devices[loser.pattern]))
    ]
    if untold:
        raise MetaosError(
            "the machine file lacks what decides whether a pattern serves a device",
            problems=[
                Problem("E0307", f"{loser.why}; '{loser.pattern}' asks for it") for loser in untold
            ],
            hint=HOW_TO_GET,
        )


def bind_all(machine: Machine, patterns: Patterns, system: System) -> Bindings:
    """Bind every device that has a pattern, whatever the system needs."""
    services = services_of(patterns, system)
    carried = any(x.over == FRAME for x in services)
    results = _one_clock([_bind_one(device, patterns) for device in devices(machine)])
    results = [_wanted(result, carried) for result in results]
    results, ticks = _apart(results)
    results = _asked(results, awake=system.idle == "poll")
    bound = tuple(r for r in results if isinstance(r, Binding))
    if system.idle != "poll" and periods(bound, services):
        bound = _with_tick(bound, ticks, patterns)
    unmatched = tuple(
        r for r in results if isinstance(r, Unmatched) and r.device.function is not None
    )
    return Bindings(machine, system, patterns, bound, services, unmatched)


def periods(bound: Iterable[Binding], services: Iterable[s.Service]) -> tuple[int, ...]:
    """The periods of everything that an image does every so often, in nanoseconds."""
    rules = (tuple(b.pattern.items for b in bound), tuple(services))
    found = [node for node in walk(rules) if isinstance(node, s.Every | s.Pulse)]
    if not link_asked(services):
        blocks = [x for x in walk(rules) if isinstance(x, s.Given) and _names(x.condition, LINK)]
        absent = {x for block in blocks for x in walk(block.body) if isinstance(x, s.Every)}
        found = [x for x in found if x not in absent]
    return tuple(node.period for node in found)


def link_asked(services: Iterable[s.Service]) -> bool:
    """Whether a service wants to know if the link is up."""
    return any(_names(service, "my.link") for service in services)


def _names(node: object, name: str) -> bool:
    return any(isinstance(x, s.Member) and dotted(x) == name for x in walk(node))


def clock_of(bound: Iterable[Binding]) -> s.Clock | None:
    """The counter that tells the time."""
    return next((c for b in bound if (c := clock_in(b.pattern)) is not None), None)


def _apart(
    results: list[Binding | Unmatched],
) -> tuple[list[Binding | Unmatched], tuple[Binding, ...]]:
    """What can tick is there only where it is needed."""
    ticks = tuple(
        r for r in results if isinstance(r, Binding) and r.pattern.class_name == TICK_CLASS
    )
    return [r for r in results if r not in ticks], ticks


def _with_tick(
    bound: tuple[Binding, ...], ticks: tuple[Binding, ...], patterns: Patterns
) -> tuple[Binding, ...]:
    """With what wakes an image that sleeps until something is due; without a rule it cannot sleep.

    That is the platform's, unless the clock has its ports; else a device that can tick, which is
    started last, when clock and interrupt controllers are.
    """
    platform = _bind_one(Device(TICK, "platform"), patterns)
    taken = {port for b in bound if clock_in(b.pattern) is not None for port in _ports(b.pattern)}
    if isinstance(platform, Binding) and not taken & _ports(platform.pattern):
        return platform, *bound
    return (*bound, *ticks[:1])


def _ports(pattern: Pattern) -> set[int]:
    """The ports that a rule names by numbers."""
    return {
        block.at.value + register.offset
        for block in pattern.of(s.Registers)
        if block.space == "port" and isinstance(block.at, s.Number)
        for register in block.registers
    }


def _wanted(result: Binding | Unmatched, carried: bool) -> Binding | Unmatched:
    """A card is left alone where the system has nothing for it to carry."""
    if carried or isinstance(result, Unmatched) or not offers(result.pattern):
        return result
    return _left_alone(result, NO_SERVICE)


def bind_devices(machine: Machine, patterns: Patterns) -> tuple[Binding, ...]:
    """The bindings of a machine, whatever a system needs."""
    results = _one_clock([_bind_one(device, patterns) for device in devices(machine)])
    results, _ = _apart(results)
    results = _asked(results, awake=False)
    return tuple(r for r in results if isinstance(r, Binding))


def _one_clock(results: list[Binding | Unmatched]) -> list[Binding | Unmatched]:
    """One clock tells the time, the first of the lowest rank; others are left alone."""
    found = [(r, c.rank) for r in results if isinstance(r, Binding) and (c := clock_in(r.pattern))]
    chosen = min(found, key=lambda pair: pair[1])[0] if found else None
    left = [r for r, _ in found if r is not chosen]
    return [_left_alone(r, OTHER_CLOCK) if r in left else r for r in results]


def _asked(results: list[Binding | Unmatched], *, awake: bool) -> list[Binding | Unmatched]:
    """Interrupt controllers that lead lines on are there for the devices that have one."""
    bound = [r for r in results if isinstance(r, Binding)]
    needed = {} if awake else {id(b): b for x in bound if (b := router_of(x, bound)) is not None}
    return [
        _left_alone(r, NO_LINE)
        if isinstance(r, Binding) and routes(r) and id(r) not in needed
        else r
        for r in results
    ]


def _left_alone(binding: Binding | Unmatched, why: str) -> Unmatched:
    """A device that a pattern could serve."""
    assert isinstance(binding, Binding)
    return Unmatched(binding.device, (Loser(binding.pattern.name, why), *binding.losers))


def clock_in(pattern: Pattern) -> s.Clock | None:
    """The counter by which a device tells the time."""
    return pattern.one(s.Clock)


def _bind_one(device: Device, patterns: Patterns) -> Binding | Unmatched:
    winners: list[tuple[int, Pattern, str]] = []
    losers: list[Loser] = []
    for pattern in patterns.devices.values():
        matches = pattern.of(s.Match)
        if pattern.abstract or not matches or matches[0].kind != device.kind:
            continue
        why_not = next((w for m in matches if (w := differs(m, device, pattern))), "")
        untold = next((x for m in matches if (x := _untold(m, device))), None)
        if why_not:
            losers.append(Loser(pattern.name, why_not))
        elif untold is not None:
            why = f"{untold.what}: not known: {untold.reason}"
            losers.append(Loser(pattern.name, why, untold=True))
        else:
            said = {pair for m in matches for pair in m.keys}
            keys = len(said) + sum(m.where is not None for m in matches)
            winners.append((keys, pattern, _why(matches)))
    if not winners:
        return Unmatched(device, tuple(losers))
    winners.sort(key=lambda w: (-w[0], w[1].name))
    best = winners[0]
    if len(winners) > 1 and winners[1][0] == best[0]:
        both = f"'{best[1].name}' and '{winners[1][1].name}'"
        raise MetaosError(
            f"{device.address}: patterns {both} match equally well",
            problems=[
                patterns.problem("E0301", f"{both} match {device.address} equally", p.span)
                for _, p, _ in winners[:2]
            ],
            hint="name one more id in one of them",
        )
    losers = [Loser(p.name, "matches less exactly") for _, p, _ in winners[1:]] + losers
    return Binding(device, best[1], best[2], tuple(losers))


def _why(matches: tuple[s.Match, ...]) -> str:
    said = []
    for match in matches:
        said += [f"{key} {value:#x}" for key, value in match.keys]
        said += [match.name] if match.name else []
    return ", ".join(said)


def chosen_by(binding: Binding) -> tuple[str, ...]:
    """The facts by which a device has its pattern, as paths into the machine file."""
    address = binding.device.address
    found: list[str] = []
    for match in binding.pattern.of(s.Match):
        if match.kind != "pci":
            found.append(f"{match.kind}.{address}")
        for key, _ in match.keys:
            found.append(f"functions.{address}.{_FIELDS.get(key, key)}")
    return tuple(dict.fromkeys(found))


_FIELDS = {"class": "class_code", "capability": "capabilities"}
"""Keys of a match that have another name in the machine file."""


def function_key(name: str) -> Callable[[Function], int] | None:
    """How a match's key is read from a function; None for a key that is no id."""
    keys: dict[str, Callable[[Function], int]] = {
        "vendor": lambda f: f.vendor,
        "device": lambda f: f.device,
        "class": lambda f: f.class_code,
        "revision": lambda f: f.revision,
        "subsystem_vendor": lambda f: f.subsystem_vendor,
        "subsystem_device": lambda f: f.subsystem_device,
    }
    return keys.get(name)


def differs(match: s.Match, device: Device, pattern: Pattern) -> str:
    """Why a match does not hold; empty if it does, or if what is not known decides it."""
    if device.function is not None and (other := domain(device.address)):
        return f"is in PCI domain {other:x}, and images reach domain 0 only"
    if match.kind == "platform" and match.name != device.address:
        return f"is for platform part '{match.name}'"
    if match.kind == "legacy" and (device.legacy is None or device.legacy.kind != match.name):
        return f"is for '{match.name}'"
    if match.kind == "acpi" and (device.table is None or device.table.signature != match.name):
        return f"is for table {match.name}"
    if match.kind == "acpi" and match.entry != type_of(device):
        return f"is for {match.name}" + f", entry {match.entry}" * (match.entry is not None)
    if match.kind == "mmio" and (device.mmio is None or device.mmio.kind != match.name):
        return f"is for '{match.name}'"
    for key, wanted in match.keys:
        if device.unread(_UNREAD.get(key, key)) is not None:
            if key == "class" and (why := _other_class(device, wanted)):
                return why
            continue
        if key == "capability" and device.function is not None:
            if all(c.id != wanted for c in device.function.capabilities):
                return f"it has no capability {wanted:#04x}"
            continue
        read = function_key(key)
        if read is None or device.function is None:
            return f"unknown key '{key}'"
        found = read(device.function)
        if found != wanted:
            return f"{key} is {found:#06x}, not {wanted:#06x}"
    if match.where is not None and not evaluate(match.where, device):
        return "its 'where' does not hold"
    return ""


def type_of(device: Device) -> int | None:
    """The type of a structure in an ACPI table; None for what is none."""
    if device.entry is None or device.table is None:
        return None
    return bytes.fromhex(device.table.data)[device.entry.start]


def _other_class(device: Device, wanted: int) -> str:
    """Why a class code of which only the last byte is not known is another; empty if it may be."""
    found = device.function.class_code if device.function is not None else 0
    other = found and found >> 8 != wanted >> 8
    return f"class is {found >> 8:#06x}, not {wanted >> 8:#06x}" if other else ""


def _untold(match: s.Match, device: Device) -> Unknown | None:
    """What a match asks for and the machine file does not know."""
    found = (device.unread(_UNREAD.get(key, key)) for key, _ in match.keys)
    return next((unread for unread in found if unread is not None), None)


def services_of(patterns: Patterns, system: System) -> tuple[s.Service, ...]:
    """The wanted services and their parents, parents first."""
    wanted: dict[str, s.Service] = {}
    roots = {FRAME} | set(patterns.classes)

    def add(name: str) -> None:
        if name in wanted:
            return
        service = patterns.services.get(name)
        if service is None:
            raise MetaosError(
                f"system '{system.name}': no service '{name}'",
                hint=did_you_mean(name, patterns.services),
            )
        if service.over not in roots:
            add(service.over)
        for used in service.used:
            add(used)
        wanted[name] = service

    for name in system.every_service:
        add(name)
    _demand_settings(wanted, system)
    if system.giver and not any(
        (x.name, x.bits, x.count) == ("address", 32, 0) for x in wanted[system.giver].states
    ):
        raise MetaosError(
            f"system '{system.name}': '{system.giver}' is given no address",
            hint="a service that is has 'state address : u32'",
        )
    return tuple(settled(wanted, system).values())


def _demand_settings(services: Mapping[str, s.Service], system: System) -> None:
    """Every setting is of a constant that a service of the system has, and fits it."""
    problems: list[Problem] = []
    for name, table in system.settings.items():
        if name not in services:
            hint = did_you_mean(name, services)
            text = f"settings: the system has no service '{name}'"
            problems.append(Problem("E0308", text, hint=hint))
            continue
        bits = {constant.name: constant.bits for constant in services[name].constants}
        lists = {one.name for one in services[name].lists}
        for key, value in table.items():
            if isinstance(value, tuple) and key in lists:
                continue
            if key not in bits or isinstance(value, tuple):
                known = f"it has {', '.join(bits)}" if bits else "it has none"
                hint = did_you_mean(key, bits) or known
                text = f"settings: '{name}' has no constant '{key}'"
                problems.append(Problem("E0308", text, hint=hint))
            elif setting_value(value) >> bits[key]:
                text = f"settings: {name}.{key} = {value} does not fit its {bits[key]} bits"
                problems.append(Problem("E0308", text))
    if problems:
        raise MetaosError(f"system '{system.name}' does not fit its services", problems=problems)


def settled(services: Mapping[str, s.Service], system: System) -> dict[str, s.Service]:
    """The services with the constants that the system gives other numbers."""
    return {name: _set(service, system) for name, service in services.items()}


def _set(service: s.Service, system: System) -> s.Service:
    """A service with its constants settled, those that its user gives it too."""
    own_table = system.settings.get(service.name, {})
    service = replace(
        service,
        lists=tuple(rows_of(x, own_table.get(x.name, ()), service.name) for x in service.lists),
    )
    table = {(service.name, x): x for x in own_table if not isinstance(own_table[x], tuple)}
    user = service.name.rpartition(".")[0]
    table |= {(user, x): own for own, x in service.given if x in system.settings.get(user, {})}
    found: dict[str, s.Number] = {}
    for (name, key), own in table.items():
        number = system.settings[name][key]
        assert not isinstance(number, tuple)
        value = Told(setting_value(number), (f"system.settings.{name}.{key}",))
        span = next(x.span for x in service.constants if x.name == own)
        found[own] = s.Number(value, span)
    constants = (replace(x, value=found.get(x.name, x.value)) for x in service.constants)
    return replace(service, constants=tuple(constants)) if found else service


def demand_needed(bindings: Bindings) -> None:
    """A class that carries a wanted service must have a device."""
    if not any(x.over == FRAME for x in bindings.services):
        return
    carriers = {d.class_name for d in bindings.patterns.devices.values() if offers(d)}
    if any(b.pattern.class_name in carriers for b in bindings.bindings):
        return
    near_to = {u: _nearest(u, bindings.patterns, carriers) for u in bindings.unmatched}
    of_class = any("class" in same for same, _ in near_to.values())
    problems = []
    for unmatched, (same, near) in near_to.items():
        function = unmatched.device.function
        assert function is not None
        if of_class and "class" not in same:  # a chipset's parts say nothing of a card
            continue
        problems.append(
            Problem(
                "E0302",
                f"{function.address} has no pattern: {function.vendor:04x}:{function.device:04x} "
                f"class {function.class_code:06x} revision {function.revision:02x}, "
                f"{device_name(function)}",
                hint=near,
            )
        )
    unread = unknown_fact(bindings.machine, "pci functions")
    if unread is not None and not problems:
        raise MetaosError(
            f"system '{bindings.system.name}' needs a network card, and the PCI functions of this "
            f"machine are unknown: {unread.reason}",
            exit_code=Exit.NO_PATTERN,
            hint=HOW_TO_GET,
        )
    raise MetaosError(
        f"system '{bindings.system.name}' needs a network card, and no device of this machine "
        "has a pattern of that class",
        exit_code=Exit.NO_PATTERN,
        problems=problems,
        hint="write a pattern for it ('metaos patterns new', docs/guides/), or leave its services "
        "out of the system file",
    )


def offers(pattern: Pattern) -> bool:
    """Whether a pattern receives frames that services answer: a card's does."""
    turn = pattern.one(s.Turn)
    return turn is not None and any(isinstance(x, s.Offer) for x in walk(turn.steps))


def _nearest(
    unmatched: Unmatched, patterns: Patterns, classes: set[str]
) -> tuple[frozenset[str], str]:
    """The ids the device shares with patterns of these classes, and the nearest of them."""
    function = unmatched.device.function
    assert function is not None
    near: list[tuple[int, bool, str]] = []
    shared: set[str] = set()
    for loser in unmatched.losers:
        pattern = patterns.devices[loser.pattern]
        keys = [k for m in pattern.of(s.Match) for k in m.keys]
        same = {k for k, value in keys if (read := function_key(k)) and read(function) == value}
        if same and pattern.class_name in classes:
            near.append((-len(same), bool(pattern.unproved), f"{loser.pattern} ({loser.why})"))
            shared |= same
    text = "nearest: " + "; ".join(text for *_, text in sorted(near)[:3]) if near else ""
    return frozenset(shared), text
