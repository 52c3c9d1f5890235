"""The tools whose versions shape an image's bytes, and the lock that holds a project to them.

    tool_versions()                        # {"llvm": "22.1.8", "nasm": "2.16.01", ...}
    differing(recorded, tool_versions())   # those that are not the same

The lock is a file `metaos.lock`, TOML, beside `metaos.toml`, else in the working directory:

    [tools]
    llvm = "22.1.8"
"""

from __future__ import annotations

import importlib.metadata
import tomllib
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from metaos.emit.emit import llvm_version
from metaos.errors import Exit, MetaosError, Problem, Source
from metaos.files import replace_text
from metaos.link.loader import nasm_version
from metaos.match.system import misfits, unknown_keys
from metaos.project import project

LOCK = "metaos.lock"
MISSING = "missing"
_PACKAGES = ("metaos", "llvmlite", "keystone-engine")
_HEAD = "# The tools that the images here are made with; `metaos build --lock` writes this.\n\n"


class Differing(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that was another version: `recorded` then, `here` now; `MISSING` where it is not."""

    name: str
    recorded: str
    here: str

    def __str__(self) -> str:
        return f"{self.name}: {self.recorded} then, {self.here} here"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of metaos.lock."""

    tools: dict[str, str] = {}


def tool_versions() -> dict[str, str]:
    """Each tool's version by its name, as manifests have it; `MISSING` for what is not there."""
    found = {name: _package(name) for name in _PACKAGES}
    found |= {"llvm": llvm_version(), "nasm": nasm_version() or MISSING}
    return dict(sorted({**found, "zlib": zlib.ZLIB_RUNTIME_VERSION}.items()))


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return MISSING


def differing(recorded: Mapping[str, str], here: Mapping[str, str]) -> tuple[Differing, ...]:
    """The tools whose versions are not the same, by name."""
    names = sorted(recorded.keys() | here.keys())
    pairs = ((name, recorded.get(name, MISSING), here.get(name, MISSING)) for name in names)
    return tuple(Differing(name=n, recorded=a, here=b) for n, a, b in pairs if a != b)


def lock_file() -> Path:
    """Where the lock lies, or would."""
    found = project()
    return (found.file.parent if found is not None else Path()) / LOCK


def write_lock(path: Path) -> None:
    """Record this host's tools.

    Raises:
        MetaosError: the path cannot be written.
    """
    lines = (f'{name} = "{version}"\n' for name, version in tool_versions().items())
    replace_text(path, f"{_HEAD}[tools]\n{''.join(lines)}")


def demand_locked(path: Path) -> None:
    """Refuse other tools than those that a lock records.

    Raises:
        MetaosError: there is no lock, it cannot be read, or a tool has another version: each is
            named, with what was recorded and what is here.
    """
    if not path.exists():
        raise MetaosError(
            f"{path}: not there, and --locked builds with the tools that it records",
            hint="metaos build --lock records those of this host",
            exit_code=Exit.USAGE,
        )
    source = Source.read(path, str(path))
    try:
        table = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise MetaosError(f"{path}: not TOML: {error}", hint="metaos build --lock") from error
    problems = unknown_keys(table, _File, source) or misfits(table, _File, source)
    if problems:
        raise MetaosError(f"{path} has errors", problems=problems, hint="metaos build --lock")
    others = differing(msgspec.convert(table, _File).tools, tool_versions())
    if others:
        raise MetaosError(
            f"{path}: this host has other tools",
            problems=[
                Problem("E0603", f"{x.name}: expected {x.recorded}, found {x.here}") for x in others
            ],
            hint="install those versions; or record these, and images may change: "
            "metaos build --lock",
        )
