"""Text that a person copied from somewhere: `rows(text, source)`, its lines unwrapped.

Entering: a file, or stdin, of any encoding and line ending; leaving: `Row`s, which know where
they stand in the original.

    rows("> 00:1f.0 ISA bridge\r\n", "file")  ->  [Row(1, 3, "00:1f.0 ISA bridge", ...)]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metaos.errors import MetaosError, Problem, Span
from metaos.probe.dumped import read_bytes

MOST_BYTES = 8 << 20
MOST_LINES = 200_000
"""More than lspci -xxxx prints of 500 functions."""
MOST_PROBLEMS = 10
_LONGEST_LINE = 2000
"""Characters; no line of the tools that are read here comes near it."""

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_ARCHIVES = (
    (b"BZh", "a bzip2 archive", "unpack it first: tar xjf FILE"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first: tar xzf FILE, or gunzip FILE"),
    (b"\xfd7zXZ", "an xz archive", "unpack it first: tar xJf FILE, or unxz FILE"),
    (b"PK\x03\x04", "a zip archive", "unpack it first: unzip FILE"),
    (b"%PDF", "a PDF document", "copy the text out of it"),
    (b"\x89PNG", "a picture", "the text itself is needed"),
    (b"\xff\xd8\xff", "a picture", "the text itself is needed"),
)
_LINE_END = re.compile(r"\r*\n|\r")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\u200b\u200e\u200f\ufeff\x00]")
_QUOTE = re.compile(r"(?:[ \t]*(?:>|&gt;|\||//[/!]?|[*#](?=[ \t>|])|\+)[ \t]?)+")
_STAMP = re.compile(r"[ \t]*\[ *\d{1,7}\.\d{3,9}\] ?")
_SPACES = str.maketrans("\u00a0\u2007\u202f\u3000", "    ")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: `text` begins at `column` (from 1) of line `number` of the original."""

    number: int
    column: int
    text: str
    original: str

    def span(self, source: str, start: int = 0, end: int | None = None) -> Span:
        """Where the characters `start` to `end` of `text` are; all of it without them."""
        stop = len(self.text) if end is None else end
        left = self.column + start
        return Span(source, self.number, left, max(left + 1, self.column + stop))


def read_text(path: Path) -> str:
    """The text of a file, or of stdin for "-".

    Raises:
        MetaosError: it cannot be read, is too large, or is no text.
    """
    return decode(read_bytes(path, MOST_BYTES), str(path))


def decode(data: bytes, source: str) -> str:
    """The text that `data` are; `source` names it in messages.

    Raises:
        MetaosError: it is an archive or a picture.
    """
    for magic, what, hint in _ARCHIVES:
        if data.startswith(magic):
            raise MetaosError(
                f"{source}:1:1: not text, but {what}", hint=hint.replace("FILE", source)
            )
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace").removeprefix("\ufeff")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def rows(text: str, source: str) -> list[Row]:
    """The lines of `text` without quoting marks, time stamps and colours.

    Lines longer than any that a tool prints are left out.

    Raises:
        MetaosError: there are more lines than any tool prints of one machine.
    """
    lines = _LINE_END.split(text, MOST_LINES)
    if len(lines) > MOST_LINES:
        raise MetaosError(
            f"{source}:{MOST_LINES + 1}:1: more lines than any tool prints of one machine",
            hint="keep only what the tool printed",
        )
    return [_row(number, line) for number, line in enumerate(lines, 1)]


def refuse(source: str, what: str, problems: Sequence[Problem], hint: str = "") -> MetaosError:
    """The error that a text has these problems; it names the first ones."""
    hidden = len(problems) - MOST_PROBLEMS
    more = f" ({hidden} more faults are not shown)" if hidden > 0 else ""
    return MetaosError(f"{source}: {what}{more}", hint=hint, problems=problems[:MOST_PROBLEMS])


def _row(number: int, line: str) -> Row:
    line = _ESCAPE.sub("", line[: _LONGEST_LINE + 1])
    if len(line) > _LONGEST_LINE:
        return Row(number, 1, "", line[:80])
    start = 0
    for prefix in (_QUOTE, _STAMP):
        if found := prefix.match(line, start):
            start = found.end()
    return Row(number, start + 1, line[start:].translate(_SPACES).rstrip(), line)
