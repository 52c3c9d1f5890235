"""Trees with damaged files: no traceback, no wait, and what is said names a file."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from metaos.errors import MetaosError
from metaos.probe.check import check
from metaos.probe.store import read_machine
from metaos.probe.sysfs.probe import probe_sysfs
from tests.probe.linux import put, write_tree
from tests.probe.mutations import mutated

PC = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"
_SAID = re.compile(r"\b(sys|proc|dev)/|^Linux shows |^the instruction would ask")


def damage(tree: Path, count: int, seed: int) -> set[str]:
    """Probe `count` trees, each with a damaged file or two; the facts that became unknown."""
    random = Random(seed)
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    lost: set[str] = set()
    for turn in range(count):
        chosen = random.sample(files, random.choice((1, 1, 2)))
        before = {path: path.read_bytes() for path in chosen}
        for path, content in before.items():
            path.write_bytes(mutated(content, random))
        start = time.perf_counter()
        try:
            machine = probe_sysfs(tree)
        except MetaosError as error:  # never: what is not damaged is a machine
            pytest.fail(f"seed {seed} turn {turn}: {error.render()}")
        assert time.perf_counter() - start < 1, (seed, turn, chosen)
        assert not list(check(machine)), (seed, turn, chosen)
        for fact in machine.unknown:
            assert _SAID.search(fact.reason) and fact.reason.isprintable(), (seed, turn, fact)
        lost |= {fact.what for fact in machine.unknown}
        for path, content in before.items():
            path.write_bytes(content)
    return lost


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 24)


def _link(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


_REPLACED: tuple[Callable[[Path], object], ...] = (
    lambda path: None,
    lambda path: path.mkdir(),
    lambda path: os.mkfifo(path),
    lambda path: path.write_bytes(b""),
    _huge,
    _link("nowhere"),
    _link("."),
    _link(".."),
    _link("/"),
    _link("/proc/self/fd/0"),
    _link("/dev/zero"),
)


def rearrange(tree: Path, count: int, seed: int) -> set[str]:
    """Probe `count` trees, in each of which a file, a link or a folder is something else."""
    random = Random(seed)
    paths = sorted(tree.rglob("*"))
    aside, lost = tree.parent / "aside", set[str]()
    for turn in range(count):
        path = random.choice(paths)
        path.rename(aside)
        random.choice(_REPLACED)(path)
        start = time.perf_counter()
        try:
            machine = probe_sysfs(tree)
        except MetaosError as error:
            assert "no machine in it" in error.message, (seed, turn, path)
        else:
            assert not list(check(machine)), (seed, turn, path)
            lost |= {fact.what for fact in machine.unknown}
        assert time.perf_counter() - start < 1, (seed, turn, path)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        aside.rename(path)
    return lost


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tmp_path = tmp_path / "tree"
    write_tree(read_machine(PC), tmp_path)
    put(tmp_path, "proc/cpuinfo", "vendor_id\t: X\nmodel name\t: Y\nflags\t\t: fpu popcnt\n")
    put(tmp_path, "proc/iomem", "00001000-0009fbff : System RAM\n00100000-07ffffff : System RAM\n")
    return tmp_path


@pytest.mark.long
def test_some_damaged_trees(tree: Path) -> None:
    lost = damage(tree, 300, 1)
    assert {"legacy com", "acpi FACP", "00:03.0 bar 0 size"} <= lost


@pytest.mark.long
def test_some_rearranged_trees(tree: Path) -> None:
    assert {"pci functions", "acpi tables", "legacy com"} <= rearrange(tree, 300, 3)


@pytest.mark.soak
def test_many_rearranged_trees(tree: Path) -> None:
    rearrange(tree, 10_000, 4)


@pytest.mark.soak
def test_many_damaged_trees(tree: Path) -> None:
    assert len(damage(tree, 20_000, 2)) > 30
