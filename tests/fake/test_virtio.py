"""The model virtio device driven by a hand-written driver, and each fault it finds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fake import virtio as v
from tests.fake import virtio_pci as pci
from tests.fake.fault import FaultError
from tests.fake.test_i8254x import Ram
from tests.fake.virtio_pci import Legacy, Modern

MAC = bytes.fromhex("525400123456")
FRAME = MAC + bytes.fromhex("525400aabbcc0800") + bytes(50)
RX, TX, BUFFERS = 0x1000, 0x2000, 0x10000
AVAILABLE, USED = 0x400, 0x800
NOTIFY, CONFIG = 0x3000, 0x2000
OFFERED = v.MAC | v.VERSION_1 | v.EVENT_IDX | v.CSUM | v.GUEST_CSUM
STATUS, ENABLE = pci.STATUS_BYTE, pci.QUEUE_ENABLE

Step = tuple[int, int, int | None]
"""An offset, a width in bits, and what is written; None reads."""


class Driver:
    """A modern device with 16 slots a queue, `upto` a step of the start, and its RAM."""

    def __init__(self, upto: str = "live", accepted: int = v.MAC | v.VERSION_1) -> None:
        self.ram = Ram()
        self.card = Modern(self.ram, MAC, OFFERED)
        self.steps: list[tuple[str, tuple[Step, ...]]] = [
            ("found", ((STATUS, 8, 0), (STATUS, 8, None), (STATUS, 8, None), (STATUS, 8, None))),
            ("known", ((STATUS, 8, 1), (STATUS, 8, 3))),
            ("agreed", (
                (pci.SELECT, 32, 0), (pci.FEATURE, 32, None),
                (pci.DRIVER_SELECT, 32, 0), (pci.DRIVER_FEATURE, 32, accepted & 0xFFFFFFFF),
                (pci.DRIVER_SELECT, 32, 1), (pci.DRIVER_FEATURE, 32, accepted >> 32),
                (STATUS, 8, 0xB), (STATUS, 8, None),
            )),
            ("set", (*queue(0, RX), *queue(1, TX))),
            ("live", ((STATUS, 8, 0xF), (NOTIFY, 16, 0))),
        ]  # fmt: skip
        self._fill(accepted)
        for name, steps in self.steps:
            self.do(*steps)
            if name == upto:
                break

    def _fill(self, accepted: int) -> None:
        for i in range(16):
            self.describe(RX, i, BUFFERS + 2048 * i, 2048, 2)
            self.ram.write(RX + AVAILABLE + 4 + 2 * i, bytes([i, 0]))
        flags = 0 if accepted & v.EVENT_IDX else 1
        self.ram.write(RX + AVAILABLE, bytes([flags, 0, 16, 0]))
        self.ram.write(TX + AVAILABLE, bytes([flags, 0, 0, 0]))

    def describe(self, table: int, slot: int, address: int, length: int, flags: int = 0) -> None:
        entry = address.to_bytes(8, "little") + length.to_bytes(4, "little")
        self.ram.write(table + 16 * slot, entry + flags.to_bytes(4, "little"))

    def do(self, *steps: Step) -> None:
        for offset, width, value in steps:
            if value is None:
                self.card.read(offset, width)
            else:
                self.card.write(offset, width, value)

    def send(self, header: bytes, frame: bytes = FRAME, flags: int = 0, slot: int = 0) -> None:
        """Offer a frame in a slot, and tell the device."""
        at = BUFFERS + 2048 * 20
        self.ram.write(at, header.ljust(12, b"\0") + frame)
        self.describe(TX, slot, at, 12 + len(frame), flags)
        self.offer(slot)
        self.do((NOTIFY + 4, 16, 1))

    def offer(self, slot: int, count: int = 1) -> None:
        idx = int.from_bytes(self.ram.read(TX + AVAILABLE + 2, 2), "little")
        self.ram.write(TX + AVAILABLE + 4 + 2 * (idx % 16), slot.to_bytes(2, "little"))
        self.ram.write(TX + AVAILABLE + 2, (idx + count & 0xFFFF).to_bytes(2, "little"))


def queue(number: int, at: int) -> tuple[Step, ...]:
    parts = ((0x20, at), (0x28, at + AVAILABLE), (0x30, at + USED))
    places = [step for o, p in parts for step in ((o, 32, p), (o + 4, 32, 0))]
    return ((pci.QUEUE_SELECT, 16, number), (pci.QUEUE_SIZE, 16, 16), *places, (ENABLE, 16, 1))


def test_frames_come_and_go() -> None:
    driver = Driver()
    card, ram = driver.card, driver.ram
    assert card.receiving and card.deliver(FRAME)
    assert ram.read(BUFFERS, 12 + len(FRAME)) == bytes(10) + b"\1\0" + FRAME
    element = b"\0\0\0\0" + (12 + len(FRAME)).to_bytes(4, "little")
    assert ram.read(RX + USED, 12) == b"\0\0\1\0" + element
    assert not card.deliver(bytes(6) + FRAME[6:])
    driver.send(b"")
    assert card.sent == [FRAME] and ram.read(TX + USED + 2, 2) == b"\1\0"
    for _ in range(15):
        assert card.deliver(FRAME)
    assert not card.deliver(FRAME) and card.missed == 1


def test_a_checksum_is_completed() -> None:
    driver = Driver(accepted=OFFERED & ~v.EVENT_IDX)
    driver.send(bytes([1, 0, 0, 0, 0, 0, 34, 0, 6, 0]), FRAME)
    (sent,) = driver.card.sent
    assert sent[40:42] == b"\xff\xff" and sent[:40] + sent[42:] == FRAME[:40] + FRAME[42:]


def test_the_device_says_where_it_wants_to_be_told() -> None:
    driver = Driver(accepted=OFFERED)
    tx = driver.card.queues[1]
    tx.lag = 1
    tx.ask()
    driver.describe(TX, 0, BUFFERS + 0xA000, 80)
    driver.offer(0)
    driver.card.settle()
    assert len(driver.card.sent) == 1
    assert driver.ram.read(TX + USED + 4 + 8 * 16, 2) == b"\2\0"


def legacy(*steps: Step) -> Callable[[], None]:
    """Steps of a driver of a legacy device whose reset is over."""

    def act() -> None:
        card = Legacy(Ram(), MAC, v.MAC | v.ANY_LAYOUT, reset_reads=0)
        for offset, width, value in steps:
            if value is None:
                card.read(offset, width)
            else:
                card.write(offset, width, value)

    return act


def after(upto: str, *steps: Step, accepted: int = v.MAC | v.VERSION_1) -> Callable[[], None]:
    return lambda: Driver(upto, accepted).do(*steps)


def moved(offset: int, value: bytes) -> Callable[[], None]:
    """The device looks at its live rings after memory was changed."""

    def act() -> None:
        driver = Driver()
        driver.ram.write(offset, value)
        driver.card.settle()

    return act


def altered() -> None:
    driver = Driver()
    driver.ram.write(RX, b"\1")
    driver.card.deliver(FRAME)


def sending(header: bytes, frame: bytes = FRAME, flags: int = 0, slot: int = 0) -> None:
    Driver().send(header, frame, flags, slot)


def twice() -> None:
    driver = Driver()
    driver.card.held = True
    driver.send(b"")
    driver.send(b"")


def untold() -> None:
    driver = Driver()
    driver.describe(TX, 0, BUFFERS, 80)
    driver.offer(0)
    driver.card.settle()


def unasked() -> None:
    driver = Driver()
    driver.send(b"")
    driver.do((NOTIFY + 4, 16, 1))


KNOWN: tuple[Step, ...] = ((0x12, 8, 0), (0x12, 8, None), (0x12, 8, 1), (0x12, 8, 3))
FAULTS: dict[str, Callable[[], None]] = {
    "clears a bit": after("known", (STATUS, 8, 1)),
    "goes from 0x0 to 0x3": after("found", (STATUS, 8, 3)),
    "status 0x2 too early": legacy((0x12, 8, 2)),
    "status 0x7 too early": after("known", (STATUS, 8, 7)),
    "before the reset is seen to end": after("known", (STATUS, 8, 0), (STATUS, 8, 1)),
    "features read before DRIVER": after("found", (pci.FEATURE, 32, None)),
    "features before DRIVER": after("found", (pci.DRIVER_FEATURE, 32, 0)),
    "features after FEATURES_OK": after("agreed", (pci.DRIVER_FEATURE, 32, 0)),
    "FEATURES_OK before features": after("known", (STATUS, 8, 0xB)),
    "were not offered": after("agreed", accepted=OFFERED | v.STATUS),
    "0x100000000 refused": after("agreed", accepted=v.MAC),
    "set up before FEATURES_OK": after("known", (pci.QUEUE_SIZE, 16, 16)),
    "a queue of 12 slots": after("agreed", (pci.QUEUE_SIZE, 16, 12)),
    "a queue of 0 slots": after("agreed", (pci.QUEUE_SIZE, 16, 0)),
    "a queue of 512 slots": after("agreed", (pci.QUEUE_SIZE, 16, 512)),
    "queue 2 does not exist": after("agreed", (pci.QUEUE_SELECT, 16, 2), (ENABLE, 16, 1)),
    "before its addresses are set": after("agreed", (ENABLE, 16, 1)),
    "0 written to queue_enable": after("agreed", (ENABLE, 16, 0)),
    "a live queue is changed": after("set", (pci.QUEUE_SIZE, 16, 8)),
    "before queue 0 is enabled": after("agreed", (STATUS, 8, 0xF)),
    "a notification before DRIVER_OK": after("set", (NOTIFY, 16, 0)),
    "is notified at": after("live", (NOTIFY, 16, 1)),
    "a notification of 32 bits": after("live", (NOTIFY, 32, 0)),
    "structure is read": after("live", (NOTIFY, 16, None)),
    "16 bits written at 0x14": after("found", (STATUS, 16, 0)),
    "8 bits read at 0x18": after("agreed", (pci.QUEUE_SIZE, 8, None)),
    "32 bits written at 0x16": after("agreed", (pci.QUEUE_SELECT, 32, 0)),
    "16 bits written at 0x1a": after("agreed", (0x1A, 16, 0)),
    "0x1e is written": after("agreed", (pci.NOTIFY_OFF, 16, 0)),
    "0x4 is written": after("known", (pci.FEATURE, 32, 0)),
    "configuration is written": after("known", (CONFIG, 8, 0)),
    "16 bits of an 8-bit field": after("known", (CONFIG, 16, None)),
    "the link of a device": after("known", (CONFIG + 6, 16, None)),
    "8 bits of configuration at 6": after("known", (CONFIG + 6, 8, None)),
    "available flags 2": moved(RX + AVAILABLE, b"\2"),
    "idx moved by 65535": moved(RX + AVAILABLE + 2, b"\x0f"),
    "idx moved by 1 ": moved(RX + AVAILABLE + 2, b"\x11"),
    "data is altered": altered,
    "descriptor flags 0x4": lambda: sending(b"", flags=4),
    "descriptor flags 0x1": lambda: sending(b"", flags=1),
    "descriptor flags 0x2": lambda: sending(b"", flags=2),
    "descriptor 16 of 16": lambda: sending(b"", slot=16),
    "is offered twice": twice,
    "a notification is missing": untold,
    "a notification is not wanted": unasked,
    "flags 0x1 of a frame sent": lambda: sending(b"\1"),
    "flags 0x2 of a frame sent": lambda: sending(b"\2"),
    "gso_type 1": lambda: sending(b"\0\1"),
    "num_buffers": lambda: sending(bytes(10) + b"\1"),
    "a frame of 1515 bytes": lambda: sending(b"", FRAME.ljust(1515, b"\0")),
    "has no FEATURES_OK": legacy(*KNOWN, (0x12, 8, 0xB)),
    "0x8000000 refused": legacy(*KNOWN, (0x04, 32, v.MAC), (0x12, 8, 7)),
    "32 bits written at 0xe": legacy((0x0E, 32, 0)),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults(message: str) -> None:
    with pytest.raises(FaultError, match=message):
        FAULTS[message]()


@pytest.mark.parametrize("part", [0x20, 0x28, 0x30])
def test_alignment_is_looked_at(part: int) -> None:
    driver = Driver("set")
    driver.card._parts[1][part] += 1
    queue = driver.card.queues[1]
    queue.enabled = False
    driver.card._enable(1)
    with pytest.raises(FaultError, match="not on"):
        driver.do((STATUS, 8, 0xF))
