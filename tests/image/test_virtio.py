"""The finished image for a virtio network device in unicorn: answers, order, stores, features."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import combinations
from typing import Any

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE
from unicorn import x86_const as x86

from metaos.link.image import Image
from metaos.pipeline import build
from metaos.probe.machine import Machine
from metaos.verify.audit import measure
from tests.fake import virtio as v
from tests.fake.fault import FaultError
from tests.image.conftest import drain
from tests.image.engine import Engine
from tests.image.harness import Station, Turn
from tests.image.trace import phase_code
from tests.ir.virtio import (
    CARD,
    IP,
    OFFERS,
    PLAIN,
    SLOTS,
    conserved,
    legacy,
    modern,
    owners,
    wanted,
)
from tests.model.frames import frames
from tests.systems import POLLED

pytestmark = pytest.mark.long

Make = Callable[[int], Machine]
MOST_INSTRUCTIONS = 250
EVERY = OFFERS["all"]
MACHINES = {
    "modern none": modern(PLAIN),
    "modern all": modern(EVERY),
    "modern all, notified elsewhere": modern(EVERY, 0x100, (1, 6)),
    "legacy none": legacy(PLAIN),
    "legacy all": legacy(EVERY),
    "legacy of 64": legacy(PLAIN | v.EVENT_IDX, 64),
}


@cache
def image_of(machine: Machine) -> Image:
    return build(machine, system=POLLED)


def started(machine: Machine) -> tuple[Station, v.Net]:
    station = Station(image_of(machine), machine)
    station.boot()
    drain(station)
    card = station.world.virtio
    assert card is not None and card.receiving
    return station, card


def compare(station: Station, card: v.Net, seed: int, count: int) -> list[Turn]:
    """Ask mutated frames, one a turn; demand of each the reference's answer."""
    print(f"seed {seed}, {count} frames")
    asked = list(frames(seed, count, card.mac, IP))
    turns = list(station.run(asked, "blocks"))
    assert len(turns) == count
    for frame, turn in zip(asked, turns, strict=True):
        assert list(turn.sent) == wanted(frame, card.mac), frame.hex()
    card.settle()
    assert card.missed == 0
    return turns


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_mutated_frames(machine: Machine) -> None:
    station, card = started(machine)
    card.shuffle = random.Random(30)
    turns = compare(station, card, 31, 400)
    assert len({turn.trace for turn in turns}) == 1
    assert sum(bool(turn.sent) for turn in turns) > 100
    assert conserved(owners(station.place))


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_a_hundred_thousand_frames(machine: Machine) -> None:
    """More than the 65,536 after which the indices begin again."""
    station, card = started(machine)
    card.shuffle = random.Random(32)
    traces = set()
    for seed in range(300, 310):
        traces |= {turn.trace for turn in compare(station, card, seed, 10_000)}
    assert len(traces) == 1
    assert conserved(owners(station.place))


@pytest.mark.parametrize("machine", [modern(EVERY), legacy(PLAIN)])
def test_every_turn_executes_the_same_instructions(machine: Machine) -> None:
    station, card = started(machine)
    asked: list[bytes | None] = [*frames(33, 200, card.mac, IP), *[None] * 50]
    (trace,) = {turn.trace for turn in station.run(asked, "instructions")}
    print(f"{len(trace)} instructions a turn")
    assert len(trace) <= MOST_INSTRUCTIONS


@pytest.mark.parametrize("machine", [modern(PLAIN), modern(EVERY)])
def test_register_accesses(machine: Machine) -> None:
    """Nothing idle; one write for each queue that has something new."""
    station, card = started(machine)
    for turn in station.run([None] * 20):
        assert (turn.reads, turn.writes, turn.ports) == (0, 0, 0)
    for turn in station.run(frames(34, 200, card.mac, IP)):
        assert (turn.reads, turn.writes) == (0, turn.delivered + bool(turn.sent))


# What is stored, and in which order


@contextmanager
def stores(station: Station, seen: list[tuple[int, int, int]]) -> Iterator[None]:
    """Every store of the processor: address, bytes, value; before it is made."""

    def store(uc: Engine, access: int, address: int, size: int, value: int, data: Any) -> None:
        seen.append((address, size, value))

    hook = station._uc.hook_add(UC_HOOK_MEM_WRITE, store)
    station._uc.ctl_flush_tb()
    try:
        yield
    finally:
        station._uc.hook_del(hook)
        station._uc.ctl_flush_tb()


def undeclared(image: Image, seen: list[tuple[int, int, int]]) -> list[str]:
    """The stores that are neither in a place nor a window, nor in the shadows' scratch frame.

    Unicorn tells physical addresses.
    """
    known = image.manifest
    declared = [(s.physical, s.size) for s in known.symbols if s.kind == "place"]
    declared += [(w.physical, w.size) for w in known.windows]
    declared += [(m.physical, m.size) for m in known.mappings if m.shadow]
    return [
        f"{size} bytes at {at:#x}"
        for at, size, _ in seen
        if not any(start <= at <= at + size <= start + length for start, length in declared)
    ]


def scribble(source: random.Random, station: Station, card: v.Net) -> None:
    """Anything anywhere that the device may write: its areas, and the buffers."""
    queue = source.choice(card.queues)
    for _ in range(source.randrange(4)):
        at = queue.device + source.randrange(2 + 8 * queue.size)
        station.pc.write(at, source.randbytes(source.choice((1, 2, 4))))
    if source.random() < 0.7:
        queue.used = int.from_bytes(station.pc.read(queue.device + 2, 2), "little")
        lengths = (60, 72, 0, 11, 12, 2048, 2049, source.randrange(1 << 32))
        ids = (source.randrange(SLOTS), source.randrange(1 << 32))
        queue.give(source.choice(ids), source.choice(lengths))
    buffer = image_of(station.machine).manifest.symbol(f"{CARD}.buf").physical
    frame = next(frames(source.randrange(1 << 20), 1, card.mac, IP))
    at = buffer + 2048 * source.randrange(2 * SLOTS)
    station.pc.write(at, source.randbytes(card.head) + frame)


@pytest.mark.parametrize("machine", [modern(EVERY), modern(PLAIN), legacy(EVERY)])
def test_whatever_the_device_writes_stores_stay_inside(machine: Machine) -> None:
    """On top of what the verifier proves of the image's bytes."""
    source = random.Random(35)
    station, card = started(machine)
    card.lenient = True
    for queue in card.queues:
        queue.lenient = True
    seen: list[tuple[int, int, int]] = []
    traces = set()
    with stores(station, seen):
        for number in range(300):
            scribble(source, station, card)
            traces.add(station.turn(None, "blocks").trace)
            if number % 50 == 0:
                assert conserved(owners(station.place))
    assert len(seen) > 300 * 20 and undeclared(image_of(machine), seen) == []
    assert len(traces) == 1
    assert conserved(owners(station.place))
    report = measure(image_of(machine), "virtio")
    assert report.violations == ()
    assert (report.conditional_branches, report.indirect_branches, report.calls) == (0, 0, 0)


def test_a_store_outside_would_be_seen() -> None:
    image = image_of(modern(PLAIN))
    buffer = image.manifest.symbol(f"{CARD}.buf")
    assert undeclared(image, [(buffer.physical, 8, 0)]) == []
    for root in image.manifest.roots:
        assert len(undeclared(image, [(root, 8, 0)])) == 1


@pytest.mark.parametrize("machine", [modern(EVERY), legacy(PLAIN)])
def test_what_idx_exposes_is_there_before_it(machine: Machine) -> None:
    """§2.7.13.3.1: when idx is stored, ring entry, descriptor and data are in memory."""
    station, card = started(machine)
    exposed = 0

    def store(uc: Engine, access: int, address: int, size: int, value: int, data: Any) -> None:
        nonlocal exposed
        for queue in card.queues:
            if address != queue.driver + 2:
                continue
            slot = (value - 1 & 0xFFFF) % queue.size
            entry = station.pc.read(queue.driver + 4 + 2 * slot, 2)
            head = int.from_bytes(entry, "little")
            before[queue.number].append((head, station.pc.read(queue.desc + 16 * head, 16)))
            exposed += 1

    before: dict[int, list[tuple[int, bytes]]] = {0: [], 1: []}
    station._uc.hook_add(UC_HOOK_MEM_WRITE, store)
    station._uc.ctl_flush_tb()
    card.held = True
    for frame in frames(36, 60, card.mac, IP):
        taken = {n: len(q.order) for n, q in enumerate(card.queues)}
        before[0].clear()
        before[1].clear()
        delivered = station.turn(frame).delivered
        card.settle()
        for queue in card.queues:
            new = queue.order[taken[queue.number] - delivered * (queue.number == v.TAKES) :]
            assert before[queue.number] == [(h, queue.offered[h].entry) for h in new]
        card.release()
    assert exposed > 60


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_a_barrier_stands_before_the_device_is_asked(machine: Machine) -> None:
    """§2.7.13.4.1: after the last idx and before the first look at flags or avail_event."""
    image = image_of(machine)
    station, card = started(machine)
    start = image.manifest.phase("steady").code_linear
    steps = list(Cs(CS_ARCH_X86, CS_MODE_64).disasm(phase_code(image, "steady"), start))
    fences = [i.address for i in steps if i.mnemonic in ("mfence", "lock or", "xchg")]
    assert len(fences) == 1
    touched: list[tuple[int, int]] = []

    def access(uc: Engine, kind: int, address: int, size: int, value: int, data: Any) -> None:
        touched.append((uc.reg_read(x86.UC_X86_REG_RIP), address))

    station._uc.hook_add(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, access)
    station._uc.ctl_flush_tb()
    station.turn(next(f for f in frames(37, 50, card.mac, IP) if wanted(f, card.mac)))
    for queue in card.queues:
        said = queue.device + (4 + 8 * queue.size if queue.event else 0)
        idx = [at for at, address in touched if address == queue.driver + 2]
        looks = [at for at, address in touched if address == said]
        assert idx and looks and max(idx) < fences[0] < min(looks)


# Features


@cache
def code(machine: Machine) -> bytes:
    """What the device's turn is, in the image."""
    image = image_of(machine)
    return b"".join(
        image.data[e.start : e.end]
        for e in image.account
        if (e.kind, e.device, e.phase) == ("code", CARD, "steady")
    )


@pytest.mark.parametrize("make", [modern, legacy])
def test_other_features_are_other_code(make: Make) -> None:
    """All but STATUS, which the start alone asks: a row more, and the same turn."""
    turns = {name: code(make(offered)) for name, offered in OFFERS.items()}
    assert turns.pop("status") == turns["none"] != b""
    for one, other in combinations(turns, 2):
        assert turns[one] != turns[other], (one, other)
    rows = [len(image_of(make(OFFERS[name])).account) for name in ("status", "none")]
    assert rows[0] != rows[1]


def test_features_that_nobody_wants_change_no_code() -> None:
    """GUEST_TSO4, MTU, CTRL_VQ and others, offered or not."""
    more = modern(PLAIN | 1 << 7 | 1 << 3 | 1 << 17 | 1 << 22)
    assert code(more) == code(modern(PLAIN))
    assert image_of(more).data != image_of(modern(PLAIN)).data  # `init` looks that it is so


def test_the_same_features_are_the_same_bytes() -> None:
    again = build(modern(EVERY), system=POLLED)
    assert again.data == image_of(modern(EVERY)).data


# Reports


@pytest.mark.parametrize(
    ("fault", "says"), [("stuck", "stays in reset"), ("refuses", "refuses the features")]
)
def test_what_fails_at_the_start_is_reported(fault: str, says: str) -> None:
    machine = modern(PLAIN)
    station = Station(image_of(machine), machine)
    station.world.timer.step = 4000
    setattr(station.world.virtio, fault, True)
    with pytest.raises(FaultError, match="in report"):
        station.boot()
    assert says in station.said
