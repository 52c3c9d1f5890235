"""`metaos patterns new`: a pattern file to begin with, and its test.

What is not said by flags is asked, on a terminal only.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import typer

from metaos import console, resources
from metaos.cli_build import pattern_folders
from metaos.errors import Exit, MetaosError
from metaos.files import replace_text
from metaos.match.likely import wanted
from metaos.pattern.patterns import Patterns
from metaos.pattern.skeleton import (
    GENERAL,
    Bar,
    Wanted,
    demand_name,
    pytest_text,
    skeleton,
    template,
)

_IDS = re.compile(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})")
_WINDOW = re.compile(r"([0-5])=(ports|memory)(?::(0x[0-9A-Fa-f]+|[0-9]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the flags said; empty where they did not."""

    name: str
    class_name: str
    source: tuple[Path, str] | None
    id: str
    bars: tuple[str, ...]
    folders: tuple[Path, ...]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What `new` made: the files, and what to do next."""

    pattern: str
    test: str
    name: str
    class_name: str
    match: dict[str, int]
    next: tuple[str, ...]


def new(said: Said, *, json: bool) -> None:
    """Write NAME.pattern and test_NAME.py into the last of the user's pattern folders."""
    folders = pattern_folders(said.folders)
    folder = folders[-1]
    if folder == resources.PATTERNS:
        raise MetaosError(
            "no folder to write to, and no project with one",
            hint="name one of yours: --patterns DIR",
            exit_code=Exit.USAGE,
        )
    written = _write(_asked(said), folder, [f for f in folders if f.is_dir()])
    if json:
        console.data_json(written)
        return
    console.data(f"{written.pattern}\n{written.test}")
    console.note("next: write what the manual says into it, and try:")
    for command in written.next:
        console.note(f"  {command}")


def _write(said: Said, folder: Path, folders: list[Path]) -> Written:
    """Make both texts, check the pattern with all others, then write them."""
    from metaos.pipeline import read_patterns

    demand_name(said.name)
    pattern, test = folder / f"{said.name}.pattern", folder / f"test_{said.name}.py"
    for path in (pattern, test):
        if path.exists():
            raise MetaosError(
                f"{path} is there already", hint="take another name, or remove it first"
            )
    patterns = read_patterns(folders)
    found = _from_machine(said, patterns) if said.source else _from_flags(said)
    text = skeleton(found, template(found.class_name, patterns, folders))
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / pattern.name).write_text(text, "utf-8")
        read_patterns([*folders, Path(place)])
    folder.mkdir(parents=True, exist_ok=True)
    machine, address = said.source or (Path(), "")
    seen = os.path.relpath(machine, folder).replace(os.sep, "/") if said.source else ""
    replace_text(pattern, text)
    replace_text(test, pytest_text(said.name, test.as_posix(), seen, address))
    commands = [f"metaos patterns check --patterns {folder}"]
    commands += [f"metaos patterns test {said.name} --patterns {folder}"]
    commands += [f"metaos match {machine} --patterns {folder}"] if said.source else []
    return Written(
        pattern=str(pattern),
        test=str(test),
        name=found.name,
        class_name=found.class_name,
        match=dict(found.keys),
        next=(*commands, f"pytest {test}"),
    )


def _from_machine(said: Said, patterns: Patterns) -> Wanted:
    from metaos.probe.store import read_machine

    assert said.source is not None
    path, address = said.source
    if said.id or said.bars:
        raise MetaosError("--from says ids and windows; leave --id and --bar out",
                          exit_code=Exit.USAGE)  # fmt: skip
    return wanted(said.name, read_machine(path), address, patterns, said.class_name)


def _from_flags(said: Said) -> Wanted:
    ids = _IDS.fullmatch(said.id)
    if ids is None:
        raise MetaosError(
            f"'{said.id}' is no id of a PCI device",
            hint="VENDOR:DEVICE, four hexadecimal digits each, as lspci -n shows it: 1234:5678",
            exit_code=Exit.USAGE,
        )
    bars = tuple(map(_bar, said.bars)) or (Bar(index=0, ports=False),)
    if len({bar.index for bar in bars}) < len(bars):
        raise MetaosError("--bar names a register twice", exit_code=Exit.USAGE)
    return Wanted(
        name=said.name,
        class_name=said.class_name,
        keys=(("vendor", int(ids[1], 16)), ("device", int(ids[2], 16))),
        about=said.name,
        bars=bars,
    )


def _bar(text: str) -> Bar:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise MetaosError(
            f"'{text}' says no window",
            hint="NUMBER=ports or NUMBER=memory, and its size: 0=memory:4096",
            exit_code=Exit.USAGE,
        )
    return Bar(index=int(found[1]), ports=found[2] == "ports", size=int(found[3] or "0", 0))


# ---- questions ---------------------------------------------------------------------------


def _asked(said: Said) -> Said:
    """What the flags left out, asked for; refused where nobody can answer."""
    if said.class_name == "service":
        raise MetaosError(
            "a service is no class of devices",
            hint="services begin with docs/guides/first-service.md",
            exit_code=Exit.USAGE,
        )
    missing = [what for what, there in (("a name", said.name), ("--class", said.class_name or
               said.source), ("--id or --from", said.id or said.source)) if not there]  # fmt: skip
    if not missing:
        return said
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise MetaosError(
            f"it is not said: {', '.join(missing)}",
            hint="metaos patterns new NAME --class CLASS --id VENDOR:DEVICE, "
            "or --from machine.json ADDRESS",
            exit_code=Exit.USAGE,
        )
    name = said.name or _ask("The pattern's name")
    if said.source or said.id:
        source, ids = said.source, said.id
    else:
        file = _ask("A machine file that has the device (empty: none)", "")
        source = (Path(file), _ask("Its address on that machine")) if file else None
        ids = "" if source else _ask("Its ids, VENDOR:DEVICE")
    class_name = said.class_name
    if not source and not class_name:
        class_name = _ask("Its class", GENERAL)
    return replace(said, name=name, class_name=class_name, source=source, id=ids)


def _ask(question: str, default: str | None = None) -> str:
    answer: str = typer.prompt(question, default=default, err=True, show_default=bool(default))
    return answer.strip()
