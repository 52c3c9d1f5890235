"""A machine's console shown to a person: `copy_console(console, meter, own_line)`."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from typing import IO

from metaos.boot.usage import Meter

_BUFFER = 1 << 16


class OwnLine:
    """Where a machine's console stands, so that what is said of it begins a line."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._open = False

    def shown(self, data: bytes) -> None:
        self._open = not data.endswith((b"\n", b"\r"))

    def say(self, text: str) -> None:
        if self._open:
            sys.stdout.buffer.write(b"\n")
            sys.stdout.buffer.flush()
            self._open = False
        self._progress(text)


def copy_console(console: IO[bytes], meter: Meter, own_line: OwnLine) -> None:
    """Copy the machine's console to stdout until QEMU closes it; say what its silence costs."""
    while True:
        if not select.select([console], [], [], meter.left)[0]:
            own_line.say(meter.quiet())
            continue
        data = console.read(_BUFFER)
        if not data:
            return
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        own_line.shown(data)
        meter.heard()
