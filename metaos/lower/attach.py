"""Rows by which functions of the PCI bus are driven or left alone, as config space's rule says.

attached(work, device)      # its windows placed, its messages enabled: before its own `init`
started(work, device)       # behind it
silenced(work)              # functions that nobody drives, on lines that the image uses
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from metaos.lower.known import fail
from metaos.lower.plan import DevicePlan
from metaos.lower.row import FULL, Row
from metaos.lower.rows import RowLowering, config_address
from metaos.lower.work import Work
from metaos.match.bind import Bindings
from metaos.match.facts import PortsFact, WindowFact
from metaos.match.routes import wire_of
from metaos.match.sleep import MESSAGES, Sleep, capability_at
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import walk
from metaos.probe.machine import Bar, Function, domain

_CAPABILITIES = 0x40
"""Capabilities lie behind the header. Source: PCI Local Bus Specification 3.0 §6.7."""

Lists = Mapping[str, tuple[Mapping[str, int], ...]]


def attached(work: Work, device: DevicePlan) -> list[Row]:
    """The rows that place a function's windows, and make it interrupt as its rule wants."""
    function, bars = device.device.function, used_bars(device)
    if function is None or not bars:
        return []
    for bar in bars:
        if not bar.address:
            raise fail(
                device.pattern.span,
                "E0471",
                f"{function.address}: BAR {bar.index} has no address in the machine file",
                "probe the machine after its firmware has assigned addresses",
            )
    told = _messages(work, device)
    names = {
        "bars.io": int(any(b.kind == "io" for b in bars)),
        "bars.memory": int(any(b.kind != "io" for b in bars)),
        "bars.master": int(device.is_told_of_ram or told.at > 0),
        "bars.silent": int(work.sleep.halt and device.pattern.one(s.Interrupt) is None),
        **told.names,
    }
    members = tuple(
        {
            "at": b.index,
            "address": b.address & FULL,
            "upper": b.index + 1,
            "high": b.address >> 32,
            "wide": int(b.kind == "mem64"),
        }
        for b in bars
    )
    unused = tuple({"at": _word(at)} for at in _unused(work, function, told))
    facts = tuple(f"functions.{function.address}.bars.{b.index}" for b in bars)
    rows = config_rows(
        work,
        s.Sequence,
        "attach",
        function.address,
        names,
        {"bar": members, "unused": unused},
        facts,
    )
    return [owned(row, device.address) for row in rows]


def started(work: Work, device: DevicePlan) -> list[Row]:
    """The rows behind the `init` of a function that sends messages by a table, which that fills."""
    function, told = device.device.function, _messages(work, device)
    if function is None or not told.table or not used_bars(device):
        return []
    rows = config_rows(work, s.Sequence, "started", function.address, told.names)
    return [owned(row, device.address) for row in rows]


def silenced(work: Work) -> list[Row]:
    """The rows by which functions hold no line that wakes the processor, if no rule drives them.

    Whether they would, their firmware has left behind, and nobody would ever acknowledge it.
    """
    rows: list[Row] = []
    for function in silent(work.bindings, work.sleep):
        at = f"functions.{function.address}"
        rows += config_rows(
            work, s.Sequence, "silence", function.address, facts=(at, f"{at}.interrupt_line")
        )
    return rows


def silent(bindings: Bindings, sleep: Sleep) -> tuple[Function, ...]:
    """The functions with a pin on a level line of the image that no rule acknowledges."""
    bound = bindings.bindings
    answered = {
        b.device.address
        for b in bound
        if b.pattern.one(s.Interrupt) is not None or _is_placed(b.pattern)
    }
    wires = (wire_of(b, bound) for b in bound if b.device.address in sleep.wakers)
    levels = {wire.line for wire in wires if wire is not None and not wire.edge}
    pins = {pin.address: pin.interrupt.line for pin in bindings.machine.pins}
    return tuple(
        f
        for f in bindings.machine.functions
        if f.interrupt_pin and f.address not in answered and not domain(f.address)
        if sleep.level >> f.interrupt_line & 1 or pins.get(f.address) in levels
    )


def _is_placed(pattern: Pattern) -> bool:
    """Whether a rule uses a window of its function: then `attached` writes COMMAND."""
    indices = (x for x in walk(pattern.items) if isinstance(x, s.Index))
    return any(isinstance(x.of, s.Name) and x.of.text == "bar" for x in indices)


def config_rows(
    work: Work,
    kind: type[s.Sequence] | type[s.Guard],
    name: str,
    address: str,
    names: Mapping[str, int] | None = None,
    lists: Lists | None = None,
    facts: tuple[str, ...] = (),
) -> list[Row]:
    """The rows of a sequence or a guard of the config space's rule, for one function."""
    rule = next((p for p in work.plans if p.pattern.one(s.Access)), None)
    found = rule.pattern.named(kind).get(name) if rule is not None else None
    if rule is None or found is None:
        return []
    place = config_address(address)
    return RowLowering(rule, work.texts, names or {}, lists or {}, place, facts).lower(found.rows)


@dataclass(frozen=True, slots=True)
class _Told:
    """The capability by which a function sends messages: its offset, 0 if it sends none.

    `table`: MSI-X, else MSI, whose address is `wide` or has 32 bits, and which `masks` or not.
    Source: PCI Local Bus Specification 3.0 §6.8.1.
    """

    at: int = 0
    table: bool = False
    wide: bool = False
    masks: bool = False

    @property
    def names(self) -> Mapping[str, int]:
        """What the config space's rule may ask for."""
        return {
            "message.signal": int(self.at > 0 and not self.table),
            "message.table": int(self.at > 0 and self.table),
            "message.wide": int(self.wide),
            "message.masks": int(self.masks),
            "message.at": _word(self.at) if self.at else 0,
        }


def _word(at: int) -> int:
    """The number of a 32-bit word behind the header."""
    return (at - _CAPABILITIES) // 4


def _messages(work: Work, device: DevicePlan) -> _Told:
    function, interrupt = device.device.function, device.pattern.one(s.Interrupt)
    at = capability_at(device.device, device.pattern) if work.sleep.halt else 0
    if not at or function is None or interrupt is None:
        return _Told()
    control = int.from_bytes(bytes.fromhex(function.config)[at + 2 : at + 4], "little")
    table = interrupt.kind == "table"
    return _Told(at, table, bool(control & 1 << 7), bool(control & 1 << 8) and not table)


def _unused(work: Work, function: Function, told: _Told) -> list[int]:
    """The capabilities by which a function could send messages, and is not to."""
    if not work.sleep.halt:
        return []
    return [x.offset for x in function.capabilities if x.id in MESSAGES and x.offset != told.at]


def owned(row: Row, device: str) -> Row:
    """A row of another device's rule that is there for `device`."""
    return replace(row, device=device)


def used_bars(device: DevicePlan) -> tuple[Bar, ...]:
    """The windows of a function that its pattern uses, and so the image places."""
    function = device.device.function
    places = (x for x in device.facts.values.values() if isinstance(x, WindowFact | PortsFact))
    used = {x.bar for x in places if x.bar is not None}
    return tuple(b for b in function.bars if b.index in used) if function is not None else ()
