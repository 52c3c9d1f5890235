"""A split virtqueue as its device sees it: what the driver offers, what is given back.

Source: Virtual I/O Device (VIRTIO) Version 1.2, whose sections are cited where they are followed.

The queue is stricter than real ones: what section 2.7 forbids a driver is a fault. A `lenient`
queue, for devices out of order, looks at nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.fake.bus import Bus
from tests.fake.fault import demand

NEXT, WRITE, INDIRECT = 1, 2, 4
WRAP = 0xFFFF


@dataclass(frozen=True)
class Buffer:
    """One descriptor as it was when it was offered, with what a readable one held."""

    head: int
    entry: bytes
    content: bytes

    @property
    def address(self) -> int:
        return int.from_bytes(self.entry[:8], "little")

    @property
    def length(self) -> int:
        return int.from_bytes(self.entry[8:12], "little")


@dataclass
class Queue:
    """One queue of `size` slots; `writes` says that the device writes its buffers.

    The device asks for a notification when the driver passes `lag` more buffers, or for none
    while it is `quiet`; with `event` it says so by avail_event, else by the used ring's flags.
    """

    bus: Bus
    number: int
    room: int
    writes: bool
    size: int = 0
    desc: int = 0
    driver: int = 0
    device: int = 0
    enabled: bool = False
    event: bool = False
    quiet: bool = False
    lag: int = 0
    lenient: bool = False
    offered: dict[int, Buffer] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    fetched: int = 0
    used: int = 0
    checked: int = 0
    notified: int = 0

    def start(self) -> None:
        """The device looks at the rings for the first time. §2.7.1, §2.7.7.1, §2.7.10.1."""
        alignments = (("descriptors", self.desc, 16), ("available", self.driver, 2))
        for name, at, align in (*alignments, ("used", self.device, 4)):
            demand(at > 0 and at % align == 0, f"{name} at {at:#x}, not on {align} (§2.7.1)")
        self.bus.read(self.desc, 16 * self.size)
        self.bus.read(self.driver, 6 + 2 * self.size)
        used = self.bus.read(self.device, 6 + 8 * self.size)
        demand(used[:4] == bytes(4), "the used ring's flags and idx do not begin as 0 (§2.7.10.1)")
        self.ask()

    def ask(self) -> None:
        """Tell the driver when to notify. §2.7.10.2."""
        if not self.event:
            self._put(self.device, int(self.quiet), 2)
            return
        wanted = self.fetched + (0x8000 if self.quiet else self.lag)
        self._put(self.device + 4 + 8 * self.size, wanted & WRAP, 2)

    # What the driver offers

    def fetch(self, *, notified: bool) -> None:
        """Take what is offered since; fault where a notification was due and did not come.

        §2.7.10.1: that of the entry at avail_event, or any while the flags are 0.
        """
        flags, there = self._number(self.driver, 2), self._number(self.driver + 2, 2)
        demand(self.lenient or flags == (not self.event), f"available flags {flags} (§2.7.7.1)")
        new = there - self.checked & WRAP
        room = self.size - len(self.offered)
        demand(self.lenient or new <= room, f"available idx moved by {new} (§2.7.6.1, §2.7.13)")
        if not self.lenient:
            self._check_notification(new, notified)
        self.checked = there
        self.notified += notified
        while self.fetched != there:
            slot = self.fetched % self.size
            self._take(self._number(self.driver + 4 + 2 * slot, 2))
            self.fetched = self.fetched + 1 & WRAP
        self.ask()

    def _check_notification(self, new: int, notified: bool) -> None:
        """Of the entries placed since, was one to be told of? None was while it is quiet.

        A queue's first notification is let pass: rows send it, which cannot look at a ring.
        """
        if self.event:
            at = self._number(self.device + 4 + 8 * self.size, 2)
            due = (at - self.checked & WRAP) < new
        else:
            due = bool(new) and not self.quiet
        first = notified and not self.notified
        text = "is missing" if due else "is not wanted"
        demand(due == notified or first, f"queue {self.number}: a notification {text} (§2.7.10.1)")

    def _take(self, head: int) -> None:
        if self.lenient:
            self.offered[head % self.size] = self._buffer(head % self.size)
            self.order = [*(h for h in self.order if h != head % self.size), head % self.size]
            return
        demand(head < self.size, f"descriptor {head} of {self.size} is offered (§2.7.6)")
        demand(head not in self.offered, f"descriptor {head} is offered twice (§3.3.1)")
        buffer = self._buffer(head)
        flags = int.from_bytes(buffer.entry[12:14], "little")
        demand(flags == WRITE * self.writes, f"descriptor flags {flags:#x} (§2.7.5, §2.7.5.3.1)")
        demand(0 < buffer.length < 1 << 16, f"a buffer of {buffer.length} bytes (§2.7.5.2)")
        self.bus.read(buffer.address, buffer.length)
        self.offered[head] = buffer
        self.order.append(head)

    def _buffer(self, head: int) -> Buffer:
        entry = self.bus.read(self.desc + 16 * head, 16)
        made = Buffer(head, entry, b"")
        if self.writes or self.lenient:
            return made
        return Buffer(head, entry, self.bus.read(made.address, made.length))

    # What the device gives back

    def taken(self, head: int) -> Buffer:
        """An offered buffer to be used, which nobody may have altered since. §3.3.1."""
        buffer = self.offered.pop(head)
        self.order.remove(head)
        if not self.lenient:
            same = self._buffer(head) == buffer
            demand(same, f"queue {self.number}: {head} or its data is altered (§3.3.1)")
        return buffer

    def give(self, head: int, length: int) -> None:
        """Put an element into the used ring, then move its idx. §2.7.8, §2.7.8.2."""
        at = self.device + 4 + 8 * (self.used % self.size)
        element = (head & 0xFFFFFFFF).to_bytes(4, "little") + length.to_bytes(4, "little")
        self.bus.write(at, element)
        self.used = self.used + 1 & WRAP
        self._put(self.device + 2, self.used, 2)

    def addresses(self) -> list[int]:
        """What all descriptors of the table point at."""
        return [self._number(self.desc + 16 * i, 8) for i in range(self.size)]

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.bus.read(at, size), "little")

    def _put(self, at: int, value: int, size: int) -> None:
        self.bus.write(at, value.to_bytes(size, "little"))
