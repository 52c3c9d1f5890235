"""The NE2000's rule in the IR interpreter: does it drive the card as its manual says?"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import cache

import pytest

from metaos import resources
from metaos.lower.lower import Lowered, lower
from metaos.match.bind import bind
from metaos.pattern.patterns import load
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from tests.fake import ne2000
from tests.fake.interpreted import Interpreted
from tests.ir.test_rules import MACHINES
from tests.model.frames import frames
from tests.model.reference import answer
from tests.systems import POLLED

IP = bytes([10, 0, 2, 15])
LEAST = 60


@cache
def machine() -> Machine:
    return read_machine(MACHINES / "pc-ne2k.json")


@cache
def lowered(fold_units: bool = False) -> Lowered:
    bindings = bind(machine(), load([resources.PATTERNS]), POLLED)
    return lower(replace(bindings, fold_units=fold_units))


def started(fold_units: bool = False) -> tuple[Interpreted, ne2000.Card]:
    station = Interpreted(lowered(fold_units), machine())
    station.until("steady")
    card = station.world.ne2000
    assert card is not None
    return station, card


def wanted(frame: bytes, mac: bytes) -> list[bytes]:
    """What comes back: the card fills nothing up, so the rule does, from the frame itself."""
    reply = answer(frame, mac, IP)
    if reply is None:
        return []
    return [reply + frame.ljust(LEAST, b"\0")[len(reply) : LEAST]]


def test_the_card_is_set_up_as_the_manual_says() -> None:
    """Source: DP8390D §11.0."""
    station, card = started()
    assert card.receiving
    registers = card.registers
    assert (registers[ne2000.PSTART], registers[ne2000.PSTOP]) == (0x46, 0x80)
    assert (registers[ne2000.BNRY], registers[ne2000.CURR]) == (0x46, 0x47)
    assert registers[ne2000.RCR] == ne2000.RCR_AB
    assert bytes(registers[r] for r in ne2000.PAR) == card.mac
    symbol = station.memory.linear("00:03.0.mac")
    assert bytes(station.memory.read(symbol + i, 8) for i in range(6)) == card.mac
    assert not station.world.pci.functions["00:03.0"].masters


def test_a_folded_address_is_tested_and_written() -> None:
    _, card = started(fold_units=True)
    assert bytes(card.registers[r] for r in ne2000.PAR) == card.mac
    other = Interpreted(lowered(fold_units=True), machine())
    assert other.world.ne2000 is not None
    other.world.ne2000.memory[4:6] = b"\x99\x99"
    other.until("report")


def test_frames_are_answered_as_the_reference_says() -> None:
    station, card = started()
    answered = 0
    for frame in frames(7, 400, card.mac, IP):
        before = card.reads, card.writes, card.items
        assert station.turn(frame) == wanted(frame, card.mac), frame.hex()
        answered += bool(wanted(frame, card.mac))
        if not wanted(frame, card.mac):
            continue
        after = card.reads, card.writes, card.items
        reads, writes, items = (b - a for a, b in zip(before, after, strict=True))
        assert reads + writes - items == 19
    assert answered > 100 and card.missed == 0


def test_an_idle_turn_reads_one_register() -> None:
    station, card = started()
    for _ in range(300):
        station.turn()
    before = card.reads, card.writes, len(station.world.ports.log)
    for _ in range(20):
        assert station.turn() == []
    after = card.reads, card.writes, len(station.world.ports.log)
    assert [b - a for a, b in zip(before, after, strict=True)] == [20, 0, 20]


@pytest.mark.long
def test_the_ring_wraps_at_every_page() -> None:
    """Frames of all lengths: each page is a frame's first, and its last before the wrap."""
    station, card = started()
    starts, wrapped = set(), 0
    for frame in frames(8, 900, card.mac, IP):
        first = card.registers[ne2000.CURR]
        station.turn(frame)
        wrapped += card.registers[ne2000.CURR] < first
        starts.add(first)
    assert starts == set(range(0x46, 0x80))
    assert wrapped > 20


def test_frames_wait_while_the_card_transmits() -> None:
    station, card = started()
    card.held = True
    waiting, outstanding = 0, deque[bytes]()
    for frame in frames(9, 300, card.mac, IP):
        if card.room > 7 and card.deliver(frame):
            outstanding.extend(wanted(frame, card.mac))
        station.step()
        busy = card.command & ne2000.TXP
        waiting += bool(busy)
        before = card.reads, card.writes
        station.step()
        if busy:  # CURR, and CR if something waits
            assert card.reads - before[0] <= 2 and card.writes == before[1]
        card.release()
    for _ in range(60):
        station.step()
        card.release()
    assert card.sent == list(outstanding) and waiting > 50


def test_a_full_ring_loses_frames_and_nothing_else() -> None:
    station, card = started()
    asked = [f for f in frames(10, 2000, card.mac, IP) if wanted(f, card.mac)]
    for start in range(0, 240, 60):
        kept = [f for f in asked[start : start + 60] if card.deliver(f)]
        assert card.missed and len(kept) < 60
        before = len(card.sent)
        for _ in range(len(kept) + 2):
            station.step()
        assert card.sent[before:] == [wanted(f, card.mac)[0] for f in kept]
        assert card.receiving  # the overwrite warning was acknowledged
        card.missed = 0


def test_data_that_is_not_there_yet_is_not_sent() -> None:
    """Before remote DMA says that it is complete nothing is transmitted: the frame is lost."""
    station, card = started()
    good = [f for f in frames(11, 200, card.mac, IP) if wanted(f, card.mac)][:3]
    card.slow = 1
    assert station.turn(good[0]) == []
    card.slow = 0
    card._done_wait = 0
    assert [station.turn(f) for f in good[1:]] == [wanted(f, card.mac) for f in good[1:]]


HOSTILE = {
    "length 0": (1, None, 0),
    "length 3": (1, None, 3),
    "length 63": (1, None, 63),
    "length 1519": (1, None, 1519),
    "length 2051": (1, None, 2051),
    "length 65535": (1, None, 65535),
    "no status": (0, None, 64),
    "next page 0": (1, 0, 64),
    "next page before the ring": (1, 0x45, 64),
    "next page behind the ring": (1, 0x80, 64),
    "next page 255": (1, 0xFF, 64),
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_a_header_that_cannot_be_is_skipped(said: tuple[int, int | None, int]) -> None:
    """The frames that wait behind it go too, and the next that comes is answered."""
    station, card = started()
    good = [f for f in frames(12, 200, card.mac, IP) if wanted(f, card.mac)][:4]
    assert station.turn(good[0]) == wanted(good[0], card.mac)
    status, page, length = said
    card.header = lambda s, p, n: (status, p if page is None else page, length)
    card.lenient = True
    assert card.deliver(good[1])
    card.header = None
    assert card.deliver(good[2])
    buffer = station.memory.linear("00:03.0.frame")
    assert station.turn() == []
    assert station.turn() == []
    assert card.items <= 2 * 512
    assert station.turn(good[3]) == wanted(good[3], card.mac)
    station.memory.read(buffer + 2040, 64)


@pytest.mark.parametrize("page", [0, 0x20, 0x45, 0x80, 0xFF])
def test_a_current_page_that_cannot_be(page: int) -> None:
    """Whatever CURR says, what is read stays in the buffer; the card's own RAM is its own."""
    station, card = started()
    card.lenient, card.current = True, page
    for _ in range(50):
        assert station.turn() == []
    card.current = None
    for _ in range(3):
        station.turn()
    (good, *_) = [f for f in frames(12, 200, card.mac, IP) if wanted(f, card.mac)]
    assert station.turn(good) == wanted(good, card.mac)
