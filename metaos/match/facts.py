"""Build-time expressions: what a pattern says of the device it is bound to.

`evaluate(expression, device, names)` gives an int, a `WindowFact` or a `PortsFact`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaos.errors import MetaosError, Problem
from metaos.match.known import HOW_TO_GET
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted
from metaos.probe.machine import BarKind

if TYPE_CHECKING:
    from metaos.match.bind import Device

OPERATORS: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    "<=": lambda a, b: int(a <= b),
}


@dataclass(frozen=True, slots=True)
class WindowFact:
    """A memory window: where it lies, its size in bytes, the machine's fact it is from."""

    physical: int
    size: int
    fact: str
    bar: int | None = None


@dataclass(frozen=True, slots=True)
class PortsFact:
    """A block of I/O ports from `base`; `bar` is the register that places it, if one does."""

    base: int
    fact: str
    bar: int | None = None


def fail(expression: s.Expr, message: str, hint: str = "") -> MetaosError:
    """The error of a build-time expression that cannot be had."""
    problem = Problem("E0303", message, expression.span, hint)
    return MetaosError("a fact cannot be had", problems=[problem])


def evaluate(
    expression: s.Expr, device: Device, names: Mapping[str, int] | None = None
) -> int | WindowFact | PortsFact:
    """The value of a build-time expression; `names` are dotted names and their values."""
    known = names or {}
    match expression:
        case s.Number(value=value):
            return value
        case s.Name(text=text) if text in known:
            return known[text]
        case s.Member(of=s.Name(text="legacy"), name="port") if device.legacy is not None:
            return device.legacy.port
        case s.Member() if dotted(expression) in known:
            return known[dotted(expression)]
        case s.Index(of=s.Name(text="bar"), index=index):
            return _bar(expression, device, _number(index, device, known))
        case s.Index(of=s.Member(of=s.Name(text="acpi"), name=width), index=index):
            return _acpi(expression, device, width, _number(index, device, known))
        case s.Call(function="memory", arguments=(base, size)):
            start, length = _number(base, device, known), _number(size, device, known)
            return WindowFact(start, length, f"{device.address}.memory")
        case s.Unary(operator="~", operand=operand):
            return ~_number(operand, device, known)
        case s.Unary(operator="!", operand=operand):
            return int(not _number(operand, device, known))
        case s.Binary(operator=operator, left=left, right=right):
            a, b = _number(left, device, known), _number(right, device, known)
            return OPERATORS[operator](a, b)
    raise fail(expression, "this is not known when the image is built")


def number(expression: s.Expr, device: Device, names: Mapping[str, int]) -> int:
    """The value of a build-time expression that must be a number."""
    return _number(expression, device, names)


def _number(expression: s.Expr, device: Device, names: Mapping[str, int]) -> int:
    value = evaluate(expression, device, names)
    if not isinstance(value, int):
        raise fail(expression, "expected a number, given a window or ports")
    return value


def _bar(expression: s.Expr, device: Device, index: int) -> WindowFact | PortsFact:
    function = device.function
    bars = {b.index: b for b in function.bars} if function is not None else {}
    what = f"{device.address} bar {index} size"
    for unread in device.unknown:
        if unread.what == what:
            raise fail(expression, f"{what} is unknown: {unread.reason}", HOW_TO_GET)
    if index not in bars or function is None:
        has = ", ".join(map(str, bars)) or "none"
        raise fail(expression, f"{device.address} has no BAR {index}", f"it has: {has}")
    bar = bars[index]
    fact = f"functions.{function.address}.bars.{index}"
    if bar.kind is BarKind.IO:
        return PortsFact(bar.address, fact, index)
    return WindowFact(bar.address, bar.size, fact, index)


def _acpi(expression: s.Expr, device: Device, width: str, offset: int) -> int:
    if device.table is None or not width.startswith("u"):
        raise fail(expression, f"{device.address} is no ACPI table")
    size = int(width[1:]) // 8
    data = bytes.fromhex(device.table.data)
    if offset + size > len(data):
        raise fail(
            expression,
            f"table {device.address} has {len(data)} bytes, and byte {offset} is asked for",
        )
    return int.from_bytes(data[offset : offset + size], "little")
