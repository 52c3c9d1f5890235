"""Virtio devices out of order: what they do is reported or bounded, and buffers stay 64.

The interpreter faults any access outside of the places that the rules declared.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from metaos.errors import MetaosError
from metaos.probe.machine import Machine
from tests.fake import virtio as v
from tests.fake.interpreted import Interpreted
from tests.fake.virtio_pci import COMMON, structures
from tests.fake.virtqueue import Queue
from tests.ir.test_virtio import Make, check_buffers, compare, datagram, station_of
from tests.ir.virtio import (
    CARD,
    IP,
    OFFERS,
    PLAIN,
    SLOTS,
    card_of,
    configured,
    learnt,
    legacy,
    lowered,
    modern,
    wanted,
)
from tests.model.frames import frames

pytestmark = pytest.mark.long

MACHINES = {
    "modern": modern(OFFERS["all"]),
    "modern plain": modern(PLAIN),
    "legacy": legacy(OFFERS["all"]),
    "legacy of 32": legacy(PLAIN, SLOTS),
}
HUGE = 0xFFFFFFFF


def lenient(machine: Machine) -> tuple[Interpreted, v.Net]:
    """A station at work whose device does not object to what the driver makes of its faults."""
    station, card = station_of(machine)
    station.until("steady")
    compare(station, card, frames(20, 3, card.mac, IP))
    card.lenient = True
    for queue in card.queues:
        queue.lenient = True
    return station, card


def _each(*given: tuple[int, int]) -> Callable[[v.Net, Queue], None]:
    def act(card: v.Net, queue: Queue) -> None:
        for head, length in given:
            queue.give(head, length)

    return act


def _jump(by: int) -> Callable[[v.Net, Queue], None]:
    def act(card: v.Net, queue: Queue) -> None:
        queue.used = queue.used + by & 0xFFFF
        queue.give(0, 60)

    return act


ACTS: dict[str, Callable[[v.Net, Queue], None]] = {
    "an id behind the queue": _each((SLOTS, 60), (255, 60), (256, 60)),
    "an id of 32 bits": _each((HUGE, 60), (0x80000003, 60)),
    "the same id again and again": _each(*[(5, 60)] * SLOTS),
    "no length": _each((1, 0), (2, 1)),
    "less than a header": _each((1, 9), (2, 11)),
    "a header and nothing": _each((1, 10), (2, 12), (3, 25)),
    "more than a buffer": _each((1, 2049), (2, 2050), (3, 65535), (4, 65548), (5, 65596)),
    "a length of 32 bits": _each((1, HUGE), (2, 0x80000000), (3, 0xFFFF0048)),
    "idx runs ahead": _jump(40),
    "idx runs far ahead": _jump(0x7FFF),
    "idx runs back": _jump(-3),
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("number", [v.TAKES, v.SENDS], ids=["receives", "sends"])
def test_what_a_queue_says_is_bounded(machine: Machine, number: int) -> None:
    """Used elements that cannot be."""
    station, card = lenient(machine)
    for act in ACTS.values():
        act(card, card.queues[number])
        for _ in range(20):
            station.step()
        check_buffers(station, machine, card)


def scribble(source: random.Random, station: Interpreted, card: v.Net) -> None:
    """Anything anywhere that the device may write: its areas, and the buffers it was given."""
    queue = source.choice(card.queues)
    size = 6 + 8 * queue.size
    for _ in range(source.randrange(4)):
        at, data = source.randrange(size - 4), source.randbytes(source.choice((1, 2, 4)))
        card.bus.write(queue.device + at, data)
    if source.random() < 0.7:
        queue.used = int.from_bytes(card.bus.read(queue.device + 2, 2), "little")
        lengths = (60, 72, 0, 11, 12, 2048, 2049, source.randrange(1 << 32))
        ids = (source.randrange(SLOTS), source.randrange(1 << 32))
        queue.give(source.choice(ids), source.choice(lengths))
    buffers = station.memory.linear(f"{CARD}.buf")
    at = source.randrange(2 * SLOTS) * 2048
    frame = next(frames(source.randrange(1 << 20), 1, card.mac, IP))
    card.bus.write(buffers + at, source.randbytes(card.head) + frame)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_whatever_the_device_writes_buffers_are_conserved(machine: Machine) -> None:
    source = random.Random(21)
    station, card = lenient(machine)
    for number in range(300):
        scribble(source, station, card)
        station.step()
        if number % 25 == 0:
            check_buffers(station, machine, card)
    check_buffers(station, machine, card)


@pytest.mark.parametrize("machine", [modern(PLAIN), legacy(PLAIN)])
def test_it_goes_on_when_the_device_is_right_again(machine: Machine) -> None:
    """A used element of an id that was offered but of a length that cannot be costs its frame."""
    station, card = station_of(machine)
    station.until("steady")
    good = [f for f in frames(22, 200, card.mac, IP) if wanted(f, card.mac)]
    for length in (0, 9, 11, 2049, HUGE):
        queue = card.queues[v.TAKES]
        card.settle()
        queue.give(queue.taken(queue.order[0]).head, length)
        assert station.turn() == []
        assert compare(station, card, good[:3]) == 3
    check_buffers(station, machine, card)


@pytest.mark.parametrize("machine", [modern(PLAIN), legacy(PLAIN)])
def test_nothing_behind_a_buffer_is_echoed(machine: Machine) -> None:
    """A datagram that would reach into the next buffer, if its length were believed."""
    station, card = station_of(machine)
    station.until("steady")
    for data, answered in ((2036 - 42, True), (2040 - 42, False), (3000, False), (60_000, False)):
        frame = datagram(card, bytes(data))
        card.settle()
        card.held = True
        queue = card.queues[v.TAKES]
        buffer = queue.taken(queue.order[0])
        count = b"\1\0"[: card.head - 10]
        card.bus.write(buffer.address, (bytes(10) + count + frame)[:2048])
        queue.give(buffer.head, card.head + len(frame))
        station.step()
        card.settle()
        assert card.waiting == answered, data
        if answered:
            (reply,) = card.queues[v.SENDS].offered.values()
            assert reply.length == card.head + len(frame)
            card.queues[v.SENDS].give(card.queues[v.SENDS].taken(reply.head).head, 0)
    check_buffers(station, machine, card)


# What is reported


def report(station: Interpreted) -> str:
    """What the console says after the start has failed."""
    station.world.timer.step = 40_000
    station.until("report", limit=6000)
    for _ in range(400):
        station.step()
    return station.world.uart.output.decode()


@pytest.mark.parametrize("make", [modern, legacy])
def test_a_device_that_stays_in_reset_is_reported(make: Make) -> None:
    station, card = station_of(make(PLAIN))
    card.stuck = True
    assert "the device stays in reset" in report(station)
    assert card.status == 0


def test_the_reset_has_100_ms() -> None:
    """3,579,545 ticks a second: neither much less nor much more."""
    station, card = station_of(modern(PLAIN))
    card.stuck = True
    station.until("init")
    before = station.world.timer.ticks
    station.until("report", limit=6000)
    ticks = station.world.timer.ticks - before
    assert 0.1 <= ticks / 3579545 < 0.12


def test_refused_features_are_reported() -> None:
    station, card = station_of(modern(OFFERS["all"]))
    card.refuses = True
    assert "the device refuses the features" in report(station)
    assert not card.status & v.DRIVER_OK and not any(q.enabled for q in card.queues)


@pytest.mark.parametrize("make", [modern, legacy])
def test_no_link_is_reported(make: Make) -> None:
    station, card = station_of(make(PLAIN | v.STATUS))
    card.cable = False
    assert "no link" in report(station)


@pytest.mark.parametrize("make", [modern, legacy])
@pytest.mark.parametrize("room", [0, 8, 128])
def test_another_queue_size_is_reported(make: Make, room: int) -> None:
    station, card = station_of(make(PLAIN))
    card.rooms = (256, room)
    card._reset(0)
    assert "a queue's size changed" in report(station)
    assert not card.status & v.DRIVER_OK


@pytest.mark.parametrize("make", [modern, legacy])
def test_other_features_are_reported(make: Make) -> None:
    station, card = station_of(make(PLAIN))
    card.offered |= v.STATUS
    assert "features changed" in report(station)
    assert card.accepted == 0


def test_another_place_of_notification_is_reported() -> None:
    station, card = station_of(modern(PLAIN))
    card.bells = (0, 2)  # type: ignore[attr-defined]
    assert "a queue's place of notification changed" in report(station)


# What is not built


@pytest.mark.parametrize("make", [modern, legacy])
@pytest.mark.parametrize("room", [0, 16])
@pytest.mark.parametrize("queue", ["rx__room", "tx__room"])
def test_a_queue_too_short_is_refused(make: Make, room: int, queue: str) -> None:
    with pytest.raises(MetaosError) as error:
        lowered(learnt(make(PLAIN), **{queue: room}))
    assert "a queue of the device has fewer than 32 slots" in str(error.value.problems)


@pytest.mark.parametrize(
    ("offered", "says"),
    [(v.VERSION_1, "no address of its own"), (v.MAC, "older than version 1")],
)
def test_a_device_without_what_is_needed_is_refused(offered: int, says: str) -> None:
    with pytest.raises(MetaosError) as error:
        lowered(modern(offered))
    assert says in str(error.value.problems)


def test_a_legacy_device_without_any_layout_is_refused() -> None:
    with pytest.raises(MetaosError) as error:
        lowered(learnt(legacy(PLAIN), offered=v.MAC))
    assert "a buffer of its own" in str(error.value.problems)


@pytest.mark.parametrize("make", [modern, legacy])
def test_a_slow_reset_while_learning_is_refused(make: Make) -> None:
    """§4.1.4.3.2: the discoverer cannot wait, so it looks that it need not have."""
    with pytest.raises(MetaosError) as error:
        lowered(learnt(make(PLAIN), settled=0x40))
    assert "reset took so long" in str(error.value.problems)


def test_structures_that_are_reserved_are_ignored() -> None:
    """§4.1.4.1: a capability of a reserved type or BAR is as if it were not there."""
    machine = modern(PLAIN)
    config = bytearray.fromhex(card_of(machine).config)
    known = structures(bytes(config))
    spare = known[5].at
    for kind, bar in ((COMMON, 6), (7, 4)):
        other = configured(machine, spare + 3, bytes([kind, bar]))
        assert lowered(other).windows == lowered(machine).windows
    last = known[COMMON].at
    broken = configured(machine, last + 4, b"\x06")
    with pytest.raises(MetaosError):
        lowered(broken)
