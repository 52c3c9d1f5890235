"""One image for all tests of this folder, and stations that it has booted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metaos.link.image import Image
from metaos.pipeline import build
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from tests.image.harness import Station
from tests.systems import POLLED

MACHINES = Path(__file__).parent.parent / "data" / "machines"

Boot = Callable[..., Station]


@pytest.fixture(scope="session", params=["pc-e1000", "pc-slot7", "pc-bare"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """A machine as it was probed: with screen and UART, in another slot, with neither."""
    return read_machine(MACHINES / f"{request.param}.json")


@pytest.fixture(scope="session")
def image(machine: Machine) -> Image:
    """The finished image for `machine`, through the whole pipeline."""
    return build(machine, system=POLLED)


@pytest.fixture
def boot(image: Image, machine: Machine) -> Boot:
    """Boot `image` to its steady phase on the machine it is for, consoles drained."""

    def booted(**options: object) -> Station:
        station = Station(image, machine, **options)  # type: ignore[arg-type]
        station.boot()
        drain(station)
        return station

    return booted


def drain(station: Station) -> None:
    """Idle turns until the consoles have nothing more to say."""
    for _ in range(100):
        turns = list(station.run([None] * 50))
        by_ports = station.world.ne2000 is not None  # whose own accesses do not count
        if not any(turn.ports - by_ports * (turn.reads + turn.writes) for turn in turns):
            return
    raise AssertionError("the consoles never fall silent")
