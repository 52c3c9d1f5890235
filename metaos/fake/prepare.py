"""A rule on the machine that its fake describes: `prepare(pattern, patterns, ...) -> Prepared`.

The device alone is there, and a clock where some pattern of a clock has a fake; asleep also what
leads its interrupt to the processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from metaos.errors import MetaosError
from metaos.fake.device import FakeDevice
from metaos.fake.machine import MAC, device_for, machine_for
from metaos.fake.seen import Seen
from metaos.fake.sleeper import Sleeper
from metaos.fake.station import Station
from metaos.lower.lower import Lowered, lower
from metaos.lower.plan import DevicePlan, plan
from metaos.match.bind import Binding, Bindings, offers
from metaos.match.services import services_of
from metaos.match.sleep import sleep_of
from metaos.match.system import System
from metaos.pattern import syntax as s
from metaos.pattern.names import ALARM_CLASS, INTERRUPTS_CLASS
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.spell import spell, walk
from metaos.probe.machine import Learnt, Origin

WIRE_MAC = int.from_bytes(MAC.to_bytes(6, "big"), "little")
"""The card's own address with its first byte in the lowest bits, as patterns have it."""


@dataclass(frozen=True)
class Prepared:
    """A lowered rule and the plans of its device, and of the clock beside it."""

    pattern: Pattern
    lowered: Lowered
    device: DevicePlan
    others: tuple[DevicePlan, ...]
    asleep: bool = False

    def station(self, seen: Seen, given: Mapping[str, int], *, emulated: bool) -> Station:
        """Everything at power on; `given` are the fake's numbers that begin as that."""
        station = Station(self.lowered, seen, emulated=emulated)
        station.fakes[self.device.address] = FakeDevice(self.device, station, WIRE_MAC, given)
        for other in self.others:
            station.fakes[other.address] = FakeDevice(other, station, WIRE_MAC)
        if self.asleep:
            station.sleeper = Sleeper(station.fakes[self.device.address], _held(self.device))
            station.waker = next(x for o in self.others for x in _waker(o))
        return station


def prepare(
    pattern: Pattern,
    patterns: Patterns,
    system: System,
    given: Mapping[str, int],
    text: str,
    *,
    asleep: bool = False,
) -> Prepared:
    """Lower a rule for the machine of its fake. Raises MetaosError where that cannot be.

    `asleep`: the processor sleeps between turns, and the device's interrupt wakes it.
    """
    services: tuple[s.Service, ...] = ()
    if offers(pattern):
        services = tuple(x for x in services_of(patterns, system) if x.say is None)
    elif any(isinstance(x, s.Take) for x in walk(pattern.one(s.Turn) or ())):
        services = (_saying(text, pattern),)

    def beside(others: tuple[Pattern, ...], idle: Literal["halt"] | None) -> Bindings:
        own = msgspec.structs.replace(system, idle=idle)
        return _bindings(pattern, others, patterns, own, services, given)

    clock = _beside(pattern, patterns)
    if asleep:
        every = [(*clock, *leads) for leads in _leading(patterns)] or [clock]
        tried = (beside(others, None) for others in every)
        whole = next((x for x in tried if sleep_of(x).halt), None) or beside(every[-1], "halt")
    else:
        whole = beside(clock, None)
    lowered = lower(whole, telling=bool(pattern.of(s.Clock) or pattern.of(s.Measured)))
    device, *others = lowered.plans
    return Prepared(pattern, lowered, device, tuple(others), asleep)


def interrupts(pattern: Pattern) -> bool:
    """Whether its examples run asleep too: its fake says when it interrupts."""
    said = any(rule.event == "interrupt" for fake in pattern.fakes for rule in fake.rules)
    return said and pattern.one(s.Interrupt) is not None


def _held(device: DevicePlan) -> bool:
    """Whether a device wakes the processor as long as it holds its line, not by messages."""
    interrupt = device.pattern.one(s.Interrupt)
    return interrupt is not None and interrupt.kind in ("pin", "window")


def _waker(device: DevicePlan) -> Iterator[tuple[str, int]]:
    """The register by which the processor interrupts itself, if it is a device's."""
    waker = device.pattern.one(s.Waker)
    if waker is not None:
        register = device.registers[spell(waker.register)]
        yield register.symbol, register.number


def _leading(patterns: Patterns) -> Iterator[tuple[Pattern, ...]]:
    """What may lead interrupts to the processor: a controller, one behind it, an alarm besides."""
    known = _known(patterns)
    wakers = [p for p in known if p.one(s.Waker) is not None]
    behind = [(), *((p,) for p in known if p.one(s.Lines) is not None)]
    alarms = [(), *((p,) for p in known if p.class_name == ALARM_CLASS)]
    yield from ((w, *b, *a) for a in alarms for b in behind for w in wakers)


def _bindings(
    pattern: Pattern,
    beside: tuple[Pattern, ...],
    patterns: Patterns,
    system: System,
    services: tuple[s.Service, ...],
    given: Mapping[str, int],
) -> Bindings:
    """The rule and what is beside it, on a machine of their fakes."""
    machine = machine_for(pattern)
    for other in beside:
        more = machine_for(other)
        machine = msgspec.structs.replace(
            machine,
            acpi=machine.acpi + more.acpi,
            legacy=machine.legacy + more.legacy,
            functions=machine.functions + more.functions,
        )
    binding = Binding(device_for(pattern, machine), pattern, "", ())
    machine = msgspec.structs.replace(machine, learnt=_learnt(binding, given))
    bound = (binding, *(Binding(device_for(x, machine_for(x)), x, "", ()) for x in beside))
    return Bindings(machine, system, patterns, bound, services, ())


def _beside(pattern: Pattern, patterns: Patterns) -> tuple[Pattern, ...]:
    """The clock that bounds the rule's waits, unless it is one itself; and beside a rule that is
    there for an image that sleeps, what wakes the processor."""
    wanted: list[type[s.Clock | s.Waker]] = [s.Clock]
    if pattern.class_name in (INTERRUPTS_CLASS, ALARM_CLASS):
        wanted.append(s.Waker)
    known = _known(patterns)
    missing = (kind for kind in wanted if pattern.one(kind) is None)
    found = (next((p for p in known if p.one(kind) is not None), None) for kind in missing)
    return tuple(p for p in found if p is not None)


def _known(patterns: Patterns) -> tuple[Pattern, ...]:
    """What can be beside a rule: the devices that have a fake."""
    return tuple(p for p in patterns.devices.values() if p.fakes and not p.abstract)


def _saying(text: str, pattern: Pattern) -> s.Service:
    """A service that gives a console `text`."""
    return s.Service(
        "text", pattern.class_name, None, (), "", (), (), (), None,
        s.String(text, pattern.span), (), (), pattern.span,
    )  # fmt: skip


class _NoRam:
    """The bus while nothing of the driver is there: `learn` rows come before it."""

    def read(self, address: int, length: int) -> bytes:
        raise MetaosError(f"the device reaches for RAM at {address:#x} while it is learnt")

    def write(self, address: int, data: bytes) -> None:
        self.read(address, len(data))


def _learnt(binding: Binding, given: Mapping[str, int]) -> tuple[Learnt, ...]:
    """What the rule's `learn` rows find on the fake."""
    pattern = binding.pattern
    rows = [row for block in pattern.of(s.Learn) for row in block.rows]
    if not rows:
        return ()
    fake = FakeDevice(plan(binding), _NoRam(), WIRE_MAC, given)
    found: list[Learnt] = []
    for row in rows:
        if isinstance(row, s.Keep):
            value = fake.look(row.value)
            found.append(
                Learnt(
                    device=binding.device.address,
                    pattern=pattern.name,
                    name=row.name,
                    value=value,
                    origin=Origin.FILE,
                )
            )
        else:
            fake.put(row.target, row.value)
    return tuple(found)
