"""Whether the image sleeps between two turns, and what wakes it: `sleep_of(bindings) -> Sleep`.

All interrupts but those of the controllers' lines share one vector: whoever it is, a turn asks
every device. So no device's code depends on which others there are.

Source: Intel SDM vol. 3A, 10.11.1 (message address), 10.9 (spurious interrupts: on some processors
the low four bits of their vector are ones); vol. 2A, CPUID leaf 1 (the initial APIC id).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metaos.errors import MetaosError
from metaos.match.bind import LINK, Binding, Bindings, clock_of, link_asked, offers, periods
from metaos.match.device import Device
from metaos.match.facts import number
from metaos.match.routes import router_of
from metaos.pattern import syntax as s
from metaos.pattern.names import TICK_CLASS
from metaos.pattern.patterns import Pattern

LINE_0, SPURIOUS, MESSAGE = 32, 47, 48
"""Vectors: of the controllers' 16 lines the first, of no interrupt (line 15's too), of messages."""
INTERRUPTS = MESSAGE + 1 - LINE_0
"""How many vectors from 32 on are used."""
LINES = 16
_MESSAGES = 0xFEE00000
_SIGNAL, _TABLE = 0x05, 0x11
"""Capabilities. Source: PCI Local Bus Specification 3.0, appendix H."""
AWAKE: Mapping[str, int] = {
    "system.halt": 0,
    "system.hears": 0,
    LINK: 0,
    "every.shortest": 0,
    "interrupt.address": _MESSAGES,
    "interrupt.data": MESSAGE,
    "interrupt.lines": LINE_0,
    "interrupt.spurious": SPURIOUS,
    "interrupt.processor": 0,
}
"""What every pattern may ask for, of a machine that polls."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """`halt`, or `why` the image polls though the system file does not ask for it.

    `used` and `level` have a bit for each line of the interrupt controllers that some device
    uses, and for those of them that are no edges.
    """

    halt: bool
    why: str = ""
    used: int = 0
    level: int = 0

    @property
    def numbers(self) -> Mapping[str, int]:
        """What the linker calls by a name, since it depends on several devices."""
        ones = (1 << LINES) - 1
        return {"lines.masked": ones & ~self.used, "lines.level": self.level}


def sleep_of(bindings: Bindings) -> Sleep:
    """What the system file asks for, or halt where every card can wake the processor.

    Raises:
        MetaosError: the system file asks for halt, and a device cannot wake the processor.
    """
    idle = bindings.system.idle
    if idle == "poll":
        return Sleep(False)
    why = _obstacle(bindings)
    if why and idle == "halt":
        hint = 'say idle = "poll" in the system file: the image looks again and again'
        raise MetaosError(f"this machine cannot sleep: {why}", hint=hint)
    if why:
        return Sleep(False, why)
    used = level = 0
    for binding in bindings.bindings:
        interrupt = binding.pattern.one(s.Interrupt)
        if interrupt is not None and interrupt.kind in ("pin", "line"):
            bit = 1 << line_of(binding, interrupt)
            used |= bit
            level |= bit if interrupt.kind == "pin" else 0
    return Sleep(True, "", used, level)


def line_of(binding: Binding, interrupt: s.Interrupt) -> int:
    """The controllers' line of a device: as the rule says, or as firmware routed its pin."""
    if interrupt.line is not None:
        found = number(interrupt.line, binding.device, {})
        if not 0 <= found < LINES:
            raise MetaosError(f"{binding.device.address}: there is no interrupt line {found}")
        return found
    assert binding.device.function is not None
    return binding.device.function.interrupt_line


def numbers_of(sleep: Sleep, bindings: Bindings) -> dict[str, int]:
    """What every pattern may ask of the system and of interrupts, by dotted name."""
    machine = bindings.machine
    leaf = next((x for x in machine.cpu.leaves if (x.leaf, x.subleaf) == (1, 0)), None)
    processor = int(leaf.ebx) >> 24 if leaf is not None else 0
    return {
        **AWAKE,
        "system.halt": int(sleep.halt),
        LINK: int(link_asked(bindings.services)),
        "every.shortest": _shortest(bindings),
        "interrupt.address": _MESSAGES | processor << 12,
        "interrupt.processor": processor,
    }


def _shortest(bindings: Bindings) -> int:
    """How often the image must wake, in nanoseconds; 0 if it need not.

    The clock has to be read twice in each of its wraps.
    """
    found = periods(bindings.bindings, bindings.services)
    clock = clock_of(bindings.bindings)
    wrap = (10**9 << clock.bits) // clock.hertz if clock is not None and clock.hertz else 0
    return min((*found, wrap // 2) if wrap else found) if found else 0


def capability_at(device: Device, pattern: Pattern) -> int:
    """Where the capability lies by which a device sends messages; 0 if it sends none."""
    interrupt = pattern.one(s.Interrupt)
    wanted = {"message": _SIGNAL, "table": _TABLE}.get(interrupt.kind if interrupt else "")
    function = device.function
    held = function.capabilities if function is not None else ()
    return next((x.offset for x in held if x.id == wanted), 0)


def _obstacle(bindings: Bindings) -> str:
    """Why the processor could sleep for ever; empty if it could not."""
    if not any(b.pattern.one(s.Waker) for b in bindings.bindings):
        return "no rule says how its processor is interrupted"
    ticks = any(b.pattern.class_name == TICK_CLASS for b in bindings.bindings)
    if not ticks and periods(bindings.bindings, bindings.services):
        return "'every' asks for the time, and nothing ticks"
    for binding in bindings.bindings:
        interrupt = binding.pattern.one(s.Interrupt)
        who = f"{binding.device.address} ({binding.pattern.name})"
        if interrupt is None:
            if offers(binding.pattern):
                return f"the rule for {who} has no 'interrupt'"
            continue
        function = binding.device.function
        if interrupt.kind == "pin" and function is not None:
            if not function.interrupt_pin or not 0 < function.interrupt_line < LINES:
                return f"firmware has routed no interrupt line to {who}"
        elif interrupt.kind == "window":
            mmio = binding.device.mmio
            if mmio is None or mmio.interrupt is None:
                return f"the machine file says no interrupt line of {who}"
            if router_of(binding, bindings.bindings) is None:
                return (
                    f"no interrupt controller with a rule has line {mmio.interrupt.line} of {who}"
                )
        elif interrupt.kind in ("message", "table") and not capability_at(
            binding.device, binding.pattern
        ):
            return f"{who} has no capability to send interrupts as messages"
    return ""
