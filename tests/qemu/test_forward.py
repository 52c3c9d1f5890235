"""Frames from one network to the other and back, through two cards of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from metaos import resources
from metaos.boot.network import Wire
from metaos.link.image import write_image
from metaos.match.system import System
from metaos.pipeline import build
from tests.qemu.booted import BARE, SERIAL
from tests.qemu.conftest import probed
from tests.qemu.two_sides import LEFT, RIGHT, Between, frame, two_sides

pytestmark = pytest.mark.qemu

PAIRS = [
    ("e1000", "virtio-net-pci"),
    ("ne2k_pci", "e1000e"),
    ("rtl8139", "tulip"),
    ("pcnet", "i82559c"),
    ("vmxnet3", "vmxnet3"),
]
SIZES = (60, 61, 64, 300, 1513, 1514)


def machine(one: str, other: str) -> tuple[str, ...]:
    """Two cards on a PC: the left one's address is the lower."""
    return (*BARE, *SERIAL, "-device", f"{one},addr=3", "-device", f"{other},addr=4")


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
def test_nothing_is_lost_both_ways_at_once(idle: str, tmp_path: Path) -> None:
    arguments = machine("e1000", "e1000")
    with two_sides(made(tmp_path, bridge(idle=idle), arguments), arguments) as between:
        between.until_up()
        assert both_ways(between, 3000) == (3000, 3000)
