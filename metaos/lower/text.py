"""What consoles show: fixed texts, and the report's texts with hexadecimal digits in them.

A report text is bytes: below 0x80 a character, above it the number of a digit. A digit
is 4 bytes {word offset, shift, mask, 0}: which fault word, and which bits of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.plan import fail

FAULT = "fault"
FAULT_WORDS = {"place": 0, "wanted": 4, "found": 8}
FAULT_SITE = 12
FAULT_SIZE = 16
TEXTS, DIGITS = "report.texts", "report.digits"

_HOLE = re.compile(r"\{([a-z_.]+)(?:\[(\d+):(\d+)\])?(?::x(\d+))?\}")


def literal(template: str, names: Mapping[str, str], span: Span) -> str:
    """A text with every `{name}` replaced; all of them are known at build time."""

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in names:
            known = ", ".join(sorted(names))
            raise fail(span, "E0450", f"unknown name '{name}' in a text", f"known: {known}")
        return names[name]

    return _HOLE.sub(fill, template)


@dataclass(frozen=True, slots=True)
class Said:
    """A text in the report's bytes: where it starts and ends, and its rule."""

    start: int
    end: int
    device: str
    span: Span


@dataclass(slots=True)
class Texts:
    """Collects report texts; equal ones are one."""

    data: bytearray = field(default_factory=bytearray)
    digits: list[tuple[int, int, int]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)

    def add(self, template: str, names: Mapping[str, str], device: str, span: Span) -> int:
        """The offset of a text; digits of `place`, `wanted` and `found` stay to be filled."""
        key = _HOLE.sub(lambda m: m[0] if m[1] in FAULT_WORDS else names.get(m[1], m[0]), template)
        if key not in self.known:
            start = len(self.data)
            self.data += self._encode(key, span) + b"\r\n\0"
            self.known[key] = start
            self.said.append(Said(start, len(self.data), device, span))
        return self.known[key]

    def _encode(self, text: str, span: Span) -> bytes:
        out, position = bytearray(), 0
        for match in _HOLE.finditer(text):
            out += text[position : match.start()].encode("ascii", "replace")
            out += bytes(self._digits(match, span))
            position = match.end()
        return bytes(out + text[position:].encode("ascii", "replace"))

    def _digits(self, match: re.Match[str], span: Span) -> list[int]:
        name, high, low, count = match.groups()
        if name not in FAULT_WORDS:
            raise fail(span, "E0450", f"unknown name '{name}' in a text")
        top, bottom = int(high or 31), int(low or 0)
        width = top - bottom + 1
        result = []
        for number in range(int(count or (width + 3) // 4) - 1, -1, -1):
            bits = max(0, min(4, width - 4 * number))
            digit = (FAULT_WORDS[name], bottom + 4 * number, (1 << bits) - 1)
            if digit not in self.digits:
                self.digits.append(digit)
            result.append(0x80 | self.digits.index(digit))
        if len(self.digits) > 0x80:
            raise fail(span, "E0451", "the reports show more than 128 different digits")
        return result

    def digit_bytes(self) -> bytes:
        return b"".join(bytes((word, shift, mask, 0)) for word, shift, mask in self.digits)


@dataclass(frozen=True, slots=True)
class FixedText:
    """Shows the bytes of the datum `symbol`, up to its 0."""

    symbol: str
    cursor: str

    def take(self, builder: Builder) -> tuple[Op, Op, Op]:
        position = builder.load(8, self.cursor)
        char = builder.load(8, self.symbol, 0, (builder.zext(position, 64),))
        return char, builder.ne(char, builder.const(0, 8)), position

    def advance(self, builder: Builder, taken: Op) -> None:
        _count(builder, self.cursor, taken)


@dataclass(frozen=True, slots=True)
class ReportText:
    """Shows the text the fault's site names, with the digits of the fault's words."""

    cursor: str
    symbol: str = ""

    def take(self, builder: Builder) -> tuple[Op, Op, Op]:
        b = builder
        position = b.load(8, self.cursor)
        at = b.add(b.zext(position, 64), b.zext(b.load(32, FAULT, FAULT_SITE), 64))
        code = b.load(8, TEXTS, 0, (at,))
        more = b.ne(code, b.const(0, 8))
        is_digit = b.ule(b.const(0x80, 8), code)
        number = b.select(is_digit, b.and_(code, b.const(0x7F, 8)), b.const(0, 8))
        entry = b.shl(b.zext(number, 64), b.const(2, 64))
        word = b.zext(b.load(8, DIGITS, 0, (entry,)), 64)
        shift = b.zext(b.load(8, DIGITS, 1, (entry,)), 32)
        mask = b.zext(b.load(8, DIGITS, 2, (entry,)), 32)
        bits = b.and_(b.lshr(b.load(32, FAULT, 0, (word,)), shift), mask)
        letter = b.ult(b.const(9, 32), bits)
        base = b.select(letter, b.const(ord("a") - 10, 32), b.const(ord("0"), 32))
        digit = b.trunc(b.add(bits, base), 8)
        return b.select(is_digit, digit, code), more, position

    def advance(self, builder: Builder, taken: Op) -> None:
        _count(builder, self.cursor, taken)


def _count(builder: Builder, cursor: str, taken: Op) -> None:
    builder.store(builder.add(builder.load(8, cursor), builder.resize(taken, 8)), cursor)
