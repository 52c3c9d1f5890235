"""Frames from one network to the other and back, through two cards of any kind."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

from metaos import resources
from metaos.boot.network import Wire
from metaos.link.image import write_image
from metaos.match.system import Card, System
from metaos.pipeline import build
from tests.qemu.booted import BARE, SERIAL
from tests.qemu.conftest import probed
from tests.qemu.two_sides import LEFT, RIGHT, TYPE, Between, frame, two_sides

pytestmark = pytest.mark.qemu

PAIRS = [
    ("e1000", "virtio-net-pci"),
    ("ne2k_pci", "e1000e"),
    ("rtl8139", "tulip"),
    ("pcnet", "i82559c"),
    ("vmxnet3", "vmxnet3"),
]
CARDS = ("52:54:00:12:34:56", "52:54:00:12:34:57")
SIZES = (60, 61, 64, 300, 1513, 1514)


def machine(one: str, other: str) -> tuple[str, ...]:
    """Two cards on a PC: the left one's address is the lower."""
    left, right = f"{one},addr=3,mac={CARDS[0]}", f"{other},addr=4,mac={CARDS[1]}"
    return (*BARE, *SERIAL, "-device", left, "-device", right)


def made(folder: Path, system: System, arguments: tuple[str, ...]) -> Path:
    """The image file of a system on a machine."""
    path = folder / "x.img"
    write_image(build(probed(*arguments), system=system, pattern_dirs=[resources.PATTERNS]), path)
    return path


def bridge(*more: str, idle: Literal["halt", "poll"] | None = None) -> System:
    services = ("banner", "arp", "icmp.echo", "forward", *more)
    return System(name="bridge", address="10.0.2.15/24", services=services, idle=idle)


def crossing(one: Wire, other: Wire, frames: list[bytes], at_once: int = 8) -> list[bytes]:
    """Send frames, so many before the first is awaited; what came out of the other side."""
    came: list[bytes] = []
    for start in range(0, len(frames), at_once):
        some = frames[start : start + at_once]
        for each in some:
            assert one.send(each)
        for _ in some:
            arrived = other.receive(2)
            if arrived is None:
                return came
            came.append(arrived)
    return came


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_frames_pass_both_ways_as_they_are(one: str, other: str, tmp_path: Path) -> None:
    arguments = machine(one, other)
    with two_sides(made(tmp_path, bridge(), arguments), arguments) as between:
        between.until_up()
        right = [frame(n, size=SIZES[n % len(SIZES)]) for n in range(300)]
        assert crossing(between.left, between.right, right) == right
        left = [frame(n, to=LEFT, sender=RIGHT, size=SIZES[n % len(SIZES)]) for n in range(300)]
        assert crossing(between.right, between.left, left) == left
        assert between.left.receive(0.1) is None and between.right.receive(0.1) is None


def both_ways(between: Between, count: int) -> tuple[int, int]:
    """Frames both ways at once, 4 of each on their way: how many came out on either side."""
    sent, came = [0, 0], [0, 0]
    ways = (
        (between.left, between.right, LEFT, RIGHT),
        (between.right, between.left, RIGHT, LEFT),
    )
    while min(came) < count:
        for number, (one, _, sender, to) in enumerate(ways):
            while sent[number] < count and sent[number] - came[number] < 4:
                one.send(frame(sent[number], to=to, sender=sender))
                sent[number] += 1
        for number, (_, other, sender, to) in enumerate(ways):
            if came[number] == count:
                continue
            arrived = other.receive(2)
            if arrived is None:
                return came[0], came[1]
            assert arrived == frame(came[number], to=to, sender=sender)
            came[number] += 1
    return came[0], came[1]


@pytest.mark.parametrize("idle", ["halt", "poll"])
def test_nothing_is_lost_both_ways_at_once(idle: Literal["halt", "poll"], tmp_path: Path) -> None:
    arguments = machine("e1000", "e1000")
    with two_sides(made(tmp_path, bridge(idle=idle), arguments), arguments) as between:
        between.until_up()
        assert both_ways(between, 3000) == (3000, 3000)


def tagged(plain: bytes, vlan: int) -> bytes:
    """A frame with a tag behind its addresses. Source: IEEE Std 802.1Q-2018 §9.3."""
    return plain[:12] + b"\x81\x00" + vlan.to_bytes(2, "big") + plain[12:]


@pytest.mark.parametrize(("one", "other"), [("e1000", "virtio-net-pci"), ("rtl8139", "vmxnet3")])
def test_a_vlan_is_tagged_on_one_side_only(one: str, other: str, tmp_path: Path) -> None:
    arguments = machine(one, other)
    side = {
        "00:03.0": Card(services=("arp", "vlan.tag")),
        "00:04.0": Card(services=("arp", "vlan.untag")),
    }
    numbers = {"vlan.tag": {"number": 42}, "vlan.untag": {"number": 42}}
    system = System(
        name="trunk", address="10.0.2.15/24", services=("arp",), cards=side, settings=numbers
    )
    with two_sides(made(tmp_path, system, arguments), arguments) as between:
        between.until_passes(frame(0, to=b"\xff" * 6), tagged(frame(0, to=b"\xff" * 6), 42))
        right = [frame(n, size=SIZES[n % len(SIZES)]) for n in range(200)]
        came = crossing(between.left, between.right, right)
        assert came == [tagged(each, 42) for each in right]
        left = [frame(n, to=LEFT, sender=RIGHT, size=(64, 300, 1510)[n % 3]) for n in range(200)]
        assert crossing(between.right, between.left, [tagged(each, 42) for each in left]) == left
        between.right.send(tagged(left[0], 43))
        between.right.send(left[0])
        between.left.send(tagged(right[0], 42))
        assert between.left.receive(0.3) is None and between.right.receive(0.1) is None


Rule = dict[str, int | str]
RULES: tuple[Rule, ...] = (
    {"src": "10.1.0.0/16", "protocol": 17, "dport": 53, "allow": 1},
    {"src": "10.1.2.0/24", "allow": 0},
    {"dst": "10.9.0.7", "protocol": 6, "dport": "1024-65535", "allow": 1},
    {"src": "10.1.0.0/16", "dst": "10.9.0.0/29", "protocol": "1-6", "allow": 1},
)


def allowed(packet: IP) -> bool:
    """What the rules say of a packet, worked out another way."""
    ports = packet.getlayer(UDP) or packet.getlayer(TCP)
    for rule in RULES:
        ends = (("src", packet.src), ("dst", packet.dst))
        prefixes = all(
            ip_address(address) in ip_network(str(rule.get(name, "0.0.0.0/0")))
            for name, address in ends
        )
        low, _, high = str(rule.get("protocol", "0-255")).partition("-")
        first, _, last = str(rule.get("dport", "0-65535")).partition("-")
        port = ports.dport if ports is not None else 0
        if not prefixes or not int(low) <= packet.proto <= int(high or low):
            continue
        if int(first) <= port <= int(last or first):
            return rule["allow"] == 1
    return False


def packets(count: int) -> Iterator[IP]:
    """Packets of which each rule decides some."""
    draw = random.Random(6)
    for number in range(count):
        src = draw.choice(("10.1.0.5", "10.1.2.9", "10.2.0.5", "10.1.255.255"))
        dst = draw.choice(("10.9.0.7", "10.9.0.8", "10.9.0.6", "192.0.2.1"))
        port = draw.choice((53, 52, 54, 1023, 1024, 65535))
        above = draw.choice((UDP(sport=9, dport=port), TCP(dport=port), ICMP(), None))
        packet = IP(src=src, dst=dst, id=number)
        yield packet / above if above is not None else IP(src=src, dst=dst, id=number, proto=2)


def on_wire(packet: IP) -> bytes:
    head = Ether(dst="02:00:00:00:00:b2", src="02:00:00:00:00:a1")
    return bytes(head / packet / b"data that makes it long enough").ljust(60, b"\0")


def test_rules_decide_and_are_counted(tmp_path: Path) -> None:
    arguments = machine("e1000", "rtl8139")
    services = ("banner", "arp", "firewall", "firewall.arp", "firewall.count")
    system = System(
        name="wall",
        address="10.0.2.15/24",
        services=services,
        settings={"firewall": {"rules": RULES}},
    )
    sent = list(packets(400))
    right = [on_wire(packet) for packet in sent if allowed(packet)]
    assert 50 < len(right) < 350
    question = ARP(op=1, psrc="10.9.0.6", pdst="10.9.0.7")
    knock = bytes(Ether(dst="ff:ff:ff:ff:ff:ff", type=0x0806) / question).ljust(60, b"\0")
    with two_sides(made(tmp_path, system, arguments), arguments) as between:
        between.until_passes(knock, knock)
        came: list[bytes] = []
        for packet in sent:
            between.left.send(on_wire(packet))
            if allowed(packet):
                arrived = between.right.receive(2)
                came += [] if arrived is None else [arrived]
        assert came == right and between.right.receive(0.2) is None
        ask = IP(src="10.0.2.2", dst="10.0.2.15") / UDP(sport=4000, dport=4005) / bytes(8)
        between.left.send(bytes(Ether(dst=CARDS[0], src="02:00:00:00:00:a1") / ask))
        answer = between.left.receive(2)
        assert answer is not None
        assert struct.unpack("!II", answer[42:50]) == (len(sent), len(right))


def test_a_flood_of_frames_for_others_does_not_silence_the_machine(tmp_path: Path) -> None:
    """On one card questions to the machine, on the other frames that all go out of the first."""
    arguments = machine("e1000", "virtio-net-pci")
    with two_sides(made(tmp_path, bridge(), arguments), arguments) as between:
        between.until_up()
        echo = IP(src="10.0.2.2", dst="10.0.2.15") / ICMP(id=7) / bytes(30)
        question = bytes(Ether(dst=CARDS[0], src="02:00:00:00:00:a1") / echo)
        answered, passed = 0, 0
        for number in range(300):
            between.left.send(question)
            for _ in range(3):
                between.right.send(frame(number, to=LEFT, sender=RIGHT))
            for _ in range(4):
                arrived = between.left.receive(2)
                assert arrived is not None, f"{answered} answered, {passed} passed, then silence"
                answered += arrived[12:14] == b"\x08\x00"
                passed += arrived[12:14] == TYPE
        assert (answered, passed) == (300, 900)
