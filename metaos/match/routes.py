"""Which interrupt controller leads on a device's line: `router_of(binding, bound) -> Binding`.

Lines and pins are led by the pair of 8259s, if the machine has it: its rule masks them. Else they
are global system interrupts, as those of windows are everywhere.

Source: ACPI 6.4 §5.2.12.5 (an ISA interrupt is the global one of its number, an edge and active
high, where no override says else), §5.2.13 (global system interrupts).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from metaos.match.facts import number
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted, walk
from metaos.probe.acpi import read_acpi
from metaos.probe.machine import Wire

if TYPE_CHECKING:
    from metaos.match.bind import Binding

_MASKED = "lines.masked"
_MADT = "APIC"


def routes(binding: Binding) -> bool:
    """Whether a device is an interrupt controller that each line is led through."""
    return binding.pattern.one(s.Lines) is not None


def masks_lines(bound: Iterable[Binding]) -> bool:
    """Whether a controller has the lines by their numbers: its rule masks those nobody uses."""
    nodes = (x for b in bound for x in walk(b.pattern.items))
    return any(isinstance(x, s.Member) and dotted(x) == _MASKED for x in nodes)


def wire_of(binding: Binding, bound: Iterable[Binding]) -> Wire | None:
    """What an I/O APIC has to lead of a device; None if it is nothing, or nothing is known."""
    interrupt, mmio = binding.pattern.one(s.Interrupt), binding.device.mmio
    match interrupt:
        case s.Interrupt(kind="window"):
            return mmio.interrupt if mmio is not None else None
        case s.Interrupt(kind="line", line=line) if line is not None and not masks_lines(bound):
            return _isa(number(line, binding.device, {}), bound)
    return None


def _isa(irq: int, bound: Iterable[Binding]) -> Wire:
    """The global system interrupt that an ISA one is."""
    table = next((t for b in bound if (t := b.device.table) and t.signature == _MADT), None)
    madt = read_acpi((table,)).madt if table is not None else None
    for change in madt.overrides if madt is not None else ():
        if change.irq == irq:
            edge, low = change.trigger != "level", change.polarity == "low"
            return Wire(line=change.line, edge=edge, low=low)
    return Wire(line=irq, edge=True, low=False)


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
