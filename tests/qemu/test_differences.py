"""Each target's image on machines that differ from it in one thing: all refuse, and touch nothing.

QEMU's trace of all accesses to devices shows what was touched after the last sector was read.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.boot.target import command, load_target
from metaos.link.image import write_image
from metaos.lower.lower import Lowered, lower
from metaos.match.bind import bind
from metaos.match.system import read_system
from metaos.pattern.patterns import load
from metaos.pipeline import build, compare, probe
from metaos.probe.header import ROM_INDEX
from metaos.probe.machine import Bar, Function, Machine
from tests.qemu.differences import CPU, MEMORY, Difference, differences

TARGETS = sorted(
    path.stem for path in resources.TARGETS.glob("*.toml") if not path.stem.startswith("microvm")
)
"""A microvm has no PCI: its guard has processor and memory only, see below."""
MICROVM = "microvm-virtio"
EVERY_TIME = ("pc-e1000", "q35-e1000e")
LIMIT_SECONDS = 20.0
LEAST = 50
BANNER = "MetaOS 10.0.2.15"
AGAIN = "probe and build again"
SAID = re.compile(
    r"^(\S+ changed|memory changed|[0-9a-f:.]{7} register ..): (expected .+, found .+|found .+); "
    + AGAIN
)
_EVENTS = ("memory_region_ops_read", "memory_region_ops_write")
_NAME = re.compile(r"name '([^']*)'")
_DISKS = frozenset(("ide", "piix-bmdma", "bmdma", "ahci", "ahci-idp"))
_ALLOWED = frozenset((
    *("pci-conf-idx", "pci-conf-data", "pcie-mmcfg-mmio"),  # configuration space
    *("serial", "vga", "vga-lowmem", "vbe"),  # consoles, which their ROMs set for text
    *("ati.mmregs", "cirrus-io", "cirrus-low-memory"),
    *("io", "pic", "port92", "apm-io", "kvmvapic", "rtc", "rtc-index"),  # firmware
))  # fmt: skip
"""What may be accessed between the last sector and the report's last character."""


@dataclass(frozen=True)
class Refused:
    """What the serial console said, and the devices accessed after the loader's last read."""

    said: str
    touched: frozenset[str]


def boot(image: Path, on: Difference, folder: Path) -> Refused:
    """Start a machine and read its console until it has said why it stops."""
    until = on.until or AGAIN
    serial, trace = folder / "serial", folder / "trace"
    serial.write_bytes(b"")
    line = command(
        load_target("none"), on.arguments, image=image, accel="tcg", serial=f"file,path={serial}"
    )
    events = [word for event in _EVENTS for word in ("-trace", f"enable={event}")]
    qemu = subprocess.Popen(
        [*line, "-no-reboot", *events, "-D", str(trace)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + LIMIT_SECONDS
        while not whole(serial.read_text("latin-1"), until) and time.monotonic() < end:
            if qemu.poll() is not None:
                said = qemu.stderr.read().decode() if qemu.stderr else ""
                return Refused(f"QEMU ended: {said}", frozenset())
            time.sleep(0.02)
    finally:
        qemu.terminate()
        qemu.wait(10)
        if qemu.stderr is not None:
            qemu.stderr.close()
    names = _NAME.findall(trace.read_text("latin-1"))
    trace.unlink()
    last = max((i for i, name in enumerate(names) if name in _DISKS), default=-1)
    return Refused(serial.read_text("latin-1").strip(), frozenset(names[last + 1 :]))


def whole(said: str, until: str) -> bool:
    """Whether all that is waited for has come; the loader's own message has no line's end."""
    return until in said and (until == CPU or said.endswith("\n"))


def probed(target: str, arguments: tuple[str, ...] = ()) -> Machine:
    return probe(
        target,
        arguments,
        accel="tcg",
        timeout=60,
        pattern_dirs=[resources.PATTERNS],
        system=read_system(),
        progress=lambda _: None,
    )


def of_class(machine: Machine, class_code: int) -> Function:
    return next(f for f in machine.functions if f.class_code >> 16 == class_code)


def of_target(target: str, machine: Machine) -> tuple[Difference, ...]:
    args, card, screen = load_target(target).args, of_class(machine, 2), of_class(machine, 3)
    rom = any(bar.index == ROM_INDEX for bar in card.bars)
    return tuple(differences(args, card.address, screen.address, rom))


def wrong(difference: Difference, found: Refused) -> str:
    """What is not as it must be; "" if a machine is refused as it should."""
    line = found.said.splitlines()[-1] if found.said else ""
    if difference.says == CPU:
        named = line.startswith(CPU)
    else:
        match = SAID.match(line)
        named = match is not None and line.startswith(difference.says)
        if match is not None and "expected" in match[2]:
            values = re.findall(r"(?:expected|found) ([0-9a-f:]+)", match[2])
            named = named and len(values) == 2 and values[0] != values[1]
    touched = sorted(found.touched - _ALLOWED)
    if named and not touched:
        return ""
    return f"{difference.name}: wanted '{difference.says}', said {found.said!r}, touched {touched}"


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [t if t in EVERY_TIME else pytest.param(t, marks=pytest.mark.soak) for t in TARGETS],
)
def test_every_difference_is_refused_by_name(target: str, tmp_path: Path) -> None:
    machine = probed(target)
    image = tmp_path / "x.img"
    write_image(build(machine, system=read_system()), image)
    every = of_target(target, machine)
    assert len(every) >= LEAST
    begun = time.monotonic()
    problems = [p for d in every if (p := wrong(d, boot(image, d, tmp_path)))]
    print(f"{target}: {len(every)} machines in {time.monotonic() - begun:.0f} s")
    assert not problems, "\n".join(problems)
    assert any(d.says == MEMORY for d in every)


def placed(function: Function, bar: Bar, at: int) -> Function:
    """A function with one of its windows somewhere else."""
    bars = tuple(msgspec.structs.replace(b, address=at) if b == bar else b for b in function.bars)
    config = bytearray.fromhex(function.config)
    byte = 16 + 4 * bar.index
    low = config[byte] & (3 if bar.kind == "io" else 15)
    config[byte : byte + 4] = (at | low).to_bytes(4, "little")
    return msgspec.structs.replace(function, bars=bars, config=config.hex())


def changed_places(machine: Machine) -> tuple[Machine, str]:
    """The card's window where another function's is, and that one where the card's was.

    And how the report on the real machine begins.
    """
    card = of_class(machine, 2)
    used = {w.physical for w in lowered(machine).windows}
    ports = {p.base for p in lowered(machine).ports if p.device == card.address}
    mine = next(b for b in card.bars if b.address in used | ports)
    other, theirs = next(
        (f, b)
        for f in machine.functions
        for b in f.bars
        if f is not card and (b.kind == "io") == (mine.kind == "io") and b.address and b.index < 6
    )
    least = max(mine.size, theirs.size)
    moved = {
        card.address: placed(card, mine, theirs.address & ~(mine.size - 1)),
        other.address: placed(other, theirs, (mine.address & ~(least - 1)) - 4 * least),
    }
    functions = tuple(moved.get(f.address, f) for f in machine.functions)
    says = f"{other.address} register {16 + 4 * theirs.index:02x}: found "
    return msgspec.structs.replace(machine, functions=functions), says


def lowered(machine: Machine) -> Lowered:
    return lower(bind(machine, load([resources.PATTERNS]), read_system()))


@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [t if t in EVERY_TIME else pytest.param(t, marks=pytest.mark.soak) for t in TARGETS],
)
def test_anothers_window_over_the_images_is_refused(target: str, tmp_path: Path) -> None:
    """The image places its window where this machine's firmware has put somebody else's."""
    made, says = changed_places(probed(target))
    image = tmp_path / "x.img"
    write_image(build(made, system=read_system()), image)
    overlap = Difference("overlap", load_target(target).args, says)
    found = boot(image, overlap, tmp_path)
    assert not wrong(overlap, found)
    assert "in a window of the image" in found.said


@pytest.mark.qemu
@pytest.mark.slow
def test_metaos_diff_foretells_what_a_machine_says(tmp_path: Path) -> None:
    """The words on the console are those that `metaos diff` has of the two machine files."""
    target = EVERY_TIME[0]
    ours = probed(target)
    image = tmp_path / "x.img"
    write_image(build(ours, system=read_system()), image)
    wanted = {
        "added rtl8139", "the card is pcnet", "8 MiB of screen memory", "no ACPI", "no card",
        "the screen's ROM has 1048576 bytes", "no registers of the screen",
    }  # fmt: skip
    found = [d for d in of_target(target, ours) if d.name in wanted]
    assert len(found) == len(wanted)
    for difference in found:
        theirs = probed("none", difference.arguments)
        said = boot(image, difference, tmp_path).said.splitlines()[-1]
        foretold = compare(ours, theirs, system=read_system()).obstacles
        assert foretold[0].by == "guard"
        assert said == foretold[0].text, difference.name


def without_pci() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What a microvm that differs says, and its arguments."""
    args = load_target(MICROVM).args
    bare = args[: args.index("-device")]
    window = r"mmio@[0-9a-f]+: "
    ids = window + "there is no network card at this window now, found 000000"
    others = ("rng", "balloon", "serial", "keyboard")
    return (
        *(
            (MEMORY + ": expected [0-9a-f]+ KiB .*, found ", (*args, "-m", str(n)))
            for n in (3, 4, 5)
        ),
        *((ids, (*bare, "-device", f"virtio-{name}-device")) for name in others),
        (ids, bare),
        (window + "features changed", (*args, "-global", "virtio-net-device.mrg_rxbuf=off")),
        (window + ".*version", (*args, "-global", "virtio-mmio.force-legacy=false")),
        (CPU, (*args, "-cpu", "qemu64,-nx")),
    )


@pytest.mark.qemu
@pytest.mark.slow
def test_a_machine_without_pci_is_known_by_its_memory_and_its_devices(tmp_path: Path) -> None:
    image = tmp_path / "x.img"
    write_image(build(probed(MICROVM), system=read_system()), image)
    for says, arguments in without_pci():
        until = CPU if says == CPU else "found "
        found = boot(image, Difference(says, arguments, says, until), tmp_path)
        assert re.match(says, found.said.splitlines()[-1]), (arguments, found.said)


@pytest.mark.qemu
@pytest.mark.slow
def test_its_own_machine_is_not_refused_and_the_trace_shows_its_card(tmp_path: Path) -> None:
    """So that what the trace does not show was not touched."""
    target = EVERY_TIME[0]
    image = tmp_path / "x.img"
    write_image(build(probed(target), system=read_system()), image)
    found = boot(image, Difference("none", load_target(target).args, "", BANNER), tmp_path)
    assert found.said == BANNER
    assert "e1000-mmio" in found.touched - _ALLOWED
    wanted = Difference("none", (), "00:03.0 ")
    assert wrong(wanted, found), "a machine that is not refused is noticed"
