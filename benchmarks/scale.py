"""What several cards cost. `python -m benchmarks.scale [--json] [--write] [-n 7]`

Machines with one, two, four and eight network cards, all equal or of every kind in turn, are
probed, built n times in processes of their own, and booted: each card has to answer on its own
address. The turn and the build may grow no faster than the number of cards. `--write` puts
the table into docs/benchmarks.md. Exit 1 if one grows faster.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks import build_time, fairness
from benchmarks.cards import CARDS, SMALL_PC, probed
from benchmarks.document import markdown, write_measured
from benchmarks.harness import fail
from metaos import pipeline
from metaos.boot.target import NO_TARGET
from metaos.errors import MetaosError
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.probe.store import write_machine
from metaos.verify.audit import DeviceBytes, audit

COUNTS = (1, 2, 4, 8)
KINDS = {"equal": ("e1000",), "mixed": ("e1000", "e1000e", *CARDS)}
"""Which cards a machine has, in turn, by QEMU's names."""

NOISE = 1.5
"""A build may take so many times what it should: other work on the host lengthens it."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A machine with `cards` cards, of which `answered` answer.

    Of a steady turn's instructions: all, `turn`; those of a card of each pattern, `turns`; those
    that are no card's, `others`. Times are of a build in a fresh process, in seconds.
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
    )


def _turns(devices: Sequence[DeviceBytes], pattern: str) -> list[int]:
    return [device.loop_instructions for device in devices if device.pattern == pattern]


def added(sizes: Sequence[Size]) -> Iterator[tuple[Size, float, float]]:
    """Of each machine but the first, what a card costs that the one before it has not.

    Instructions of the turn, and seconds of the processor for the build.
    """
    for before, size in itertools.pairwise(sizes):
        more = size.cards - before.cards
        seconds = size.processor_s - before.processor_s
        yield size, (size.turn - before.turn) / more, seconds / more


def faster(sizes: Sequence[Size]) -> Iterator[str]:
    """What grows faster than the number of cards, in machines of one kind, fewest cards first.

    A turn is the sum of its cards' turns, so none of them may depend on how many there are, nor
    may the rest. A build is judged by the last cards added, beside those added before.
    """
    first, last = sizes[0], sizes[-1]
    for before, size in itertools.pairwise(sizes):
        if size.others > first.others:
            yield f"{_name(size)}: {size.others} instructions of no card, not {first.others}"
        for pattern, turn in before.turns.items():
            if size.turns[pattern] > turn:
                yield f"{_name(size)}: {size.turns[pattern]} instructions of {pattern}, not {turn}"
    for size in sizes:
        if size.processor_s > first.processor_s * size.cards / first.cards:
            yield f"{_name(size)}: built in {size.processor_s} s, one in {first.processor_s} s"
    if len(sizes) > 2:
        earlier = (sizes[-2].processor_s - first.processor_s) / (sizes[-2].cards - first.cards)
        *_, (_, _, late) = added(sizes)
        if late > NOISE * earlier:
            yield f"{_name(last)}: the last {late * 1000:.0f} ms each, others {earlier * 1000:.0f}"


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
        "cards that answer",
    )
    return markdown(header, [line for sizes in found for line in _lines(sizes)])


def _lines(sizes: Sequence[Size]) -> Iterator[Sequence[object]]:
    steps = {id(size): (f"{turn:g}", f"{s * 1000:.0f}") for size, turn, s in added(sizes)}
    for size in sizes:
        turn, seconds = steps.get(id(size), ("", ""))
        yield (
            _name(size),
            f"{size.turn:,}",
            turn,
            f"{size.content:,}",
            f"{size.build_s:.2f}",
            f"{size.processor_s:.2f}",
            seconds,
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
