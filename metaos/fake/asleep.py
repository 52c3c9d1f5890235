"""What would show that a device's wake-ups are lost, or never end: `rest`, `meets`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from metaos.fake.device import FakeDevice
from metaos.fake.station import Station

MAX_AWAKE = 300
"""Turns after which a processor should sleep, though some frames wait."""


@dataclass
class _Late:
    """A frame that comes later; then whether it is `taken`."""

    fake: FakeDevice
    frame: bytes
    taken: bool = False

    def arrive(self) -> None:
        self.taken = self.fake.arrive(self.frame)


def rest(station: Station, fake: FakeDevice) -> str:
    """Let turns pass until the processor sleeps; what is wrong then, or empty.

    A device that sends messages sends the next one when its cause is new: so it was acknowledged.
    """
    for _ in range(MAX_AWAKE):
        if not station.turn():
            return "it sleeps, and its interrupt is not acknowledged" if fake.asks else ""
    return f"it does not fall asleep in {MAX_AWAKE} turns"


def meets(station: Station, fake: FakeDevice, frames: Iterator[bytes]) -> str:
    """Whether a frame that comes during a turn is answered, whichever access it comes before.

    `frames` are ones that are answered. What is wrong, or empty.
    """
    for number in count(1):
        before, late = len(fake.sent), _Late(fake, next(frames))
        if not fake.arrive(next(frames)):
            return "the device takes no frame: no 'on frame' rule applies"
        fake.meanwhile = {fake.accesses + number: late.arrive}
        station.turn()
        reached, fake.meanwhile = not fake.meanwhile, {}
        wrong = rest(station, fake)
        if not wrong and len(fake.sent) - before != 1 + late.taken:
            wrong = "it sleeps, and a frame waits"
        if wrong:
            return f"a frame comes before access {number} of a turn: {wrong}"
        if not reached:
            return ""
    raise AssertionError("counting does not end")
