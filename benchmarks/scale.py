"""What several cards cost. `python -m benchmarks.scale [--json] [--write] [-n 7]`

Machines with one, two, four and eight network cards, all equal or of every kind in turn, are
probed, built n times in processes of their own, and booted: each card has to answer on its own
address. The turn and the build may grow no faster than the number of cards. A build's work is
also counted, in calls of functions, since its time depends on what else the host does. `--write`
puts the table into docs/benchmarks.md. Exit 1 if one grows faster.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks import build_time, fairness
from benchmarks.cards import SMALL_PC, probed
from benchmarks.document import markdown, write_measured
from benchmarks.harness import fail
from metaos import pipeline
from metaos.boot.target import NO_TARGET
from metaos.errors import MetaosError
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.probe.machine import Machine
from metaos.probe.store import write_machine
from metaos.verify.audit import DeviceBytes, audit

COUNTS = (1, 2, 4, 8)
KINDS = {
    "equal": ("e1000",),
    "mixed": ("e1000", "e1000e", "ne2k_pci", "e1000-82544gc", "e1000-82545em"),
}
"""Which cards a machine has, in turn, by QEMU's names."""

DEARER = 1.1
"""How many times as many calls each of the last cards may cost as each added before."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A machine with `cards` cards, of which `answered` answer.

    Of a steady turn's instructions: all, `turn`; those of a card of each pattern, `turns`; those
    that are no card's, `others`. Times are of a build in a fresh process, in seconds; `calls` are
    those of Python functions, LLVM's apart.
    """

    kind: str
    cards: int
    turn: int
    turns: dict[str, int]
    others: int
    content: int
    answered: int
    build_s: float
    processor_s: float
    calls: int


def arguments(kind: str, cards: int) -> tuple[str, ...]:
    """QEMU's arguments for a PC with so many cards, each with an id by which it is found."""
    names = itertools.islice(itertools.cycle(KINDS[kind]), cards)
    given = (f"{name},id=card{number}" for number, name in enumerate(names))
    return (*SMALL_PC, *(word for device in given for word in ("-device", device)))


def measure(kind: str, cards: int, times: int) -> Size:
    """Probe, build and boot one machine."""
    machine = probed(NO_TARGET, arguments(kind, cards))
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        facts, path = Path(folder) / "machine.json", Path(folder) / "x.img"
        write_machine(machine, facts)
        built = build_time.measure(facts, times)
        write_image(pipeline.build(machine, system=read_system()), path)
        calls = _calls(machine)  # of a second build: the first fills caches
        report = audit(path)
        with fairness.booted(path) as ends:  # each has answered
            answering = {end.card for end in ends}
    own = [device for device in report.devices if device.address in answering]
    return Size(
        kind=kind,
        cards=cards,
        turn=report.loop_instructions,
        turns={d.pattern: max(_turns(own, d.pattern)) for d in own},
        others=report.loop_instructions - sum(d.loop_instructions for d in own),
        content=report.content_bytes,
        answered=len(answering),
        build_s=built["best_s"],
        processor_s=built["processor_s"],
        calls=calls,
    )


def _calls(machine: Machine) -> int:
    """How many functions a build calls: the same number every time."""
    profile = cProfile.Profile()
    profile.runcall(pipeline.build, machine, system=read_system())
    return sum(entry.callcount for entry in profile.getstats())


def _turns(devices: Sequence[DeviceBytes], pattern: str) -> list[int]:
    return [device.loop_instructions for device in devices if device.pattern == pattern]


def added(sizes: Sequence[Size]) -> Iterator[tuple[Size, float, float, float]]:
    """Of each machine but the first, what a card costs that the one before it has not.

    Instructions of the turn; for the build seconds of the processor, and calls.
    """
    for before, size in itertools.pairwise(sizes):
        yield (
            size,
            _each(before, size, size.turn - before.turn),
            _each(before, size, size.processor_s - before.processor_s),
            _each(before, size, size.calls - before.calls),
        )


def faster(sizes: Sequence[Size]) -> Iterator[str]:
    """What grows faster than the number of cards, in machines of one kind, fewest cards first.

    A turn is the sum of its cards' turns, so none of them may depend on how many there are, nor
    may the rest. A build may cost no more than in proportion, and its last cards not much more
    calls than those before them.
    """
    first = sizes[0]
    for before, size in itertools.pairwise(sizes):
        if size.others > first.others:
            yield f"{_name(size)}: {size.others} instructions of no card, not {first.others}"
        for pattern, turn in before.turns.items():
            if size.turns[pattern] > turn:
                yield f"{_name(size)}: {size.turns[pattern]} instructions of {pattern}, not {turn}"
        if size.processor_s > first.processor_s * size.cards / first.cards:
            yield f"{_name(size)}: built in {size.processor_s} s, one in {first.processor_s} s"
    if len(sizes) > 2:
        before, last = sizes[-2:]
        early = _each(first, before, before.calls - first.calls)
        late = _each(before, last, last.calls - before.calls)
        if late > DEARER * early:
            yield f"{_name(last)}: {late:,.0f} calls for each of the last, {early:,.0f} before"


def _each(before: Size, size: Size, more: float) -> float:
    """What each card has of `more`, that `size` has and `before` has not."""
    return more / (size.cards - before.cards)


def _name(size: Size) -> str:
    return f"{size.cards} {size.kind}"


def table(found: Sequence[Sequence[Size]]) -> str:
    """A row a machine, as Markdown."""
    header = (
        "cards",
        "instructions of a turn",
        "for each added card",
        "content bytes",
        "build (s)",
        "processor time of it (s)",
        "for each added card (ms)",
        "calls of functions for each added card",
        "cards that answer",
    )
    return markdown(header, [line for sizes in found for line in _lines(sizes)])


def _lines(sizes: Sequence[Size]) -> Iterator[Sequence[object]]:
    more = {
        size.cards: (f"{turn:g}", f"{seconds * 1000:.0f}", f"{calls:,.0f}")
        for size, turn, seconds, calls in added(sizes)
    }
    for size in sizes:
        turn, seconds, calls = more.get(size.cards, ("", "", ""))
        yield (
            _name(size),
            f"{size.turn:,}",
            turn,
            f"{size.content:,}",
            f"{size.build_s:.2f}",
            f"{size.processor_s:.2f}",
            seconds,
            calls,
            size.answered,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", "--times", type=int, default=7, help="builds of each machine")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    found: list[list[Size]] = []
    try:
        for kind in KINDS:
            found.append([])
            for cards in COUNTS:
                print(f"{cards} {kind}", file=sys.stderr)
                found[-1].append(measure(kind, cards, max(1, options.times)))
        if options.write:
            write_measured("scale", table(found))
    except MetaosError as error:
        fail(error)
    print(msgspec.json.encode(found).decode() if options.json else table(found))
    problems = [text for sizes in found for text in faster(sizes)]
    raise SystemExit("\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
