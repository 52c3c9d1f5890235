"""What the command says: data on stdout, messages on stderr, errors once.

    with one_message():
        note("probing ...")
        data(table(("device", "pattern"), rows))

Colour only on a terminal, and never with NO_COLOR set (https://no-color.org).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn, TextIO

import msgspec

from metaos.errors import Exit, MetaosError

_RED, _CYAN, _BOLD, _PLAIN = "\x1b[31m", "\x1b[36m", "\x1b[1m", "\x1b[0m"
_PAINTED = (
    (re.compile(r"^(.*?)(error)(\[\w+\])?: ", re.MULTILINE), rf"\1{_BOLD}{_RED}\2\3{_PLAIN}: "),
    (re.compile(r"^(  hint): ", re.MULTILINE), rf"{_CYAN}\1{_PLAIN}: "),
)
_ENDED = 128


def not_proved(what: str, reason: str) -> str:
    """What is said wherever a rule is shown that no real device was driven by."""
    return f"{what}: not proved on silicon: {reason}"


def data(text: str) -> None:
    """Write a line, or several, to stdout."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def data_json(value: object) -> None:
    """Write `value`, a struct or plain data, to stdout as JSON."""
    data(msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2).decode())


def note(text: str) -> None:
    """Tell a person something that is not the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def silent(_: str) -> None:
    """A `note` that says nothing."""


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their widest cell, two spaces between them; "" without rows."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(headers), ["-" * width for width in widths], *cells]
    ]
    return "\n".join(lines) + "\n"


def coloured(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that may be written to in colour."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def one_message() -> Iterator[None]:
    """End the process with one message and the right exit code, whatever stops the command."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    try:
        yield
        sys.stdout.flush()
    except MetaosError as error:
        _stop(error.render(), error.exit_code)
    except KeyboardInterrupt:
        _stop("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        _abandon_stdout()
        raise SystemExit(Exit.FAILED) from None
    except MemoryError:
        _stop("error: out of memory", Exit.FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"error: {where}{error.strerror or error}", Exit.FAILED)


def _stop(text: str, code: Exit) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_stdout()
    for pattern, paint in _PAINTED if coloured(sys.stderr) else ():
        text = pattern.sub(paint, text)
    with contextlib.suppress(OSError):
        note(text)
    raise SystemExit(code) from None


def _abandon_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of failing."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(number: int, _: FrameType | None) -> NoReturn:
    """End by unwinding, so that whatever was started is ended too."""
    raise SystemExit(_ENDED + number)
