"""An NE2000: a DP8390 with 16 KiB of RAM and an address PROM behind a data port.

Source: National Semiconductor DP8390D/NS32490D NIC, July 1995, whose sections are cited where
they are followed; Realtek RTL8029AS, LS009.0, for the ports beyond the DP8390's sixteen.

The card is stricter than real ones: an access it has no model of is a fault, as is one that
breaks a rule of the manual.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.fake.fault import demand

CR, REMOTE, RESET = 0x00, 0x10, 0x1F
STP, STA, TXP = 1, 2, 4
READ, WRITE, ABORT = 1, 2, 4
PSTART, PSTOP, BNRY, TPSR, TBCR0, TBCR1, ISR = 1, 2, 3, 4, 5, 6, 7
RSAR0, RSAR1, RBCR0, RBCR1, RCR, TCR, DCR, IMR = 8, 9, 10, 11, 12, 13, 14, 15
PAR, CURR, MAR = range(0x11, 0x17), 0x17, range(0x18, 0x20)
ISR_PRX, ISR_PTX, ISR_OVW, ISR_RDC, ISR_RST = 0x01, 0x02, 0x10, 0x40, 0x80
RCR_AR, RCR_AB, RCR_AM, RCR_PRO, RCR_MON = 0x02, 0x04, 0x08, 0x10, 0x20
TCR_LB, DCR_WTS, DCR_LS = 0x06, 0x01, 0x08
RSR_PRX, RSR_PHY = 0x01, 0x20
PAGE, RAM, RAM_END, PROM_END = 256, 0x4000, 0x8000, 0x20
UNSET = -1

Header = Callable[[int, int, int], tuple[int, int, int]]
"""Status, next page and length of a frame in the ring to what a card out of order says instead."""


class Card:
    """A card with the address `mac` in its PROM.

    `reset_reads` is how often ISR is read before a reset is over, `slow` how often before a
    remote DMA is told to be complete. While `held`, a transmission does not end until
    `release`. `lenient` cards do without the checks of a driver's addresses.
    """

    size = 0x20

    def __init__(self, mac: bytes, *, reset_reads: int = 2) -> None:
        self.mac = mac
        self.reset_reads = reset_reads
        self.slow = 0
        self.held = False
        self.lenient = False
        self.header: Header | None = None
        self.current: int | None = None
        """What CURR reads as on a card out of order."""
        self.reads = self.writes = self.items = self.missed = 0
        self.sent: list[bytes] = []
        prom = (mac.ljust(14, b"\0") + b"WW").ljust(16, b"\0")
        self.memory = bytearray(RAM_END)
        self.memory[:PROM_END] = bytes(b for byte in prom for b in (byte, byte))
        self._power_on()

    def _power_on(self) -> None:
        self.registers = dict.fromkeys((*range(1, 16), *PAR, CURR, *MAR), UNSET)
        self._reset()

    def _reset(self) -> None:
        """§11.0: after a reset CR is 21h, ISR 80h, IMR 00h, no remote DMA, no loopback."""
        self.command = ABORT << 3 | STP
        self.registers |= {ISR: ISR_RST, IMR: 0, RSAR0: 0, RSAR1: 0, RBCR0: 0, RBCR1: 0}
        self._reset_wait = self.reset_reads
        self._remote, self._at, self._left, self._done_wait = 0, 0, 0, 0
        self._stale: set[int] = set()

    # Register access

    def read(self, offset: int, width: int) -> int:
        """A port is read: 8 bits wide but for the data port (DCR.WTS, §10.3; RTL8029AS 5.1)."""
        self.reads += 1
        if offset == REMOTE:
            return self._item(width, READ)
        demand(width == 8, f"{width} bits at port {offset:#x}")
        if offset == RESET:
            self._reset()
            return 0
        if offset == CR:
            return self.command
        register = self._paged(offset)
        if register == ISR:
            return self._status()
        if register == CURR and self.current is not None:
            return self.current
        readable = register in (BNRY, CURR) or register in PAR or register in MAR
        demand(readable, f"read of register {register:#x}, which is not modelled")
        return self.registers[register]

    def write(self, offset: int, width: int, value: int) -> None:
        """A port is written; commands have effects at once."""
        self.writes += 1
        if offset == REMOTE:
            self._item(width, WRITE, value)
            return
        demand(width == 8, f"{width} bits at port {offset:#x}")
        if offset == CR:
            self._command(value)
        elif offset != RESET:  # writing ends the pulse that reading began
            self._write(self._paged(offset), value)

    def _paged(self, offset: int) -> int:
        """§10.2: PS of CR selects what is at 01h to 0Fh. Pages 2 and 3 are for diagnostics."""
        page = self.command >> 6
        demand(0 < offset < 16 and page < 2, f"port {offset:#x} on page {page}")
        return offset + 0x10 * page

    def _write(self, register: int, value: int) -> None:
        demand(not self._reset_wait, f"register {register:#x} written in a reset")
        if register == ISR:
            self.registers[ISR] &= ~value | ISR_RST
            return
        set_up = register in (PSTART, PSTOP, DCR, CURR) or register in PAR
        demand(
            not set_up or bool(self.command & STP),
            f"register {register:#x} is written while started",
        )
        if register == IMR:
            demand(value == 0, "an interrupt is asked for, and nobody would take it")
        if register in (RBCR0, RBCR1):
            self._stale.discard(register)
        busy = register in (TPSR, TBCR0, TBCR1) and bool(self.command & TXP)
        demand(not busy, f"register {register:#x} is written during a transmission")
        self.registers[register] = value

    def _status(self) -> int:
        if self._reset_wait:
            self._reset_wait -= 1
            return self.registers[ISR] & ~ISR_RST
        if self._done_wait:
            self._done_wait -= 1
            return self.registers[ISR] & ~ISR_RDC
        return self.registers[ISR]

    def _command(self, value: int) -> None:
        """§10.3, Command Register."""
        remote = value >> 3 & 7
        demand(remote in (READ, WRITE, ABORT), f"remote DMA command {remote} (§10.3, CR)")
        demand(value & 3 in (STP, STA), f"CR {value:#x} neither stops nor starts")
        self.command = value & ~TXP | self.command & TXP
        if self._stale:
            names = ", ".join(f"{r:#x}" for r in sorted(self._stale))
            demand(False, f"RBCR ({names}) not cleared after an abort (§10.3, CR)")
        if value & STA:
            self.registers[ISR] &= ~ISR_RST
        if remote == ABORT:
            self._abort()
        else:
            demand(bool(value & STA), "remote DMA of a card that is stopped")
            self._begin(remote)
        if value & TXP:
            self._transmit()

    # Remote DMA: §9.0

    def _abort(self) -> None:
        if self._remote and self._left:
            self._stale = {RBCR0, RBCR1}
        self._remote = self._left = 0

    def _begin(self, remote: int) -> None:
        demand(self.registers[DCR] != UNSET, "remote DMA before DCR is set (§11.0)")
        demand(not self._remote, "a remote DMA begins in another")
        self._remote = remote
        self._at = self.registers[RSAR0] | self.registers[RSAR1] << 8
        self._left = self.registers[RBCR0] | self.registers[RBCR1] << 8
        demand(self._left > 0 and self._left % 2 == 0, f"remote DMA of {self._left} bytes by words")

    def _item(self, width: int, remote: int, value: int = 0) -> int:
        """One word, or two, to or from the RAM, which wraps from PSTOP to PSTART (§9.0)."""
        self.items += 1
        by_words = bool(self.registers[DCR] & DCR_WTS)
        demand(width in (16, 32) and by_words, f"{width} bits of data")
        demand(self._remote == remote, f"data port: remote DMA is {self._remote}, not {remote}")
        at, size = self._at, width // 8
        demand(size <= self._left, f"{width} bits of {self._left} bytes left")
        inside = RAM <= at <= RAM_END - size or (remote == READ and at <= PROM_END - size)
        demand(inside or self.lenient, f"remote DMA at {at:#06x}")
        if remote == WRITE:
            to = self.registers[PSTART] << 8
            demand(self.lenient or at < to, f"remote DMA writes into the ring at {at:#06x}")
            self.memory[at : at + size] = value.to_bytes(size, "little")
        elif inside:
            value = int.from_bytes(self.memory[at : at + size], "little")
        else:
            value = (1 << width) - 1
        self._at = at + size
        if self._at == self.registers[PSTOP] << 8:
            self._at = self.registers[PSTART] << 8
        self._left -= size
        if self._left == 0:
            self._remote = 0
            self.registers[ISR] |= ISR_RDC
            self._done_wait = self.slow
        return value

    # Frames

    @property
    def receiving(self) -> bool:
        """Started, out of loopback and of monitor mode, a ring set up (§7.0, §11.0)."""
        known = all(self.registers[r] != UNSET for r in (PSTART, PSTOP, BNRY, CURR, RCR, TCR, *PAR))
        return (
            known
            and self.command & STP == 0
            and not self.registers[TCR] & TCR_LB
            and not self.registers[RCR] & RCR_MON
            and not self.registers[ISR] & ISR_OVW
        )

    def deliver(self, frame: bytes) -> bool:
        """A frame from the wire, without its FCS; False if the card does not keep it.

        A frame shorter than 60 bytes comes filled up with zeros: the sender's card did so.
        §7.0: a packet goes into pages in a row; at the page of BNRY reception ends.
        """
        frame = frame.ljust(60, b"\0") if len(frame) >= 6 else frame
        if not self.receiving or len(frame) > 1514 or not self._accepts(frame[:6]):
            return False
        first, end, limit = (self.registers[r] for r in (PSTART, PSTOP, BNRY))
        data = bytes(4) + frame + b"FCS."
        pages, page = [], self.registers[CURR]
        for _ in range(0, len(data), PAGE):
            pages.append(page)
            page = page + 1 if page + 1 < end else first
            if page == limit:
                self.registers[ISR] |= ISR_OVW
                self.missed += 1
                return False
        status = RSR_PRX | RSR_PHY * (frame[0] & 1)
        said = (status, page, len(frame) + 4)
        status, follows, length = self.header(*said) if self.header else said
        data = bytes([status, follows, length & 0xFF, length >> 8]) + data[4:]
        for number, at in enumerate(pages):
            part = data[number * PAGE : (number + 1) * PAGE]
            self.memory[at * PAGE : at * PAGE + len(part)] = part
        self.registers[CURR] = page
        self.registers[ISR] |= ISR_PRX
        return True

    @property
    def room(self) -> int:
        """Pages between CURR and BNRY."""
        first, end = self.registers[PSTART], self.registers[PSTOP]
        return (self.registers[BNRY] - self.registers[CURR]) % (end - first) or end - first

    def _accepts(self, target: bytes) -> bool:
        """§10.3, RCR: physical address, broadcast, multicast without its hash filter."""
        rcr = self.registers[RCR]
        if target == b"\xff" * 6:
            return bool(rcr & RCR_AB)
        if target and target[0] & 1:
            return bool(rcr & RCR_AM)
        return bool(rcr & RCR_PRO) or target == bytes(self.registers[r] for r in PAR)

    def _transmit(self) -> None:
        """§8.0: TBCR bytes from page TPSR. The card adds no padding."""
        demand(not self.command & TXP, "TXP is set during a transmission")
        demand(bool(self.command & STA), "a card that is stopped transmits")
        demand(not self._remote, "transmission while remote DMA is at work")
        length = self.registers[TBCR0] | self.registers[TBCR1] << 8
        demand(60 <= length <= 1514, f"a frame of {length} bytes")
        start = self.registers[TPSR] * PAGE
        ring = self.registers[PSTART] * PAGE
        demand(RAM <= start <= start + length <= ring, f"a frame at {start:#06x}")
        self.command |= TXP
        self._frame = bytes(self.memory[start : start + length])
        if not self.held:
            self.release()

    def release(self) -> None:
        """The transmission ends, if there is one."""
        if self.command & TXP:
            self.command &= ~TXP
            self.registers[ISR] |= ISR_PTX
            self.sent.append(self._frame)
