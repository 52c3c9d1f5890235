"""Which interrupt controller leads on a device's line: `router_of(binding, bound) -> Binding`.

Lines and pins go to a controller whose rule masks them by number, if there is one. Else they are
global system interrupts, as those of windows are everywhere. Source: ACPI 6.4 §5.2.13.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from metaos.match.facts import number
from metaos.pattern import syntax as s
from metaos.pattern.names import INTERRUPTS_CLASS
from metaos.pattern.spell import dotted, walk
from metaos.probe.acpi import isa_wire
from metaos.probe.machine import Wire

if TYPE_CHECKING:
    from metaos.match.bind import Binding

_MASKED = "lines.masked"


def routes(binding: Binding) -> bool:
    """Whether a device is an interrupt controller that each line is led through."""
    return binding.pattern.one(s.Lines) is not None


def masks_lines(bound: Iterable[Binding]) -> bool:
    """Whether a controller has the lines by their numbers: its rule masks those nobody uses."""
    controllers = (b.pattern for b in bound if b.pattern.class_name == INTERRUPTS_CLASS)
    nodes = (x for pattern in controllers for x in walk(pattern.items))
    return any(isinstance(x, s.Member) and dotted(x) == _MASKED for x in nodes)


def wire_of(binding: Binding, bound: Iterable[Binding]) -> Wire | None:
    """What an I/O APIC has to lead of a device; None if it is nothing, or nothing is known."""
    interrupt, mmio = binding.pattern.one(s.Interrupt), binding.device.mmio
    match interrupt:
        case s.Interrupt(kind="pin") if not masks_lines(bound):
            return binding.device.pin
        case s.Interrupt(kind="window"):
            return mmio.interrupt if mmio is not None else None
        case s.Interrupt(kind="line", line=line) if line is not None and not masks_lines(bound):
            tables = (b.device.table for b in bound if b.device.table is not None)
            return isa_wire(tables, number(line, binding.device, {}))
    return None


def router_of(binding: Binding, bound: Iterable[Binding]) -> Binding | None:
    """The controller at which a device's interrupt arrives: that of the highest first line."""
    bound = tuple(bound)
    wire = wire_of(binding, bound)
    if wire is None:
        return None
    first = {id(b): first_line(b) for b in bound if routes(b)}
    before = [b for b in bound if routes(b) and first[id(b)] <= wire.line]
    return max(before, key=lambda b: first[id(b)], default=None)


def first_line(controller: Binding) -> int:
    """The global system interrupt that is a controller's line 0."""
    lines = controller.pattern.one(s.Lines)
    assert lines is not None
    return number(lines.first, controller.device, {})
