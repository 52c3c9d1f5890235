"""The model NE2000 driven by a hand-written driver, and each fault it finds."""

from __future__ import annotations

import pytest

from tests.fake import ne2000 as n
from tests.fake.fault import FaultError
from tests.fake.ne2000 import Card

MAC = bytes.fromhex("525400123456")
TO_US = MAC + bytes.fromhex("525400aabbcc0800")
STOPPED, PAGE1, START = 0x21, 0x61, 0x22


def started() -> Card:
    """A card brought up as §11.0 says, pages 0x46 to 0x7F its ring."""
    card = Card(MAC)
    card.read(n.RESET, 8)
    while not card.read(n.ISR, 8) & n.ISR_RST:
        pass
    for register, value in (
        (n.CR, STOPPED), (n.DCR, 0x49), (n.RBCR0, 0), (n.RBCR1, 0), (n.RCR, n.RCR_AB), (n.TCR, 2),
        (n.TPSR, 0x40), (n.PSTART, 0x46), (n.PSTOP, 0x80), (n.BNRY, 0x46), (n.ISR, 0xFF),
        (n.IMR, 0), (n.CR, PAGE1),
    ):  # fmt: skip
        card.write(register, 8, value)
    for number, byte in enumerate(MAC):
        card.write(1 + number, 8, byte)
    card.write(7, 8, 0x47)
    card.write(n.CR, 8, START)
    card.write(n.TCR, 8, 0)
    return card


Step = tuple[int, int, int | None]
"""A port, a width in bits, and what is written; None reads."""


def remote(at: int, size: int, command: int) -> tuple[Step, ...]:
    return (
        (n.RSAR0, 8, at & 0xFF), (n.RSAR1, 8, at >> 8), (n.RBCR0, 8, size & 0xFF),
        (n.RBCR1, 8, size >> 8), (n.CR, 8, command << 3 | n.STA),
    )  # fmt: skip


def do(card: Card, *steps: Step) -> None:
    for port, width, value in steps:
        if value is None:
            card.read(port, width)
        else:
            card.write(port, width, value)


def taken(card: Card, at: int, size: int, width: int = 16) -> bytes:
    do(card, *remote(at, size, n.READ))
    item = width // 8
    return b"".join(
        card.read(n.REMOTE, width).to_bytes(item, "little") for _ in range(size // item)
    )


@pytest.mark.parametrize("width", [16, 32])
def test_the_prom_has_each_byte_twice(width: int) -> None:
    assert taken(started(), 0, 12, width) == bytes(b for byte in MAC for b in (byte, byte))


def test_frames_lie_in_the_ring_behind_their_headers() -> None:
    card = started()
    frames = [TO_US + bytes([i]) * 700 for i in range(15)]
    assert all(card.deliver(frame) for frame in frames)
    assert card.missed == 0
    page = 0x47
    for frame in frames:
        status, follows, low, high = taken(card, page * 256, 4)
        assert (status, low | high << 8) == (1, len(frame) + 4)
        assert taken(card, page * 256, 4 + len(frame))[4:] == frame
        page = follows
        card.write(n.BNRY, 8, page - 1 if page > 0x46 else 0x7F)
    assert card.deliver(TO_US + bytes(1500)) and card.deliver(TO_US + bytes(1500))
    assert card.registers[n.CURR] < 0x60


def test_a_full_ring_warns_and_receives_no_more() -> None:
    card = started()
    while card.deliver(TO_US + bytes(1500)):
        pass
    assert card.missed == 1 and card.read(n.ISR, 8) & n.ISR_OVW
    card.write(n.BNRY, 8, card.registers[n.BNRY] + 12)
    assert not card.deliver(TO_US + bytes(1500))
    card.write(n.ISR, 8, n.ISR_OVW)
    assert card.deliver(TO_US + bytes(1500))


@pytest.mark.parametrize("item", [2, 4])
def test_a_frame_is_sent_as_it_lies_there(item: int) -> None:
    card = started()
    frame = bytes(range(64))
    do(card, *remote(0x4000, 64, n.WRITE))
    for i in range(0, 64, item):
        assert not card.read(n.ISR, 8) & n.ISR_RDC
        card.write(n.REMOTE, 8 * item, int.from_bytes(frame[i : i + item], "little"))
    assert card.read(n.ISR, 8) & n.ISR_RDC
    card.write(n.TBCR0, 8, 63)
    card.write(n.TBCR1, 8, 0)
    card.held = True
    card.write(n.CR, 8, START | n.TXP)
    assert card.sent == [] and card.read(n.CR, 8) & n.TXP
    card.release()
    assert card.sent == [frame[:63]] and not card.read(n.CR, 8) & n.TXP


@pytest.mark.parametrize(
    ("target", "kept"),
    [(MAC, True), (b"\xff" * 6, True), (MAC[:5] + b"\x57", False), (b"\1" + MAC[1:], False)],
)
def test_filter(target: bytes, kept: bool) -> None:
    assert started().deliver(target + bytes(60)) is kept


HERE = remote(0x4600, 4, n.READ)
FAULTS: dict[str, tuple[Step, ...]] = {
    "16 bits at port": ((n.CR, 16, None),),
    "8 bits of data": (*HERE, (n.REMOTE, 8, None)),
    "32 bits of 2 bytes left": (*remote(0x4600, 2, n.READ), (n.REMOTE, 32, None)),
    "not modelled": ((n.PSTART, 8, None),),
    "page 2": ((n.CR, 8, 0xA2), (7, 8, None)),
    "remote DMA command 0": ((n.CR, 8, 2),),
    "while started": ((n.PSTART, 8, 0x50),),
    "remote DMA is 0": ((n.REMOTE, 16, None),),
    "begins in another": (*HERE, *HERE),
    "of 3 bytes": remote(0x4600, 3, n.READ),
    "at 0x0020": (*remote(0x20, 2, n.READ), (n.REMOTE, 16, None)),
    "into the ring": (*remote(0x4600, 2, n.WRITE), (n.REMOTE, 16, 0)),
    "not cleared after an abort": (*HERE, (n.CR, 8, START), (n.CR, 8, START)),
    "an interrupt is asked for": ((n.IMR, 8, 1),),
    "a frame of 42 bytes": ((n.TBCR0, 8, 42), (n.TBCR1, 8, 0), (n.CR, 8, START | n.TXP)),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults(message: str) -> None:
    with pytest.raises(FaultError, match=message):
        do(started(), *FAULTS[message])
