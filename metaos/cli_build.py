"""What the verbs that read, match and build say and write.

Entering: parsed arguments; leaving: files, and text or JSON on stdout. The stages
themselves are `metaos.pipeline`'s.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaos import cli_text, console, resources
from metaos.errors import Exit, MetaosError
from metaos.match.cards import Role
from metaos.match.system import System, read_system
from metaos.match.system_places import shown_in
from metaos.probe.machine import Machine
from metaos.project import project

if TYPE_CHECKING:
    from metaos.link.image import Image
    from metaos.verify.compare import Rebuilt

MACHINE = Path("machine.json")
BUILD = Path("build")

_WRITTEN = re.compile(r".*\.img(\.(account|manifest)\.json|\.gdb|\.\w+\.elf)?")
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a machine's facts come from: a file, or QEMU with a target and more arguments."""

    probe: bool
    machine: Path | None = None
    target: str | None = None
    arguments: tuple[str, ...] = ()
    accel: str = "auto"
    timeout: float = 60.0


def build(
    source: Source,
    *,
    system: Path | None,
    output: Path | None,
    patterns: tuple[Path, ...],
    dump: str | None,
    fold_units: bool,
    locked: bool,
    lock: bool,
    json: bool,
    progress: Progress,
) -> None:
    """Probe or read a machine, build its image, write it and say what it is.

    `locked`: not with other tools than the lock records; `lock`: record them.
    """
    _demand_one_source(source)
    from metaos import pipeline, tools
    from metaos.files import BOOT_IMAGE, demand_replaceable
    from metaos.link.image import write_image
    from metaos.verify.audit import measure, render

    if locked:
        tools.demand_locked(tools.lock_file())
    wanted = system_of(system)
    folders = pattern_folders(patterns)
    if output is not None and dump is None:
        demand_replaceable(output, BOOT_IMAGE)
    machine = machine_of(source, system, patterns, progress)
    with shown_in(system_path(system)):
        if dump is not None:
            console.data(pipeline.dump(dump, machine, system=wanted, pattern_dirs=folders))
            return
        built = pipeline.build_proved(
            machine, system=wanted, pattern_dirs=folders, progress=progress, fold_units=fold_units
        )
    path = output or BUILD / f"{_image_name(machine, source, wanted.name)}.img"
    write_image(built.image, path)
    if lock:
        tools.write_lock(tools.lock_file())
        progress(f"recorded the tools: {tools.lock_file()}")
    report = measure(built.image, str(path), proof=built.proof)
    if json:
        console.data_json(report)
    else:
        console.data(render(report))
    for told in built.unproved:
        console.note(told)


def rebuilt(image: Path, *, machine: Path | None, patterns: tuple[Path, ...]) -> Rebuilt:
    """Build an image again and compare."""
    from metaos import pipeline
    from metaos.link.image import read_image

    built = read_image(image)
    if machine is None and not MACHINE.exists():
        raise no_machine_file(built, "no machine file to rebuild the image from")
    given = _read_machine(machine or MACHINE)
    return pipeline.rebuild(built, given, pattern_dirs=pattern_folders(patterns))


def no_machine_file(image: Image, message: str) -> MetaosError:
    """`message`, with the command that writes the machine file an image was built from."""
    hint = "name the one it was built from: --machine FILE"
    emulator = image.manifest.provenance.emulator
    if emulator is not None:
        words = ["metaos", "probe", "qemu", "--target", emulator.target, "-o", str(MACHINE)]
        more = ["--", *emulator.arguments] if emulator.arguments else []
        hint += f"; this writes it: {shlex.join([*words, *more])}"
    return MetaosError(message, hint=hint, exit_code=Exit.USAGE)


def show(path: Path, *, json: bool) -> None:
    """Show a machine file as a tree."""
    from metaos.cli_tree import tree_text
    from metaos.match.tree import tree

    machine = _read_machine(path)
    shown = tree(machine)
    if json:
        console.data_json(shown)
    else:
        console.data(tree_text(shown, machine.acpi))


def match(path: Path, *, system: Path | None, patterns: tuple[Path, ...], json: bool) -> None:
    """Say which pattern serves which device of a machine file."""
    from metaos.match.bind import bind_all, demand_needed
    from metaos.match.report import match_report
    from metaos.pipeline import read_patterns

    machine = _read_machine(path)
    with shown_in(system_path(system)):
        bindings = bind_all(machine, read_patterns(pattern_folders(patterns)), system_of(system))
    report = match_report(bindings, str(path))
    if json:
        console.data_json(report)
    else:
        console.data(cli_text.match_text(report))
    demand_needed(bindings)


def coverage(folder: Path, *, system: Path | None, patterns: tuple[Path, ...], json: bool) -> bool:
    """Say how much of a folder's machines the patterns cover; whether every file was read."""
    from metaos.match.summary import summary
    from metaos.pipeline import read_patterns

    if not folder.is_dir():
        raise MetaosError(
            f"{folder}: not a folder", hint="--summary takes a folder of machine files"
        )
    machines: dict[str, Machine] = {}
    unreadable: dict[str, str] = {}
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        try:
            machines[name] = _read_machine(path)
        except MetaosError as error:
            unreadable[name] = error.message
            console.note(error.render())
    if not machines:
        raise MetaosError(f"{folder}: no machine file in it", hint="metaos probe writes one")
    loaded = read_patterns(pattern_folders(patterns))
    found = summary(machines, loaded, system_of(system), unreadable)
    if json:
        console.data_json(found)
    else:
        console.data(cli_text.summary_text(found))
    for name in found.unreadable.keys() - unreadable.keys():
        console.note(f"error: {name}: {found.unreadable[name]}")
    return not found.unreadable


def diff(a: Path, b: Path, *, system: Path | None, patterns: tuple[Path, ...], json: bool) -> bool:
    """Say what changed from one machine file to another; whether A's image serves B."""
    from metaos import pipeline

    with shown_in(system_path(system)):
        difference = pipeline.compare(
            _read_machine(a),
            _read_machine(b),
            system=system_of(system),
            pattern_dirs=pattern_folders(patterns),
        )
    if json:
        console.data_json(difference)
    else:
        console.data(cli_text.difference_text(difference))
    return difference.serves


def config(
    *, system: Path | None, machine: Path | None, patterns: tuple[Path, ...], json: bool
) -> None:
    """Say what the system file comes to, on a machine if there is one."""
    wanted = system_of(system)
    path = machine or (MACHINE if MACHINE.exists() else None)
    with shown_in(system_path(system)):
        served = None if path is None else _served(_read_machine(path), wanted, patterns)
    data = cli_text.config_data(wanted, served)
    if json:
        console.data_json(data)
    else:
        console.data(cli_text.config_text(data))


def _served(machine: Machine, system: System, patterns: tuple[Path, ...]) -> tuple[Role, ...]:
    """The roles of a machine's cards; every refusal that `build` would make of them."""
    from metaos.match.bind import bind
    from metaos.match.cards import carried_by, roles
    from metaos.pattern.syntax import Offer, Turn
    from metaos.pipeline import read_patterns

    bindings = bind(machine, read_patterns(pattern_folders(patterns)), system)
    turns = [(b.device.address, b.pattern.one(Turn)) for b in bindings.bindings]
    cards = [a for a, turn in turns if turn and any(isinstance(x, Offer) for x in turn.steps)]
    found = roles(system, cards)
    for role in found:
        carried_by(role, bindings.services)
    return found


def init(folder: Path, *, json: bool) -> None:
    """Make a project, and say what to do with it."""
    from metaos.scaffold import scaffold

    written = scaffold(folder)
    if json:
        console.data_json([str(path) for path in written])
        return
    where = "" if folder.resolve() == Path().resolve() else f"cd {shlex.quote(str(folder))} && "
    lines = [f"wrote {path}" for path in written]
    console.data("\n".join([*lines, "", f"next: {where}metaos build --probe qemu"]))


def explain(code: str | None, *, json: bool) -> None:
    """Say what an error's code means; without one, what each means in a few words."""
    from metaos.explain import explained, explanations

    if code is not None:
        one = explained(code)
        console.data_json(one) if json else console.data(f"{one.code}: {one.title}\n\n{one.text}")
        return
    found = list(explanations().values())
    text = "\n".join(f"{one.code}  {one.title}" for one in found)
    console.data_json(found) if json else console.data(text)


def clean(folder: Path) -> Iterator[Path]:
    """Remove what `build` and `run --gdb` write into `folder`, and the folder if it is empty."""
    for path in sorted(folder.glob("*")):
        if path.is_file() and _WRITTEN.fullmatch(path.name):
            path.unlink()
            yield path
    with contextlib.suppress(OSError):
        folder.rmdir()


def default_target() -> str:
    """The target that is meant where none is named."""
    return (resources.TARGETS / "DEFAULT").read_text("utf-8").strip()


def pattern_folders(more: tuple[Path, ...]) -> list[Path]:
    """MetaOS's own patterns, the project's, the user's: the later replace files of the former."""
    return [resources.PATTERNS, *own_folders(more)]


def own_folders(more: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """The project's folders of patterns and then `more`, each once."""
    found = project()
    own = (*(found.patterns if found else ()), *more)
    return tuple({folder.resolve(): folder for folder in own}.values())


def system_of(path: Path | None) -> System:
    """The system file that is named, else the project's, else the default."""
    return read_system(system_path(path))


def system_path(path: Path | None) -> Path:
    """Where that file is."""
    found = project()
    return path or (found.system if found else None) or resources.SYSTEMS / "default.toml"


def _demand_one_source(source: Source) -> None:
    if source.probe and source.machine:
        raise MetaosError("--probe and --machine exclude each other", exit_code=Exit.USAGE)
    if not source.probe and (source.target or source.arguments):
        raise MetaosError(
            "--target and QEMU's arguments are for --probe qemu", exit_code=Exit.USAGE
        )
    if not source.probe and not source.machine and not MACHINE.exists():
        raise MetaosError(
            "no machine to build for: no --probe qemu, no --machine FILE, no ./machine.json",
            hint="metaos build --probe qemu",
            exit_code=Exit.USAGE,
        )


def machine_of(
    source: Source, system: Path | None, patterns: tuple[Path, ...], progress: Progress
) -> Machine:
    """Read the machine file, or probe QEMU."""
    if not source.probe:
        return _read_machine(source.machine or MACHINE)
    from metaos import pipeline
    from metaos.boot.accel import choose

    accel = choose(source.accel)
    progress(f"{accel.name}: {accel.why}")
    with shown_in(system_path(system)):
        return pipeline.probe(
            source.target or default_target(),
            source.arguments,
            accel=accel.name,
            timeout=source.timeout,
            pattern_dirs=pattern_folders(patterns),
            system=system_of(system),
            progress=progress,
        )


def _read_machine(path: Path) -> Machine:
    from metaos.probe.store import read_machine

    return read_machine(path)


def _image_name(machine: Machine, source: Source, system: str) -> str:
    """The target's name, or the machine file's, or the system's."""
    from metaos.boot.target import NO_TARGET

    if machine.emulator and machine.emulator.target != NO_TARGET:
        return machine.emulator.target
    if source.machine and source.machine.stem != MACHINE.stem:
        return source.machine.stem
    return system
