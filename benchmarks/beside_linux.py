"""Every network card under MetaOS and under Linux, in one run. `python -m benchmarks.beside_linux`

Each machine of `benchmarks.cards` boots an image made for it, and Debian's kernel with the modules
for its card. Both are asked the same frames by the same program on the same QEMU, TCG, one
processor. The kernel comes from Debian's packages (`benchmarks.linux`). `--write` puts the table
into docs/benchmarks.md, `--only WORD` measures the machines with that word in their title.
Exit 1 if a goal is not met, an answer is lost or a conditional branch is there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks import cards
from benchmarks.document import markdown, write_measured
from benchmarks.guests import Counted, Timed, counted, linux, timed
from benchmarks.harness import booted, fail
from benchmarks.linux import Kernel, Module, fetch
from metaos import pipeline
from metaos.boot.target import load_target
from metaos.errors import MetaosError
from metaos.link.image import read_image, write_image
from metaos.match.system import read_system
from metaos.probe.machine import Function, Machine

TIMES_FEWER, TIMES_SMALLER, IDLE_A_SECOND, IDLE_CPU = 40, 20, 1_000, 2.0
"""The goals: instructions an echo, the driver's bytes; idle: instructions, % of a host's CPU."""
VIRTIO = 0x1AF4
VIRTIO_NETWORK = "virtio:d00000001v00001AF4"
"""What Linux calls the network device on virtio's own bus. Source: VIRTIO 1.2 §5.1."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Linux on a machine. `text` is the driver's, `others` that of the modules that it needs."""

    driver: str
    text: int
    branches: int
    others: int
    counted: Counted
    timed: Timed


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One machine under both systems."""

    row: cards.Row
    counted: Counted
    timed: Timed
    linux: Peer

    @property
    def times_fewer(self) -> float:
        return self.linux.counted.echo / self.counted.echo

    @property
    def times_smaller(self) -> float:
        return self.linux.text / self.row.driver_content


# ---- measuring --------------------------------------------------------------------------


def measure(title: str, machine: Machine, kernel: Kernel, echoes: int) -> Result:
    """Both systems on one machine."""
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        path = Path(folder) / "x.img"
        write_image(pipeline.build(machine, system=read_system()), path)
        row = cards.measure_image(title, path, echoes)
        with booted(path, plugin=True, everything=True) as guest:
            ours = counted(guest, echoes)
        with booted(path, plugin=False) as guest:
            times = timed(guest, echoes // 10)
        card = cards.the_card(title, read_image(path))
    return Result(
        row=row, counted=ours, timed=times, linux=measure_linux(machine, card, kernel, echoes)
    )


def measure_linux(machine: Machine, card: str, kernel: Kernel, echoes: int) -> Peer:
    """Linux on the machine that was probed, with the modules for its card."""
    assert machine.emulator is not None, "probed in QEMU"
    line = (*load_target(machine.emulator.target).args, *machine.emulator.arguments)
    (function,) = (f for f in machine.functions if f.address == card)
    modules = kernel.modules_for(device_names(function))
    with linux(kernel, line, modules, plugin=True) as guest:
        counts = counted(guest, echoes)
    with linux(kernel, line, modules, plugin=False) as guest:
        times, driver = timed(guest, echoes // 10), kernel.modules[guest.driver]
    return Peer(
        driver=driver.name,
        text=len(driver.text),
        branches=driver.conditional_branches,
        others=sum(len(module.text) for module in beside(driver, modules)),
        counted=counts,
        timed=times,
    )


def device_names(card: Function) -> tuple[str, ...]:
    """What Linux calls a card where it looks for modules: its modalias in sysfs, as on its bus."""
    code = card.class_code
    pci = (
        f"pci:v{card.vendor:08X}d{card.device:08X}"
        f"sv{card.subsystem_vendor:08X}sd{card.subsystem_device:08X}"
        f"bc{code >> 16:02X}sc{code >> 8 & 0xFF:02X}i{code & 0xFF:02X}"
    )
    return (pci, VIRTIO_NETWORK) if card.vendor == VIRTIO else (pci,)


def beside(driver: Module, modules: Sequence[Module]) -> tuple[Module, ...]:
    """The modules that a driver runs with, without those for the card's other revisions."""
    needed = {name.replace("-", "_") for module in modules for name in module.depends}
    return tuple(
        module
        for module in modules
        if module.name != driver.name
        and (module.name in needed or "/drivers/net/" not in module.path.as_posix())
    )


# ---- the table --------------------------------------------------------------------------

HEADER = (
    "card, machine",
    "Linux's driver",
    "instructions an echo: the image, Linux",
    "times fewer",
    "conditional branches an echo",
    "driver: content bytes, `.text` (and of what it needs)",
    "times smaller",
    "conditional branches in the driver",
    "idle, instructions a second",
    "idle, % of a host CPU",
    "round trip p50, p99 (us)",
    "instructions from reset to the first answer",
    "instructions of the card's turn",
    "device accesses for an answered frame: reads + writes",
    "driver with its services, content bytes; alone with zeros",
    "boot sector to steady, instructions",
    "echoes lost of both",
    "goals missed",
)


def table(results: Sequence[Result], kernel: Kernel) -> str:
    """A row a card, as Markdown, and what was beside it."""
    told = "; ".join(f"{p.name} {p.version}, SHA-256 `{p.sha256}`" for p in kernel.packages)
    rows = [tuple(_cells(result)) for result in results]
    return f"{markdown(HEADER, rows)}\n\nLinux: {told}."


def _cells(result: Result) -> Iterator[str]:
    row, ours, linux_ = result.row, result.counted, result.linux
    asked = row.asked
    yield f"`{row.pattern}`, {row.machine}"
    yield linux_.driver
    yield f"{ours.echo:,.0f}, {linux_.counted.echo:,.0f}"
    yield f"{result.times_fewer:.1f}"
    yield f"{asked.branches}, {linux_.counted.echo_branches:,.0f}"
    yield f"{row.driver_content:,}, {linux_.text:,} ({linux_.others:,})"
    yield f"{result.times_smaller:.1f}"
    yield f"{row.branches}, {linux_.branches:,}"
    yield f"{ours.idle_a_second:,.0f}, {linux_.counted.idle_a_second:,.0f}"
    yield f"{result.timed.idle_cpu:.1f}, {linux_.timed.idle_cpu:.1f}"
    yield f"{_times(result.timed)}; {_times(linux_.timed)}"
    yield f"{ours.first_answer:,}, {linux_.counted.first_answer:,}"
    yield f"{row.turn}"
    yield f"{asked.reads:g} + {asked.writes:g}"
    yield f"{row.content:,}; {row.driver_loaded:,}"
    yield f"{row.boot:,}"
    yield f"{lost(result)}, {linux_.counted.lost + linux_.timed.lost}"
    yield "; ".join(unmet(result)) or "none"


def _times(times: Timed) -> str:
    return f"{times.round_trip_p50:.0f}, {times.round_trip_p99:.0f}"


def lost(result: Result) -> int:
    """Echoes that the image did not answer, in all its boots."""
    return result.row.asked.lost + result.counted.lost + result.timed.lost


def unmet(result: Result) -> Iterator[str]:
    """Which goals a card misses, and what must never be."""
    row, idle = result.row, result.counted.idle_a_second
    if result.times_fewer < TIMES_FEWER:
        yield f"{result.times_fewer:.1f} times fewer instructions, not {TIMES_FEWER}"
    if result.times_smaller < TIMES_SMALLER:
        yield f"{result.times_smaller:.1f} times smaller, not {TIMES_SMALLER}"
    if idle > IDLE_A_SECOND:
        yield f"{idle:,.0f} idle instructions a second"
    if result.timed.idle_cpu >= IDLE_CPU:
        yield f"{result.timed.idle_cpu:.1f} % of a host CPU when idle, not under {IDLE_CPU:.0f}"
    if result.timed.round_trip_p50 > result.linux.timed.round_trip_p50:
        yield "a longer round trip"
    if row.branches or row.asked.branches:
        yield f"{row.branches} conditional branches, {row.asked.branches} executed"
    if lost(result):
        yield f"{lost(result)} echoes lost"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", "--echoes", type=int, default=5000, help="32 in flight, of each card")
    parser.add_argument("--only", default="", help="machines whose title has this word")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write needs every machine: leave out --only")
    results = []
    try:
        kernel = fetch()
        for title, target, arguments in cards.machines():
            if options.only in title:
                print(title, file=sys.stderr)
                machine = cards.probed(target, arguments)
                if machine.functions:
                    results.append(measure(title, machine, kernel, options.echoes))
                else:
                    print("no PCI: Debian's kernel finds no card here", file=sys.stderr)
        if not results:
            raise MetaosError(f"no machine's title has '{options.only}'")
        shown = table(results, kernel)
        if options.write:
            write_measured("beside-linux", shown)
    except MetaosError as error:
        fail(error)
    print(msgspec.json.encode(results).decode() if options.json else shown)
    problems = [f"{r.row.pattern}, {r.row.machine}: {text}" for r in results for text in unmet(r)]
    raise SystemExit("\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
