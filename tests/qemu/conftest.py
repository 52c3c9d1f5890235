"""Images that the tests of this folder boot, made once; and no QEMU left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from metaos import resources
from metaos.link.image import Image, write_image
from metaos.match.system import read_system
from metaos.pipeline import build, probe
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from tests.qemu.booted import children

MACHINES = Path(__file__).parents[1] / "data" / "machines"

Made = tuple[Path, Image]
"""An image file and what is in it."""
Make = Callable[..., Made]


def probed(*arguments: str) -> Machine:
    """The machine of QEMU's `arguments`, as `metaos probe` reads it."""
    return probe(
        "none",
        arguments,
        accel="tcg",
        timeout=30,
        pattern_dirs=[resources.PATTERNS],
        system=read_system(),
        progress=lambda _: None,
    )


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Build a machine's image and write it to a file."""

    def made(machine: Machine, patterns: Sequence[Path] = ()) -> Made:
        folders = [resources.PATTERNS, *patterns]
        image = build(machine, system=read_system(), pattern_dirs=folders)
        path = tmp_path_factory.mktemp("image") / "x.img"
        write_image(image, path)
        return path, image

    return made


@pytest.fixture(scope="session")
def default_image(make: Make) -> Made:
    """The default target's image, from its machine file in the tree."""
    return make(read_machine(MACHINES / "pc-e1000.json"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test ends the machines it has started."""
    yield
    assert children() == []
