"""What is known of a device when the image is built: its facts, and what was learnt.

facts = known_facts(device, pattern, machine.learnt)
facts.values["regs"]            # WindowFact(...)
facts.behind(expression)        # ("functions.00:03.0.bars.0",)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from metaos.errors import MetaosError, Problem, Span
from metaos.match.device import Device
from metaos.match.facts import CapabilityFact, Fact, PortsFact, WindowFact, evaluate
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import walk
from metaos.probe.machine import Learnt


def fail(span: Span, code: str, message: str, hint: str = "") -> MetaosError:
    """A rule that cannot be lowered; the pipeline adds the source line."""
    return MetaosError("a pattern cannot be lowered", problems=[Problem(code, message, span, hint)])


@dataclass(frozen=True)
class Facts:
    """Values by name, and for each the paths into the machine file that it is from."""

    values: Mapping[str, Fact]
    origins: Mapping[str, tuple[str, ...]]

    def behind(self, node: s.Expr | None) -> tuple[str, ...]:
        """The machine's facts that an expression depends on, each once, in order."""
        names = (n.text for n in walk(node) if isinstance(n, s.Name)) if node is not None else ()
        return tuple(dict.fromkeys(f for n in names for f in self.origins.get(n, ())))

    @cached_property
    def windows(self) -> Mapping[str, WindowFact]:
        """Whole windows, each under the name of the first fact that lies in it."""
        found: dict[str, WindowFact] = {}
        for name, value in self.values.items():
            if isinstance(value, WindowFact) and value.whole not in found.values():
                found[name] = value.whole
        return found

    def window(self, place: WindowFact) -> str:
        """The name that the whole window of a place has."""
        return next(name for name, whole in self.windows.items() if whole == place.whole)


def known_facts(
    device: Device, pattern: Pattern, learnt: Iterable[Learnt], given: Mapping[str, int]
) -> Facts:
    """The facts of a device, and the numbers that `learn` rows kept or assume.

    `given` are numbers that every pattern may ask for, as `system.halt`.
    """
    values: dict[str, Fact] = {**given}
    origins: dict[str, tuple[str, ...]] = {}
    said = {
        x.name: x.value for x in learnt if (x.device, x.pattern) == (device.address, pattern.name)
    }
    for keep in (row for block in pattern.of(s.Learn) for row in block.rows):
        if isinstance(keep, s.Keep):
            low, _, fields = kept_field(keep, pattern)
            found = said[keep.name] >> low if keep.name in said else keep.default
            values[keep.name] = found
            for one in fields:
                values[f"{keep.name}.{one.name}"] = found >> one.low & ((1 << one.bits) - 1)
            origins[keep.name] = (f"learnt.{device.address}.{keep.name}",)
    for fact in pattern.of(s.Fact):
        value = evaluate(fact.value, device, values)
        if fact.type == "ports" and isinstance(value, int):
            value = PortsFact(value, f"{device.kind}.{device.address}")
        wanted = {"window": WindowFact, "ports": PortsFact, "capability": CapabilityFact}
        if not isinstance(value, wanted.get(fact.type, int)):
            raise fail(fact.span, "E0401", f"'{fact.name}' is not of type {fact.type}")
        own = () if isinstance(value, int) else (value.fact,)
        inner = Facts(values, origins).behind(fact.value)
        values[fact.name], origins[fact.name] = value, tuple(dict.fromkeys((*own, *inner)))
    facts = Facts(values, origins)
    for demand in pattern.of(s.Demand):
        if not evaluate(demand.condition, device, values):
            raise MetaosError(
                f"{device.address} cannot be driven by '{pattern.name}'",
                problems=[Problem("E0407", demand.message, demand.span, _found(demand, values))],
            )
    return facts


def _found(demand: s.Demand, values: Mapping[str, Fact]) -> str:
    """The numbers that a demand is about."""
    names = dict.fromkeys(n.text for n in walk(demand.condition) if isinstance(n, s.Name))
    return ", ".join(f"{n} is {values[n]}" for n in names if isinstance(values.get(n), int))


def kept_field(keep: s.Keep, pattern: Pattern) -> tuple[int, int, tuple[s.Field, ...]]:
    """The lowest bit, the width and the fields of what a `learn` row keeps."""
    node, name = keep.value, ""
    match keep.value:
        case s.Member(of=node, name=name):
            pass
    found = pattern.registers.get(node.text) if isinstance(node, s.Name) else None
    if found is None:
        raise fail(keep.value.span, "E0491", "a learn row keeps a register or a field of one")
    _, register = found
    if not name:
        return 0, register.bits, register.fields
    for one in register.fields:
        if one.name == name:
            return one.low, one.bits, ()
    raise fail(keep.value.span, "E0414", f"no field '{name}'")
