"""Where a device's tables, states and registers lie: `plan(binding) -> DevicePlan`.

A number that indexes tables is kept multiplied by their stride, so that it is a byte
offset already; where the product just fills 8, 16 or 32 bits it wraps by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from metaos.errors import MetaosError, Problem, Span
from metaos.match.bind import Binding, Device
from metaos.match.facts import PortsFact, WindowFact, evaluate, number
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import walk
from metaos.probe.machine import Learnt


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A table's symbol, its elements and, for one in a window, nothing of RAM."""

    name: str
    symbol: str
    count: int
    stride: int
    layout: s.Layout | None
    window: str
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
    fact: str


@dataclass(frozen=True)
class DevicePlan:
    """All places of one bound device; `folded` are states whose value is known, by name."""

    device: Device
    pattern: Pattern
    windows: Mapping[str, WindowFact]
    ports: Mapping[str, PortsFact]
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

    @cached_property
    def layouts(self) -> Mapping[str, s.Layout]:
        return self.pattern.layouts


def fail(span: Span, code: str, message: str, hint: str = "") -> MetaosError:
    """A rule that cannot be lowered; the pipeline adds the source line."""
    return MetaosError("a pattern cannot be lowered", problems=[Problem(code, message, span, hint)])


def plan(
    binding: Binding, learnt: Iterable[Learnt] = (), units: Mapping[str, int] | None = None
) -> DevicePlan:
    """Place everything a binding's pattern declares.

    `learnt` are the machine's facts. `units` are the unit facts to fold, by the name that
    states give them; without them the image reads them on the machine.
    """
    device, pattern = binding.device, binding.pattern
    windows: dict[str, WindowFact] = {}
    ports: dict[str, PortsFact] = {}
    numbers: dict[str, int] = {}
    for fact in pattern.of(s.Fact):
        value = evaluate(fact.value, device, numbers)
        if fact.type == "window" and isinstance(value, WindowFact):
            windows[fact.name] = value
        elif fact.type == "ports" and isinstance(value, int | PortsFact):
            where = f"{device.kind}.{device.address}"
            ports[fact.name] = value if isinstance(value, PortsFact) else PortsFact(value, where)
        elif fact.type.startswith("u") and isinstance(value, int):
            numbers[fact.name] = value
        else:
            raise fail(fact.span, "E0401", f"'{fact.name}' is not of type {fact.type}")
    tables = {t.name: _table(t, device, pattern) for t in pattern.of(s.Table)}
    states = _states(device, pattern, tables)
    registers = _registers(device, pattern, windows, ports, numbers)
    known = {
        x.name: x.value for x in learnt if (x.device, x.pattern) == (device.address, pattern.name)
    }
    for keep in (row for block in pattern.of(s.Learn) for row in block.rows):
        if isinstance(keep, s.Keep):
            low = kept_field(keep, registers)[0]
            numbers[keep.name] = known[keep.name] >> low if keep.name in known else keep.default
    folded = _folded(device, pattern, units)
    return DevicePlan(device, pattern, windows, ports, numbers, tables, states, registers, folded)


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


def kept_field(keep: s.Keep, registers: Mapping[str, RegisterPlan]) -> tuple[int, int]:
    """The lowest bit and the width of what a `learn` row keeps of its register."""
    node = keep.value
    if isinstance(node, s.Member) and isinstance(node.of, s.Name) and node.of.text in registers:
        for one in registers[node.of.text].node.fields:
            if one.name == node.name:
                return one.low, one.bits
        raise fail(node.span, "E0414", f"no field '{node.name}'")
    if isinstance(node, s.Name) and node.text in registers:
        return 0, registers[node.text].bits
    raise fail(node.span, "E0491", "a learn row keeps a register or a field of one")


def _table(node: s.Table, device: Device, pattern: Pattern) -> TablePlan:
    layout = pattern.layouts.get(node.layout) if node.layout else None
    if node.layout and layout is None:
        raise fail(node.span, "E0402", f"no layout '{node.layout}'")
    stride = layout.size if layout is not None else node.element_size
    window = ""
    if node.at is not None:
        if not isinstance(node.at, s.Name):
            raise fail(node.at.span, "E0403", "a table lies at a window's name")
        window = node.at.text
    symbol = f"{device.address}.{window or node.name}"
    return TablePlan(node.name, symbol, node.count, stride, layout, window, node)


def _registers(
    device: Device,
    pattern: Pattern,
    windows: Mapping[str, WindowFact],
    ports: Mapping[str, PortsFact],
    numbers: Mapping[str, int],
) -> dict[str, RegisterPlan]:
    found: dict[str, RegisterPlan] = {}
    for block in pattern.of(s.Registers):
        symbol, base, fact = "", 0, f"{device.kind}.{device.address}"
        if block.space == "mmio":
            name = block.at.text if isinstance(block.at, s.Name) else ""
            if name not in windows:
                raise fail(block.span, "E0404", f"no window '{name}'")
            symbol, fact = f"{device.address}.{name}", windows[name].fact
        elif block.space == "port":
            if isinstance(block.at, s.Name) and block.at.text in ports:
                base, fact = ports[block.at.text].base, ports[block.at.text].fact
            elif block.at is not None:
                base = number(block.at, device, numbers)
        for register in block.registers:
            found[register.name] = RegisterPlan(
                block.space, symbol, base + register.offset, register.bits, register, fact
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
