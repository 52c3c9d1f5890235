"""An image that speaks first: who it is, what it counts, what it notices, and at what rate."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.store import read_machine
from tests.qemu.booted import IP, MAC, TARGET, Booted, booted
from tests.qemu.conftest import MACHINES

pytestmark = pytest.mark.qemu

BROADCAST = b"\xff" * 6
PEER = bytes.fromhex("020000000002")
FRAMES = 5000


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    default = read_system()
    more = ("arp.announce", "arp.rival", "udp.tally", "pktgen")
    system = msgspec.structs.replace(
        default,
        services=(*default.services, *more),
        settings={"pktgen": {"frames": FRAMES, "to": "10.0.2.2"}},
    )
    machine = read_machine(MACHINES / "pc-e1000.json")
    made = build(machine, system=system, pattern_dirs=[resources.PATTERNS])
    path = tmp_path_factory.mktemp("speaks") / "x.img"
    write_image(made, path)
    return path


def heard(machine: Booted, count: int, seconds: float = 20) -> list[bytes]:
    end = time.monotonic() + seconds
    frames: list[bytes] = []
    while len(frames) < count and time.monotonic() < end:
        frame = machine.wire.receive(0.2)
        frames += [] if frame is None else [frame]
    return frames


def arp(oper: int, sha: bytes, spa: bytes, tpa: bytes) -> bytes:
    head = BROADCAST + sha + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, oper)
    return (head + sha + spa + bytes(6) + tpa).ljust(60, b"\0")


def test_it_announces_itself_then_sends_all_numbers_in_order(image: Path) -> None:
    with booted(image, TARGET) as machine:
        frames = heard(machine, FRAMES + 1)
        assert machine.wire.receive(0.5) is None
    assert frames[0] == arp(1, MAC, IP, IP)
    numbers = [int.from_bytes(frame[42:46], "big") for frame in frames[1:]]
    assert numbers == list(range(FRAMES))
    for frame in frames[1:]:
        assert frame[6:12] == MAC and frame[26:34] == IP + bytes([10, 0, 2, 2])
        assert sum(struct.unpack("!10H", frame[14:34])) % 0xFFFF == 0 and len(frame) == 60


def test_another_with_our_address_is_told_on_the_consoles(image: Path) -> None:
    with booted(image, TARGET) as machine:
        machine.wait_for("MetaOS")
        heard(machine, FRAMES + 1)
        machine.wire.send(arp(1, PEER, bytes([10, 0, 2, 9]), bytes([10, 0, 2, 7])))  # a stranger
        machine.wire.send(arp(1, MAC, IP, IP))  # our own, come back
        machine.ask(arp(1, PEER, bytes([10, 0, 2, 9]), IP))
        machine.read_all()
        assert "is also" not in machine.said
        machine.wire.send(arp(2, PEER, IP, bytes([10, 0, 2, 9])))
        line = machine.wait_for("is also")
        assert line == "10.0.2.15 is also the address of 020000000002"
        again = bytes.fromhex("0200000000ab")
        machine.wire.send(arp(1, again, IP, IP))
        machine.wait_for("0200000000ab")
        machine.wait_until(
            lambda: "0200000000ab" in "".join(machine.screen()), "the screen shows it"
        )
