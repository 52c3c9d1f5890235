"""What each network card costs, in one table. `python -m benchmarks.cards [--json] [--write]`

Every machine of qemu/, and a small PC with each of CARDS, is probed, its image built, booted and
asked: 32 echoes are kept in flight while the plugin counts what the image's bytes do. Beside
that stand PEERS, figures of other systems' drivers (docs/benchmarks.md says how they were got).
`--write` puts the table into docs/benchmarks.md. Exit 1 if a goal is not met, an answer is lost
or a conditional branch is there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks import boot
from benchmarks.answers import BOOT_SECONDS, in_flight, turns_between
from benchmarks.document import markdown, write_measured
from benchmarks.harness import Counters, booted, fail
from benchmarks.size import by_file, driver_alone
from metaos import pipeline, resources
from metaos.boot.target import NO_TARGET, targets
from metaos.errors import MetaosError
from metaos.link.image import Image, write_image
from metaos.match.system import read_system
from metaos.probe.machine import Machine
from metaos.verify.audit import audit
from metaos.verify.decode import straight_lines

SMALL_PC = ("-M", "q35", "-m", "64", "-nodefaults", "-serial", "chardev:s0")
"""The machine that cards are put into which no machine of qemu/ has."""

CARDS = (
    "e1000-82544gc",
    "e1000-82545em",
    "virtio-net-pci,disable-legacy=on",
    "virtio-net-pci,disable-modern=on",
)
"""QEMU's names of such cards: a further one is a line here."""

DRIVERS = {
    "i82540em": "e1000",
    "i82544gc": "e1000",
    "i82545em": "e1000",
    "i82574l": "e1000e",
    "virtio_net_modern": "virtio-net",
    "virtio_net_transitional": "virtio-net",
    "virtio_net_legacy": "virtio-net",
    "ne2000": "ne2k-pci",
    "rtl8139cp": "rtl8139",
    "vmxnet3": "vmxnet3",
    "pcnet": "pcnet",
}
"""Which of PEERS stands beside a pattern."""

TIMES_FEWER = 40
"""The goal: at least so many times fewer instructions a frame than Linux executes an echo."""

PROBE_SECONDS, IDLE_SECONDS = 60.0, 0.5
NONE = "-"


@dataclass(frozen=True)
class Peer:
    """Linux 6.1.192's driver: bytes of .text, instructions and branches an echo.

    `by_hand` is the size of BareMetal's, `at_most` our goal for the driver alone.
    """

    text: str
    instructions: int | None = None
    branches: int | None = None
    by_hand: str = NONE
    at_most: int | None = None


PEERS = {
    "e1000": Peer("78,852", 7_970, 957, "840"),
    "e1000e": Peer("158,603", 8_599, 1_025, "832", at_most=832),
    "rtl8139": Peer("13,699", 8_698, 1_029),
    "vmxnet3": Peer("37,434"),
    "pcnet": Peer("22,739"),
    "virtio-net": Peer("38,337 + 24,284", 9_233, 1_058, "about 1,300", at_most=1_300),
    "ne2k-pci": Peer("8,623"),
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A booted image under echoes. Accesses are those that reached a device, of 8 to 32 bits."""

    echoes: int
    lost: int
    instructions: float
    reads: float
    writes: float
    idle_reads: float
    idle_writes: float
    branches: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One card. `turn` is its part of a steady turn; `asked.instructions` are the whole turn's,
    the consoles included, as executed for an answered frame: every iteration of a string
    instruction is one.

    `boot` are instructions from the boot sector to steady, without those of waiting.
    """

    pattern: str
    machine: str
    turn: int
    content: int
    driver_content: int
    driver_loaded: int
    branches: int
    boot: int
    asked: Asked


# ---- measuring --------------------------------------------------------------------------


def machines() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """What is measured: a title, a target, QEMU's further arguments."""
    whole = tuple((name, name, ()) for name in targets())
    return whole + tuple((f"q35, {c}", NO_TARGET, (*SMALL_PC, "-device", c)) for c in CARDS)


def probed(target: str, arguments: Sequence[str]) -> Machine:
    """A QEMU machine's facts, under TCG."""
    return pipeline.probe(
        target,
        arguments,
        accel="tcg",
        timeout=PROBE_SECONDS,
        pattern_dirs=(resources.PATTERNS,),
        system=read_system(),
        progress=lambda _: None,
    )


def measure(title: str, machine: Machine, echoes: int) -> Row:
    """Build, boot and ask one machine. Raises MetaosError if it has not just one card."""
    image = pipeline.build(machine, system=read_system())
    cards = [d.address for d in image.manifest.provenance.devices if d.offers]
    if len(cards) != 1:
        raise MetaosError(f"{title} has {len(cards)} network cards; a row is of one")
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        path = Path(folder) / "x.img"
        write_image(image, path)
        report, started, asked = audit(path), boot.measure(path), ask(path, image, echoes)
    (card,) = (device for device in report.devices if device.address == cards[0])
    driver = driver_alone(by_file(image)[card.address])
    return Row(
        pattern=card.pattern,
        machine=title,
        turn=card.loop_instructions,
        content=card.content,
        driver_content=driver.content,
        driver_loaded=driver.loaded,
        branches=report.conditional_branches,
        boot=int(str(started["instructions"])),
        asked=asked,
    )


def ask(path: Path, image: Image, echoes: int) -> Asked:
    """Boot an image with the counting plugin; look at it idle, then keep 32 echoes in flight."""
    guarded = guarded_port_accesses(image)
    with booted(path, plugin=True, accesses=True) as machine:
        machine.wake(BOOT_SECONDS)
        machine.drain()
        start = machine.counters()
        time.sleep(IDLE_SECONDS)
        idle = machine.counters()
        answered, lost = in_flight(machine, echoes)
        machine.drain()  # the last answer is here before the turn that gave it is over
        end = machine.counters()
    turns = turns_between(start, idle)
    quiet = tuple(count / max(turns, 1) for count in done(start, idle, guarded))
    busy = a_frame(done(idle, end, guarded), quiet, turns_between(idle, end), answered)
    return Asked(
        echoes=echoes,
        lost=lost,
        instructions=round(busy[0], 2),
        reads=round(busy[1], 2),
        writes=round(busy[2], 2),
        idle_reads=round(quiet[1], 2),
        idle_writes=round(quiet[2], 2),
        branches=end.branches_after,
    )


def a_frame(
    counts: Sequence[float], quiet: Sequence[float], turns: int, answered: int
) -> tuple[float, ...]:
    """What an answered frame costs, of counts of `turns` turns, most of which were idle.

    The turn that answers it, and what others have more than an idle one for its sake.
    """
    idle = turns - answered
    return tuple((n - idle * q) / max(answered, 1) for n, q in zip(counts, quiet, strict=True))


def done(before: Counters, after: Counters, guarded: tuple[int, int]) -> tuple[int, int, int]:
    """Instructions, reads and writes of the steady phase between two looks at the counters."""
    a, b = before.owners["steady"], after.owners["steady"]
    return (b.instructions - a.instructions, *accesses(before, after, guarded))


def guarded_port_accesses(image: Image) -> tuple[int, int]:
    """How many INS and OUTS a steady turn has that a count of 0 shuts (docs/pipeline.md)."""
    (steady,) = (line for line in straight_lines(image) if line.name == "steady")
    texts = [step.text for step in steady.steps]
    return (
        sum(text.startswith("rep ins") for text in texts),
        sum(text.startswith("rep outs") for text in texts),
    )


def accesses(before: Counters, after: Counters, guarded: tuple[int, int]) -> tuple[int, int]:
    """Reads and writes of devices by the steady phase, between two looks at the counters.

    A repeated INS or OUTS is executed once more than it accesses its port.
    """
    a, b, turns = before.owners["steady"], after.owners["steady"], turns_between(before, after)
    reads = b.reads - a.reads + b.port_reads - a.port_reads - turns * guarded[0]
    writes = b.writes - a.writes + b.port_writes - a.port_writes - turns * guarded[1]
    return reads, writes


# ---- the table --------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> str:
    """A column a card, as Markdown: measured, the peers' figures, the goals."""
    header = ["", *(f"`{row.pattern}`<br>{row.machine}" for row in rows)]
    return markdown(header, [(what, *cells) for what, cells in _lines(rows)])


def _lines(rows: Sequence[Row]) -> Iterator[tuple[str, list[str]]]:
    peers = [peer(row) for row in rows]
    yield "instructions of the card's turn", [f"{r.turn:,}" for r in rows]
    yield (
        "instructions executed for an answered frame, consoles included",
        [f"{r.asked.instructions:,g}" for r in rows],
    )
    yield (
        "device accesses for an answered frame: reads, writes",
        [f"{r.asked.reads:g}, {r.asked.writes:g}" for r in rows],
    )
    yield (
        "device accesses of an idle turn: reads, writes",
        [f"{r.asked.idle_reads:g}, {r.asked.idle_writes:g}" for r in rows],
    )
    yield "content bytes of the driver with its services", [f"{r.content:,}" for r in rows]
    yield "content bytes of the driver alone", [f"{r.driver_content:,}" for r in rows]
    yield "the same, bytes that are zero included", [f"{r.driver_loaded:,}" for r in rows]
    yield (
        "conditional branches in the image, executed after the hand-over",
        [f"{r.branches}, {r.asked.branches}" for r in rows],
    )
    yield "instructions from the boot sector to the steady phase", [f"{r.boot:,}" for r in rows]
    yield (
        "echoes asked, lost, at most 32 in flight",
        [f"{r.asked.echoes:,}, {r.asked.lost}" for r in rows],
    )
    yield "**beside it**: Linux's driver", [DRIVERS.get(r.pattern, NONE) for r in rows]
    yield "Linux, instructions an echo", [_number(p.instructions) for p in peers]
    yield "Linux, conditional branches an echo", [_number(p.branches) for p in peers]
    yield "Linux's driver, bytes of .text", [p.text for p in peers]
    yield "BareMetal's driver, bytes", [p.by_hand for p in peers]
    yield f"**goal**: {TIMES_FEWER} times fewer instructions than Linux", [_fewer(r) for r in rows]
    yield "**goal**: content bytes of the driver alone", [_small(r) for r in rows]


def peer(row: Row) -> Peer:
    """What stands beside a card; nothing is known of a driver that PEERS lacks."""
    return PEERS.get(DRIVERS.get(row.pattern, ""), Peer(NONE))


def times_fewer(row: Row) -> float | None:
    """How many times fewer instructions a frame takes than Linux an echo."""
    linux = peer(row).instructions
    return None if linux is None else linux / row.asked.instructions


def unmet(row: Row) -> Iterator[str]:
    """Which goals a card misses, and what must never be."""
    fewer, at_most = times_fewer(row), peer(row).at_most
    if fewer is not None and fewer < TIMES_FEWER:
        yield f"{fewer:.1f} times fewer instructions than Linux, not {TIMES_FEWER}"
    if at_most is not None and row.driver_content > at_most:
        yield f"{row.driver_content} bytes of the driver alone, more than {at_most}"
    if row.branches or row.asked.branches:
        yield f"{row.branches} conditional branches, {row.asked.branches} executed"
    if row.asked.lost:
        yield f"{row.asked.lost} of {row.asked.echoes} echoes lost"


def _number(number: int | None) -> str:
    return NONE if number is None else f"{number:,}"


def _fewer(row: Row) -> str:
    fewer = times_fewer(row)
    return NONE if fewer is None else f"{fewer:.1f}: {_met(fewer >= TIMES_FEWER)}"


def _small(row: Row) -> str:
    limit = peer(row).at_most
    if limit is None:
        return NONE
    return f"{row.driver_content:,} of {limit:,}: {_met(row.driver_content <= limit)}"


def _met(met: bool) -> str:
    return "met" if met else "**not met**"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", "--echoes", type=int, default=5000, help="of each card")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    rows = []
    try:
        for title, target, arguments in machines():
            print(title, file=sys.stderr)
            rows.append(measure(title, probed(target, arguments), options.echoes))
        if options.write:
            write_measured("cards", table(rows))
    except MetaosError as error:
        fail(error)
    print(msgspec.json.encode(rows).decode() if options.json else table(rows))
    problems = [f"{row.pattern}, {row.machine}: {text}" for row in rows for text in unmet(row)]
    raise SystemExit("\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
