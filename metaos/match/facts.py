"""Build-time expressions: what a pattern says of the device it is bound to.

`evaluate(expression, device, names)` gives an int, or a `WindowFact`, `PortsFact` or
`CapabilityFact`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaos.errors import MetaosError, Problem
from metaos.match.known import HOW_TO_GET
from metaos.pattern import syntax as s
from metaos.pattern.arithmetic import COMPARISONS
from metaos.pattern.kinds import REGISTERS
from metaos.pattern.spell import dotted, spell
from metaos.probe.cpu import answer
from metaos.probe.machine import BarKind
from metaos.told import Told, told

if TYPE_CHECKING:
    from metaos.match.device import Device

OPERATORS: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    **COMPARISONS,
}


@dataclass(frozen=True, slots=True)
class WindowFact:
    """A memory window: where it lies, its size in bytes, the machine's fact it is from.

    One that is part of another starts `start` bytes behind the start of that one.
    """

    physical: int
    size: int
    fact: str
    bar: int | None = None
    start: int = 0
    part_of: WindowFact | None = None

    @property
    def whole(self) -> WindowFact:
        """The window that this is part of."""
        return self.part_of or self


@dataclass(frozen=True, slots=True)
class PortsFact:
    """A block of I/O ports from `base`; `bar` is the register that places it, if one does."""

    base: int
    fact: str
    bar: int | None = None


@dataclass(frozen=True, slots=True)
class CapabilityFact:
    """A PCI capability: the function's config bytes from its id on, at offset `at`."""

    data: bytes
    fact: str
    at: int = 0

    def number(self, expression: s.Expr, width: str, offset: int) -> int:
        """The little-endian number of `width` ("u8", "u16", "u32") at byte `offset`."""
        size = int(width[1:]) // 8
        if not 0 <= offset <= len(self.data) - size:
            end = f"the {len(self.data)} config bytes that the machine file has from there on"
            raise fail(expression, f"byte {offset} is beyond {end}", HOW_TO_GET)
        value = int.from_bytes(self.data[offset : offset + size], "little")
        function = self.fact.removesuffix(".capabilities")
        return Told(value, (f"{function}.config.{self.at + offset:#04x}.{width}",))


Fact = int | WindowFact | PortsFact | CapabilityFact


def fail(expression: s.Expr, message: str, hint: str = "") -> MetaosError:
    """The error of a build-time expression that cannot be had."""
    problem = Problem("E0303", message, expression.span, hint)
    return MetaosError("a fact cannot be had", problems=[problem])


def evaluate(expression: s.Expr, device: Device, names: Mapping[str, Fact] | None = None) -> Fact:
    """The value of a build-time expression; `names` are dotted names and their values."""
    known: Mapping[str, Fact] = names or {}
    match expression:
        case s.Number(value=value):
            return value
        case s.Name(text=text) if text in known:
            return known[text]
        case s.Member(of=s.Name(text="legacy"), name="port") if device.legacy is not None:
            return device.legacy.port
        case s.Member(of=s.Name(text="mmio"), name="window") if device.mmio is not None:
            fact = f"mmio.{device.address}"
            return WindowFact(device.mmio.base, device.mmio.size, fact)
        case s.Member() if dotted(expression) in known:
            return known[dotted(expression)]
        case s.Index(of=s.Name(text="bar"), index=index):
            return _bar(expression, device, _number(index, device, known))
        case s.Index(of=s.Member(of=s.Name(text="acpi"), name=width), index=index):
            data = device.table.data if device.table is not None else None
            return _bytes(expression, device, width, _number(index, device, known), data)
        case s.Index(of=s.Member(of=s.Name(text="entry"), name=width), index=index) if (
            device.entry is not None
        ):
            at = device.entry.start + _number(index, device, known)
            data = device.table.data if device.table is not None else ""
            return _bytes(expression, device, width, at, data[: 2 * device.entry.stop])
        case s.Index(of=s.Member(of=s.Name(text="mmio"), name=width), index=index):
            data = device.mmio.data if device.mmio is not None else None
            return _bytes(expression, device, width, _number(index, device, known), data)
        case s.Index(of=s.Member(of=s.Name(text="cpuid"), name=register), index=index):
            return _cpuid(device, register, _number(index, device, known))
        case s.Index(of=s.Member(of=s.Name(text="config"), name=width), index=index):
            return _config(expression, device, width, _number(index, device, known))
        case s.Index(of=s.Member(of=of, name=width), index=index):
            found = evaluate(of, device, known)
            if isinstance(found, CapabilityFact):
                return found.number(expression, width, _number(index, device, known))
        case s.Index(of=s.Name(text=width), index=index) if isinstance(
            inside := known.get(width), CapabilityFact
        ):
            return inside.number(expression, width, _number(index, device, known))
        case s.Call(function="capability", arguments=(identity, *conditions)):
            return _capability(expression, device, identity, conditions, known)
        case s.Call(function="log2", arguments=(of,)):
            return _log2(expression, _number(of, device, known))
        case s.Call(function="min", arguments=(one, other)):
            return min(_number(one, device, known), _number(other, device, known))
        case s.Call(function="memory", arguments=(base, size)):
            start, length = _number(base, device, known), _number(size, device, known)
            return WindowFact(start, length, f"{device.address}.memory")
        case s.Unary(operator="~", operand=operand):
            return ~_number(operand, device, known)
        case s.Unary(operator="!", operand=operand):
            return int(not _number(operand, device, known))
        case s.Binary(operator="+", left=left, right=right) if not isinstance(
            place := evaluate(left, device, known), int
        ):
            return _further(expression, place, _number(right, device, known))
        case s.Binary(operator=operator, left=left, right=right):
            a, b = _number(left, device, known), _number(right, device, known)
            return OPERATORS[operator](a, b)
    raise fail(expression, "this is not known when the image is built")


def number(expression: s.Expr, device: Device, names: Mapping[str, Fact]) -> int:
    """The value of a build-time expression that must be a number."""
    return _number(expression, device, names)


def _number(expression: s.Expr, device: Device, names: Mapping[str, Fact]) -> int:
    value = evaluate(expression, device, names)
    if not isinstance(value, int):
        raise fail(expression, "expected a number, given a place")
    return value


def _further(expression: s.Expr, place: Fact, by: int) -> Fact:
    """The place `by` bytes behind another."""
    match place:
        case WindowFact() if 0 <= by < place.size:
            size, start = place.size - by, place.start + by
            whole = place.whole
            return WindowFact(place.physical + by, size, place.fact, place.bar, start, whole)
        case WindowFact():
            raise fail(expression, f"byte {by:#x} is beyond the window's {place.size:#x}")
        case PortsFact():
            return PortsFact(place.base + by, place.fact, place.bar)
    raise fail(expression, "only windows and ports have places behind them")


def _log2(expression: s.Expr, value: int) -> int:
    if value < 1 or value & (value - 1):
        raise fail(expression, f"{value} is no power of two")
    return told(value.bit_length() - 1, value)


def _capability(
    expression: s.Expr,
    device: Device,
    identity: s.Expr,
    conditions: list[s.Expr],
    names: Mapping[str, Fact],
) -> CapabilityFact:
    """The first capability of an id of which the condition holds."""
    _demand_read(expression, device, "capabilities")
    function = device.function
    wanted = _number(identity, device, names)
    for one in function.capabilities if function is not None else ():
        assert function is not None
        data = bytes.fromhex(function.config)[one.offset :]
        found = CapabilityFact(data, f"functions.{function.address}.capabilities", one.offset)
        inner = {**names, **dict.fromkeys(("u8", "u16", "u32"), found)}
        if one.id == wanted and all(_number(c, device, inner) for c in conditions):
            return found
    said = f" with {spell(conditions[0])}" if conditions else ""
    raise fail(expression, f"{device.address} has no capability {wanted:#04x}{said}")


def _bar(expression: s.Expr, device: Device, index: int) -> WindowFact | PortsFact:
    function = device.function
    bars = {b.index: b for b in function.bars} if function is not None else {}
    if index not in bars:
        _demand_read(expression, device, f"bar {index} size")
        _demand_read(expression, device, "bars")
    if index not in bars or function is None:
        has = ", ".join(map(str, bars)) or "none"
        raise fail(expression, f"{device.address} has no BAR {index}", f"it has: {has}")
    bar = bars[index]
    fact = f"functions.{function.address}.bars.{index}"
    if bar.kind is BarKind.IO:
        return PortsFact(bar.address, fact, index)
    return WindowFact(bar.address, bar.size, fact, index)


def _demand_read(expression: s.Expr, device: Device, what: str) -> None:
    unread = device.unread(what)
    if unread is not None:
        raise fail(expression, f"{unread.what}: not known: {unread.reason}", HOW_TO_GET)


def _config(expression: s.Expr, device: Device, width: str, offset: int) -> int:
    """A number in the configuration space of a PCI function, as far as it was read."""
    function = device.function
    if function is None:
        raise fail(expression, f"{device.address} has no configuration space")
    space = CapabilityFact(bytes.fromhex(function.config), f"functions.{function.address}", 0)
    return space.number(expression, width, offset)


def _cpuid(device: Device, register: str, leaf: int) -> int:
    """What CPUID says, subleaf 0; 0 of a leaf that the machine file does not have."""
    if device.cpu is None:
        return 0
    value = answer(device.cpu, leaf)[REGISTERS.index(register)]
    return Told(value, (f"cpu.leaves.{leaf:#x}",))


def _bytes(expression: s.Expr, device: Device, width: str, offset: int, digits: str | None) -> int:
    """A little-endian number in a table, or in the first bytes of a window."""
    what = "table" if device.table is not None else "window"
    if digits is None or not width.startswith("u"):
        wanted = "window of memory" if spell(expression).startswith("mmio") else "ACPI table"
        raise fail(expression, f"{device.address} is no {wanted}")
    size = int(width[1:]) // 8
    data = bytes.fromhex(digits)
    if offset + size > len(data):
        raise fail(
            expression,
            f"{what} {device.address} has {len(data)} bytes, and byte {offset} is asked for",
        )
    value = int.from_bytes(data[offset : offset + size], "little")
    return Told(value, (f"{device.kind}.{device.address}.{offset:#04x}.{width}",))
