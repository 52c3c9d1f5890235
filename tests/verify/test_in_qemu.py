"""What the proof says of an image, held against the machine that runs it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from benchmarks import answers, boot
from benchmarks.harness import Booted, booted
from metaos import pipeline
from metaos.link.gates import GDT, TASK
from metaos.link.image import Image, write_image
from metaos.probe.store import read_machine
from metaos.verify.laws import follow, verify
from tests.systems import POLLED

MACHINE = Path(__file__).parent.parent / "data" / "machines" / "pc-e1000.json"
SECONDS = 60.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Image]:
    """The image of the default machine, built from its machine file."""
    built = pipeline.build(read_machine(MACHINE), system=POLLED)
    path = tmp_path_factory.mktemp("image") / "x.img"
    write_image(built, path)
    return path, built


def memory(machine: Booted, physical: int, size: int, folder: Path) -> bytes:
    """The machine's RAM."""
    target = folder / "memory"
    machine.vm.command("pmemsave", val=physical, size=size, filename=str(target))
    return target.read_bytes()


def register(machine: Booted, name: str) -> int:
    found = re.search(rf"{name}\s*=([0-9a-f]+)", machine.vm.hmp("info registers"))
    assert found is not None
    return int(found[1], 16)


def lasting_pages(image: Image, loaded: dict[int, bytes]) -> list[int]:
    """The pages of the tables, and of the code that wipe does not clear."""
    phases = image.manifest.phases
    first_code = min(page for phase in phases for page in phase.code_pages)
    tables = [page for page in loaded if min(image.manifest.roots) <= page < first_code]
    assert len(tables) >= 4 * len(phases)
    codes = [page for p in phases if p.name not in ("guard", "init") for page in p.code_pages]
    assert len(codes) >= 3
    return tables + codes


@pytest.mark.qemu
def test_the_running_machine_is_what_was_proved(image: tuple[Path, Image], tmp_path: Path) -> None:
    """CR3, write protection, code, every page table and the wiped RAM, in the steady phase."""
    path, built = image
    proof = follow(built)
    steady = built.manifest.phase("steady")
    with booted(path, plugin=True) as machine:
        end = time.monotonic() + SECONDS
        while not machine.counters().steady_turns and time.monotonic() < end:
            assert machine.vm.wait(0.05) is None
        machine.vm.command("stop")
        assert register(machine, "CR3") == steady.root
        assert register(machine, "CR0") & 1 << 16, "CR0.WP: read-only pages are for us, too"
        assert register(machine, "RFL") & 1 << 9 == 0, "interrupts are off"
        here = register(machine, "RIP") - steady.code_linear
        assert 0 <= here < steady.code_length
        gates = built.manifest.gates.physical
        busy = gates + GDT + TASK + 5  # the loader's `ltr` has marked the TSS so
        for page in lasting_pages(built, proof.memory):
            found = bytearray(memory(machine, page, 4096, tmp_path))
            if page == gates:
                assert found[busy - page] == 0x8B
                found[busy - page] = 0x89
            assert found == proof.memory[page], hex(page)
        for symbol in built.manifest.symbols:
            if symbol.name.startswith("wiped."):
                held = memory(machine, symbol.physical, symbol.size, tmp_path)
                assert held.count(0) == symbol.size, symbol.name


@pytest.mark.qemu
def test_an_answering_machine_executes_no_conditional_branch(image: tuple[Path, Image]) -> None:
    path, built = image
    found = answers.measure(path, 100)
    assert answers.broken(found) == []
    turn = found["instructions_per_answering_turn"]
    assert isinstance(turn, float)
    assert abs(turn - verify(built).instructions("steady")) < 0.1, "looked at in mid-turn, twice"


@pytest.mark.qemu
def test_booting_takes_a_row_a_turn_and_few_instructions(image: tuple[Path, Image]) -> None:
    found = boot.measure(image[0])
    rows, turns = found["rows"], found["turns"]
    assert isinstance(rows, dict) and isinstance(turns, dict)
    assert rows["guard"] > 10 and turns["guard"] == rows["guard"]
    assert turns["init"] >= rows["init"] > 10 and turns["wipe"] == 1
    instructions = found["instructions"]
    assert isinstance(instructions, int) and instructions <= 30_000
    assert found["conditional_branches_of_phases"] == 0
