"""An image that speaks first: who it is, what it counts, what it notices, and at what rate."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.boot.network import NETDEV
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from tests.qemu.booted import IP, MAC, SERIAL, TARGET, Booted, booted
from tests.qemu.conftest import MACHINES, probed

pytestmark = pytest.mark.qemu

BROADCAST = b"\xff" * 6
Q35 = ("-M", "q35", "-m", "64", "-nodefaults")
MICROVM = ("-M", "microvm", *TARGET[2:5], *SERIAL)
PEER = bytes.fromhex("020000000002")
HOP = bytes([10, 0, 2, 2])
FRAMES = 5000


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speaks") / "x.img"
    spoken(read_machine(MACHINES / "pc-e1000.json"), path)
    return path


CARDS = {
    "tulip": TARGET,
    "e1000": (*Q35, *SERIAL),
    "e1000e": (*Q35, *SERIAL),
    "i82551": TARGET,
    "ne2k_pci": TARGET,
    "pcnet": TARGET,
    "rtl8139": TARGET,
    "vmxnet3": TARGET,
    "virtio-net-pci": TARGET,
    "virtio-net-pci,disable-legacy=on": TARGET,
    "virtio-net-pci,disable-modern=on": TARGET,
    "virtio-net-device": MICROVM,
}
"""One of each family of QEMU's cards, and a machine to put it in."""


def spoken(machine: Machine, path: Path, **more: object) -> None:
    """Write the image of a machine whose services speak; `more` is what else its system says."""
    default = read_system()
    services = (*default.services, "arp.announce", "arp.rival", "udp.tally", "pktgen")
    settings = {"pktgen": {"frames": FRAMES, "to": "10.0.2.2"}}
    system = msgspec.structs.replace(default, services=services, settings=settings, **more)
    write_image(build(machine, system=system, pattern_dirs=[resources.PATTERNS]), path)


def heard(machine: Booted, count: int, seconds: float = 20) -> list[bytes]:
    """Frames that come; when the machine asks who HOP is, we are."""
    end = time.monotonic() + seconds
    frames: list[bytes] = []
    while len(frames) < count and time.monotonic() < end:
        frame = machine.wire.receive(0.2)
        frames += [] if frame is None else [frame]
        if frame == arp(1, MAC, IP, HOP):
            machine.wire.send(arp(2, PEER, HOP, IP))
    return frames


def arp(oper: int, sha: bytes, spa: bytes, tpa: bytes) -> bytes:
    head = BROADCAST + sha + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, oper)
    return (head + sha + spa + bytes(6) + tpa).ljust(60, b"\0")


def judged(frames: list[bytes]) -> None:
    """What an image says at first: who it is, then every number, in order."""
    assert frames[0] == arp(1, MAC, IP, IP)
    assert frames[1] == arp(1, MAC, IP, HOP)
    said = [frame for frame in frames[2:] if frame != frames[1]]  # it may have asked again
    assert [int.from_bytes(frame[42:46], "big") for frame in said] == list(range(FRAMES))
    for frame in said:
        assert frame[:12] == PEER + MAC and frame[26:34] == IP + bytes([10, 0, 2, 2])
        assert sum(struct.unpack("!10H", frame[14:34])) % 0xFFFF == 0 and len(frame) == 60


def test_it_announces_itself_then_sends_all_numbers_in_order(image: Path) -> None:
    with booted(image, TARGET) as machine:
        frames = heard(machine, FRAMES + 2)
        assert machine.wire.receive(0.5) is None
    judged(frames)


@pytest.mark.slow
@pytest.mark.parametrize("idle", [None, "poll"], ids=["asleep where it can", "awake"])
@pytest.mark.parametrize("card", CARDS)
def test_every_card_sends_all_that_is_said(card: str, idle: str | None, tmp_path: Path) -> None:
    device = f"{card},mac={MAC.hex(':')}"
    path = tmp_path / "x.img"
    spoken(probed(*CARDS[card], "-device", device), path, idle=idle)
    with booted(path, CARDS[card], card=device) as machine:
        frames = heard(machine, FRAMES + 2)
        assert machine.wire.receive(0.2) is None
        asked = arp(1, PEER, bytes([10, 0, 2, 2]), IP)
        assert machine.ask(asked)[20:22] == b"\0\2"  # and it answers as before
    judged(frames)


def test_another_with_our_address_is_told_on_the_consoles(image: Path) -> None:
    with booted(image, TARGET) as machine:
        machine.wait_for("MetaOS")
        heard(machine, FRAMES + 2)
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


def test_what_leaves_the_network_goes_through_the_gateway(tmp_path: Path) -> None:
    outside = {"pktgen": {"frames": 3, "to": "192.0.2.9"}}
    default = read_system()
    system = msgspec.structs.replace(
        default, gateway="10.0.2.2", settings=outside, services=("arp", "icmp.echo", "pktgen")
    )
    machine = read_machine(MACHINES / "pc-e1000.json")
    write_image(build(machine, system=system, pattern_dirs=[resources.PATTERNS]), tmp_path / "x")
    with booted(tmp_path / "x", TARGET) as asking:
        asked = [asking.wire.receive(20) for _ in range(3)]  # nobody answers: it asks again
        assert asked == [arp(1, MAC, IP, HOP)] * 3
        asking.wire.send(arp(2, PEER, HOP, IP))
        said = [frame for frame in heard(asking, 4) if frame[12:14] == b"\x08\x00"]
        assert [int.from_bytes(frame[42:46], "big") for frame in said] == [0, 1, 2]
        assert {frame[:6] for frame in said} == {PEER}
        assert {frame[30:34] for frame in said} == {bytes([192, 0, 2, 9])}


LINKED = ("e1000", "e1000e", "vmxnet3", *(card for card in CARDS if card.startswith("virtio")))
"""Cards that can tell whether their link is up."""
DOWN_SECONDS = 2.5
"""Rule and service each look once a second."""


@pytest.mark.parametrize("idle", [None, "poll"], ids=["asleep where it can", "awake"])
@pytest.mark.parametrize(
    "card",
    [pytest.param(x, marks=() if x == "e1000" else pytest.mark.slow) for x in LINKED],
)
def test_a_link_that_has_come_back_is_announced(
    card: str, idle: str | None, tmp_path: Path
) -> None:
    device = f"{card},mac={MAC.hex(':')}"
    default = read_system()
    services = (*default.services, "arp.announce")
    system = msgspec.structs.replace(default, services=services, idle=idle)
    made = build(probed(*CARDS[card], "-device", device), system=system)
    write_image(made, tmp_path / "x.img")
    with booted(tmp_path / "x.img", CARDS[card], card=device) as machine:
        assert machine.wire.receive(20) == arp(1, MAC, IP, IP)
        for _ in range(3):
            assert machine.wire.receive(0.3) is None, "it is said once"
            machine.vm.hmp(f"set_link {NETDEV} off")
            assert machine.wire.receive(DOWN_SECONDS) is None, "a frame over a link that is down"
            machine.vm.hmp(f"set_link {NETDEV} on")
            assert machine.wire.receive(5) == arp(1, MAC, IP, IP)
