"""The two ways to a virtio network device over PCI: in memory as of version 1, and by ports.

Source: Virtual I/O Device (VIRTIO) Version 1.2, whose sections are cited where they are followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.fake.fault import FaultError, demand
from tests.fake.virtio import DRIVER, Net

VENDOR_CAPABILITY, COMMON, NOTIFY, DEVICE = 0x09, 1, 2, 4
SELECT, FEATURE, DRIVER_SELECT, DRIVER_FEATURE = 0x00, 0x04, 0x08, 0x0C
STATUS_BYTE, QUEUE_SELECT, QUEUE_SIZE, QUEUE_ENABLE, NOTIFY_OFF = 0x14, 0x16, 0x18, 0x1C, 0x1E
ADDRESSES = range(0x20, 0x38, 4)
WIDTHS = {SELECT: 32, FEATURE: 32, DRIVER_SELECT: 32, DRIVER_FEATURE: 32, STATUS_BYTE: 8}
WIDTHS |= {QUEUE_SELECT: 16, QUEUE_SIZE: 16, QUEUE_ENABLE: 16, NOTIFY_OFF: 16}
WIDTHS |= dict.fromkeys(ADDRESSES, 32)


class Modern(Net):
    """Over memory, as of version 1: §4.1.4. `places` are offsets in the BAR by cfg_type.

    A queue is notified at its place times `multiplier` in the notification structure.
    """

    places: Mapping[int, int] = {COMMON: 0x0000, NOTIFY: 0x3000, DEVICE: 0x2000}
    multiplier = 4
    bells: tuple[int, ...] = (0, 1)
    size = 0x4000

    def _reset(self, pending: int) -> None:
        super()._reset(pending)
        self.device_select = self.driver_select = 0
        self._parts = {n: dict.fromkeys(ADDRESSES, 0) for n in range(len(self.queues))}

    def _where(self, offset: int) -> tuple[int, int]:
        """The structure that holds an offset of the BAR, and the offset in it."""
        kind, start = max(
            ((k, s) for k, s in self.places.items() if s <= offset), key=lambda place: place[1]
        )
        return kind, offset - start

    def read(self, offset: int, width: int) -> int:
        self.reads += 1
        kind, at = self._where(offset)
        if kind == DEVICE:
            return self.read_config(at, width)
        demand(kind == COMMON, "the notification structure is read (§4.1.4.4)")
        demand(WIDTHS.get(at) == width, f"{width} bits read at {at:#x} (§4.1.3.1)")
        return self._read(at)

    def _read(self, at: int) -> int:
        queue = self.queue
        if at == STATUS_BYTE:
            return self.read_status()
        if at == FEATURE:
            demand(bool(self.status & DRIVER), "features read before DRIVER (§3.1.1)")
            return self.offered >> 32 * self.device_select & 0xFFFFFFFF
        if at == QUEUE_SIZE:
            return 0 if queue is None else queue.size or queue.room
        if at == NOTIFY_OFF:
            demand(queue is not None, f"queue {self.select} does not exist")
            return self.bells[self.select]
        raise FaultError(f"read of {at:#x}, which is not modelled")

    def write(self, offset: int, width: int, value: int) -> None:
        self.writes += 1
        kind, at = self._where(offset)
        demand(kind != DEVICE, "device configuration is written (§5.1.4.2)")
        if kind == NOTIFY:
            demand(width == 16, f"a notification of {width} bits (§4.1.5.2)")
            right = value < 2 and at == self.bells[value] * self.multiplier
            demand(right, f"queue {value} is notified at +{at:#x} (§4.1.4.4)")
            self.notify(value)
            return
        demand(WIDTHS.get(at) == width, f"{width} bits written at {at:#x} (§4.1.3.1)")
        self._write(at, value)

    def _write(self, at: int, value: int) -> None:
        if at == STATUS_BYTE:
            self.write_status(value)
        elif at == SELECT:
            self.device_select = value
        elif at == DRIVER_SELECT:
            self.driver_select = value
        elif at == DRIVER_FEATURE:
            self.accept(value, 32 * self.driver_select)
        elif at == QUEUE_SELECT:
            self.select = value
        elif at == QUEUE_SIZE:
            queue = self.change_queue()
            right = 0 < value <= queue.room and value & value - 1 == 0
            demand(right, f"a queue of {value} slots (§4.1.4.3.2)")
            queue.size = value
        elif at == QUEUE_ENABLE:
            self._enable(value)
        else:
            demand(at in ADDRESSES, f"{at:#x} is written (§4.1.4.3.2)")
            self.change_queue()
            self._parts[self.select][at] = value

    def _enable(self, value: int) -> None:
        queue = self.change_queue()
        demand(value == 1, f"{value} written to queue_enable (§4.1.4.3.2)")
        demand(queue.room > 0, f"queue {self.select} is not available (§4.1.4.3)")
        parts = self._parts[self.select]
        wide = [parts[at] | parts[at + 4] << 32 for at in ADDRESSES[::2]]
        queue.desc, queue.driver, queue.device = wide
        demand(all(wide), "a queue is enabled before its addresses are set (§4.1.4.3.2)")
        queue.size = queue.size or queue.room
        queue.enabled = True


PAGE = 4096


class Legacy(Net):
    """Over I/O ports, as it was before version 1: §4.1.4.10, §2.7.2."""

    legacy = True
    size = 32
    fields: Mapping[int, int] = {
        0x00: 32,
        0x04: 32,
        0x08: 32,
        0x0C: 16,
        0x0E: 16,
        0x10: 16,
        0x12: 8,
    }

    def read(self, offset: int, width: int) -> int:
        self.reads += 1
        if offset >= 0x14:
            return self.read_config(offset - 0x14, width)
        demand(self.fields.get(offset) == width, f"{width} bits read at {offset:#x} (§4.1.3.1)")
        if offset == 0x12:
            return self.read_status()
        if offset == 0x00:
            demand(bool(self.status & DRIVER), "features read before DRIVER (§3.1.1)")
            return self.offered & 0xFFFFFFFF
        if offset == 0x0C:
            return 0 if self.queue is None else self.queue.room
        raise FaultError(f"read of {offset:#x}, which is not modelled")

    def write(self, offset: int, width: int, value: int) -> None:
        self.writes += 1
        demand(self.fields.get(offset) == width, f"{width} bits written at {offset:#x} (§4.1.3.1)")
        if offset == 0x12:
            self.write_status(value)
        elif offset == 0x04:
            self.accept(value, 0)
        elif offset == 0x0E:
            self.select = value
        elif offset == 0x08:
            self._place(value)
        else:
            demand(offset == 0x10, f"{offset:#x} is written")
            self.notify(value)

    def _place(self, page: int) -> None:
        """§2.7.2: descriptors, available ring, and the used ring on the next page."""
        queue = self.change_queue()
        demand(queue.room > 0, f"queue {self.select} is not available")
        queue.size, queue.desc = queue.room, page * PAGE
        queue.driver = queue.desc + 16 * queue.size
        queue.device = -(-(queue.driver + 6 + 2 * queue.size) // PAGE) * PAGE
        queue.enabled = True


@dataclass(frozen=True)
class Structure:
    """Where a structure of a device lies. §4.1.4: the capability `at` says it, `extra` follows."""

    at: int
    bar: int
    offset: int
    length: int
    extra: int


def structures(config: bytes) -> dict[int, Structure]:
    """The structures that a function's configuration space names, the first of each type."""
    found: dict[int, Structure] = {}
    at = config[0x34] if config[6] & 0x10 else 0
    while at:
        if config[at] == VENDOR_CAPABILITY and config[at + 4] < 6:
            numbers = [int.from_bytes(config[at + i : at + i + 4], "little") for i in (8, 12, 16)]
            found.setdefault(config[at + 3], Structure(at, config[at + 4], *numbers))
        at = config[at + 1]
    return found
