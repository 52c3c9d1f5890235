"""What consoles show: fixed texts, and the report's texts with hexadecimal digits in them.

A report text is bytes: below 0x80 a character, above it the number of a digit. A digit
is 4 bytes {word offset, shift, mask, 0}: which fault word, and which bits of it. The
report phase writes the finished text to RAM, a byte a turn, and consoles show it from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.known import fail

FAULT = "fault"
FAULT_WORDS = {"place": 0, "wanted": 4, "found": 8}
FAULT_SITE = 12
FAULT_SIZE = 16
EXCEPTION = "exception {{found:x2}} in {} at {{place:x8}}, CR2 {{wanted:x8}}"
"""What is said of a processor exception or an NMI, with the phase that it came in."""
TEXTS, DIGITS = "report.texts", "report.digits"
REPORT, WRITTEN = "report.text", "report.written"
"""The finished text of a report in RAM, and how much of it there is."""
TEXT_SIZE = 256
DIGIT_SIZE, DIGIT_FLIP = 4, 0xF
"""A digit's mask is kept complemented in its low four bits: mostly 0."""

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


def pieces(
    template: str, names: Mapping[str, str], numbers: Mapping[str, int], span: Span
) -> Iterator[str | tuple[str, int]]:
    """A text's characters, and (name, lowest bit) for each digit of a number in it.

    `names` are known when the image is built; `numbers` have so many bits.
    """
    position = 0
    for match in _HOLE.finditer(template):
        yield from template[position : match.start()]
        if match[1] in numbers:
            count = (numbers[match[1]] + 3) // 4
            yield from ((match[1], 4 * n) for n in range(count - 1, -1, -1))
        else:
            yield from literal(match[0], names, span)
        position = match.end()
    yield from template[position:]


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
    words: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {name: (offset, 32) for name, offset in FAULT_WORDS.items()}
    )
    """The numbers that a text shows: where each lies in bytes, and its bits."""

    def add(self, template: str, names: Mapping[str, str], device: str, span: Span) -> int:
        """The offset of a text; digits of `place`, `wanted` and `found` stay to be filled."""
        key = _HOLE.sub(lambda m: m[0] if m[1] in self.words else names.get(m[1], m[0]), template)
        if key not in self.known:
            start = len(self.data)
            text = self._encode(key, span) + b"\r\n\0"
            if len(text) > TEXT_SIZE:
                raise fail(span, "E0452", f"a report of {len(text)} characters: at most 256")
            self.data += text
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
        if name not in self.words:
            raise fail(span, "E0450", f"unknown name '{name}' in a text")
        first, wide = self.words[name]
        top, bottom = int(high or wide - 1), int(low or 0)
        width = top - bottom + 1
        result = []
        for number in range(int(count or (width + 3) // 4) - 1, -1, -1):
            bits = max(0, min(4, width - 4 * number))
            word, shift = divmod(bottom + 4 * number, 32)
            digit = (first + 4 * word, shift, (1 << bits) - 1)
            if digit not in self.digits:
                self.digits.append(digit)
            result.append(0x80 | self.digits.index(digit))
        if len(self.digits) > 0x80:
            raise fail(span, "E0451", "the reports show more than 128 different digits")
        return result

    def digit_bytes(self) -> bytes:
        return b"".join(
            bytes((word, shift, mask ^ DIGIT_FLIP, 0)) for word, shift, mask in self.digits
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """A console's text: the bytes at `symbol` up to its 0, and the console's place in it.

    `symbol` has 256 bytes, so that a position of 8 bits stays inside.
    """

    symbol: str
    cursor: str

    def take(self, builder: Builder) -> tuple[Op, Op, Op]:
        position = builder.load(8, self.cursor)
        char = builder.load(8, self.symbol, 0, (builder.zext(position, 64),))
        return char, builder.ne(char, builder.const(0, 8)), position

    def advance(self, builder: Builder, taken: Op) -> None:
        count = builder.resize(taken, 8)
        builder.store(builder.add(builder.load(8, self.cursor), count), self.cursor)


def write_report(b: Builder) -> None:
    """One turn of the report's writer: the next byte of its text, digits filled, to `REPORT`.

    The text is the one the fault's site names; it is shown as it grows.
    """
    position = b.load(8, WRITTEN)
    at = b.zext(position, 64)
    text = b.add(at, b.zext(b.load(32, FAULT, FAULT_SITE), 64))
    code, shown = character(b, TEXTS, DIGITS, FAULT, text)
    b.store(shown, REPORT, 0, (at,))
    more = b.resize(b.ne(code, b.const(0, 8)), 8)
    b.store(b.add(position, more), WRITTEN)


def character(b: Builder, texts: str, digits: str, values: str, at: Op) -> tuple[Op, Op]:
    """The byte of a text at an index, and the character it stands for: itself, or a digit."""
    code = b.load(8, texts, 0, (at,))
    is_digit = b.ule(b.const(0x80, 8), code)
    number = b.select(is_digit, b.and_(code, b.const(0x7F, 8)), b.const(0, 8))
    entry = b.mul(b.zext(number, 64), b.const(DIGIT_SIZE, 64))
    word = b.zext(b.load(8, digits, 0, (entry,)), 64)
    shift = b.zext(b.load(8, digits, 1, (entry,)), 32)
    mask = b.zext(b.xor(b.load(8, digits, 2, (entry,)), b.const(DIGIT_FLIP, 8)), 32)
    bits = b.and_(b.lshr(b.load(32, values, 0, (word,)), shift), mask)
    letter = b.ult(b.const(9, 32), bits)
    base = b.select(letter, b.const(ord("a") - 10, 32), b.const(ord("0"), 32))
    digit = b.trunc(b.add(bits, base), 8)
    return code, b.select(is_digit, digit, code)
