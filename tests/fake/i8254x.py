"""An Intel 82540EM as its manual says: registers, legacy descriptors, address filter.

Source: Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
Manual, 317453-006EN rev. 4.0; sections are cited where they are followed.

The card is stricter than real ones: an access it has no model of is a fault, as is a
descriptor that breaks a rule. It fetches descriptors the moment it may (a tail write), so
a descriptor that is written after its tail is seen as it was before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tests.fake.bus import Bus
from tests.fake.fault import FaultError, demand

CTRL, STATUS, ICR, IMS, IMC = 0x0000, 0x0008, 0x00C0, 0x00D0, 0x00D8
RCTL, TCTL, TIPG = 0x0100, 0x0400, 0x0410
RDBAL, RDBAH, RDLEN, RDH, RDT = 0x2800, 0x2804, 0x2808, 0x2810, 0x2818
TDBAL, TDBAH, TDLEN, TDH, TDT = 0x3800, 0x3804, 0x3808, 0x3810, 0x3818
RXCSUM, MTA, RAL, RAH = 0x5000, 0x5200, 0x5400, 0x5404

CTRL_SLU, CTRL_RST = 1 << 6, 1 << 26
STATUS_FD, STATUS_LU = 1 << 0, 1 << 1
RCTL_EN, RCTL_UPE, RCTL_MPE, RCTL_LPE, RCTL_BAM, RCTL_SECRC = (
    1 << 1, 1 << 3, 1 << 4, 1 << 5, 1 << 15, 1 << 26,
)  # fmt: skip
TCTL_EN, TCTL_PSP = 1 << 1, 1 << 3
RAH_AV = 1 << 31
TX_EOP, TX_IFCS, TX_RS, TX_DEXT = 1 << 0, 1 << 1, 1 << 3, 1 << 5
DD, RX_EOP, RX_IXSM = 1 << 0, 1 << 1, 1 << 2

_PLAIN = {CTRL, RCTL, TCTL, TIPG, RDBAL, RDBAH, RDLEN, RDH, RDT}
_PLAIN |= {RXCSUM, TDBAL, TDBAH, TDLEN, TDH, TDT, RAL, RAH}
_MTA = range(MTA, MTA + 0x200, 4)


class Card:
    """One card on a `bus` with the address `mac` in its EEPROM.

    `reset_reads` and `link_reads` are how often CTRL and STATUS are read before the reset
    is over and the link is up; `cable` False leaves the link down for ever. While `held`,
    frames to be sent wait for `release`.
    """

    size = 0x20000

    def __init__(
        self, bus: Bus, mac: bytes, *, reset_reads: int = 2, link_reads: int = 3, cable: bool = True
    ) -> None:
        self.bus = bus
        self.mac = mac
        self.reset_reads = reset_reads
        self.link_reads = link_reads
        self.cable = cable
        self.held = False
        self.reads = 0
        self.writes = 0
        self.missed = 0
        self.sent: list[bytes] = []
        self.on_send: Callable[[bytes], None] | None = None
        self._reset()

    # Register access

    def read(self, offset: int, width: int) -> int:
        """A register read. §13.2: registers are 32 bits wide, on 32-bit boundaries."""
        self._whole(offset, width)
        self.reads += 1
        if offset == CTRL:
            return self._read_control()
        if offset == STATUS:
            return self._read_status()
        if offset == ICR:
            return 0
        if offset == IMS:
            return self.mask
        if offset in _MTA:
            return self.multicast[(offset - MTA) // 4]
        demand(offset in _PLAIN, f"read of register {offset:#06x}, which cannot be read")
        return self.registers[offset]

    def write(self, offset: int, width: int, value: int) -> None:
        """A register write; tails and enables have effects at once."""
        self._whole(offset, width)
        self.writes += 1
        if offset == IMC:
            self.mask &= ~value
        elif offset == IMS:
            self.mask |= value
        elif offset in _MTA:
            self.multicast[(offset - MTA) // 4] = value
        else:
            demand(offset in _PLAIN, f"write of register {offset:#06x}, which cannot be written")
            self._no_reset_pending(offset)
            self.registers[offset] = value
            self._effect(offset, value)

    def _whole(self, offset: int, width: int) -> None:
        demand(
            width == 32 and offset % 4 == 0, f"{width} bits at {offset:#06x}; only whole registers"
        )

    def _effect(self, offset: int, value: int) -> None:
        if offset == CTRL and value & CTRL_RST:
            self._reset(pending=self.reset_reads)
        elif offset == CTRL and value & CTRL_SLU:
            self._link_wait = self.link_reads
        elif offset in (RDT, RCTL):
            self._fetch_receive()
        elif offset == TDT and value != self._transmit_next:
            demand(bool(self.registers[TCTL] & TCTL_EN), "TDT moved before TCTL.EN (§14.5)")
            self._fetch_transmit()

    def _no_reset_pending(self, offset: int) -> None:
        demand(
            self._reset_wait == 0,
            f"register {offset:#06x} written while CTRL.RST is set (§13.4.1)",
        )

    def _reset(self, pending: int = 0) -> None:
        """The state after a reset; RAL0 and RAH0 come from the EEPROM (§5.6.1, §13.5.2)."""
        self.registers = dict.fromkeys(_PLAIN, 0)
        self.registers[RAL] = int.from_bytes(self.mac[:4], "little")
        self.registers[RAH] = int.from_bytes(self.mac[4:], "little") | RAH_AV
        self.multicast = [0] * len(_MTA)
        self.mask = 0
        self._reset_wait = pending
        self._link_wait = -1
        self._receive: deque[tuple[int, int]] = deque()
        self._transmit: deque[tuple[int, bytes]] = deque()
        self._receive_next = self._transmit_next = 0
        self._fragments = b""

    def _read_control(self) -> int:
        if self._reset_wait:
            self._reset_wait -= 1
            return self.registers[CTRL] | CTRL_RST
        return self.registers[CTRL]

    def _read_status(self) -> int:
        """§13.4.2: LU needs the cable and CTRL.SLU, and takes a while."""
        if not self.cable or self._link_wait < 0:
            return STATUS_FD
        if self._link_wait:
            self._link_wait -= 1
            return STATUS_FD
        return STATUS_FD | STATUS_LU

    # Rings: base, length and the two cursors. §3.2.6, §3.4

    def _ring(self, base: int) -> tuple[int, int]:
        """Address and number of descriptors of the ring whose BAL register is `base`."""
        address = self.registers[base] | self.registers[base + 4] << 32
        length = self.registers[base + 8]
        demand(address % 16 == 0, f"ring at {address:#x} is not on 16 bytes (§13.4.25)")
        demand(length > 0 and length % 128 == 0, f"ring of {length} bytes (§13.4.27)")
        return address, length // 16

    def _fetch_receive(self) -> None:
        """Take the descriptors up to RDT; the one at RDT stays software's (§3.2.6)."""
        if not self.registers[RCTL] & RCTL_EN:
            return
        base, count = self._ring(RDBAL)
        tail = self._tail(RDT, count)
        while self._receive_next != tail:
            descriptor = self.bus.read(base + 16 * self._receive_next, 16)
            buffer = int.from_bytes(descriptor[:8], "little")
            demand(
                buffer not in (b for _, b in self._receive), f"buffer {buffer:#x} is given twice"
            )
            self._receive.append((self._receive_next, buffer))
            self._receive_next = (self._receive_next + 1) % count

    def _fetch_transmit(self) -> None:
        base, count = self._ring(TDBAL)
        tail = self._tail(TDT, count)
        while self._transmit_next != tail:
            slot = self._transmit_next
            self._transmit.append((slot, self.bus.read(base + 16 * slot, 16)))
            self._transmit_next = (slot + 1) % count
        if not self.held:
            self.release()

    def _tail(self, register: int, count: int) -> int:
        tail = self.registers[register]
        demand(tail < count, f"tail {tail} in a ring of {count} descriptors")
        return tail

    # Frames

    @property
    def receiving(self) -> bool:
        """Whether a frame would be looked at: link up and receiver enabled."""
        return bool(self.registers[RCTL] & RCTL_EN) and self._link_wait == 0

    @property
    def free(self) -> int:
        """How many receive descriptors the card holds."""
        return len(self._receive)

    @property
    def waiting(self) -> int:
        """How many transmit descriptors the card holds."""
        return len(self._transmit)

    @property
    def buffers(self) -> list[int]:
        """The buffer addresses that the card holds, receiving and sending."""
        sending = [int.from_bytes(d[:8], "little") for _, d in self._transmit]
        return [b for _, b in self._receive] + sending

    def ring_buffers(self) -> list[int]:
        """The buffer addresses in all descriptors of both rings, whoever owns them."""
        found = []
        for ring in (RDBAL, TDBAL):
            base, count = self._ring(ring)
            found += [
                int.from_bytes(self.bus.read(base + 16 * i, 8), "little") for i in range(count)
            ]
        return found

    def deliver(self, frame: bytes, errors: int = 0, whole: bool = True) -> bool:
        """A frame from the wire, without its FCS; False if the card does not keep it.

        A frame shorter than 60 bytes comes filled up with zeros: the sender's card did so.
        `errors` are what the descriptor reports (§3.2.3.3); with `whole` False it lacks EOP.
        """
        rctl = self.registers[RCTL]
        long = len(frame) > 1518 and not rctl & RCTL_LPE
        if not self.receiving or long or not self._accepts(frame[:6], rctl):
            return False
        if not self._receive:
            self.missed += 1
            return False
        slot, buffer = self._receive.popleft()
        base, count = self._ring(RDBAL)
        data = frame.ljust(60, b"\0") + (b"" if rctl & RCTL_SECRC else b"FCS.")
        demand(len(data) <= 2048 and not rctl & 0x2030000, "the model has buffers of 2048 bytes")
        self.bus.write(buffer, data)
        # §3.2.3: length, packet checksum (not offloaded here), status, errors, special.
        head = len(data).to_bytes(2, "little") + b"\x5a\xa5"
        status = DD | RX_IXSM | (RX_EOP if whole else 0)
        self.bus.write(base + 16 * slot + 8, head + bytes([status, errors, 0, 0]))
        self.registers[RDH] = (slot + 1) % count
        return True

    def _accepts(self, target: bytes, rctl: int) -> bool:
        """The address filter. §3.2.1: exact, broadcast, multicast by hash, promiscuous."""
        if target == b"\xff" * 6:
            return bool(rctl & (RCTL_BAM | RCTL_MPE | RCTL_UPE))
        if target[:1] and target[0] & 1:
            bits = (target[4] >> 4 | target[5] << 4) & 0xFFF if len(target) == 6 else 0
            return bool(rctl & RCTL_MPE or self.multicast[bits >> 5] >> (bits & 31) & 1)
        low, high = self.registers[RAL], self.registers[RAH]
        own = low.to_bytes(4, "little") + (high & 0xFFFF).to_bytes(2, "little")
        return bool(rctl & RCTL_UPE or (high & RAH_AV and target == own))

    def release(self, count: int | None = None) -> None:
        """Send what `count` fetched transmit descriptors describe; all if None. §3.3.3."""
        base, slots = self._ring(TDBAL)
        for _ in range(len(self._transmit) if count is None else count):
            slot, descriptor = self._transmit.popleft()
            self._send(descriptor)
            if descriptor[11] & TX_RS:
                status = self.bus.read(base + 16 * slot + 12, 1)[0]
                self.bus.write(base + 16 * slot + 12, bytes([status | DD]))
            self.registers[TDH] = (slot + 1) % slots

    def _send(self, descriptor: bytes) -> None:
        buffer = int.from_bytes(descriptor[:8], "little")
        length = int.from_bytes(descriptor[8:10], "little")
        command = descriptor[11]
        if command & TX_DEXT:
            raise FaultError("only legacy descriptors are modelled (DEXT is set)")
        demand(0 < length <= 16288, f"a transmit buffer of {length} bytes (§3.3.3)")
        self._fragments += self.bus.read(buffer, length)
        if not command & TX_EOP:
            return
        frame, self._fragments = self._fragments, b""
        demand(bool(command & TX_IFCS), "a frame without FCS: IFCS is not set (§3.3.3.1)")
        padded = len(frame) >= 60 or self.registers[TCTL] & TCTL_PSP
        demand(bool(padded), f"a frame of {len(frame)} bytes without TCTL.PSP (§13.4.33)")
        demand(len(frame) <= 1518, f"a frame of {len(frame)} bytes")
        self.sent.append(frame)
        if self.on_send is not None:
            self.on_send(frame)
