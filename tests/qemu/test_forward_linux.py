"""Debian's Linux on one side of an image, and a station that asks it from the other side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.answers import in_flight
from benchmarks.beside_linux import device_names
from benchmarks.guests import BOOT_SECONDS, linux
from benchmarks.harness import End, Guest
from benchmarks.linux import fetch
from metaos.boot.target import load_target
from metaos.match.system import System
from metaos.probe.store import read_machine
from tests.qemu.conftest import MACHINES
from tests.qemu.test_forward import bridge, machine, made
from tests.qemu.two_sides import two_sides

pytestmark = [pytest.mark.qemu, pytest.mark.soak]

ECHOES = 2_000
BRIDGE = bridge()
WALL = System(
    name="wall",
    address="10.0.2.15/24",
    services=("banner", "arp", "firewall", "firewall.arp", "firewall.count"),
    settings={"firewall": {"rules": ({"src": "10.0.2.0/24", "protocol": 1, "allow": 1},)}},
)
ADDRESS = "10.0.2.99/24"
"""The image's own: 10.0.2.15 is Linux's, as everywhere where it is measured."""


@contextlib.contextmanager
def cable(one: End, other: End) -> Iterator[None]:
    """Carry every frame from either wire to the other."""
    over = threading.Event()

    def carry(source: End, to: End) -> None:
        while not over.is_set():
            frame = source.receive(0.1)
            if frame is not None:
                to.send(frame)

    ways = [threading.Thread(target=carry, args=pair) for pair in ((one, other), (other, one))]
    for way in ways:
        way.start()
    try:
        yield
    finally:
        over.set()
        for way in ways:
            way.join()


@pytest.mark.parametrize("system", [BRIDGE, WALL], ids=["bridge", "firewall"])
def test_linux_answers_through_it(system: System, tmp_path: Path) -> None:
    """Needs the network once, as what measures Linux does: its packages stay in build/linux/."""
    debian = fetch()
    (card,) = (f for f in read_machine(MACHINES / "pc-e1000.json").functions
               if f.address == "00:03.0")  # fmt: skip
    modules = debian.modules_for(device_names(card))
    arguments = machine("e1000", "virtio-net-pci")
    ours = System(
        name=system.name, address=ADDRESS, services=system.services, settings=system.settings
    )
    with (
        two_sides(made(tmp_path, ours, arguments), arguments) as between,
        linux(debian, load_target("pc-e1000").args, modules, plugin=False) as guest,
        cable(guest.wire, between.left),
    ):
        beyond = Guest(between.vm, between.right, None)
        beyond.wake(BOOT_SECONDS)
        beyond.drain()
        assert in_flight(beyond, ECHOES) == (ECHOES, 0)
        udp = beyond.host.udp(b"is anybody there")
        reached = beyond.ask(udp, lambda answer: len(answer) > 34 and answer[23] == 1, 1.0)
        assert (reached is not None) == (system is BRIDGE), "Linux says that no port is open there"
