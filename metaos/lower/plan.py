"""Where a device's tables, states and registers lie: `plan(binding) -> DevicePlan`.

A number that indexes tables is kept multiplied by their stride, so that it is a byte
offset already; where the product just fills 8, 16 or 32 bits it wraps by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from metaos.errors import MetaosError
from metaos.lower.known import Facts, fail, known_facts
from metaos.match.bind import Binding
from metaos.match.device import Device
from metaos.match.facts import PortsFact, WindowFact, evaluate, number
from metaos.match.sleep import AWAKE
from metaos.pattern import syntax as s
from metaos.pattern.check_places import MAX_COUNT
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import spell, walk
from metaos.probe.machine import Learnt


@dataclass(frozen=True, slots=True)
class TablePlan:
    """Where a table lies, `offset` bytes behind `symbol`, and its elements.

    One in a window or inside another table has no RAM of its own.
    """

    name: str
    symbol: str
    offset: int
    count: int
    stride: int
    layout: s.Layout | None
    window: str
    inside: str
    node: s.Table


@dataclass(frozen=True, slots=True)
class StatePlan:
    """A state's place: `storage` bits wide, kept times 2^`scale`, elements `stride` apart."""

    name: str
    symbol: str
    bits: int
    count: int
    scale: int
    storage: int
    stride: int
    node: s.State

    @property
    def wraps(self) -> bool:
        """The stored number wraps by its storage; no mask is needed."""
        return self.bits + self.scale == self.storage


@dataclass(frozen=True, slots=True)
class RegisterPlan:
    """A register's place. `symbol` for mmio, `number` the port or the config offset."""

    space: str
    symbol: str
    number: int
    bits: int
    node: s.Register
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Waker:
    """The register in memory that interrupts this processor when `value` is written to it."""

    register: RegisterPlan
    value: int


@dataclass(frozen=True)
class DevicePlan:
    """All places of one bound device.

    `facts` is all that is known at build time, by name; `numbers` those of them that are
    numbers. `folded` are states whose value is known.
    """

    device: Device
    pattern: Pattern
    facts: Facts
    windows: Mapping[str, WindowFact]
    numbers: Mapping[str, int]
    tables: Mapping[str, TablePlan]
    states: Mapping[str, StatePlan]
    registers: Mapping[str, RegisterPlan]
    folded: Mapping[str, int]

    @property
    def address(self) -> str:
        return self.device.address

    def symbol(self, name: str) -> str:
        """The linker's name of a place of this device."""
        return f"{self.address}.{name}"

    @property
    def is_told_of_ram(self) -> bool:
        """Whether the rule tells the device an address in RAM, so that it may reach for it."""
        return any(isinstance(n, s.Reference) for n in walk(self.pattern.items))

    @cached_property
    def layouts(self) -> Mapping[str, s.Layout]:
        return self.pattern.layouts


def plan(
    binding: Binding,
    learnt: Iterable[Learnt] = (),
    units: Mapping[str, int] | None = None,
    given: Mapping[str, int] = AWAKE,
) -> DevicePlan:
    """Place everything a binding's pattern declares.

    `learnt` are the machine's facts, `given` the numbers that every pattern may ask for. `units`
    are the unit facts to fold, by the name that states give them; without them the image reads
    them on the machine.
    """
    device, pattern = binding.device, binding.pattern
    facts = known_facts(device, pattern, learnt, given)
    tables: dict[str, TablePlan] = {}
    for table in pattern.of(s.Table):
        tables[table.name] = _table(table, device, pattern, facts, tables)
    return DevicePlan(
        device,
        pattern,
        facts,
        facts.windows,
        {name: value for name, value in facts.values.items() if isinstance(value, int)},
        tables,
        _states(device, pattern, tables),
        _registers(device, pattern, facts),
        _folded(device, pattern, units),
    )


def _folded(device: Device, pattern: Pattern, units: Mapping[str, int] | None) -> dict[str, int]:
    """The states whose unit facts are folded, with their values."""
    found: dict[str, int] = {}
    for state in pattern.of(s.State) if units is not None else ():
        if not state.unit:
            continue
        if units is None or state.unit not in units:
            raise MetaosError(
                f"the machine file does not say {state.unit} of {device.address}",
                hint="build without --bind unit, and the image reads it on the machine",
            )
        found[state.name] = units[state.unit]
    return found


def _table(
    node: s.Table, device: Device, pattern: Pattern, facts: Facts, tables: Mapping[str, TablePlan]
) -> TablePlan:
    layout = pattern.layouts.get(node.layout) if node.layout else None
    if node.layout and layout is None:
        raise fail(node.span, "E0402", f"no layout '{node.layout}'")
    stride = node.element_size or (layout.size if layout is not None else 0)
    count = number(node.count, device, facts.values)
    if not 1 <= count <= MAX_COUNT:
        text = f"'{node.name}' has {count} elements, a table has 1 to {MAX_COUNT}"
        raise fail(node.count.span, "E0405", text)
    symbol, offset, window, inside = f"{device.address}.{node.name}", 0, "", ""
    base, behind = _base(node.at)
    if base in tables:
        host, by = tables[base], sum(number(x, device, facts.values) for x in behind)
        symbol, offset, inside = host.symbol, host.offset + by, host.inside or host.name
        window = host.window
        # Of buffers that begin with a layout, a table inside another is that layout alone.
        end = by + (count - 1) * stride + (layout.size if layout is not None else stride)
        if end > host.count * host.stride:
            text = f"'{node.name}' ends {end:#x} bytes behind the start of "
            text += f"'{host.name}', which has {host.count * host.stride:#x}"
            raise fail(node.span, "E0406", text)
    elif node.at is not None:
        place = evaluate(node.at, device, facts.values)
        if not isinstance(place, WindowFact):
            raise fail(node.at.span, "E0403", "a table lies at a window or another table")
        window, offset = facts.window(place), place.start
        symbol = f"{device.address}.{window}"
    return TablePlan(node.name, symbol, offset, count, stride, layout, window, inside, node)


def _base(node: s.Expr | None) -> tuple[str, tuple[s.Expr, ...]]:
    """The name a sum begins with, and what is added to it."""
    match node:
        case s.Name(text=text):
            return text, ()
        case s.Binary(operator="+", left=left, right=right):
            name, behind = _base(left)
            return name, (*behind, right)
    return "", ()


def _registers(device: Device, pattern: Pattern, facts: Facts) -> dict[str, RegisterPlan]:
    found: dict[str, RegisterPlan] = {}
    for block in pattern.of(s.Registers):
        symbol, base = "", 0
        depends: tuple[str, ...] = (f"{device.kind}.{device.address}",)
        if block.at is not None:
            place = evaluate(block.at, device, facts.values)
            depends = facts.behind(block.at) or depends
            if block.space == "mmio":
                if not isinstance(place, WindowFact):
                    raise fail(block.at.span, "E0404", f"'{spell(block.at)}' is no window")
                symbol, base = f"{device.address}.{facts.window(place)}", place.start
            elif isinstance(place, PortsFact):
                base = place.base
            elif isinstance(place, int):
                base = place
        for register in block.registers:
            found[register.name] = RegisterPlan(
                block.space, symbol, base + register.offset, register.bits, register, depends
            )
    return found


def _states(
    device: Device, pattern: Pattern, tables: Mapping[str, TablePlan]
) -> dict[str, StatePlan]:
    """Plan arrays first by what their elements index, then the numbers that index."""
    nodes = {n.name: n for n in pattern.of(s.State)}
    uses: dict[str, set[str]] = {name: set() for name in nodes}
    for node in walk(tuple(pattern.of(s.Turn))):
        if isinstance(node, s.Index) and isinstance(node.of, s.Name):
            for inner in walk(node.index):
                if isinstance(inner, s.Name) and inner.text in nodes and not _nested(node, inner):
                    uses[inner.text].add(node.of.text)
    for node in walk(tuple(pattern.of(s.Turn))):
        if isinstance(node, s.Swap):  # what changes places is kept alike
            pair = [
                n.of.text
                for n in (node.left, node.right)
                if isinstance(n, s.Index) and isinstance(n.of, s.Name)
            ]
            together = {u for n in pair if n in uses for u in uses[n]}
            uses.update({n: set(together) for n in pair if n in uses})
    arrays = {n for n, node in nodes.items() if node.count}
    strides: dict[str, int] = {}
    for name in nodes:
        sizes = {tables[u].stride for u in uses[name] if u in tables}
        strides[name] = sizes.pop() if len(sizes) == 1 else 1
        if strides[name] & (strides[name] - 1):
            strides[name] = 1
    plans: dict[str, StatePlan] = {}
    for name, node in nodes.items():
        scale = strides[name].bit_length() - 1
        storage = next((w for w in (8, 16, 32, 64) if node.bits + scale <= w), 64)
        if node.bits + scale > 64:
            scale, storage = 0, 64
        element = storage // 8
        if name in arrays:
            storage = max(storage, 32)  # a whole register is loaded, not a part of one
            element = storage // 8
            by = [strides[n] for n in nodes if name in uses[n] and strides[n] >= element]
            element = by[0] if by else element
        plans[name] = StatePlan(
            name, f"{device.address}.{name}", node.bits, node.count, scale, storage, element, node
        )
    return plans


def _nested(outer: s.Index, inner: s.Name) -> bool:
    """`inner` indexes something else inside the index of `outer`."""
    return any(
        isinstance(n, s.Index) and any(x is inner for x in walk(n.index)) for n in walk(outer.index)
    )
