"""Initial values of tables and states, as arithmetic progressions the loader writes."""

from __future__ import annotations

from collections.abc import Iterator

from metaos.link.parts import Fill
from metaos.lower.known import fail
from metaos.lower.plan import DevicePlan
from metaos.match.facts import number
from metaos.pattern import syntax as s

MOST_RUNS = 4
"""Fills that one word of a table's elements may take: each is an entry of the loader's list."""

FAR = 1 << 16
"""How far apart a fill's values cannot be."""


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
    words = _Words(device, initial, count)
    if layout is None:
        words.add(initial, 0, scale)
        return words.fills(stride)
    if not isinstance(initial, s.Record):
        raise fail(initial.span, "E0480", "a table starts as { field = value, ... }")
    if stride % 4 and (stride % 2 or layout.size != 2):
        text = f"elements of {stride} bytes begin as zeros: values are of 4 bytes"
        raise fail(initial.span, "E0486", text)
    for part in initial.fields:
        field = layout.field(part.name)
        if field is None:
            raise fail(part.span, "E0414", f"no field '{part.name}' in '{layout.name}'")
        value = part.value if part.value is not None else s.Number(1, part.span)
        words.add(value, field.low // 32 * 4, field.low % 32)
    return words.fills(stride)


class _Words:
    """The 32-bit words of all elements, by their offset in an element."""

    def __init__(self, device: DevicePlan, initial: s.Expr, count: int) -> None:
        self.device, self.initial, self.count = device, initial, count
        self.values: dict[int, list[int]] = {}
        self.symbols: dict[int, str] = {}

    def add(self, node: s.Expr, offset: int, shift: int) -> None:
        """Add a value, `shift` bits up from the word at `offset`, to each element."""
        for i in range(self.count):
            value, symbol = _value(self.device, node, i)
            if symbol and shift:
                raise fail(node.span, "E0481", "an address starts at a 32-bit boundary")
            if value < 0:
                raise fail(node.span, "E0485", f"an initial value is {value}, below 0")
            if symbol:
                self.symbols[offset] = symbol
            at, value = offset, value << shift
            while value or at == offset:
                words = self.values.setdefault(at, [0] * self.count)
                words[i] += value & 0xFFFF_FFFF
                at, value = at + 4, value >> 32

    def fills(self, stride: int) -> tuple[Fill, ...]:
        return tuple(
            fill for at in sorted(self.values) for fill in self.of_word(self.values[at], at, stride)
        )

    def of_word(self, values: list[int], at: int, stride: int) -> Iterator[Fill]:
        """One word of each element."""
        runs, symbol = _runs(values), self.symbols.get(at, "")
        if len(runs) > MOST_RUNS:
            text = f"initial values make {len(runs)} runs of equal or evenly spaced numbers"
            raise fail(self.initial.span, "E0482", text, f"at most {MOST_RUNS}")
        for start, end in runs:
            first, step = values[start], values[start + 1] - values[start] if end > start + 1 else 0
            if not 0 <= step < FAR:
                text = f"initial values {step} apart: at most 65535"
                raise fail(self.initial.span, "E0483", text)
            if first or step or symbol:
                yield Fill(at + start * stride, end - start, stride, first, step, symbol)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Stretches of evenly spaced numbers, as their first and what is behind their last."""
    found, start = [], 0
    while start < len(numbers):
        end = min(start + 2, len(numbers))
        while end < len(numbers) and (
            numbers[end] - numbers[end - 1] == numbers[start + 1] - numbers[start]
        ):
            end += 1
        step = numbers[end - 1] - numbers[start]
        if end == start + 2 and step and (end < len(numbers) or not 0 <= step < FAR):
            end = start + 1  # two numbers that do not go on are no stretch
        found.append((start, end))
        start = end
    return found


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
