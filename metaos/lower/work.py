"""`Work`: what the lowering of one image collects, and the devices by what they do."""

from __future__ import annotations

from dataclasses import dataclass, field

from metaos.errors import Span
from metaos.ir.program import Program
from metaos.link.parts import Datum, Place
from metaos.lower.clock import Ticks
from metaos.lower.headers import StateAt
from metaos.lower.known import fail
from metaos.lower.plan import DevicePlan, RegisterPlan, Waker
from metaos.lower.rows import RowLowering
from metaos.lower.stepper import ConfigAccess
from metaos.lower.text import Texts
from metaos.match.bind import Bindings, offers
from metaos.match.facts import number
from metaos.match.sleep import Sleep
from metaos.pattern import syntax as s
from metaos.pattern.names import INTERRUPTS_CLASS
from metaos.pattern.spell import walk
from metaos.probe.machine import Function, domain

FEMTOSECONDS = 10**15
"""In a second."""
MEMORY = "memory_kib"
MEMORY_NEEDED = "memory_needed_kib"
GENERATED = Span("generated", 1, 1, 2)
"""Where the parts no pattern speaks of come from: the stepper's own rows and state."""


@dataclass
class Work:
    bindings: Bindings
    plans: list[DevicePlan]
    sleep: Sleep = field(default_factory=lambda: Sleep(False))
    texts: Texts = field(default_factory=Texts)
    programs: list[Program] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    data: list[Datum] = field(default_factory=list)
    kept: list[StateAt] = field(default_factory=list)
    """The states of the services, one of each a card that carries them."""
    touched: dict[str, dict[str, set[int]]] = field(default_factory=dict)

    @property
    def functions(self) -> tuple[Function, ...]:
        """What the rows of a start can reach by configuration space."""
        return tuple(f for f in self.bindings.machine.functions if not domain(f.address))

    def carriers(self) -> list[DevicePlan]:
        """Devices whose turn offers frames."""
        return [p for p in self.plans if offers(p.pattern)]

    def others(self) -> list[DevicePlan]:
        """Devices whose turn neither offers frames nor shows text, nor ends an interrupt."""
        known = [*self.carriers(), *self.consoles(), *self.controllers()]
        return [p for p in self.plans if p.pattern.one(s.Turn) and p not in known]

    def controllers(self) -> list[DevicePlan]:
        """Interrupt controllers: they are told last that an interrupt has been served."""
        return [p for p in self.plans if p.pattern.class_name == INTERRUPTS_CLASS]

    def consoles(self) -> list[DevicePlan]:
        turns = [(p, tuple(p.pattern.of(s.Turn))) for p in self.plans]
        return [p for p, t in turns if any(isinstance(x, s.Take) for x in walk(t))]


def config_access(work: Work) -> ConfigAccess | None:
    for device in work.plans:
        access = device.pattern.one(s.Access)
        if access is not None:
            select, data = (_port_of(device, x) for x in (access.select, access.data))
            return ConfigAccess(select.number, data.number, access.enable)
    return None


def clock_of(work: Work) -> tuple[DevicePlan, s.Clock] | None:
    """The device that bounds every wait, and how it counts."""
    found = ((device, device.pattern.one(s.Clock)) for device in work.plans)
    return next(((device, clock) for device, clock in found if clock is not None), None)


def teller_of(work: Work) -> tuple[DevicePlan, Span] | None:
    """The device that tells the time, and where its rule says so: the processor if it does."""
    counters = ((device, device.pattern.one(s.Measured)) for device in work.plans)
    found = next(((device, one) for device, one in counters if one is not None), clock_of(work))
    return (found[0], found[1].span) if found is not None else None


def clock_ticks(work: Work) -> Ticks | None:
    """The counter that bounds every wait, if the machine has one."""
    found = clock_of(work)
    if found is None:
        return None
    device, clock = found
    node, hertz = clock.register, clock.hertz
    register = device.registers.get(node.text) if isinstance(node, s.Name) else None
    if register is None or register.space == "config":
        raise fail(node.span, "E0470", "a clock counts in a register, among ports or in a window")
    if clock.period is not None:
        period = number(clock.period, device.device, device.facts.values)
        if not 0 < period <= FEMTOSECONDS:
            raise fail(clock.period.span, "E0470", f"no clock has a period of {period} fs")
        hertz = FEMTOSECONDS // period
    return Ticks(register.number, register.bits, clock.bits, hertz, register.symbol, clock.down)


def alarm_of(work: Work) -> tuple[DevicePlan, s.Alarm] | None:
    """The device that wakes the processor when something is due, if it sleeps."""
    found = ((x, x.pattern.one(s.Alarm)) for x in work.plans if work.sleep.halt)
    return next(((device, alarm) for device, alarm in found if alarm is not None), None)


def waker_of(work: Work) -> Waker | None:
    """What interrupts the processor, if it sleeps; the rule for the device says how."""
    for device in work.plans if work.sleep.halt else ():
        waker = device.pattern.one(s.Waker)
        if waker is not None:
            lowering = RowLowering(device, work.texts, {}, {}, None)
            return lowering.waker(waker)
    return None


def _port_of(device: DevicePlan, node: s.Expr) -> RegisterPlan:
    register = device.registers.get(node.text) if isinstance(node, s.Name) else None
    if register is None or register.space != "port":
        raise fail(node.span, "E0470", "expected a register among I/O ports")
    return register
