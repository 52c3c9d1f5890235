"""Every card under 10,000 echoes, 32 of them in flight: none is lost or wrong; then it sleeps."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.answers import in_flight
from benchmarks.cards import SMALL_PC, machines, probed
from benchmarks.harness import booted
from metaos.boot.target import NO_TARGET, load_target
from tests.qemu.cards import devices, placed
from tests.qemu.conftest import Make
from tests.qemu.looks import LOOKS, asleep

pytestmark = pytest.mark.qemu


def args(target: str) -> tuple[str, ...]:
    return load_target(target).args


def named(card: dict[str, Any]) -> str:
    """QEMU's name of a card, with its properties."""
    return ",".join((card["qemu"], *(word for word in card.get("with", ()) if word[0] != "-")))


def small(card: dict[str, Any]) -> tuple[str, ...]:
    """A small machine that the card can be put into: one without PCI for a card without."""
    everywhere = [word for one in card.get("with", ()) if one[0] == "-" for word in one.split()]
    chipset = "microvm" if card["qemu"] == "virtio-net-device" else "q35"
    return ("-M", chipset, *SMALL_PC[2:], *everywhere, "-device", named(card))


MEASURED = {title: (target, arguments) for title, target, arguments in machines()}
SERVED = {c.pattern for target, more in MEASURED.values() for c in placed((*args(target), *more))}
MACHINES: dict[str, tuple[str, tuple[str, ...]]] = MEASURED | {
    named(card): (NO_TARGET, small(card))
    for card in devices()["card"]
    if card["pattern"] not in SERVED
}
"""The machines of the benchmarks, and one for each further card."""
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
    path, image = make(probed(target, arguments))
    assert image.manifest.gates.interrupts, "the image polls"
    with booted(path, plugin=False) as machine:
        machine.wake(60)
        machine.drain()
        assert in_flight(machine, ECHOES) == (ECHOES, 0)
        assert asleep(machine.vm) >= LOOKS - 1
