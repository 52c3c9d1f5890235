"""Whether the image sleeps between two turns, and what wakes it: `sleep_of(bindings) -> Sleep`.

All interrupts but those of the controllers' lines share one vector: whoever it is, a turn asks
every device. So no device's code depends on which others there are.

Source: Intel SDM vol. 3A, 10.11.1 (message address), 10.9 (spurious interrupts: on some processors
the low four bits of their vector are ones); vol. 2A, CPUID leaf 1 (the initial APIC id).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from metaos.errors import MetaosError
from metaos.match.bind import LINK, Binding, Bindings, link_asked, offers, periods
from metaos.match.device import Device
from metaos.match.facts import number
from metaos.match.routes import masks_lines, router_of, wire_of
from metaos.pattern import syntax as s
from metaos.pattern.names import ALARM_CLASS
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import dotted, walk

LINE_0, SPURIOUS, MESSAGE = 32, 47, 48
"""Vectors: of the controllers' 16 lines the first, of no interrupt (line 15's too), of messages."""
LINES = 16
_MESSAGES = 0xFEE00000
_SIGNAL, _TABLE = MESSAGES = 0x05, 0x11
"""Capabilities to send messages. Source: PCI Local Bus Specification 3.0, appendix H."""
WAKES = "interrupt.wakes"
"""What a rule calls that the device's interrupt wakes the processor: one that asks does without."""
AWAKE: Mapping[str, int] = {
    WAKES: 0,
    "system.halt": 0,
    "system.hears": 0,
    LINK: 0,
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
    uses, and for those of them that are no edges. `wakers` are the devices whose interrupts reach
    the processor.
    """

    halt: bool
    why: str = ""
    used: int = 0
    level: int = 0
    wakers: frozenset[str] = frozenset()

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
    wakers = _wakers(bindings)
    for binding in bindings.bindings if masks_lines(bindings.bindings) else ():
        interrupt = binding.pattern.one(s.Interrupt)
        on_line = interrupt is not None and interrupt.kind in ("pin", "line")
        if interrupt is not None and on_line and binding.device.address in wakers:
            bit = 1 << line_of(binding, interrupt)
            used |= bit
            level |= bit if interrupt.kind == "pin" else 0
    return Sleep(True, "", used, level, wakers)


def _wakers(bindings: Bindings) -> frozenset[str]:
    """The devices whose interrupts reach the processor.

    An edge is seen where the line falls before: of two devices on one line either may hold it up.
    Levels may share.
    """
    led = [b for b in bindings.bindings if b.pattern.one(s.Interrupt) and not _unled(b, bindings)]
    on = {b.device.address: _input(b, bindings) for b in led}
    many = Counter(on.values())
    return frozenset(
        b.device.address
        for b in led
        if not (_does_without(b.pattern) and _edge(b) and many[on[b.device.address]] > 1)
    )


def _edge(binding: Binding) -> bool:
    """Whether a device's line tells by rising: not that of a PCI pin."""
    interrupt = binding.pattern.one(s.Interrupt)
    return interrupt is not None and interrupt.kind != "pin"


def _input(binding: Binding, bindings: Bindings) -> tuple[str, int | str]:
    """Where a device's interrupt arrives: globally, at a line by its number, or as a message."""
    wire, interrupt = wire_of(binding, bindings.bindings), binding.pattern.one(s.Interrupt)
    if wire is not None:
        return "global", int(wire.line)
    if interrupt is not None and interrupt.kind in ("pin", "line"):
        return "line", int(line_of(binding, interrupt))
    return "message", binding.device.address


def _does_without(pattern: Pattern) -> bool:
    """Whether the rule asks if its interrupt comes, and so does without."""
    return any(isinstance(x, s.Member) and dotted(x) == WAKES for x in walk(pattern.items))


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
    processor = _processor(bindings) or 0
    return {
        **AWAKE,
        "system.halt": int(sleep.halt),
        LINK: int(link_asked(bindings.services)),
        "interrupt.address": _MESSAGES | processor << 12,
        "interrupt.processor": processor,
    }


def _processor(bindings: Bindings) -> int | None:
    """The local APIC's number of the processor; None if the machine file does not say it."""
    leaves = bindings.machine.cpu.leaves
    leaf = next((x for x in leaves if (x.leaf, x.subleaf) == (1, 0)), None)
    return int(leaf.ebx) >> 24 if leaf is not None else None


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
    if _processor(bindings) is None:
        return "the machine file does not say its processor's number (CPUID leaf 1)"
    alarm = any(b.pattern.class_name == ALARM_CLASS for b in bindings.bindings)
    if not alarm and periods(bindings.bindings, bindings.services):
        return "'every' asks for the time, and no rule says how it is woken when that has come"
    for binding in bindings.bindings:
        if offers(binding.pattern) and binding.pattern.one(s.Interrupt) is None:
            return f"the rule for {_who(binding)} has no 'interrupt'"
        if _forgets(binding.pattern):
            return f"the rule for {_who(binding)} takes text and has no 'wake when'"
        why = "" if _does_without(binding.pattern) else _unled(binding, bindings)
        if why:
            return why
    return ""


def _forgets(pattern: Pattern) -> bool:
    """Whether a rule shows a character and has nothing by which the next turn comes."""
    steps = list(walk(tuple(pattern.of(s.Turn))))
    takes = any(isinstance(x, s.Take) for x in steps)
    return takes and not any(isinstance(x, s.Wake) for x in steps)


def _who(binding: Binding) -> str:
    return f"{binding.device.address} ({binding.pattern.name})"


def _unled(binding: Binding, bindings: Bindings) -> str:
    """Why a device's interrupt does not reach the processor; empty if it does, or there is none."""
    interrupt, who = binding.pattern.one(s.Interrupt), _who(binding)
    function, bound = binding.device.function, bindings.bindings
    kind = interrupt.kind if interrupt is not None else ""
    if kind in ("pin", "line") and masks_lines(bound):
        routed = function is None or (
            function.interrupt_pin and 0 < function.interrupt_line < LINES
        )
        return "" if kind == "line" or routed else f"firmware has routed no interrupt line to {who}"
    match kind:
        case "window" | "pin" | "line":
            wire = wire_of(binding, bound)
            if wire is None:
                return f"the machine file says no interrupt line of {who}"
            if router_of(binding, bound) is None:
                return f"no interrupt controller with a rule has line {wire.line} of {who}"
        case "message" | "table":
            if not capability_at(binding.device, binding.pattern):
                return f"{who} has no capability to send interrupts as messages"
    return ""
