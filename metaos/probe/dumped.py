"""Read a text that a tool printed and a person kept: `read_dump(path)`, `rows(text)`.

Such a file may hold anything: what a terminal added, another encoding, CR LF, other output
around it. Columns that are said of a row are those of the row as `rows` gives it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from metaos.errors import MetaosError

MOST_BYTES = 64 << 20
"""A larger file is none that a person kept: the largest dumps of real machines have 2 MiB."""
LONGEST_ROW = 4096
"""What comes later in a row is not looked at."""

_BOMS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
_ESCAPES = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # ECMA-48 §5.4: a control sequence
    "|\x1b\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?"  # an operating system command
    "|\x1b[ -/]*[0-~]?"
    "|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
)
_ROW_END = re.compile("\r*\n|\r+")


def read_dump(path: Path) -> str:
    """The text of a file, or of stdin for "-"; bytes that are no text become U+FFFD.

    Raises:
        MetaosError: it cannot be read, or has more than `MOST_BYTES`.
    """
    raw = read_bytes(path, MOST_BYTES)
    encoding = next((name for bom, name in _BOMS if raw.startswith(bom)), "utf-8")
    return raw.decode(encoding, "replace")


def read_bytes(path: Path, most: int) -> bytes:
    """What is in a file, or comes on stdin for "-".

    Raises:
        MetaosError: it cannot be read, or has more than `most` bytes.
    """
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(most + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(most + 1)
    except OSError as error:
        raise MetaosError(f"{path}: {error.strerror}") from error
    if len(raw) > most:
        raise MetaosError(
            f"{path}: more than {most >> 20} MiB", hint="keep only what the tool printed"
        )
    return raw


def rows(text: str) -> Iterator[tuple[int, str]]:
    """Each row with its number from 1: without a terminal's escapes, control characters and
    trailing blanks; a CR alone ends a row too, as where a progress line was overwritten."""
    number = 1
    for end in re.split("\n", text):
        for part in _ROW_END.split(end):
            clean = _ESCAPES.sub("", part[:LONGEST_ROW]).expandtabs().rstrip()
            if clean:
                yield number, clean
        number += 1
