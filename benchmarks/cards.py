"""What each network card costs an image of MetaOS: `measure(title, machine, echoes)`, a `Row`.

Every machine of qemu/, and a small PC with each of CARDS, is probed, its image built, booted and
asked: 32 echoes are kept in flight while the plugin counts what the image's bytes do.
`benchmarks.beside_linux` puts another system beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import boot
from benchmarks.answers import BOOT_SECONDS, in_flight, turns_between
from benchmarks.harness import Counters, booted
from benchmarks.size import by_file, driver_alone
from metaos import pipeline, resources
from metaos.boot.target import NO_TARGET, targets
from metaos.errors import MetaosError
from metaos.link.image import Image, read_image, write_image
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

PROBE_SECONDS, IDLE_SECONDS = 60.0, 0.5


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
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        path = Path(folder) / "x.img"
        write_image(pipeline.build(machine, system=read_system()), path)
        return measure_image(title, path, echoes)


def measure_image(title: str, path: Path, echoes: int) -> Row:
    """Boot and ask an image. Raises MetaosError if it serves not just one card."""
    image = read_image(path)
    address = the_card(title, image)
    report, started, asked = audit(path), boot.measure(path), ask(path, image, echoes)
    (card,) = (device for device in report.devices if device.address == address)
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


def the_card(title: str, image: Image) -> str:
    """The address of an image's one network card."""
    cards = [d.address for d in image.manifest.provenance.devices if d.offers]
    if len(cards) != 1:
        raise MetaosError(f"{title} has {len(cards)} network cards; a row is of one")
    return cards[0]


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
