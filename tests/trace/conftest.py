"""Images built once from recorded machines, with the stages they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from metaos import resources
from metaos.link.image import Image
from metaos.match.serves import Made
from metaos.match.system import System
from metaos.pipeline import build, remake
from metaos.probe.store import read_machine
from metaos.trace.records import Trace
from metaos.trace.trace import Wanted, trace
from tests.systems import POLLED

MACHINES = Path(__file__).parent.parent / "data" / "machines"


@dataclass(frozen=True)
class Built:
    """An image and what it was made from."""

    image: Image
    made: Made

    def trace(self, frame: str = "", **wanted: object) -> Trace:
        options = {"name": "an.img", "frame": frame} | wanted
        return trace(self.made, self.image, Wanted(**options))  # type: ignore[arg-type]


def built(name: str, system: System | None = None) -> Built:
    machine = read_machine(MACHINES / f"{name}.json")
    image = build(machine, system=system or POLLED)
    return Built(image, remake(image, machine, pattern_dirs=[resources.PATTERNS]))


@pytest.fixture(scope="session")
def e1000() -> Built:
    return built("pc-e1000")


@pytest.fixture(scope="session")
def ne2k() -> Built:
    return built("pc-ne2k")


@pytest.fixture(scope="session")
def virtio() -> Built:
    return built("pc-virtio")
