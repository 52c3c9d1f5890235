"""Pattern files formatted where they lie: `changes(named(paths))`, then `write` each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from metaos.errors import MetaosError, Problem, Source
from metaos.files import replace_text
from metaos.pattern.fmt import formatted


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is not formatted, the first line that differs, and what it should hold."""

    path: Path
    line: int
    text: str


def named(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The pattern files among the paths and in the folders among them.

    Raises:
        MetaosError: a path that is not there.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise MetaosError(f"{path}: no such file or folder")
        found += sorted(path.rglob("*.pattern")) if path.is_dir() else [path]
    return tuple(dict.fromkeys(found))


def changes(paths: Iterable[Path]) -> tuple[Change, ...]:
    """The files that formatting would change.

    Raises:
        MetaosError: the problems of all files that do not parse; then none is to be written.
    """
    found: list[Change] = []
    problems: list[Problem] = []
    for path in paths:
        source = Source.read(path, str(path))
        try:
            text = formatted(source)
        except MetaosError as error:
            if not error.problems:
                raise
            problems += error.problems
            continue
        if text != source.text:
            found.append(Change(path, _first_difference(source.text, text), text))
    if problems:
        raise MetaosError("what does not parse cannot be formatted", problems=problems)
    return tuple(found)


def write(change: Change) -> None:
    """Put the formatted text in the file's place."""
    replace_text(change.path, change.text)


def _first_difference(before: str, after: str) -> int:
    """The number of the first line of `before` that `after` has not."""
    lines = zip(before.split("\n"), after.split("\n"), strict=False)
    return next((n for n, (a, b) in enumerate(lines, 1) if a != b), 1)
