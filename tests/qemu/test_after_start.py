"""After the start: what only guard and init needed is zero and out of reach, on every target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from metaos import pipeline, resources
from metaos.boot import network
from metaos.boot.target import QEMU, load_target, targets
from metaos.errors import MetaosError
from metaos.link import plan
from metaos.link.image import Image, write_image
from metaos.match.system import read_system
from metaos.pattern.patterns import load
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from tests.link.walk import Mapped, walk
from tests.qemu.booted import TARGET, Booted, booted
from tests.qemu.conftest import MACHINES, Made, Make

pytestmark = pytest.mark.qemu

START = ("guard", "init", "wipe")
LOADED_AT = 0x7C00
PAGE = 4096
BANNER = "MetaOS 10.0.2.15"


def start_memory(image: Image) -> list[tuple[str, int, int]]:
    """Name, physical address and size of all that only guard and init needed."""
    found = [("the loaded image", LOADED_AT, image.manifest.loaded_bytes)]
    for name in ("guard", "init"):
        pages = image.manifest.phase(name).code_pages
        found += [(f"{name}'s code", page, PAGE) for page in pages]
    for symbol in image.manifest.symbols:
        if symbol.kind == "datum" and set(symbol.phases) <= set(START):
            found.append((symbol.name, symbol.physical, symbol.size))
    return found


def left_over(machine: Booted, image: Image) -> list[str]:
    """What of the start is not zero."""
    return [name for name, at, size in start_memory(image) if any(machine.physical(at, size))]


def within_reach(machine: Booted, image: Image) -> list[str]:
    """What of the start is mapped anywhere, by the page tables that the processor has loaded."""
    mapped = reached(machine)
    return [
        name
        for name, at, size in start_memory(image)
        if any(m.physical < at + size and at < m.physical + m.size for m in mapped.values())
    ]


def reached(machine: Booted) -> dict[int, Mapped]:
    """Every page that the processor reaches, walked from CR3 through the machine's memory."""
    return walk(lambda page: machine.physical(page, PAGE), machine.root())


def declared(image: Image, phase: str) -> Iterator[tuple[int, Mapped]]:
    """The same as the manifest says it of a phase."""
    for one in image.manifest.mappings:
        for offset in range(0, one.size, one.page) if phase in one.phases else ():
            physical = one.physical + (0 if one.shadow else offset)
            rights = (one.writable, one.executable, one.cached)
            yield one.linear + offset, Mapped(physical, one.page, *rights)


def demand_gone(machine: Booted, image: Image) -> None:
    """The steady phase runs, and of the start there is nothing left."""
    machine.wait_for(BANNER)
    machine.vm.command("stop")
    steady = image.manifest.phase("steady")
    assert machine.root() == steady.root
    assert left_over(machine, image) == []
    assert within_reach(machine, image) == []
    assert reached(machine) == dict(declared(image, "steady"))
    code = machine.physical(steady.code_pages[-1], PAGE)
    kept = b"".join(image.data[r.start : r.end] for r in steady.code_file)
    assert kept[-64:] in code, "the running code itself is looked for in the wrong place"


def connected(arguments: Sequence[str]) -> list[str]:
    """A target's arguments with its cards on a network that leads nowhere."""
    backend = "user,id=net0,restrict=on"
    return network.connect(arguments, backend, network.network_cards(QEMU)) or list(arguments)


@pytest.mark.parametrize("target", targets())
def test_nothing_of_the_start_is_left(target: str, make: Make) -> None:
    machine = pipeline.probe(
        target,
        (),
        accel="tcg",
        timeout=60,
        pattern_dirs=[resources.PATTERNS],
        system=read_system(),
        progress=lambda _: None,
    )
    path, image = make(machine)
    names = {name for name, _, _ in start_memory(image)}
    assert {"the loaded image", "guard's code", "init's code", "rows.guard", "rows.init"} <= names
    with booted(path, connected(load_target(target).args), card="") as running:
        demand_gone(running, image)


def test_the_start_is_there_until_it_is_wiped(default_image: Made) -> None:
    """The places looked at are the right ones: while init waits, they are full and mapped."""
    path, image = default_image
    with booted(path, TARGET, paused=True) as machine:
        machine.vm.hmp("set_link net0 off")
        machine.vm.command("cont")
        init = image.manifest.phase("init").root
        machine.wait_until(lambda: machine.root() == init, "init begins")
        everything = [name for name, _, _ in start_memory(image)]
        assert left_over(machine, image) == everything
        assert {"init's code", "rows.init"} <= set(within_reach(machine, image))


@pytest.mark.parametrize("number", range(4))
def test_what_is_not_wiped_is_noticed(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An image that leaves one range out: the proof refuses it, and the machine shows it."""
    whole = plan._wiped
    taken: list[tuple[int, int]] = []

    def less(*arguments: object) -> tuple[tuple[int, int], ...]:
        ranges = whole(*arguments)  # type: ignore[arg-type]
        taken[:] = [ranges[number]]
        return ranges[:number] + ranges[number + 1 :]

    monkeypatch.setattr(plan, "_wiped", less)
    machine = read_machine(MACHINES / "pc-e1000.json")
    with pytest.raises(MetaosError, match="breaks a law"):
        pipeline.build(machine, system=read_system())
    image = unproved(machine)
    write_image(image, tmp_path / "x.img")
    with booted(tmp_path / "x.img", TARGET) as running:
        running.wait_for(BANNER)
        named = {name for name, at, size in start_memory(image)
                 if at < taken[0][1] and taken[0][0] < at + size}  # fmt: skip
        assert named and set(left_over(running, image)) == named
        with pytest.raises(AssertionError):
            demand_gone(running, image)


def unproved(machine: Machine) -> Image:
    """The image of all stages but the proof."""
    patterns = load([resources.PATTERNS])
    return pipeline._make(machine, patterns, read_system(), lambda _: None).image
