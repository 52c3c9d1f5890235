"""What each device's rule claims of the machine: in its own windows, and nobody else's.

    demand_claims(plans, machine)

A register or a table has to lie in the window or the block of ports that its rule puts it in. Two
devices claim no byte both. What a rule names by a number, not by a base address of its own
function, is in no other function's window, and is no RAM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from metaos.errors import MetaosError, Problem, Span
from metaos.lower.plan import DevicePlan
from metaos.match.facts import PortsFact, evaluate
from metaos.pattern import syntax as s
from metaos.probe.machine import Bar, BarKind, Machine

_NUMBERED = ("pci", "platform")
"""Kinds of devices whose rules say numbers themselves; of others firmware says where they are."""
_USABLE = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """Ports or physical memory from `start` that a rule gives to a device, or that lie in a BAR."""

    ports: bool
    start: int
    size: int
    device: str
    name: str
    span: Span | None = None
    numbered: bool = False

    def meets(self, other: Claim) -> bool:
        """Whether they have a byte in common."""
        apart = self.start + self.size <= other.start or other.start + other.size <= self.start
        return self.ports == other.ports and not apart

    def shown(self) -> str:
        return f"{'port' if self.ports else 'address'} {self.start:#x}"


def demand_claims(plans: Iterable[DevicePlan], machine: Machine) -> None:
    """Refuse rules that reach beyond what is theirs.

    Raises:
        MetaosError: with a problem for each such register, table or window, at its place.
    """
    plans = tuple(plans)
    problems = [problem for plan in plans for problem in _outside(plan)]
    claims = [claim for plan in plans for claim in _claims(plan)]
    bars = [
        Claim(bar.kind is BarKind.IO, bar.address, bar.size, f.address, f"BAR {bar.index}")
        for f in machine.functions
        for bar in f.bars
        if bar.address
    ]
    ram = [
        Claim(False, one.base, one.size, "the machine", "RAM")
        for one in machine.memory
        if one.kind == _USABLE
    ]
    for number, claim in enumerate(claims):
        others = claims[:number] + (bars + ram if claim.numbered else [])
        taken = next((x for x in others if x.device != claim.device and claim.meets(x)), None)
        if taken is not None:
            text = f"{claim.shown()} of {claim.device}'s '{claim.name}' is {_whose(taken)}"
            problems.append(Problem("E0477", text, claim.span))
    if problems:
        raise MetaosError("a pattern reaches beyond its device", problems=problems)


def _whose(claim: Claim) -> str:
    named = claim.name if claim.span is None else f"'{claim.name}'"
    return f"{claim.device}'s {named}"


def _claims(plan: DevicePlan) -> Iterator[Claim]:
    """The windows and ports that a plan has; those of its own base addresses are sure."""
    numbers = plan.device.kind in _NUMBERED
    for name, window in plan.windows.items():
        span = next(f.span for f in plan.pattern.of(s.Fact) if f.name == name)
        numbered = numbers and window.bar is None
        yield Claim(False, window.physical, window.size, plan.address, name, span, numbered)
    for block in plan.pattern.of(s.Registers):
        numbered = numbers and _bar(plan, block) is None
        for register in block.registers if block.space == "port" else ():
            place = plan.registers[register.name]
            size = place.bits // 8 * register.count
            yield Claim(
                True, place.number, size, plan.address, register.name, register.span, numbered
            )


def _outside(plan: DevicePlan) -> Iterator[Problem]:
    """Registers and tables that end beyond the window or the ports that they are in."""
    windows = {plan.symbol(name): window for name, window in plan.windows.items()}
    for block in plan.pattern.of(s.Registers):
        bar = _bar(plan, block)
        for register in block.registers:
            place = plan.registers[register.name]
            end = place.number + place.bits // 8 * register.count
            if place.symbol:
                yield from _beyond(register.name, end, windows[place.symbol].size, register.span)
            elif bar is not None:
                yield from _beyond(register.name, end - bar.address, bar.size, register.span)
    for table in plan.tables.values():
        if table.window:
            end = table.offset + table.count * table.stride
            yield from _beyond(table.name, end, plan.windows[table.window].size, table.node.span)


def _beyond(name: str, end: int, size: int, span: Span) -> Iterator[Problem]:
    if end > size:
        text = f"'{name}' ends at {end:#x}, where its window has {size:#x} bytes"
        yield Problem("E0478", text, span)


def _bar(plan: DevicePlan, block: s.Registers) -> Bar | None:
    """The base address that a block of ports is placed by; None for one that has none."""
    function = plan.device.function
    if function is None or block.at is None or block.space != "port":
        return None
    place = evaluate(block.at, plan.device, plan.facts.values)
    index = place.bar if isinstance(place, PortsFact) else None
    return next((bar for bar in function.bars if bar.index == index), None)


def first_claims(plans: Iterable[DevicePlan]) -> tuple[DevicePlan, ...]:
    """The plans without those of a device whose rule gives it the very places of one before it.

    Two screen cards both answer to what a PC's screen has always been; one of them shows it.
    """
    kept: list[DevicePlan] = []
    places: set[tuple[object, ...]] = set()
    for plan in plans:
        fixed = tuple((c.ports, c.start, c.size) for c in _claims(plan) if c.numbered)
        if not fixed or (plan.pattern.name, *fixed) not in places:
            kept.append(plan)
        places.add((plan.pattern.name, *fixed))
    return tuple(kept)
