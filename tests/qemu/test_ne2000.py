"""The NE2000 in QEMU: its ring goes round hundreds of times, is flooded, and loses its link."""

from __future__ import annotations

import pytest

from tests.model.frames import frames
from tests.model.reference import answer
from tests.qemu.booted import BARE, IP, MAC, SERIAL, booted
from tests.qemu.conftest import Make, probed
from tests.qemu.questions import echo, quiet

pytestmark = pytest.mark.qemu

PC = (*BARE, *SERIAL)
CARD = "ne2k_pci,mac=52:54:00:12:34:56"
RING_PAGES, PAGE = 58, 256
SEED, FRAMES, LARGE = 2027, 3000, 2000
BATCH = 5
"""Frames at a time: the ring has room for eight of the longest."""
FLOOD = 100


def padded(frame: bytes, reply: bytes) -> bytes:
    """The card fills nothing up, so the image does, from the frame itself."""
    return reply + frame.ljust(60, b"\0")[len(reply) : 60]


def test_the_ring_goes_round(make: Make) -> None:
    path, _ = make(probed(*PC, "-device", CARD))
    with booted(path, PC, card=CARD) as machine:
        machine.ask(echo(MAC, IP))
        quiet(machine, IP)
        asked = [f for f in frames(SEED, FRAMES, MAC, IP) if f]  # none ends QEMU's dgram
        for start in range(0, len(asked), BATCH):
            batch = [*asked[start : start + BATCH], echo(MAC, IP, start)]
            for frame in batch:
                machine.wire.send(frame)
            for frame in batch:
                reply = answer(frame, MAC, IP)
                if reply is not None:
                    assert machine.wire.receive(5) == padded(frame, reply), frame.hex()
        pages = 0
        for number in range(LARGE):
            payload = bytes([number & 0xFF]) * (number * 7 % 1473)
            frame = echo(MAC, IP, number, payload)
            machine.wire.send(frame)
            wanted = answer(frame, MAC, IP)
            assert wanted is not None
            assert machine.wire.receive(5) == padded(frame, wanted), f"echo {number}"
            pages += -(-(len(frame) + 8) // PAGE)
        assert pages > 100 * RING_PAGES


def test_a_flood_fills_the_ring_and_passes(make: Make) -> None:
    """Whatever is lost, what is answered is right, and afterwards everything is.

    QEMU's card does not tell its network that the ring has room again (hw/net/ne2000.c has no
    qemu_flush_queued_packets), so `-netdev dgram` waits until the machine is stopped and goes on.
    """
    path, _ = make(probed(*PC, "-device", CARD))
    asked = [echo(MAC, IP, number, bytes(1000 + number)) for number in range(FLOOD)]
    wanted = {reply for frame in asked if (reply := answer(frame, MAC, IP)) is not None}
    with booted(path, PC, card=CARD) as machine:
        machine.ask(echo(MAC, IP))
        quiet(machine, IP)
        machine.wire.end.settimeout(0.5)
        for frame in asked:
            machine.wire.send(frame)
        got: list[bytes] = []
        while (came := machine.wire.receive(0.5)) is not None:
            got.append(came)
        assert len(got) >= RING_PAGES // 6 - 1 and set(got) <= wanted
        machine.vm.command("stop")
        machine.vm.command("cont")
        for number in range(200):
            frame = echo(MAC, IP, number)
            machine.wire.send(frame)
            assert machine.wire.receive(5) == answer(frame, MAC, IP)
