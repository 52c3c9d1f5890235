"""The one place that names every stage, in order.

machine = probe("pc-e1000", (), ...)      QEMU and the discoverer -> Machine
image = build(machine, system=system)     Machine -> Image, proved
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from metaos import resources
from metaos.console import not_proved
from metaos.emit.code import Code
from metaos.emit.emit import emit, mnemonics, spills
from metaos.emit.listing import commented, listing
from metaos.emit.llvm import module
from metaos.emit.target import CpuFeature, cpu_features, used_features
from metaos.errors import Exit, MetaosError, Problem
from metaos.ir.check import check as check_program
from metaos.ir.program import Program
from metaos.ir.text import render
from metaos.link.gates import MOST_INTERRUPTS
from metaos.link.image import Image
from metaos.link.layout import SPILL, SPILL_SIZE
from metaos.link.link import link
from metaos.link.manifest import ConfigSpace, Provenance, Served
from metaos.link.parts import PHASES, Datum, Parts, Place
from metaos.lower.clock import NOW
from metaos.lower.learn import learn_rows
from metaos.lower.lower import Lowered, guard, guard_rows, lower
from metaos.lower.stepper import NEXT, PLATFORM
from metaos.lower.work import GENERATED, MEMORY
from metaos.match.bind import Bindings, bind, chosen_by, offers
from metaos.match.cards import roles
from metaos.match.diff import Difference, diff
from metaos.match.known import demand_known
from metaos.match.serves import Made, as_placed
from metaos.match.system import System
from metaos.pattern.check import check as check_patterns
from metaos.pattern.names import INTERRUPTS_CLASS
from metaos.pattern.patterns import Patterns, load
from metaos.probe.cite import cite
from metaos.probe.machine import Machine, domain
from metaos.probe.qemu import probe_qemu
from metaos.tools import differing, tool_versions
from metaos.verify.absent import check_absent
from metaos.verify.account import first_difference
from metaos.verify.compare import Rebuilt, is_another, not_its_sources
from metaos.verify.compare import compare as compare_images
from metaos.verify.laws import verify
from metaos.verify.report import Report

Progress = Callable[[str], None]

STAGES = ("match", "ir", "llvm", "asm")
"""What `--dump` prints."""


def read_patterns(folders: Sequence[Path]) -> Patterns:
    """Load and check every pattern; raises with all problems, by position."""
    patterns = load(folders)
    problems = check_patterns(patterns)
    if problems:
        raise MetaosError("the patterns have errors", problems=patterns.placed(problems))
    return patterns


def probe(
    target: str,
    arguments: Sequence[str],
    *,
    accel: str,
    timeout: float,
    pattern_dirs: Sequence[Path],
    system: System,
    progress: Progress,
) -> Machine:
    """Read a QEMU machine, and a second time what its patterns want to learn of it."""
    patterns = read_patterns(pattern_dirs)
    progress("probing the machine")
    machine = probe_qemu(target, arguments, accel=accel, timeout=timeout)
    rows = learn_rows(machine, patterns)
    if not rows:
        return machine
    progress(f"learning {', '.join(sorted({f'{r.device} {r.name}' for r in rows if r.name}))}")
    return probe_qemu(target, arguments, accel=accel, timeout=timeout, learn=rows)


def build(
    machine: Machine,
    *,
    system: System,
    pattern_dirs: Sequence[Path] = (resources.PATTERNS,),
    progress: Progress = lambda _: None,
) -> Image:
    """A machine file to an image on which every law has been proved."""
    return build_proved(machine, system=system, pattern_dirs=pattern_dirs, progress=progress).image


@dataclass(frozen=True, slots=True)
class Built:
    """An image and the proof of its laws."""

    image: Image
    proof: Report
    unproved: tuple[str, ...] = ()
    """Devices whose rule no such device was ever driven by, in words."""


def build_proved(
    machine: Machine,
    *,
    system: System,
    pattern_dirs: Sequence[Path],
    progress: Progress,
    fold_units: bool = False,
) -> Built:
    """As `build`, with the proof that `metaos build` reports.

    `fold_units`: what one unit alone has is taken from the machine file, and the image
    refuses another unit; else it is read on the machine.
    """
    progress("reading patterns")
    patterns = read_patterns(pattern_dirs)
    for told in patterns.replacements():
        progress(told)
    made = _make(machine, patterns, system, progress, fold_units)
    image = made.image
    progress("proving the laws")
    report = verify(image)
    absent = tuple(check_absent(image, made.lowered.bindings))
    report = replace(report, violations=(*report.violations, *absent))
    if report.violations:
        raise MetaosError(
            "the image breaks a law and is not written",
            exit_code=Exit.LAW_BROKEN,
            problems=patterns.placed(
                Problem(f"LAW{v.law}", f"{v.place}: {v.message}", v.span) for v in report.violations
            ),
            hint="this is a defect of a pattern or of MetaOS; the place names the rule",
        )
    unproved = (
        not_proved(f"{b.device.address} {b.pattern.name}", b.pattern.unproved)
        for b in made.lowered.bindings.bindings
        if b.pattern.unproved
    )
    return Built(image, report, tuple(unproved))


def compare(
    a: Machine,
    b: Machine,
    *,
    system: System,
    pattern_dirs: Sequence[Path] = (resources.PATTERNS,),
    progress: Progress = lambda _: None,
) -> Difference:
    """What changed from machine `a` to `b`, and what an image for `a` would do on `b`.

    Both images are made, but neither proved: nothing of them leaves here. A machine for which
    none can be made is compared by its facts.
    """
    progress("reading patterns")
    patterns = read_patterns(pattern_dirs)
    made: list[Made | MetaosError] = []
    for machine in (a, b):
        try:
            made.append(_make(machine, patterns, system, progress))
        except MetaosError as error:
            made.append(error)
    placed = None
    if isinstance(made[1], Made):
        with suppress(MetaosError):  # A's places of windows may be taken on B: the rows say so
            placed = lower(bind(as_placed(a, b), patterns, system))
    return diff(a, b, made[0], made[1], placed)


def make(
    machine: Machine,
    *,
    system: System,
    pattern_dirs: Sequence[Path] = (resources.PATTERNS,),
) -> Made:
    """An image with every stage before it, not proved: to be compared with another."""
    return _make(machine, read_patterns(pattern_dirs), system, lambda _: None)


def remake(image: Image, machine: Machine, *, pattern_dirs: Sequence[Path]) -> Made:
    """Every stage of an image that was built from `machine` with these patterns.

    Raises:
        MetaosError: from these another image comes.
    """
    for made in _remade(image, machine, pattern_dirs):
        if made.image.loaded == image.loaded:
            _demand_same_account(image, made.image)
            return made
    raise not_its_sources()


def _demand_same_account(image: Image, made: Image) -> None:
    """The account of the loaded bytes is the one that machine file and patterns give."""
    wrong = first_difference(image, made)
    if wrong is not None:
        raise MetaosError(
            f"the account of file {wrong.start:#x} to {wrong.end:#x} is not what the machine "
            "file and the patterns make it",
            hint="the image was changed, or built by another MetaOS: build it again",
            exit_code=Exit.LAW_BROKEN,
        )


def rebuild(image: Image, machine: Machine, *, pattern_dirs: Sequence[Path]) -> Rebuilt:
    """Build an image again from `machine` and these patterns, and say what is not the same.

    The system is the one that the image was built for.

    Raises:
        MetaosError: `machine` is another than the image was built for, and gives another image.
    """
    recorded = image.manifest.provenance.tools
    tools = differing(recorded, tool_versions())
    made = (compare_images(image, x.image, tools) for x in _remade(image, machine, pattern_dirs))
    another = is_another(machine, image.manifest.provenance)
    try:
        found = next(made)
        if not found.same:
            found = min((found, *made), key=lambda r: (not r.same, r.loaded_differing))
    except MetaosError as error:
        raise (not_its_sources() if another else error) from error
    if another and not found.same:
        raise not_its_sources()
    return found


def _remade(image: Image, machine: Machine, pattern_dirs: Sequence[Path]) -> Iterator[Made]:
    """What the same system makes of `machine`: units read on the machine, then folded."""
    system = image.manifest.provenance.system
    if system is None:
        raise MetaosError("the image does not say what system it was built for")
    patterns = read_patterns(pattern_dirs)
    yield _make(machine, patterns, system, lambda _: None, False)
    with suppress(MetaosError):
        yield _make(machine, patterns, system, lambda _: None, True)


def _make(
    machine: Machine,
    patterns: Patterns,
    system: System,
    progress: Progress = lambda _: None,
    fold_units: bool = False,
) -> Made:
    """All stages from the facts to a linked image, and what they made on the way; not proved."""
    demand_known(machine, patterns)
    machine = cite(machine)
    with _lines_shown(patterns):
        bindings = replace(bind(machine, patterns, system), fold_units=fold_units)
        progress(f"generating code for {len(bindings.bindings)} devices")
        lowered = _demand_work(lower(bindings))
        if lowered.sleep.why:
            progress(f"the image polls: {lowered.sleep.why}")
        codes, used = _emitted(lowered, machine)
        guard_program, guard_data = guard(lowered, used)
        codes += (emit(_checked(guard_program), ()),)
        progress("linking")
        parts = _parts(lowered, codes, guard_data, machine)
        names = tuple(f.name for f in used)
        image = link(parts, _provenance(lowered.bindings, lowered, names, _spilling(codes)))
    return Made(lowered, guard_rows(lowered, used), codes, image)


def dump(stage: str, machine: Machine, *, system: System, pattern_dirs: Sequence[Path]) -> str:
    """The text of a stage between machine and image."""
    if stage not in STAGES:
        raise MetaosError(
            f"no stage '{stage}'", hint=f"stages: {', '.join(STAGES)}", exit_code=Exit.USAGE
        )
    patterns = read_patterns(pattern_dirs)
    demand_known(machine, patterns)
    with _lines_shown(patterns):
        bindings = bind(machine, patterns, system)
        if stage == "match":
            return "".join(f"{b.device.address} {b.pattern.name}\n" for b in bindings.bindings)
        lowered = lower(bindings)
        codes, used = _emitted(lowered, machine)
        last = guard(lowered, used)[0]
    if stage == "asm":
        return "\n".join(listing(code) for code in (*codes, emit(last, ())) if code.text)
    write = render if stage == "ir" else _llvm
    return "\n".join(write(program) for program in (*lowered.programs, last) if program.ops)


def _demand_work(lowered: Lowered) -> Lowered:
    """An image that would do nothing at all is not made."""
    served = {p.address for p in lowered.plans if p.pattern.class_name != INTERRUPTS_CLASS}
    if any(p.phase == "steady" and p.ops and p.device in served for p in lowered.programs):
        return lowered
    system = lowered.bindings.system
    raise MetaosError(
        f"system '{system.name}' gives this machine nothing to do",
        hint="name services in the system file that a device of the machine can carry",
    )


def _llvm(program: Program) -> str:
    return commented(module(program))


def _emitted(lowered: Lowered, machine: Machine) -> tuple[tuple[Code, ...], tuple[CpuFeature, ...]]:
    """The code of all programs but the guard, which tests for the features that they use."""
    features = cpu_features(machine.cpu)
    codes = tuple(emit(_checked(p), _usable(p, features)) for p in lowered.programs)
    return codes, used_features(mnemonics(code.text for code in codes))


def _usable(program: Program, features: tuple[str, ...]) -> tuple[str, ...]:
    """Guard and report run on a processor that is perhaps another: baseline code."""
    return () if program.phase in ("guard", "report") else features


def _checked(program: Program) -> Program:
    check_program(program)
    return program


def _parts(
    lowered: Lowered, codes: tuple[Code, ...], guard_data: tuple[Datum, ...], machine: Machine
) -> Parts:
    usable = sorted((r.base, r.size) for r in machine.memory if r.kind == 1)
    return Parts(
        codes=codes,
        places=(*((_spill(),) if _spilling(codes) else ()), *lowered.places),
        windows=lowered.windows,
        data=(*lowered.data, *guard_data),
        next=NEXT,
        trap=lowered.trap,
        interrupts=MOST_INTERRUPTS if lowered.sleep.halt else 0,
        numbers=lowered.sleep.numbers,
        memory=tuple(usable),
        deposits=(MEMORY,),
    )


def _spill() -> Place:
    """Where turns keep what registers have no room for; nothing of it lasts longer than one."""
    return Place(SPILL, PLATFORM, SPILL_SIZE, 16, True, (), GENERATED, PHASES)


def _spilling(codes: tuple[Code, ...]) -> tuple[str, ...]:
    """The devices whose code does."""
    return tuple(dict.fromkeys(code.device for code in codes if spills(code.text)))


def _provenance(
    bindings: Bindings, lowered: Lowered, features: tuple[str, ...], spilling: tuple[str, ...]
) -> Provenance:
    cards = [b.device.address for b in bindings.bindings if offers(b.pattern)]
    interfaces = {r.card: str(r.interface) for r in roles(bindings.system, cards)}
    served = tuple(
        Served(
            address=b.device.address,
            pattern=b.pattern.name,
            offers=b.device.address in interfaces,
            interface=interfaces.get(b.device.address, ""),
            because=chosen_by(b),
        )
        for b in bindings.bindings
    )
    own = Served(address=PLATFORM, pattern="generated")
    return Provenance(
        devices=(own, *served),
        ports=lowered.ports,
        config=_config_space(lowered, bindings.machine),
        lent=dict(lowered.lent) | ({SPILL: spilling} if spilling else {}),
        shown=tuple(place.name for place in lowered.places if place.name == NOW),
        cpu_features=features,
        tools=tool_versions(),
        system=bindings.system,
        emulator=bindings.machine.emulator,
    )


def _config_space(lowered: Lowered, machine: Machine) -> ConfigSpace | None:
    """How the image reaches configuration space, and what is in it."""
    access = lowered.config
    if access is None:
        return None
    functions = tuple(f.address for f in machine.functions if not domain(f.address))
    return ConfigSpace(
        select=access.select, data=access.data, enable=access.enable, functions=functions
    )


@contextmanager
def _lines_shown(patterns: Patterns) -> Iterator[None]:
    """Add the source line and the file's folder to problems of a stage that knows neither."""
    try:
        yield
    except MetaosError as error:
        error.problems = patterns.placed(
            patterns.problem(p.code, p.message, p.span, p.hint) if p.span and not p.text else p
            for p in error.problems
        )
        raise
