"""A running image looked at from outside: what it wiped, what it shows, what it answers."""

from __future__ import annotations

import pytest

from tests.model.frames import frames
from tests.model.reference import answer
from tests.qemu.booted import BARE, CARD, IP, MAC, SERIAL, TARGET, Booted, booted
from tests.qemu.conftest import Made, Make, probed
from tests.qemu.questions import echo, quiet

pytestmark = pytest.mark.qemu

BANNER = "MetaOS 10.0.2.15"
SEED, FRAMES, BATCH = 2026, 5000, 8


def test_the_banner_is_on_both_consoles(default_image: Made) -> None:
    path, _ = default_image
    with booted(path, TARGET) as machine:
        assert machine.wait_for(BANNER) == BANNER
        machine.wait_until(lambda: BANNER in machine.screen(), "the screen shows the banner")
        assert machine.screen().count(BANNER) == 1


def test_two_cards_answer_each_for_itself(make: Make) -> None:
    """The second card's address counts up; the first, without a network, is no obstacle."""
    arguments = (*BARE, *SERIAL, "-device", "e1000,mac=52:54:00:00:00:01,addr=3")
    path, image = make(probed(*arguments, "-device", f"{CARD},addr=4"))
    assert [d.address for d in image.manifest.provenance.devices if d.offers] == [
        "00:03.0",
        "00:04.0",
    ]
    with booted(path, arguments, card=f"{CARD},addr=4") as machine:
        second = bytes([10, 0, 2, 16])
        frame = echo(MAC, second)
        assert machine.ask(frame) == answer(frame, MAC, second)
        quiet(machine, second)
        machine.wire.send(echo(MAC, IP, 1))
        control = echo(MAC, second, 2)
        assert machine.ask(control) == answer(control, MAC, second)


def test_no_mutated_frame_is_answered_wrongly(default_image: Made) -> None:
    path, _ = default_image
    print(f"seed {SEED}, {FRAMES} frames")
    asked = list(frames(SEED, FRAMES, MAC, IP))
    with booted(path, TARGET) as machine:
        knock = echo(MAC, IP)
        assert machine.ask(knock) == answer(knock, MAC, IP)
        quiet(machine, IP)
        answered = 0
        for start in range(0, FRAMES, BATCH):
            answered += batch(machine, asked[start : start + BATCH], start)
        last = echo(MAC, IP, FRAMES)
        assert machine.ask(last) == answer(last, MAC, IP)
    assert FRAMES // 4 < answered < FRAMES


def batch(machine: Booted, asked: list[bytes], start: int) -> int:
    """Send frames and a last one with a known answer; what comes back must be the model's.

    A handful at a time: the card's ring has room for all, so that none may be lost.
    """
    control = echo(MAC, IP, 0x10000 + start)
    wanted = [r for f in (*asked, control) if (r := answer(f, MAC, IP)) is not None]
    for frame in (*asked, control):
        assert machine.wire.send(frame), "QEMU takes no more frames"
    got: list[bytes] = []
    while not got or got[-1] != wanted[-1]:
        reply = machine.wire.receive(5)
        assert reply is not None, (
            f"seed {SEED}, after frame {start}: {len(got)} of {len(wanted)} answers in 5 s; "
            f"asked {[f.hex() for f in asked]}"
        )
        got.append(reply)
    for number, (one, other) in enumerate(zip(got, wanted, strict=False)):
        assert one == other, (
            f"seed {SEED}, after frame {start}: answer {number}\n"
            f"wanted {other.hex()}\ngot    {one.hex()}\nasked {[f.hex() for f in asked]}"
        )
    assert len(got) == len(wanted)
    return len(wanted) - 1
