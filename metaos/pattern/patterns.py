"""`Patterns`: every rule of the pattern folders, inheritance resolved.

    patterns = load([resources.PATTERNS])
    patterns.devices["i82540em"].registers["csr"]

A member is its family with its own items added; an item of the same name replaces the
inherited one. An overlay is a device or a member changed in the same way. Names of devices,
classes, layouts and services are global.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from metaos.errors import MetaosError, Problem, Source, Span, did_you_mean
from metaos.pattern import syntax as s
from metaos.pattern import uses
from metaos.pattern.parse import parse
from metaos.pattern.parts import expand
from metaos.resources import PATTERNS

T = TypeVar("T")


@dataclass(frozen=True)
class Pattern:
    """One device rule with everything it inherits.

    `abstract` is a family: it matches through its members alone. `items` are in order,
    the class's first. `lineage` is what was written: the families, root first, then itself;
    `written` is what of it counts, before parts are made, and `replaced` what does not, each
    with what took its place. `fakes` and `trials` are for tests: they leave nothing in an image.
    """

    name: str
    class_name: str
    family: str
    abstract: bool
    items: tuple[s.Item, ...]
    span: Span
    lineage: tuple[s.Device, ...] = ()
    written: tuple[s.Item, ...] = ()
    replaced: tuple[tuple[s.Item, s.Item], ...] = ()
    fakes: tuple[s.Fake, ...] = ()
    trials: tuple[s.Trial, ...] = ()

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """The items of one kind, in order."""
        return tuple(i for i in self.items if isinstance(i, kind))

    def one(self, kind: type[T]) -> T | None:
        """The last item of one kind: a member's replaces its family's."""
        found = self.of(kind)
        return found[-1] if found else None

    def named(self, kind: type[T]) -> dict[str, T]:
        """Items of one kind by name."""
        return {i.name: i for i in self.of(kind)}  # type: ignore[attr-defined]

    @property
    def unproved(self) -> str:
        """What it was tried on, if on no such device; else nothing."""
        found = self.one(s.Unproved)
        return found.reason if found is not None else ""

    @cached_property
    def layouts(self) -> Mapping[str, s.Layout]:
        return MappingProxyType(self.named(s.Layout))

    @cached_property
    def registers(self) -> Mapping[str, tuple[s.Registers, s.Register]]:
        """Registers by their own name, each with its block."""
        return MappingProxyType(
            {r.name: (block, r) for block in self.of(s.Registers) for r in block.registers}
        )


@dataclass(frozen=True)
class Patterns:
    """Everything the pattern folders say; `sources` holds the texts for messages.

    `folders` says where each file was read, and `hidden` where a file of the same name was
    that does not count.
    """

    devices: Mapping[str, Pattern]
    classes: Mapping[str, s.ClassDef]
    layouts: Mapping[str, s.Layout]
    services: Mapping[str, s.Service]
    sources: Mapping[str, Source]
    files: tuple[s.File, ...]
    folders: Mapping[str, Path] = field(default_factory=dict)
    hidden: Mapping[str, Path] = field(default_factory=dict)

    def place(self, file: str) -> str:
        """Where a person finds a file: of MetaOS's own, the path in its patterns."""
        return _place(file, self.folders)

    def placed(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """The problems with files named as a person finds them."""
        return _placed(problems, self.folders)

    def replacements(self) -> tuple[str, ...]:
        """What to tell of files that do not count since a later folder has them too."""
        return tuple(
            f"{self.place(file)} replaces "
            + (f"MetaOS's {file}" if folder == PATTERNS else (folder / file).as_posix())
            for file, folder in sorted(self.hidden.items())
        )

    def problem(self, code: str, message: str, span: Span, hint: str = "") -> Problem:
        """A problem that shows the line it is about."""
        source = self.sources.get(span.file)
        return Problem(code, message, span, hint, source.line(span.line) if source else "")


def load(folders: Iterable[Path]) -> Patterns:
    """Read every `*.pattern` below the folders; a later folder's rule replaces an earlier's.

    Raises `MetaosError` with the problems of all files.
    """
    files: list[s.File] = []
    sources: dict[str, Source] = {}
    problems: list[Problem] = []
    origins: dict[str, Path] = {}
    hidden: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise MetaosError(f"no pattern folder '{folder}'")
        for path in sorted(folder.rglob("*.pattern")):
            name = path.relative_to(folder).as_posix()
            if name in origins:
                hidden[name] = origins[name]
            origins[name] = folder
            sources[name] = Source.read(path, name)
            files = [f for f in files if f.name != name]
            try:
                files.append(parse(sources[name]))
            except MetaosError as error:
                problems.extend(_placed(error.problems, origins))
    if problems:
        raise MetaosError("the patterns do not parse", problems=problems)
    try:
        patterns = resolve(tuple(files), sources, origins)
    except MetaosError as error:
        raise MetaosError(error.message, problems=_placed(error.problems, origins)) from None
    return replace(patterns, folders=origins, hidden=hidden)


def _place(file: str, folders: Mapping[str, Path]) -> str:
    folder = folders.get(file, PATTERNS)
    return file if folder == PATTERNS else (folder / file).as_posix()


def _placed(problems: Iterable[Problem], folders: Mapping[str, Path]) -> tuple[Problem, ...]:
    return tuple(
        p if p.span is None else replace(p, span=replace(p.span, file=_place(p.span.file, folders)))
        for p in problems
    )


def resolve(
    files: tuple[s.File, ...],
    sources: Mapping[str, Source],
    folders: Mapping[str, Path] | None = None,
) -> Patterns:
    """Join the files' declarations and apply inheritance."""
    problems: list[Problem] = []

    def say(code: str, message: str, span: Span, hint: str = "") -> None:
        source = sources.get(span.file)
        line = source.line(span.line) if source else ""
        problem = Problem(code, message, span, hint, line)
        if problem not in problems:  # what several inherit is said once
            problems.append(problem)

    def place(span: Span) -> Span:
        return replace(span, file=_place(span.file, folders or {}))

    def near(word: str, known: Iterable[str]) -> str:
        """A hint, as long as there are few problems: it takes its time."""
        return did_you_mean(word, known) if len(problems) < 40 else ""

    def collect(kind: str, nodes: Iterable[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        for node in nodes:
            name, span = node.name, node.span  # type: ignore[attr-defined]
            if name in found:
                first = found[name].span  # type: ignore[attr-defined]
                same = first.file == span.file
                where = f"in line {first.line}" if same else f"at {place(first)}"
                hint = "" if same else "a file of the same path replaces one of MetaOS's"
                say("E0101", f"{kind} '{name}' is declared twice, first {where}", span, hint)
            found[name] = node
        return found

    classes = collect("class", (c for f in files for c in f.classes))
    raw = collect("device", (d for f in files for d in f.devices))
    layouts = collect("layout", (x for f in files for x in f.layouts))
    services = uses.expand(collect("service", (x for f in files for x in f.services)), say)
    devices: dict[str, Pattern] = {}
    for device in raw.values():
        chain = _ancestry(device, raw, classes, say, near)
        if chain is not None:
            devices[device.name] = _inherit(device, chain, classes, say)
    if problems:
        raise MetaosError("the patterns do not fit together", problems=problems)
    return Patterns(devices, classes, layouts, services, dict(sources), files)


def _ancestry(
    device: s.Device,
    raw: Mapping[str, s.Device],
    classes: Mapping[str, s.ClassDef],
    say: Callable[[str, str, Span, str], None],
    near: Callable[[str, Iterable[str]], str],
) -> tuple[s.Device, ...] | None:
    """The device's families, root first, itself last; None after a reported problem."""
    chain = [device]
    names = {device.name}
    while chain[0].inherits:
        parent = raw.get(chain[0].parent)
        if chain[0].kind == "overlay":
            if parent is None or parent.abstract:
                _no_base(chain[0], parent, raw, say, near)
                return None
        elif parent is None or parent.kind in ("device", "overlay"):
            families = [d.name for d in raw.values() if d.abstract]
            hint = near(chain[0].parent, families)
            say("E0102", f"no family '{chain[0].parent}'", chain[0].span, hint)
            return None
        if parent.name in names:
            say("E0103", f"'{device.name}' is a member of itself", device.span, "")
            return None
        chain.insert(0, parent)
        names.add(parent.name)
    if chain[0].parent not in classes:
        hint = near(chain[0].parent, classes)
        say("E0104", f"no class '{chain[0].parent}'", chain[0].span, hint)
        return None
    return tuple(chain)


def _no_base(
    overlay: s.Device,
    parent: s.Device | None,
    raw: Mapping[str, s.Device],
    say: Callable[[str, str, Span, str], None],
    near: Callable[[str, Iterable[str]], str],
) -> None:
    """Say that there is nothing an overlay could be laid over."""
    hint = near(overlay.parent, [d.name for d in raw.values() if not d.abstract])
    if parent is not None:
        hint = f"it is a family: write 'member {overlay.name} of {parent.name}'"
    say("E0264", f"no device or member '{overlay.parent}'", overlay.span, hint)


def _unsaid(code: str, message: str, span: Span, hint: str) -> None:
    """What a family leaves open is no problem: its members say it."""


def _inherit(
    device: s.Device,
    chain: tuple[s.Device, ...],
    classes: Mapping[str, s.ClassDef],
    say: Callable[[str, str, Span, str], None],
) -> Pattern:
    class_name = chain[0].parent
    items: dict[object, s.Item] = {(type(i), i.name): i for i in classes[class_name].items}
    replaced: list[tuple[s.Item, s.Item]] = []
    for ancestor in chain:
        for item in ancestor.items:
            key = identity(item)
            if key in items:
                replaced.append((items.pop(key), item))
            items[key] = item
    family = chain[-2].name if len(chain) > 1 else ""
    written = tuple(items.values())
    whole = expand(written, say if not device.abstract else _unsaid)
    items_only = tuple(x for x in whole if not isinstance(x, s.Fake | s.Trial))
    fakes = tuple(x for x in whole if isinstance(x, s.Fake))
    trials = tuple(x for x in whole if isinstance(x, s.Trial))
    return Pattern(
        device.name, class_name, family, device.abstract, items_only, device.span,
        chain, written, tuple(replaced), fakes, trials,
    )  # fmt: skip


def identity(item: s.Item) -> object:
    """What an item takes the place of: of its kind, the one of the same name; a device has one
    turn, one clock and one way to configuration space. Matches, demands and what is learnt add up.
    """
    if isinstance(item, s.Clock | s.Measured):
        return s.Clock
    if isinstance(item, s.Turn | s.Access | s.Interrupt | s.Waker | s.Alarm | s.Lines | s.Unproved):
        return type(item)
    name = getattr(item, "name", None)
    if isinstance(item, s.Trial):
        name = item.title
    return id(item) if name is None or isinstance(item, s.Match) else (type(item), name)
