"""Which pattern serves which device, and why: `bind(machine, patterns, system)`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from metaos.errors import Exit, MetaosError, Problem
from metaos.match.device import Device, devices
from metaos.match.keys import differs, fact_of, function_key, unread_key
from metaos.match.known import HOW_TO_GET
from metaos.match.names import device_name
from metaos.match.routes import router_of, routes
from metaos.match.services import FRAME, services_of
from metaos.match.system import System
from metaos.pattern import syntax as s
from metaos.pattern.names import ALARM_CLASS
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.spell import dotted, walk
from metaos.probe.machine import (
    Machine,
    unknown_fact,
)

LINK = "system.link"
"""What the rules of cards call that a service wants to know if the link is up."""

NO_SERVICE = "the system has no service for it"
OTHER_CLOCK = "another clock tells the time"
NO_LINE = "no device that wakes the processor has a line of it"
"""Why a card, a clock or an interrupt controller is left alone that a pattern could serve."""
BASE_CLASS = 16
"""Bits of a class code below its base class. PCI 3.0 §6.2.1."""


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
    results, alarms, counters = _apart(results)
    results = _asked(results, awake=system.idle == "poll")
    bound = tuple(r for r in results if isinstance(r, Binding))
    if periods(bound, services):
        if system.idle != "poll":
            bound += alarms[:1]  # started behind the clock and the interrupt controllers
        if any(clock_in(b.pattern) is not None for b in bound):
            bound += counters
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


def is_measured(bound: Iterable[Binding]) -> bool:
    """Whether the processor's counter tells the time, and another clock how fast it counts."""
    return any(b.pattern.one(s.Measured) is not None for b in bound)


def _apart(
    results: list[Binding | Unmatched],
) -> tuple[list[Binding | Unmatched], tuple[Binding, ...], tuple[Binding, ...]]:
    """Alarms, and the processor's counter: they are there only where they are needed."""
    bound = [r for r in results if isinstance(r, Binding)]
    alarms = tuple(b for b in bound if b.pattern.class_name == ALARM_CLASS)
    counters = tuple(b for b in bound if is_measured([b]))
    return [r for r in results if r not in (*alarms, *counters)], alarms, counters


def _wanted(result: Binding | Unmatched, carried: bool) -> Binding | Unmatched:
    """A card is left alone where the system has nothing for it to carry."""
    if carried or isinstance(result, Unmatched) or not offers(result.pattern):
        return result
    return _left_alone(result, NO_SERVICE)


def bind_devices(machine: Machine, patterns: Patterns) -> tuple[Binding, ...]:
    """The bindings of a machine, whatever a system needs."""
    results = _one_clock([_bind_one(device, patterns) for device in devices(machine)])
    results, *_ = _apart(results)
    results = _asked(results, awake=False)
    return tuple(r for r in results if isinstance(r, Binding))


def _one_clock(results: list[Binding | Unmatched]) -> list[Binding | Unmatched]:
    """One clock bounds the waits, the first of the lowest rank; others are left alone.

    The processor's counter is none of them: nobody says how fast it counts.
    """
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
        untold = next((x for m in matches if (x := unread_key(m, device))), None)
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
            found.append(fact_of(address, key))
    return tuple(dict.fromkeys(found))


def demand_needed(bindings: Bindings) -> None:
    """A class that carries a wanted service must have a device."""
    if not any(x.over == FRAME for x in bindings.services):
        return
    carriers = {d.class_name for d in bindings.patterns.devices.values() if offers(d)}
    if any(b.pattern.class_name in carriers for b in bindings.bindings):
        return
    cards = carrying_classes(bindings.patterns)
    problems = []
    for unmatched in bindings.unmatched:
        function = unmatched.device.function
        assert function is not None
        told = unmatched.device.unread("class") is None
        if told and function.class_code >> BASE_CLASS not in cards:
            continue  # a chipset's parts are no card
        problems.append(
            Problem(
                "E0302",
                f"{function.address} has no pattern: {function.vendor:04x}:{function.device:04x} "
                f"class {function.class_code:06x} revision {function.revision:02x}, "
                f"{device_name(function)}",
                hint=_nearest(unmatched, bindings.patterns, carriers),
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
    needs = f"system '{bindings.system.name}' needs a network card, and"
    if not problems:
        raise MetaosError(
            f"{needs} this machine has none",
            exit_code=Exit.NO_PATTERN,
            hint="add one and probe again, or leave its services out of the system file",
        )
    raise MetaosError(
        f"{needs} no device of this machine has a pattern of that class",
        exit_code=Exit.NO_PATTERN,
        problems=problems,
        hint="write a pattern for it ('metaos patterns new', docs/guides/), or leave its services "
        "out of the system file",
    )


def carrying_classes(patterns: Patterns) -> frozenset[int]:
    """The base classes that patterns of devices which carry services match by."""
    return frozenset(
        value >> BASE_CLASS
        for pattern in patterns.devices.values()
        if offers(pattern)
        for match in pattern.of(s.Match)
        for key, value in match.keys
        if key == "class"
    )


def offers(pattern: Pattern) -> bool:
    """Whether a pattern receives frames that services answer: a card's does."""
    turn = pattern.one(s.Turn)
    return turn is not None and any(isinstance(x, s.Offer) for x in walk(turn.steps))


def _nearest(unmatched: Unmatched, patterns: Patterns, classes: set[str]) -> str:
    """Of the patterns of these classes those that share the most ids with the device."""
    function = unmatched.device.function
    assert function is not None
    near: list[tuple[int, bool, str]] = []
    for loser in unmatched.losers:
        pattern = patterns.devices[loser.pattern]
        keys = [k for m in pattern.of(s.Match) for k in m.keys]
        same = {k for k, value in keys if (read := function_key(k)) and read(function) == value}
        if same and pattern.class_name in classes:
            near.append((-len(same), bool(pattern.unproved), f"{loser.pattern} ({loser.why})"))
    return "nearest: " + "; ".join(text for *_, text in sorted(near)[:3]) if near else ""
