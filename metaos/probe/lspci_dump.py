"""The rows of hexadecimal bytes that `lspci -x` to `-xxxx` print under a function.

Entering: the rows after a function's header; leaving: its config bytes, or what is wrong.

    00: 86 80 18 29 07 00 10 02 02 00 01 06 00 00 80 00
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from metaos.errors import Problem
from metaos.probe.machine import CONFIG_SIZES
from metaos.probe.paste import Row

_FLAGS = re.IGNORECASE | re.ASCII
_WIDTH = 16
_ROW = re.compile(
    r"\s*(?P<offset>[0-9a-f]{1,2}0):(?P<bytes>(?:\s+[0-9a-f]{2}(?=\s|$)){0,16})(?P<rest>.*)", _FLAGS
)
_CONTINUED = re.compile(r"\s*(?P<bytes>[0-9a-f]{2}(?:\s+[0-9a-f]{2}){0,15})\s*$", _FLAGS)
_HEX2 = re.compile(r"\s*[0-9a-f]{2}(\s|$)", _FLAGS)
_LEAST = 4
"""Bytes that a row must have to be taken for one outside a dump."""


def is_row(text: str) -> bool:
    """Whether a line is a row of bytes."""
    found = _ROW.match(text)
    return found is not None and len(found["bytes"].split()) >= _LEAST


def orphans(before: Sequence[Row], source: str) -> list[Problem]:
    """A row of bytes that stands before any function is nobody's."""
    row = next((row for row in before if is_row(row.text)), None)
    if row is None:
        return []
    return [
        Problem(
            "E0813",
            "config bytes, but no line before them names a function",
            span=row.span(source),
            hint='copy the line "00:1f.0 ..." above them too',
            text=row.original,
        )
    ]


def read(
    address: str, body: Sequence[Row], source: str
) -> tuple[bytes, tuple[Row, ...], list[Problem]]:
    """The config bytes of `address`, the rows that they came from, and what is wrong with them."""
    data = bytearray()
    used: list[Row] = []
    for row in body:
        found = _ROW.match(row.text)
        short = len(data) % _WIDTH
        if short and (more := _CONTINUED.match(row.text)) and not found:
            data += bytes.fromhex(more["bytes"])
            used.append(row)
            continue
        if found is None or not (data or is_row(row.text)):
            continue
        if short or int(found["offset"], 16) != len(data):
            return b"", (), [_misplaced(address, found, row, used, len(data), source)]
        if fault := _damaged(found, row, source):
            return b"", (), [fault]
        data += bytes.fromhex(found["bytes"])
        used.append(row)
    if len(data) not in CONFIG_SIZES:
        return b"", (), [_cut_off(address, used[-1], len(data), source)]
    return bytes(data), tuple(used), []


def _misplaced(
    address: str, found: re.Match[str], row: Row, used: Sequence[Row], have: int, source: str
) -> Problem:
    """A row that does not follow the one before."""
    if have % _WIDTH:
        last = used[-1]
        count = have % _WIDTH
        return Problem(
            "E0813",
            f"expected {_WIDTH} bytes in a row, got {count}",
            span=last.span(source, max(0, len(last.text) - 2)),
            text=last.original,
        )
    return Problem(
        "E0813",
        f"expected row {have:02x}: of {address}, got {found['offset']}:",
        span=row.span(source, found.start("offset"), found.end("offset")),
        hint="a row is missing, or twice; copy all of them",
        text=row.original,
    )


def _damaged(found: re.Match[str], row: Row, source: str) -> Problem | None:
    """A row with something that is no byte, or with a byte too many."""
    count = len(found["bytes"].split())
    rest = found["rest"]
    if not rest.strip() or (count == _WIDTH and not _HEX2.match(rest)):
        return None  # a column of characters may follow
    start = found.start("rest") + len(rest) - len(rest.lstrip())
    word = rest.split()[0]
    what = f"expected {_WIDTH} bytes in a row, got more"
    if count < _WIDTH:
        what = f"expected a byte (two of 0-9, a-f), got '{word[:20]}'"
    return Problem(
        "E0813", what, span=row.span(source, start, start + len(word)), text=row.original
    )


def _cut_off(address: str, last: Row, have: int, source: str) -> Problem:
    sizes = ", ".join(str(size) for size in CONFIG_SIZES if size)
    return Problem(
        "E0813",
        f"the config bytes of {address} end after {have}; lspci prints {sizes}",
        span=last.span(source, max(0, len(last.text) - 2)),
        hint="copy the rows that follow too, or none of this function's",
        text=last.original,
    )
