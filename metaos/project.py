"""A project: the folder that a `metaos.toml` lies in, and what it says.

    patterns = ["patterns"]     # folders of the user's own patterns
    system = "system.toml"      # what images are to do, where --system does not say

`project(folder)` looks in the folder and in those above it. Paths are relative to the file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import msgspec

from metaos.errors import MetaosError, Source
from metaos.match.system import misfits, unknown_keys

FILE = "metaos.toml"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of metaos.toml."""

    patterns: tuple[str, ...] = ()
    system: str | None = None


class Project(msgspec.Struct, frozen=True):
    """What a project's file says, its paths as seen from the working directory."""

    file: Path
    patterns: tuple[Path, ...]
    system: Path | None


def project(folder: Path | None = None) -> Project | None:
    """The project that `folder`, else the working directory, is in; None outside of any.

    Raises:
        MetaosError: its file is not TOML, has an unknown key or a value that does not fit.
    """
    start = (folder or Path()).absolute()
    for place in (start, *start.parents):
        if (place / FILE).is_file():
            return _read(Path(os.path.relpath(place / FILE, Path().absolute())))
    return None


def _read(path: Path) -> Project:
    source = Source.read(path, str(path))
    try:
        table = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise MetaosError(f"{path}: not TOML: {error}") from error
    problems = unknown_keys(table, _File, source) or misfits(table, _File, source)
    if problems:
        raise MetaosError(f"{path} has errors", problems=problems)
    said = msgspec.convert(table, _File)

    def seen(name: str) -> Path:
        return Path(os.path.relpath(path.parent / name))

    folders = tuple(seen(folder) for folder in said.patterns)
    return Project(path, folders, seen(said.system) if said.system is not None else None)
