"""Initial values of tables and states, as arithmetic progressions the loader writes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from metaos.link.parts import Fill
from metaos.lower.known import fail
from metaos.lower.plan import DevicePlan
from metaos.match.facts import number
from metaos.pattern import syntax as s
from metaos.pattern.spell import walk


def fills(
    device: DevicePlan,
    initial: s.Expr | None,
    count: int,
    stride: int,
    layout: s.Layout | None,
    scale: int = 0,
) -> tuple[Fill, ...]:
    """The fills that give element i the value of `initial`, in which `i` is its number."""
    if initial is None:
        return ()
    if layout is None:
        return _progression(device, initial, count, stride, 0, scale)
    if not isinstance(initial, s.Record):
        raise fail(initial.span, "E0480", "a table starts as { field = value, ... }")
    if stride % 4 and (stride % 2 or layout.size != 2):
        text = f"elements of {stride} bytes begin as zeros: values are of 4 bytes"
        raise fail(initial.span, "E0486", text)
    result: list[Fill] = []
    flags: dict[int, int] = {}
    for part in initial.fields:
        field = layout.field(part.name)
        if field is None:
            raise fail(part.span, "E0414", f"no field '{part.name}' in '{layout.name}'")
        offset, low = field.low // 32 * 4, field.low % 32
        value = 1 if part.value is None else _constant(device, part.value)
        if value is not None:
            for at, word in enumerate(_words(value << low)):
                flags[offset + 4 * at] = flags.get(offset + 4 * at, 0) | word
        elif low:
            raise fail(part.span, "E0481", "a field that varies starts at a 32-bit boundary")
        else:
            assert part.value is not None
            result += _progression(device, part.value, count, stride, offset, 0)
    # Two fills of one word would overwrite each other.
    result = [replace(fill, value=fill.value + flags.pop(fill.offset, 0)) for fill in result]
    result += [Fill(at, count, stride, value) for at, value in flags.items() if value]
    return tuple(result)


def _constant(device: DevicePlan, node: s.Expr) -> int | None:
    """A value that is the same for every element; None for another."""
    if any(isinstance(n, s.Reference) or n == s.Name("i", n.span) for n in walk(node)):
        return None
    return number(node, device.device, device.facts.values)


def _words(value: int) -> list[int]:
    """A number as 32-bit words, the lowest first."""
    return [value >> at & 0xFFFF_FFFF for at in range(0, max(1, value.bit_length()), 32)]


def _progression(
    device: DevicePlan, node: s.Expr, count: int, stride: int, offset: int, scale: int
) -> tuple[Fill, ...]:
    values = [_value(device, node, i) for i in range(count)]
    symbol = values[0][1]
    numbers = [v << scale for v, _ in values]
    step = numbers[1] - numbers[0] if count > 1 else 0
    if any(b - a != step for a, b in pairwise(numbers)):
        raise fail(node.span, "E0482", "initial values are equal or evenly spaced")
    if not 0 <= step < 1 << 16:
        raise fail(node.span, "E0483", f"initial values {step} apart: at most 65535")
    if numbers[0] < 0 or (step and numbers[-1] >> 32):
        raise fail(node.span, "E0485", "initial values that vary are of 32 bits, and not below 0")
    if symbol or step:
        return (Fill(offset, count, stride, numbers[0], step, symbol),)
    words = enumerate(_words(numbers[0]))
    return tuple(Fill(offset + 4 * at, count, stride, word) for at, word in words if word)


def _value(device: DevicePlan, node: s.Expr, i: int) -> tuple[int, str]:
    """A number and the symbol it is relative to."""
    names = {**device.facts.values, "i": i}
    match node:
        case s.Reference(of=s.Name(text=text)) if text in device.tables:
            return device.tables[text].offset, device.tables[text].symbol
        case s.Reference(of=s.Index(of=s.Name(text=text), index=index)) if text in device.tables:
            table = device.tables[text]
            at = number(index, device.device, names)
            if not 0 <= at < table.count:
                raise fail(node.span, "E0484", f"'{text}' has no element {at}")
            return table.offset + at * table.stride, table.symbol
    return number(node, device.device, names), ""
