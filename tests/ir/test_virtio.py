"""The virtio network device's rules in the IR interpreter: do they do what the standard says?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from metaos.probe.machine import Machine
from tests.fake import virtio as v
from tests.fake.interpreted import Interpreted
from tests.ir.virtio import (
    CARD,
    CHECKSUMS,
    IP,
    OFFERS,
    PLAIN,
    SLOTS,
    conserved,
    legacy,
    lowered,
    modern,
    owners,
    wanted,
)
from tests.model.frames import frames, repair
from tests.model.reference import ones_sum

pytestmark = pytest.mark.long

Make = Callable[[int], Machine]
EVERY = OFFERS["all"]
MACHINES = {
    **{f"modern {name}": modern(offered) for name, offered in OFFERS.items()},
    "modern all, notified at +0": modern(EVERY, 0, (0, 0)),
    "modern all, notified at +2": modern(EVERY, 2, (5, 3)),
    "modern all, notified at +0x600": modern(EVERY, 0x100, (1, 6)),
    **{f"legacy {name}": legacy(offered) for name, offered in OFFERS.items()},
    "legacy of 32": legacy(EVERY, SLOTS),
    "legacy of 2048": legacy(PLAIN, 2048),
}


def station_of(machine: Machine) -> tuple[Interpreted, v.Net]:
    station = Interpreted(lowered(machine), machine)
    card = station.world.virtio
    assert card is not None
    return station, card


def started(machine: Machine) -> tuple[Interpreted, v.Net]:
    station, card = station_of(machine)
    station.until("steady")
    return station, card


def place(station: Interpreted, machine: Machine, name: str) -> bytes:
    size = next(p.size for p in lowered(machine).places if p.name == name)
    start = station.memory.linear(name)
    return bytes(station.memory.read(start + i, 8) for i in range(size))


def check_buffers(station: Interpreted, machine: Machine, card: v.Net) -> None:
    """Every buffer has one owner, and every descriptor points at one, whoever is to use it."""
    assert conserved(owners(lambda name: place(station, machine, name)))
    buffers = station.memory.linear(f"{CARD}.buf")
    for queue in card.queues:
        assert set(queue.addresses()[:SLOTS]) <= set(range(buffers, buffers + 4096 * SLOTS, 2048))


def compare(station: Interpreted, card: v.Net, asked: Iterable[bytes]) -> int:
    """Ask, one a turn; demand of each the reference's answer; how many were answered."""
    answered = 0
    for frame in asked:
        assert station.turn(frame) == wanted(frame, card.mac), frame.hex()
        answered += bool(wanted(frame, card.mac))
    card.settle()
    assert card.missed == 0
    return answered


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_set_up_and_answers_are_right(machine: Machine) -> None:
    """The model faults whatever it may not be done; here is what must have been done. §3.1.1"""
    station, card = started(machine)
    assert card.receiving
    assert card.status == (7 if card.legacy else 15)
    assert card.accepted == card.offered & v.KNOWN
    rx, tx = card.queues
    assert (rx.notified, tx.notified, len(rx.offered), len(tx.offered)) == (1, 0, SLOTS, 0)
    assert place(station, machine, f"{CARD}.mac")[:6] == card.mac
    check_buffers(station, machine, card)
    card.shuffle = random.Random(5)
    assert compare(station, card, frames(6, 60, card.mac, IP)) > 15
    check_buffers(station, machine, card)


def test_features_that_are_not_understood_are_not_accepted() -> None:
    machine = modern(EVERY | 0x3FFF_0000_0FBE_7FDC)
    station, card = started(machine)
    assert card.accepted == EVERY
    assert compare(station, card, frames(7, 20, card.mac, IP)) > 5


@pytest.mark.parametrize("one", [v.CSUM, v.GUEST_CSUM])
def test_half_of_the_checksum_offload_is_not_accepted(one: int) -> None:
    _, card = started(modern(PLAIN | one))
    assert card.accepted == PLAIN


@pytest.mark.parametrize("make", [modern, legacy])
@pytest.mark.parametrize("lag", [0, 1, 15])
def test_notifications_come_where_the_device_wants_them(make: Make, lag: int) -> None:
    """The model faults each that is missing and each that is not wanted. §2.7.10.1"""
    station, card = started(make(PLAIN | v.EVENT_IDX))
    before = [queue.notified for queue in card.queues]
    for queue in card.queues:
        queue.lag = lag
        queue.ask()
    answered = 0
    for frame in frames(8, 60, card.mac, IP):
        seen = len(card.sent)
        card.deliver(frame)
        station.step()
        card.settle()  # so late does it look who did not want to be told
        assert card.sent[seen:] == wanted(frame, card.mac)
        answered += len(card.sent) - seen
    assert answered > 15
    if not lag:
        told = [q.notified - b for q, b in zip(card.queues, before, strict=True)]
        assert told[1] == answered and told[0] >= answered


@pytest.mark.parametrize("machine", [modern(PLAIN), modern(PLAIN | v.EVENT_IDX), legacy(PLAIN)])
def test_a_device_that_wants_no_notifications_gets_none(machine: Machine) -> None:
    station, card = station_of(machine)
    card.quiet = card.held = True
    station.until("steady", limit=3000)
    before = [queue.notified for queue in card.queues]
    expected: list[bytes] = []
    for frame in frames(9, 60, card.mac, IP):
        if card.deliver(frame):
            expected += wanted(frame, card.mac)
        station.step()
        card.settle()
        card.release()
    assert [queue.notified for queue in card.queues] == before
    assert card.sent == expected and len(expected) > 15


def test_the_indices_wrap() -> None:
    """65,536 buffers and more: what counts them is 16 bits wide."""
    machine = modern(PLAIN | v.EVENT_IDX)
    station, card = started(machine)
    for queue in card.queues:  # as if 65,500 had come and gone before
        for at in (queue.driver + 2, queue.device + 2):
            station.memory.write(at, 16, station.memory.read(at, 16) + 65520 & 0xFFFF)
        queue.fetched, queue.checked = queue.fetched + 65520, queue.checked + 65520
        queue.fetched, queue.checked = queue.fetched & 0xFFFF, queue.checked & 0xFFFF
        queue.used = 65520
        queue.ask()
    for name, number in (("rx.seen", 65520), ("tx.seen", 65520 - SLOTS)):
        station.memory.write(station.memory.linear(f"{CARD}.{name}"), 16, number)
    assert compare(station, card, frames(10, 120, card.mac, IP)) > 30
    assert card.queues[0].used < 1000
    check_buffers(station, machine, card)


def datagram(card: v.Net, data: bytes) -> bytes:
    """A datagram to the echo port, whose checksum is its pseudo header's sum."""
    udp = (4000).to_bytes(2, "big") + b"\0\7" + (8 + len(data)).to_bytes(2, "big")
    pseudo = bytes([10, 0, 2, 2]) + IP + b"\0\x11" + udp[4:6]
    length = (28 + len(data)).to_bytes(2, "big")
    head = b"\x45\0" + length + bytes.fromhex("0000000040110000") + bytes([10, 0, 2, 2]) + IP
    frame = bytearray(card.mac + bytes.fromhex("5254009988770800") + head + udp)
    frame += ones_sum(pseudo).to_bytes(2, "big") + data
    repair(frame)
    return bytes(frame)


def partial(card: v.Net) -> tuple[bytes, bytes]:
    """A datagram whose checksum is not complete, and the same with it complete."""
    half = datagram(card, b"an odd payload!")
    return half, v.completed(half, 34, 6)


@pytest.mark.parametrize("machine", [modern(CHECKSUMS), legacy(CHECKSUMS | v.MRG_RXBUF)])
def test_a_checksum_that_is_not_complete_is_left_to_the_device(machine: Machine) -> None:
    """§5.1.6.2.1, §5.1.6.4.2: NEEDS_CSUM goes back with its frame, and nothing else does."""
    station, card = started(machine)
    half, complete = partial(card)
    for flags in range(1, 256, 2):
        assert card.deliver(half, flags & ~v.RSC_INFO, 34, 6)
        station.step()
        assert card.headers[-1][0] == v.NEEDS_CSUM
        (whole,) = wanted(complete, card.mac)
        assert card.sent[-1] == whole
    for flags in (v.DATA_VALID, 0xF8, 0):
        assert card.deliver(complete, flags)
        station.step()
        assert card.headers[-1][:2] == b"\0\0"
        assert card.sent[-1] == whole


@pytest.mark.parametrize("make", [modern, legacy])
@pytest.mark.parametrize("offered", [PLAIN, CHECKSUMS])
def test_what_the_header_asks_for_is_not_echoed(make: Make, offered: int) -> None:
    """A device that says what it was not allowed to: the answer's header is right. §5.1.6.2.1"""
    station, card = started(make(offered))
    (frame,) = [f for f in frames(11, 40, card.mac, IP) if wanted(f, card.mac)][:1]
    for byte in (0x02, 0x04, 0xFE):
        rx = card.queues[v.TAKES]
        buffer = rx.taken(rx.order[0])
        count = b"\1\0"[: 2 * (card.head == 12)]
        header = bytes([byte, byte]) + bytes(8) + count
        card.bus.write(buffer.address, header + frame)
        rx.give(buffer.head, len(header) + len(frame))
        assert station.turn() == wanted(frame, card.mac)


def test_a_frame_over_several_buffers_is_dropped() -> None:
    machine = modern(PLAIN | v.MRG_RXBUF)
    station, card = started(machine)
    good = [f for f in frames(12, 40, card.mac, IP) if wanted(f, card.mac)][:2]
    assert compare(station, card, good[:1]) == 1
    assert card.deliver(good[0].ljust(5000, b"\xaa"))
    assert [station.turn() for _ in range(4)] == [[]] * 4
    assert compare(station, card, good[1:]) == 1
    check_buffers(station, machine, card)


def test_a_frame_for_somebody_else_is_dropped() -> None:
    station, card = started(modern(PLAIN))
    asked = [f for f in frames(13, 60, card.mac, IP) if wanted(f, card.mac) and not f[0] & 1][:3]
    for number in range(6):
        other = bytearray(asked[0])
        other[number] ^= 2
        queue = card.queues[v.TAKES]
        card.settle()
        buffer = queue.taken(queue.order[0])
        card.bus.write(buffer.address, bytes(10) + b"\1\0" + bytes(other))
        queue.give(buffer.head, 12 + len(other))
        assert station.turn() == []
    assert compare(station, card, asked[1:]) == 2


def test_a_slow_device_holds_the_frames_back() -> None:
    """With every buffer waiting to be sent nothing is lost, overwritten or answered twice."""
    machine = modern(PLAIN | v.EVENT_IDX)
    station, card = started(machine)
    card.held, card.shuffle = True, random.Random(14)
    asked = [f for f in frames(14, 400, card.mac, IP) if wanted(f, card.mac)][: 2 * SLOTS - 1]
    assert all(card.deliver(frame) for frame in asked[:SLOTS])
    for _ in range(SLOTS + 4):
        station.step()
    card.settle()
    assert card.waiting == SLOTS
    assert all(card.deliver(frame) for frame in asked[SLOTS:])
    before = card.writes
    for _ in range(10):
        station.step()
    assert card.writes == before
    card.held = False
    card.release()
    for _ in range(SLOTS + 4):
        station.step()
    counted = Counter(answer for frame in asked for answer in wanted(frame, card.mac))
    assert Counter(card.sent) == counted
    check_buffers(station, machine, card)


def test_an_idle_turn_touches_no_device() -> None:
    station, card = started(modern(EVERY))
    for _ in range(300):
        station.step()
    before = card.reads, card.writes, len(station.world.ports.log)
    for _ in range(20):
        assert station.turn() == []
    assert (card.reads, card.writes, len(station.world.ports.log)) == before
