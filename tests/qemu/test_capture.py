"""What comes to one card is seen on the wire of another, and is answered as before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import pytest

from metaos import resources
from metaos.link.image import write_image
from metaos.match.system import Card, System
from metaos.pipeline import build
from tests.model.reference import answer
from tests.qemu.booted import BARE, IP, MAC, SERIAL
from tests.qemu.conftest import probed
from tests.qemu.questions import echo
from tests.qemu.two_sides import LIMIT_SECONDS, Between, frame, two_sides

pytestmark = pytest.mark.qemu

PAIRS = [("e1000", "virtio-net-pci"), ("ne2k_pci", "e1000"), ("virtio-net-pci", "rtl8139")]
MIRROR = Card(address="10.0.3.1/24", services=("arp", "icmp.echo"))


def until_up(between: Between) -> None:
    """Wait until a copy comes, then take what is still on its way."""
    end = time.monotonic() + LIMIT_SECONDS
    while between.right.receive(0.2) is None:
        between.left.send(frame(0xFFFF_FFFF))
        assert time.monotonic() < end, f"nothing is copied in {LIMIT_SECONDS} s"
        assert between.vm.returncode is None, "QEMU ended"
    while between.right.receive(0.3) is not None:
        pass


@pytest.mark.parametrize("idle", ["halt", "poll"])
@pytest.mark.parametrize(("watched", "mirror"), PAIRS)
def test_every_frame_is_copied_and_answered(
    watched: str, mirror: str, idle: Literal["halt", "poll"], tmp_path: Path
) -> None:
    first = f"{watched},addr=3,mac={MAC.hex(':')}"
    arguments = (*BARE, *SERIAL, "-device", first, "-device", f"{mirror},addr=4")
    services = ("banner", "arp", "icmp.echo", "capture")
    system = System(
        name="mirror",
        address="10.0.2.15/24",
        services=services,
        cards={"00:04.0": MIRROR},
        idle=idle,
    )
    image = build(probed(*arguments), system=system, pattern_dirs=[resources.PATTERNS])
    write_image(image, tmp_path / "x.img")
    with two_sides(tmp_path / "x.img", arguments) as between:
        until_up(between)
        for number in range(500):
            asked, other = echo(MAC, IP, number), frame(number, size=60 + number)
            assert between.left.send(asked) and between.left.send(other)
            assert between.left.receive(2) == answer(asked, MAC, IP)
            assert [between.right.receive(2), between.right.receive(2)] == [asked, other]
        assert between.left.receive(0.1) is None and between.right.receive(0.1) is None
