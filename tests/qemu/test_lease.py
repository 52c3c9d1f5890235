"""An image that is given its address: by QEMU's own server, and by one that lets it go."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.boot.qemu import Qemu
from metaos.boot.target import NO_TARGET, command, load_target
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.store import read_machine
from tests.qemu.booted import CARD, MAC, TARGET, Booted, booted
from tests.qemu.conftest import MACHINES

pytestmark = pytest.mark.qemu

OURS, SERVER = bytes([10, 0, 2, 77]), bytes([10, 0, 2, 2])
SERVER_MAC = bytes.fromhex("020000000002")
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    default = read_system()
    services = (*default.services, "arp.announce")
    system = msgspec.structs.replace(default, address="dhcp", services=services)
    machine = read_machine(MACHINES / "pc-e1000.json")
    path = tmp_path_factory.mktemp("leased") / "x.img"
    write_image(build(machine, system=system, pattern_dirs=[resources.PATTERNS]), path)
    return path


def test_qemus_own_server_gives_an_address(image: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        port = end.getsockname()[1]
    forward = f"user,id=net0,hostfwd=udp:127.0.0.1:{port}-10.0.2.15:7"
    words = [*TARGET, "-device", f"{CARD},netdev=net0"]
    line = command(load_target(NO_TARGET), words, image=image, accel="tcg", serial="null")
    with (
        Qemu([*line, "-netdev", forward, "-no-reboot"]),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(0.5)
        limit = time.monotonic() + 20
        answer = b""
        while not answer and time.monotonic() < limit:
            client.sendto(b"hello", ("127.0.0.1", port))
            try:
                answer = client.recv(100)
            except TimeoutError:
                continue
    assert answer == b"hello"


def message(machine: Booted, seconds: float) -> tuple[int, bytes]:
    """The next message of the client: its kind and the whole frame; 0 if none comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frame = machine.wire.receive(0.2)
        if frame is not None and frame[12:14] == b"\x08\x00" and frame[34:38] == b"\0\x44\0\x43":
            assert sum(struct.unpack("!10H", frame[14:34])) % 0xFFFF == 0
            assert frame[278:282] == bytes.fromhex("63825363") and frame[282:284] == b"\x35\x01"
            return frame[284], frame
    return 0, b""


def reply(asked: bytes, kind: int, lease: int) -> bytes:
    """What a server says to a message: options in an order of its own."""
    options = bytes([53, 1, kind, 51, 4]) + lease.to_bytes(4, "big")
    options += bytes([1, 4, 255, 255, 255, 0, 54, 4]) + SERVER + bytes([3, 4]) + SERVER + b"\xff"
    body = bytes([2, 1, 6, 0]) + asked[46:50] + bytes(8) + OURS + SERVER + bytes(4)
    body += MAC + bytes(10 + 64 + 128) + bytes.fromhex("63825363") + options.ljust(60, b"\0")
    udp = struct.pack("!HHHH", 67, 68, 8 + len(body), 0) + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + SERVER + b"\xff" * 4
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    head = head[:10] + total.to_bytes(2, "big") + head[12:]
    return bytes(b"\xff" * 6 + SERVER_MAC + b"\x08\x00" + head + udp)


def who_has(address: bytes) -> bytes:
    frame = b"\xff" * 6 + SERVER_MAC + bytes.fromhex("080600010800060400010200000000020a000202")
    return (frame + bytes(6) + address).ljust(60, b"\0")


def answers(machine: Booted, address: bytes, seconds: float) -> bool:
    """Whether the machine says that an address is its own."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        machine.wire.send(who_has(address))
        frame = machine.wire.receive(0.3)
        if frame is not None and frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2":
            return frame[28:32] == address
    return False


def announced(machine: Booted, seconds: float) -> bytes:
    """The address that the next announcement is of."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frame = machine.wire.receive(0.2)
        if frame is not None and frame[12:22] == bytes.fromhex("08060001080006040001"):
            return frame[28:32] if frame[28:32] == frame[38:42] else b""
    return b""


def leased(machine: Booted, lease: int) -> None:
    """Look, be offered, ask, be given."""
    kind, frame = message(machine, 20)
    while kind == DISCOVER:
        machine.wire.send(reply(frame, OFFER, lease))
        kind, frame = message(machine, 6)
    assert kind == REQUEST
    assert frame[285:297] == bytes([50, 4]) + OURS + bytes([54, 4]) + SERVER
    assert frame[26:30] == bytes(4) and frame[30:34] == b"\xff" * 4
    machine.wire.send(reply(frame, ACK, lease))


def test_a_lease_is_renewed_and_given_up_when_nobody_renews_it(image: Path) -> None:
    with booted(image, TARGET) as machine:
        assert not answers(machine, OURS, 1)
        leased(machine, 6)
        assert announced(machine, 3) == OURS
        assert answers(machine, OURS, 3)
        kind, frame = message(machine, 8)  # half of it is over
        assert kind == REQUEST and frame[26:30] == OURS == frame[54:58]
        assert frame[285:297] == bytes(12)  # neither asked for nor chosen: padding
        machine.wire.send(reply(frame, ACK, 6))
        assert message(machine, 1.5)[0] == 0
        assert answers(machine, OURS, 1)
        kinds = [message(machine, 8)[0]]  # renewed no more
        while kinds[-1] == REQUEST:
            kinds.append(message(machine, 8)[0])
        assert kinds[0] == REQUEST and kinds[-1] == DISCOVER
        assert not answers(machine, OURS, 1)
        leased(machine, 3600)
        assert answers(machine, OURS, 3)


def test_what_is_sent_goes_through_the_gateway_of_the_lease(tmp_path: Path) -> None:
    default = read_system()
    system = msgspec.structs.replace(
        default,
        address="dhcp",
        services=(*default.services, "pktgen"),
        settings={"pktgen": {"to": "192.0.2.9", "frames": 5}},
    )
    machine = read_machine(MACHINES / "pc-e1000.json")
    write_image(build(machine, system=system, pattern_dirs=[resources.PATTERNS]), tmp_path / "x")
    with booted(tmp_path / "x", TARGET) as machine_:
        leased(machine_, 3600)
        asked = frame_of(machine_, b"\x08\x06", 5)
        assert asked[28:32] == OURS and asked[38:42] == SERVER
        machine_.wire.send(is_at(SERVER, asked))
        for number in range(5):
            frame = frame_of(machine_, b"\x08\x00", 5)
            assert frame[:6] == SERVER_MAC and frame[26:34] == OURS + bytes([192, 0, 2, 9])
            assert frame[42:46] == number.to_bytes(4, "big")


def frame_of(machine: Booted, kind: bytes, seconds: float) -> bytes:
    """The next frame of an Ethernet type."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frame = machine.wire.receive(0.2)
        if frame is not None and frame[12:14] == kind:
            return frame
    raise AssertionError(f"no frame of type {kind.hex()} in {seconds} s")


def is_at(address: bytes, asked: bytes) -> bytes:
    """The answer to who has an address: the server's."""
    frame = asked[6:12] + SERVER_MAC + bytes.fromhex("08060001080006040002") + SERVER_MAC
    return (frame + address + asked[22:32]).ljust(60, b"\0")


def test_an_address_that_is_refused_is_looked_for_anew(image: Path) -> None:
    with booted(image, TARGET) as machine:
        kind, frame = message(machine, 20)
        machine.wire.send(reply(frame, OFFER, 60))
        while kind == DISCOVER:
            machine.wire.send(reply(frame, OFFER, 60))
            kind, frame = message(machine, 6)
        machine.wire.send(reply(frame, NAK, 60))
        assert message(machine, 8)[0] == DISCOVER
        assert not answers(machine, OURS, 1)


def test_an_offer_that_comes_to_nothing_is_forgotten(image: Path) -> None:
    with booted(image, TARGET) as machine:
        kind, frame = message(machine, 20)
        while kind == DISCOVER:
            machine.wire.send(reply(frame, OFFER, 60))
            kind, frame = message(machine, 6)
        while kind == REQUEST:
            kind, frame = message(machine, 10)
        assert kind == DISCOVER
