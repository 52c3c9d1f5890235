"""An image to be debugged, and the stages that made it."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos import resources
from metaos.match.serves import Made
from metaos.match.system import read_system
from metaos.pipeline import build, remake
from metaos.probe.store import read_machine

MACHINES = Path(__file__).parents[1] / "data" / "machines"


@pytest.fixture(scope="session")
def made() -> Made:
    """The default machine's image and its plans."""
    machine = read_machine(MACHINES / "pc-e1000.json")
    image = build(machine, system=read_system())
    return remake(image, machine, pattern_dirs=[resources.PATTERNS])
