"""Every card under 10,000 echoes, 32 of them in flight: none is lost, none is wrong."""

from __future__ import annotations

import pytest

from benchmarks.answers import in_flight
from benchmarks.cards import machines, probed
from benchmarks.harness import booted
from tests.qemu.conftest import Make

pytestmark = pytest.mark.qemu

MACHINES = {title: (target, arguments) for title, target, arguments in machines()}
QUICK = ("pc-e1000", "pc-virtio")
ECHOES = 10_000


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        pytest.param(*values, marks=() if name in QUICK else pytest.mark.slow, id=name)
        for name, values in MACHINES.items()
    ],
)
def test_none_in_flight_is_lost(target: str, arguments: tuple[str, ...], make: Make) -> None:
    path, _ = make(probed(target, arguments))
    with booted(path, plugin=False) as machine:
        machine.wake(60)
        machine.drain()
        assert in_flight(machine, ECHOES) == (ECHOES, 0)
