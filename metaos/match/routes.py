"""Which interrupt controller leads on a device's line: `router_of(binding, bound) -> Binding`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from metaos.match.facts import number
from metaos.pattern import syntax as s

if TYPE_CHECKING:
    from metaos.match.bind import Binding


def routes(binding: Binding) -> bool:
    """Whether a device is an interrupt controller that each line is led through."""
    return binding.pattern.one(s.Lines) is not None


def router_of(binding: Binding, bound: Iterable[Binding]) -> Binding | None:
    """The controller at which the interrupt of a window arrives: that of the highest first line.

    Source: ACPI 6.4 §5.2.13, global system interrupts.
    """
    interrupt, mmio = binding.pattern.one(s.Interrupt), binding.device.mmio
    wire = mmio.interrupt if mmio is not None else None
    if interrupt is None or interrupt.kind != "window" or wire is None:
        return None
    first = {id(b): first_line(b) for b in bound if routes(b)}
    before = [b for b in bound if routes(b) and first[id(b)] <= wire.line]
    return max(before, key=lambda b: first[id(b)], default=None)


def first_line(controller: Binding) -> int:
    """The global system interrupt that is a controller's line 0."""
    lines = controller.pattern.one(s.Lines)
    assert lines is not None
    return number(lines.first, controller.device, {})
