"""`metaos patterns test`: `run_tests(patterns, system, wanted) -> Results`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metaos.errors import Exit, MetaosError, did_you_mean
from metaos.fake.emulate import available
from metaos.fake.examples import Bench, test_device
from metaos.fake.results import Results, Tested
from metaos.fake.services import test_service
from metaos.match.system import System
from metaos.pattern.patterns import Patterns

ENGINES = ("interpreter", "unicorn")


def run_tests(patterns: Patterns, system: System, wanted: str = "") -> Results:
    """Test the rule called `wanted`, or all rules of the file of that name; "" is everything.

    Raises MetaosError (usage) if there is no such rule or file.
    """
    names = _wanted(patterns, wanted)
    engines = ENGINES if available() else ENGINES[:1]
    bench = Bench(patterns, system, engines)
    tested: list[Tested] = []
    for name, pattern in patterns.devices.items():
        if name in names and not pattern.abstract:
            tested.append(test_device(pattern, bench))
    tested += [test_service(x, bench) for n, x in patterns.services.items() if n in names]
    return Results(engines=engines, unicorn=available(), tested=tuple(tested))


def located(wanted: str, folders: Sequence[Path]) -> tuple[tuple[Path, ...], str]:
    """The folders to read, and what is wanted of them: a file of no folder brings its own.

    Of a file that has the path of one of theirs, as `mine/net/x.pattern`, the folder is that
    in which it takes the other's place; else the one it lies in.
    """
    path = Path(wanted)
    if not path.is_file():
        return tuple(folders), wanted
    path = path.resolve()
    for folder in folders:
        if path.is_relative_to(folder.resolve()):
            return tuple(folders), path.relative_to(folder.resolve()).as_posix()
    for parent in path.parents:
        inside = path.relative_to(parent)
        if any((folder / inside).is_file() for folder in folders):
            return (*folders, parent), inside.as_posix()
    return (*folders, path.parent), path.name


def _wanted(patterns: Patterns, wanted: str) -> set[str]:
    """Names of the rules that are meant; of a family, its members."""
    made = {name for name, service in patterns.services.items() if service.model}
    every = {*patterns.devices, *patterns.services} - made
    if not wanted:
        return every
    file = Path(wanted).as_posix()
    inside: set[str] = set()
    for one in patterns.files:
        if one.name == file or file.endswith(f"/{one.name}"):
            inside |= {x.name for x in one.devices} | {x.name for x in one.services}
    names = inside or ({wanted} & every)
    if not names:
        files = [one.name for one in patterns.files]
        raise MetaosError(
            f"no pattern and no pattern file '{wanted}'",
            hint=did_you_mean(wanted, [*every, *files]),
            exit_code=Exit.USAGE,
        )
    while more := {p.name for p in patterns.devices.values() if p.family in names} - names:
        names |= more
    return names
