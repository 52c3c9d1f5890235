"""A virtio network device over PCI, modern or legacy: status, features, queues, frames.

Source: Virtual I/O Device (VIRTIO) Version 1.2, whose sections are cited where they are followed.

The device is stricter than real ones: an access it has no model of is a fault, as is one that
breaks what the standard demands of a driver. Its transports are in virtio_pci.py.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from tests.fake.bus import Bus
from tests.fake.fault import demand
from tests.fake.virtqueue import Buffer, Queue

CSUM, GUEST_CSUM, MAC, MRG_RXBUF, STATUS = 1 << 0, 1 << 1, 1 << 5, 1 << 15, 1 << 16
ANY_LAYOUT, EVENT_IDX, VERSION_1 = 1 << 27, 1 << 29, 1 << 32
KNOWN = CSUM | GUEST_CSUM | MAC | MRG_RXBUF | STATUS | ANY_LAYOUT | EVENT_IDX | VERSION_1
"""Features that this model has the effects of; others it may offer, and none may accept."""
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
NEEDS_CSUM, DATA_VALID, RSC_INFO = 1, 2, 4
LARGEST = 1514
SENDS, TAKES = 1, 0


class Net:
    """The device behind its transport, with the address `mac`, offering `offered`.

    `reset_reads` and `link_reads` are how often status and link are read before the reset is
    over and the link is up; `stuck` never ends a reset, `refuses` takes no features. `shuffle`
    has buffers used in any order. While `held`, what is to be sent waits for `release`. With
    `lenient` nothing that the driver does is a fault.
    """

    legacy = False

    def __init__(
        self, bus: Bus, mac: bytes, offered: int, *, rooms: tuple[int, ...] = (256, 256),
        reset_reads: int = 2, link_reads: int = 2, cable: bool = True,
    ) -> None:  # fmt: skip
        self.bus, self.mac, self.offered, self.rooms = bus, mac, offered, rooms
        self.reset_reads, self.link_reads, self.cable = reset_reads, link_reads, cable
        self.stuck = self.refuses = self.held = self.quiet = self.lenient = False
        self.lag = 0
        self.shuffle: random.Random | None = None
        self.reads = self.writes = self.missed = 0
        self.sent: list[bytes] = []
        self.headers: list[bytes] = []
        self.on_send: Callable[[bytes], None] | None = None
        self._reset(pending=0)

    def _reset(self, pending: int) -> None:
        self.status, self.accepted, self.select = 0, 0, 0
        self.queues = [Queue(self.bus, n, room, n == TAKES) for n, room in enumerate(self.rooms)]
        self._pending, self._reread, self._wrote = pending, False, False
        self._link_wait = self.link_reads
        self._unread = False

    # Status and features: §2.1.1, §2.2.1, §3.1.1

    def read_status(self) -> int:
        if self._pending or self.stuck:
            self._pending -= bool(self._pending)
            return 0x40
        self._unread = False
        self._reread |= bool(self.status & FEATURES_OK)
        return self.status

    def write_status(self, value: int) -> None:
        if value == 0:
            self._reset(self.reset_reads)
            self._unread = True
            return
        self._settled("status")
        new = value & ~self.status
        demand(self.status & ~value == 0, f"status {value:#x} clears a bit (§2.1.1)")
        steps = {ACKNOWLEDGE: 0, DRIVER: ACKNOWLEDGE, FEATURES_OK: DRIVER}
        steps[DRIVER_OK] = DRIVER if self.legacy else FEATURES_OK
        demand(new in steps, f"status goes from {self.status:#x} to {value:#x} (§3.1.1)")
        before = steps[new]
        demand(before == 0 or bool(self.status & before), f"status {value:#x} too early (§3.1.1)")
        if new == FEATURES_OK:
            demand(not self.legacy, "a legacy device has no FEATURES_OK (§3.1.2)")
            self._check_features()
            value &= ~(FEATURES_OK * self.refuses)
        if new == DRIVER_OK:
            self._check_live()
        self.status = value

    def _settled(self, what: str) -> None:
        demand(not self._unread, f"{what} written before the reset is seen to end (§4.1.4.3.2)")

    def _check_features(self) -> None:
        """§2.2.1, §5.1.3.1, §6.1, §6.3."""
        demand(self._wrote, "FEATURES_OK before features were written (§3.1.1)")
        extra = self.accepted & ~self.offered
        demand(extra == 0, f"features {extra:#x} were not offered (§2.2.1)")
        unknown = self.accepted & ~KNOWN
        demand(unknown == 0, f"features {unknown:#x}, whose effects are not modelled")
        must = ANY_LAYOUT if self.legacy else VERSION_1
        demand(not self.offered & must or bool(self.accepted & must), f"{must:#x} refused (§6)")

    def _check_live(self) -> None:
        if self.legacy:
            self._check_features()
            self._reread = True
        demand(self._reread, "FEATURES_OK was not read again (§3.1.1)")
        for queue in self.queues[:2]:
            demand(queue.enabled, f"DRIVER_OK before queue {queue.number} is enabled (§3.1.1)")
            queue.event = self.has(EVENT_IDX)
            queue.quiet, queue.lag, queue.lenient = self.quiet, self.lag, self.lenient
            queue.start()

    def has(self, feature: int) -> bool:
        """Whether a feature was negotiated."""
        return bool(self.accepted & feature)

    def accept(self, value: int, shift: int) -> None:
        """Driver features, 32 bits from `shift` on."""
        self._settled("features")
        demand(bool(self.status & DRIVER), "features before DRIVER (§3.1.1)")
        late = self.status & (FEATURES_OK | DRIVER_OK)
        demand(not late, "features after FEATURES_OK (§3.1.1)")
        self.accepted = self.accepted & ~(0xFFFFFFFF << shift) | value << shift
        self._wrote = True

    # Queues

    @property
    def queue(self) -> Queue | None:
        """The selected queue, if there is such a one."""
        return self.queues[self.select] if self.select < len(self.queues) else None

    def change_queue(self) -> Queue:
        """The selected queue, whose fields may be written now. §3.1.1, §4.1.4.3.2."""
        self._settled("a queue")
        demand(self.queue is not None, f"queue {self.select} does not exist")
        assert self.queue is not None
        early = self.legacy or self.status & FEATURES_OK
        demand(bool(early), "a queue is set up before FEATURES_OK (§3.1.1)")
        demand(not self.status & DRIVER_OK and not self.queue.enabled, "a live queue is changed")
        return self.queue

    def notify(self, number: int) -> None:
        """An available buffer notification. §3.1.1, §4.1.5.2."""
        demand(bool(self.status & DRIVER_OK), "a notification before DRIVER_OK (§3.1.1)")
        demand(number < 2, f"queue {number} is notified")
        queue = self.queues[number]
        queue.fetch(notified=True)
        self._look(queue)

    def settle(self) -> None:
        """Between turns: nothing that was to be told of may lie there untold."""
        if self.status & DRIVER_OK:
            for queue in self.queues[:2]:
                queue.fetch(notified=False)
                self._look(queue)

    def _look(self, queue: Queue) -> None:
        """What was offered just now."""
        others = [b for q in self.queues for b in q.offered.values()]
        starts = sorted((b.address, b.length) for b in others)
        for (one, length), (two, _) in itertools.pairwise(starts):
            apart = self.lenient or one + length <= two
            demand(apart, f"the buffers at {one:#x} and {two:#x} overlap")
        if queue.number == TAKES and not self.lenient:
            least = min((b.length for b in queue.offered.values()), default=LARGEST + 12)
            demand(least >= LARGEST + self.head, f"a buffer of {least} bytes (§5.1.6.3.1)")
        elif queue.number == SENDS and not self.held:
            self.release()

    # Device configuration: §2.5.1, §4.1.3.1, §5.1.4

    def read_config(self, offset: int, width: int) -> int:
        if offset < 6:
            demand(width == 8 or self.legacy, f"{width} bits of an 8-bit field (§4.1.3.1)")
            demand(bool(self.offered & MAC), "the address of a device without one (§2.5.1)")
            return int.from_bytes(self.mac[offset : offset + width // 8], "little")
        demand((offset, width) == (6, 16), f"{width} bits of configuration at {offset}")
        demand(bool(self.offered & STATUS), "the link of a device that tells none (§2.5.1)")
        self._link_wait -= bool(self._link_wait)
        return int(self.cable and not self._link_wait)

    # Frames

    @property
    def head(self) -> int:
        """The size of the header before each frame. §5.1.6, §5.1.6.1."""
        return 12 if not self.legacy or self.has(MRG_RXBUF) else 10

    @property
    def receiving(self) -> bool:
        return bool(self.status & DRIVER_OK) and self.cable

    def deliver(self, frame: bytes, flags: int = 0, start: int = 0, offset: int = 0) -> bool:
        """A frame from the wire; False if it is for somebody else or there is no room.

        `flags`, `start` and `offset` are the header's, about the checksum: §5.1.6.4.1.
        """
        if not self.receiving or len(frame) < 14:
            return False
        self.settle()
        demand(not flags or self.has(GUEST_CSUM), "flags without GUEST_CSUM (§5.1.6.4.1)")
        if not frame[0] & 1 and frame[:6] != self.mac:
            return False
        queue = self.queues[TAKES]
        whole = bytes(self.head) + frame
        heads = self._room(queue, len(whole))
        if not heads:
            self.missed += 1
            return False
        count = len(heads) if not self.legacy or self.has(MRG_RXBUF) else 0
        words = (flags, 0, 0, 0, 0, start, offset, count)
        header = bytes(words[:2]) + b"".join(w.to_bytes(2, "little") for w in words[2:8])
        whole = (header[:2] + header[4:])[: self.head] + frame
        for head in heads:
            buffer = queue.taken(head)
            part, whole = whole[: buffer.length], whole[buffer.length :]
            self.bus.write(buffer.address, part)
            queue.give(head, len(part))
        return True

    def _room(self, queue: Queue, length: int) -> list[int]:
        """Descriptors with room for `length` bytes: one, or several with MRG_RXBUF."""
        found: list[int] = []
        free = list(queue.order)
        if self.shuffle is not None:
            self.shuffle.shuffle(free)
        while length > 0 and free:
            found.append(free.pop(0))
            length -= queue.offered[found[-1]].length
        return found if length <= 0 and (len(found) == 1 or self.has(MRG_RXBUF)) else []

    @property
    def waiting(self) -> int:
        """How many frames wait for `release`."""
        return len(self.queues[SENDS].offered)

    def release(self, count: int | None = None) -> None:
        """Send what `count` offered buffers hold; all if None."""
        queue = self.queues[SENDS]
        for _ in range(len(queue.offered) if count is None else count):
            number = self.shuffle.randrange(len(queue.order)) if self.shuffle else 0
            buffer = queue.taken(queue.order[number])
            if not self.lenient:
                self._send(buffer)
            queue.give(buffer.head, 0)

    def _send(self, buffer: Buffer) -> None:
        """§5.1.6.2.1."""
        demand(buffer.length >= self.head + 14, f"a buffer of {buffer.length} bytes to send")
        header, frame = buffer.content[: self.head], buffer.content[self.head :]
        allowed = NEEDS_CSUM * self.has(CSUM)
        demand(header[0] & ~allowed == 0, f"flags {header[0]:#x} of a frame sent (§5.1.6.2.1)")
        demand(header[1] == 0, f"gso_type {header[1]} of a frame sent (§5.1.6.2.1)")
        demand(header[10:12] in (b"", b"\0\0"), "num_buffers of a frame sent (§5.1.6.2.1)")
        demand(len(frame) <= LARGEST, f"a frame of {len(frame)} bytes")
        if header[0] & NEEDS_CSUM:
            frame = completed(frame, *(int.from_bytes(header[i : i + 2], "little") for i in (6, 8)))
        self.headers.append(header)
        self.sent.append(frame)
        if self.on_send is not None:
            self.on_send(frame)


def completed(frame: bytes, start: int, offset: int) -> bytes:
    """The frame with its checksum from `start` on put at `start` + `offset`. §5.1.6.2.1."""
    at = start + offset
    demand(14 < start <= at <= len(frame) - 2, f"csum_start {start}, csum_offset {offset}")
    data = frame[start:] + b"\0" * ((len(frame) - start) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[:at] + (total ^ 0xFFFF or 0xFFFF).to_bytes(2, "big") + frame[at + 2 :]
