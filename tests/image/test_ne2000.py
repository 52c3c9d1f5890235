"""The finished image for an NE2000 in unicorn: blocks through its data port, answers, bounds."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import islice

import pytest

from metaos.link.image import Image
from metaos.pipeline import build
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from metaos.verify.audit import AuditReport, measure
from tests.fake import ne2000
from tests.fake.fault import FaultError
from tests.image.conftest import MACHINES, drain
from tests.image.harness import Station, Turn
from tests.ir.test_ne2000 import HOSTILE, wanted
from tests.model.frames import frames
from tests.systems import POLLED

pytestmark = pytest.mark.long

IP = bytes([10, 0, 2, 15])
MOST_INSTRUCTIONS = 300
LARGEST = 511
"""Times 32 bits that a count of 9 bits can say."""


@cache
def machine() -> Machine:
    return read_machine(MACHINES / "pc-ne2k.json")


@cache
def image() -> Image:
    return build(machine(), system=POLLED)


@cache
def report() -> AuditReport:
    return measure(image(), "pc-ne2k")


def started() -> tuple[Station, ne2000.Card]:
    station = Station(image(), machine())
    station.boot()
    drain(station)
    card = station.world.ne2000
    assert card is not None and card.receiving
    return station, card


def pings(card: ne2000.Card, seed: int, count: int) -> list[bytes]:
    """Requests that are all answered."""
    made = frames(seed, 100 * count, card.mac, IP)
    return list(islice((f for f in made if wanted(f, card.mac)), count))


def compare(station: Station, card: ne2000.Card, seed: int, count: int) -> list[Turn]:
    """Ask mutated frames, one a turn; demand of each the reference's answer."""
    print(f"seed {seed}, {count} frames")
    asked = list(frames(seed, count, card.mac, IP))
    turns = list(station.run(asked, "blocks"))
    assert len(turns) == count
    for frame, turn in zip(asked, turns, strict=True):
        assert list(turn.sent) == wanted(frame, card.mac), frame.hex()
    assert card.missed == 0
    return turns


def test_six_hundred_frames() -> None:
    """The ring has 58 pages: it wraps more than ten times."""
    station, card = started()
    turns = compare(station, card, 21, 600)
    assert len({turn.trace for turn in turns}) == 1
    assert sum(bool(turn.sent) for turn in turns) > 150
    assert sum(turn.delivered and not turn.sent for turn in turns) > 150


@pytest.mark.slow
def test_thirty_thousand_frames() -> None:
    station, card = started()
    traces = set()
    for seed in range(200, 206):
        traces |= {turn.trace for turn in compare(station, card, seed, 5000)}
    assert len(traces) == 1


def test_every_turn_executes_the_same_instructions() -> None:
    """A string instruction counts once, whatever its count."""
    station, card = started()
    asked: list[bytes | None] = list(frames(23, 300, card.mac, IP))
    asked += [None] * 50
    traces = Counter(turn.trace for turn in station.run(asked, "instructions"))
    assert len(traces) == 1
    (trace,) = traces
    print(f"{len(trace)} instructions a turn")
    assert list(trace) == sorted(set(trace))
    assert len(trace) <= MOST_INSTRUCTIONS


def test_port_accesses() -> None:
    """Idle one read; a frame that is answered 19 besides its data and its header."""
    station, card = started()
    for turn in station.run([None] * 20):
        assert (turn.reads, turn.writes, turn.ports) == (1, 0, 1)
    asked = pings(card, 24, 30)
    for frame, turn in zip(asked, station.run(asked), strict=True):
        (reply,) = wanted(frame, card.mac)
        came, went = (max(len(frame), 60) + 3) // 4, (len(reply) + 3) // 4
        assert (turn.reads, turn.writes) == (3 + 1 + came, 16 + went)
    for turn in station.run([None]):
        assert turn.ports == 1


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers(said: tuple[int, int | None, int]) -> None:
    """What lies around the buffer stays as it was; the next good frame is answered."""
    station, card = started()
    status, page, length = said
    good = pings(card, 25, 3)
    symbols = image().manifest.symbols
    buffer = next(s for s in symbols if s.name == "00:03.0.frame")
    own = {s.name for s in symbols if s.name.startswith("00:03.0.")} | {"stack"}
    around = [s for s in symbols if s.kind == "place" and s.name not in own]
    before = {s.name: station.place(s.name) for s in around}
    card.lenient = True
    card.header = lambda s, p, n: (status, p if page is None else page, length)
    assert card.deliver(good[0])
    card.header = None
    assert card.deliver(good[1])
    items = card.items
    turns = list(station.run([None] * 4))
    assert [turn.sent for turn in turns] == [()] * 4
    assert card.items - items <= 2 * (1 + LARGEST)
    assert {name: station.place(name) for name in before} == before
    assert buffer.size == 2048
    (turn,) = station.run([good[2]])
    assert list(turn.sent) == wanted(good[2], card.mac)


def test_the_largest_counts_are_proved_and_stated() -> None:
    largest = report().largest_repeats
    counts = Counter(n for at, n in largest.items() if at.startswith("steady"))
    assert counts[LARGEST] == 2
    assert max(counts) == LARGEST
    assert report().violations == ()
    assert (report().conditional_branches, report().indirect_branches, report().calls) == (0, 0, 0)


def test_no_bus_mastering_and_no_memory_of_its_own() -> None:
    station, _ = started()
    assert not station.world.pci.functions["00:03.0"].masters
    assert not any(w.device == "00:03.0" for w in image().manifest.windows)


def test_a_card_that_stays_in_reset_is_reported() -> None:
    station = Station(image(), machine(), patience=10**9)
    with pytest.raises(FaultError, match="in report"):
        station.boot()
    assert "does not reset" in station.said
