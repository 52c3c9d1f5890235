"""Where the keys and words of a system file stand in it: `placed(problem, source) -> Problem`.

A problem's `key` is the way to them: ("settings", "pktgen", "frames"), ("services", "udp.echo").
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from metaos.errors import MetaosError, Problem, Source, Span

_STRING_OR_COMMENT = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|#[^\n]*")


def placed(problem: Problem, source: Source) -> Problem:
    """The problem with the place and the line of what its key leads to, as far as it is found."""
    if problem.span is not None or not problem.key:
        return problem
    text = _STRING_OR_COMMENT.sub(_without_comment, source.text)
    found, position, before = None, 0, ""
    for key in problem.key:
        word, after = re.escape(key), re.escape(before)
        here = rf"[\"'](?P<a>{word})[\"']|(?<![\w.-])(?P<b>{word})(?![\w-])"
        dotted = rf"(?:(?<=\b{after}\.)|(?<=\b{after}[\"']\.))"
        below = rf"|{dotted}(?P<c>{word})(?![\w-])" if before else ""
        found = re.compile(here + below).search(text, position)
        if found is None:
            return problem
        position, before = found.end(), key
    assert found is not None and found.lastgroup is not None
    at = found.start(found.lastgroup)
    line = source.text.count("\n", 0, at) + 1
    column = at - (source.text.rfind("\n", 0, at) + 1) + 1
    span = Span(source.file, line, column, column + len(problem.key[-1]))
    return replace(problem, span=span, text=source.line(line))


@contextlib.contextmanager
def shown_in(path: Path) -> Iterator[None]:
    """Add their places to what later stages find wrong with the system file at `path`."""
    try:
        yield
    except MetaosError as error:
        if any(problem.key and problem.span is None for problem in error.problems):
            source = Source.read(path, str(path))
            error.problems = tuple(placed(problem, source) for problem in error.problems)
        raise


def _without_comment(found: re.Match[str]) -> str:
    """A string as it is; for a comment spaces, so that what follows stays where it is."""
    return " " * len(found[0]) if found[0].startswith("#") else found[0]
