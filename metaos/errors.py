"""How MetaOS says what is wrong: positions, problems and the one exception.

A stage collects `Problem`s and raises one `MetaosError` that holds them all.
`cli.py` alone turns the exception into text and an exit code.

    raise MetaosError("no such target 'pc'", hint="targets: pc-e1000")
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path


class Exit(IntEnum):
    """Exit codes of the `metaos` command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_PATTERN = 3
    LAW_BROKEN = 4
    TOOL_MISSING = 5
    TIMEOUT = 124
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line of a source file: line and columns from 1, end exclusive."""

    file: str
    line: int
    column: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to do about it.

    `code` is stable ("E0103"); `span` is None where no file has a say; `text` is the
    source line the span lies in, without its newline. `key` is the way to what is wrong through
    the keys of a system file, for who has its text (`metaos.match.system_places`).
    """

    code: str
    message: str
    span: Span | None = None
    hint: str = ""
    text: str = ""
    key: tuple[str, ...] = ()

    def render(self) -> str:
        """Draw `file:line:column: error: message`, the line and a caret under the span."""
        where = f"{self.span}: " if self.span else ""
        lines = [f"{where}error[{self.code}]: {self.message}"]
        if self.span and self.text:
            width = max(1, self.span.end_column - self.span.column)
            indent = "".join("\t" if c == "\t" else " " for c in self.text[: self.span.column - 1])
            lines += [f"    {self.text}", f"    {indent}{'^' * width}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class MetaosError(Exception):
    """What stops a command: one message, or the collected problems of a stage."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        exit_code: Exit = Exit.FAILED,
        problems: Iterable[Problem] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.problems = tuple(problems)
        for problem in self.problems:
            self.add_note(problem.render())  # for who sees a traceback: a test's author

    def render(self) -> str:
        """The text for a person: every problem, then the message and its hint."""
        lines = [problem.render() for problem in self.problems]
        lines.append(f"error: {self.message}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class Source:
    """A text file's lines, for the caret under a problem."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text

    @classmethod
    def read(cls, path: Path, file: str) -> Source:
        """Read a UTF-8 file and call it `file` in messages."""
        try:
            return cls(file, path.read_text("utf-8"))
        except UnicodeDecodeError as error:
            raise MetaosError(f"{path}: not UTF-8 text (byte {error.start})") from error
        except OSError as error:
            raise MetaosError(f"{path}: {error.strerror}") from error

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    def line(self, number: int) -> str:
        """Line `number`, counted from 1; empty where there is none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


def did_you_mean(word: str, known: Iterable[str], most: int = 0) -> str:
    """A hint that names the nearest of `known`, or lists them; empty if there are none.

    With `most`, no more of them are listed.
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, 1)
    if near:
        return f"did you mean '{near[0]}'?"
    shown = names[:most] if most else names
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"known: {', '.join(shown)}{more}" if names else ""
