"""The steady phase of the finished image in unicorn: what it answers, and at what cost."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import pytest

from metaos.probe.machine import Machine
from tests.image.conftest import Boot
from tests.image.harness import Station, Turn
from tests.model.frames import frames
from tests.model.reference import answer

pytestmark = pytest.mark.long

IP = bytes([10, 0, 2, 15])
SLOTS = 16
MOST_INSTRUCTIONS = 150


def pings(station: Station, count: int) -> list[bytes]:
    """Requests that are all answered, each with another answer."""
    made = frames(seed=99, count=100 * count, mac=station.card.mac, ip=IP)
    answered = (f for f in made if answer(f, station.card.mac, IP) is not None)
    return list(islice(answered, count))


def compare(station: Station, asked: list[bytes], trace: str) -> list[Turn]:
    """Run `asked`, one a turn; demand of each the reference's answer."""
    turns = list(station.run(asked, trace))
    assert len(turns) == len(asked)
    for frame, turn in zip(asked, turns, strict=True):
        wanted = answer(frame, station.card.mac, IP)
        got = turn.sent[0] if turn.sent else None
        assert len(turn.sent) <= 1
        assert got == wanted, (
            f"asked {frame.hex()}\nwanted {wanted and wanted.hex()}\ngot {got and got.hex()}"
        )
    return turns


def mutated(station: Station, seed: int, count: int) -> list[Turn]:
    print(f"seed {seed}, {count} frames")
    asked = list(frames(seed, count, station.card.mac, IP))
    return compare(station, asked, "blocks")


def test_two_thousand_frames(boot: Boot) -> None:
    turns = mutated(boot(), seed=2, count=2000)
    assert len({turn.trace for turn in turns}) == 1
    assert sum(bool(turn.sent) for turn in turns) > 500
    assert sum(turn.delivered and not turn.sent for turn in turns) > 500


@pytest.mark.slow
def test_a_hundred_thousand_frames(boot: Boot) -> None:
    station = boot()
    traces = set()
    for seed in range(100, 110):
        traces |= {turn.trace for turn in mutated(station, seed, 10_000)}
    assert len(traces) == 1


def test_every_turn_executes_the_same_instructions(boot: Boot) -> None:
    station = boot()
    asked: list[bytes | None] = list(frames(3, 300, station.card.mac, IP))
    asked += [None] * 50
    traces = Counter(turn.trace for turn in station.run(asked, "instructions"))
    assert len(traces) == 1
    (trace,) = traces
    print(f"{len(trace)} instructions a turn")
    assert len(trace) == len(set(trace))
    assert list(trace) == sorted(trace)
    assert len(trace) <= MOST_INSTRUCTIONS


def test_the_consoles_do_not_change_the_trace(machine: Machine, boot: Boot) -> None:
    drained = boot()
    (silent,) = {turn.trace for turn in drained.run([None] * 5, "instructions")}
    station = Station(drained.image, machine)
    station.boot()
    assert {turn.trace for turn in station.run([None] * 300, "instructions")} == {silent}


def test_device_accesses(boot: Boot) -> None:
    station = boot()
    for turn in mutated(station, seed=4, count=1000):
        assert turn.reads == 0
        assert turn.writes == (2 if turn.sent else int(turn.delivered))
        assert turn.ports == 0
    for turn in station.run([None] * 20):
        assert (turn.reads, turn.writes, turn.ports) == (0, 0, 0)


def test_buffers_are_conserved(boot: Boot) -> None:
    station = boot()
    before = sorted(station.card.ring_buffers())
    assert len(set(before)) == 2 * SLOTS
    assert {b - a for a, b in pairwise(before)} == {2048}
    for seed in range(5):
        mutated(station, seed, 200)
        assert sorted(station.card.ring_buffers()) == before
        assert station.card.free == SLOTS - 1


def test_rings_wrap(boot: Boot) -> None:
    station = boot()
    asked = pings(station, 5 * SLOTS + 3)
    compare(station, asked, "")
    assert len(station.card.sent) == len(asked)


def test_several_frames_wait_for_their_turn(boot: Boot) -> None:
    station = boot()
    asked = pings(station, SLOTS - 1)
    assert all(station.card.deliver(frame) for frame in asked)
    assert not station.card.deliver(asked[0])
    turns = list(station.run([None] * SLOTS))
    assert [len(turn.sent) for turn in turns] == [1] * (SLOTS - 1) + [0]
    assert station.card.sent == [answer(f, station.card.mac, IP) for f in asked]


def test_a_card_slow_to_send_holds_the_frames_back(boot: Boot) -> None:
    """With every transmit slot outstanding nothing is lost, overwritten or answered twice."""
    station = boot()
    card, asked = station.card, pings(station, 2 * (SLOTS - 1))
    buffers = sorted(card.ring_buffers())
    card.held = True
    traces = set()
    for frame in asked[: SLOTS - 1]:
        assert card.deliver(frame)
        traces |= {turn.trace for turn in station.run([None], "instructions")}
    assert card.waiting == SLOTS - 1
    assert all(card.deliver(frame) for frame in asked[SLOTS - 1 :])
    stuck = list(station.run([None] * 10, "instructions"))
    traces |= {turn.trace for turn in stuck}
    assert sum(turn.writes for turn in stuck) == 0
    assert (card.waiting, card.free, card.sent) == (SLOTS - 1, 0, [])
    card.release(1)
    assert [turn.writes for turn in station.run([None] * 3)] == [2, 0, 0]
    assert card.waiting == SLOTS - 1
    card.held = False
    card.release()
    assert len(list(station.run([None] * SLOTS))) == SLOTS
    assert card.sent == [answer(frame, card.mac, IP) for frame in asked]
    assert sorted(card.ring_buffers()) == buffers
    assert len(traces) == 1


def test_a_slow_card_under_mutated_frames(boot: Boot) -> None:
    """Send and receive out of step: everything delivered is answered once, in order."""
    station = boot()
    card = station.card
    card.held = True
    wanted = []
    for number, frame in enumerate(frames(5, 1500, card.mac, IP)):
        if card.deliver(frame):
            reply = answer(frame, card.mac, IP)
            wanted += [reply] if reply is not None else []
        for _ in range(number % 3):
            station.turn()
        card.release(min(card.waiting, number * 7 % 5))
    card.held = False
    card.release()
    list(station.run([None] * 40))
    assert card.sent == wanted
    assert card.free == SLOTS - 1


@pytest.mark.parametrize(("errors", "whole"), [(1, True), (0x80, True), (0, False), (0, True)])
def test_damaged_frames_are_dropped(boot: Boot, errors: int, whole: bool) -> None:
    station = boot()
    good, *others = pings(station, 3)
    assert station.card.deliver(good, errors, whole)
    assert bool(station.turn().sent) == (whole and not errors)
    compare(station, others, "")


def test_a_frame_leaves_no_trace_in_the_next(boot: Boot) -> None:
    """A short frame's missing bytes are zeros, not what the buffer held before."""
    station = boot()
    for long in pings(station, 40):
        compare(station, [long, *(long[:n] for n in (20, 33, 34, 41, 42, 43))], "")
