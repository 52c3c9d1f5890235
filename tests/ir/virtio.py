"""Virtio machines with the features that a test wants, and what a device's frames come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import msgspec

from metaos import resources
from metaos.lower.lower import Lowered, lower
from metaos.match.bind import bind
from metaos.pattern.patterns import Patterns, load
from metaos.probe.machine import Function, Machine
from metaos.probe.store import read_machine
from tests.fake import virtio as v
from tests.fake.virtio_pci import NOTIFY, structures
from tests.ir.test_rules import MACHINES
from tests.model.reference import BROADCAST, answer
from tests.systems import POLLED

IP = bytes([10, 0, 2, 15])
CARD = "00:03.0"
PLAIN = v.MAC | v.VERSION_1
CHECKSUMS = PLAIN | v.CSUM | v.GUEST_CSUM
OFFERS: Mapping[str, int] = {
    "none": PLAIN,
    "event": PLAIN | v.EVENT_IDX,
    "merge": PLAIN | v.MRG_RXBUF,
    "status": PLAIN | v.STATUS,
    "checksums": CHECKSUMS,
    "all": CHECKSUMS | v.EVENT_IDX | v.MRG_RXBUF | v.STATUS,
}
replace = msgspec.structs.replace


@cache
def patterns() -> Patterns:
    return load([resources.PATTERNS])


@cache
def recorded(name: str) -> Machine:
    return read_machine(MACHINES / f"{name}.json")


def card_of(machine: Machine) -> Function:
    return next(f for f in machine.functions if f.address == CARD)


def learnt(machine: Machine, **values: int) -> Machine:
    """The machine with other values learnt, by their names with _ for a point."""
    new = {name.replace("__", "."): value for name, value in values.items()}
    facts = tuple(replace(x, value=new.get(x.name, x.value)) for x in machine.learnt)
    return replace(machine, learnt=facts)


def configured(machine: Machine, offset: int, value: bytes) -> Machine:
    """The machine with other bytes in the card's configuration space."""
    config = bytearray.fromhex(card_of(machine).config)
    config[offset : offset + len(value)] = value
    changed = replace(card_of(machine), config=config.hex())
    functions = tuple(changed if f.address == CARD else f for f in machine.functions)
    return replace(machine, functions=functions)


@cache
def modern(offered: int, multiplier: int = 4, bells: tuple[int, int] = (0, 1)) -> Machine:
    """A modern device that offers this, with its notifications there."""
    low, high = offered & 0xFFFFFFFF, offered >> 32
    machine = learnt(
        recorded("pc-virtio"), offered=low, offered_high=high, rx__bell=bells[0], tx__bell=bells[1]
    )
    known = structures(bytes.fromhex(card_of(machine).config))
    return configured(machine, known[NOTIFY].at + 16, multiplier.to_bytes(4, "little"))


@cache
def legacy(offered: int, room: int = 256) -> Machine:
    """A device as it was before version 1, whose queues have `room` slots."""
    low = offered & 0xFFFFFFFF | v.ANY_LAYOUT
    return learnt(recorded("pc-virtio-legacy"), offered=low, rx__room=room, tx__room=room)


@cache
def lowered(machine: Machine) -> Lowered:
    return lower(bind(machine, patterns(), POLLED))


SLOTS = 32
"""Of each queue, that the driver uses."""


def wanted(frame: bytes, mac: bytes) -> list[bytes]:
    """What comes back: nothing fills frames up here, and a group's are seen as everybody's."""
    if frame[:1] and frame[0] & 1:
        frame = BROADCAST + frame[6:]
    reply = answer(frame, mac, IP, least=14)
    return [] if reply is None else [reply]


def owners(read: Callable[[str], bytes]) -> list[int]:
    """The buffers that the driver's own two lists name; `read` gives a place's bytes."""
    found = []
    for place in ("rxb", "txb"):
        data = read(f"{CARD}.{place}")
        stride = (len(data) - 1) // (SLOTS - 1)
        found += [
            int.from_bytes(data[at : at + 4], "little") for at in range(0, stride * SLOTS, stride)
        ]
    return found


def conserved(numbers: Iterable[int]) -> bool:
    """Whether these are 64 different buffers, 2048 bytes from one to the next."""
    inside = sorted(numbers)
    return [n - inside[0] for n in inside] == [2048 * i for i in range(2 * SLOTS)]
