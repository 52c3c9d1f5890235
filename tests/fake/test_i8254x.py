"""The model card driven by a hand-written driver, and each fault it finds."""

from __future__ import annotations

import pytest

from tests.fake import i8254x as card_model
from tests.fake.fault import FaultError
from tests.fake.i8254x import Card

MAC = bytes.fromhex("525400123456")
TO_US = MAC + bytes.fromhex("525400aabbcc0800")
RX, TX, BUFFERS, COUNT = 0x1000, 0x2000, 0x10000, 16


class Ram:
    """Bytes from address 0."""

    def __init__(self) -> None:
        self.data = bytearray(0x40000)

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length])

    def write(self, address: int, data: bytes) -> None:
        self.data[address : address + len(data)] = data


def started(ram: Ram, *, upto: str = "") -> Card:
    """A card brought up as §14.3 to 14.5 say; `upto` leaves the last steps out."""
    card = Card(ram, MAC)
    for i in range(COUNT):
        ram.write(RX + 16 * i, (BUFFERS + 2048 * i).to_bytes(16, "little"))
    card.write(card_model.CTRL, 32, card_model.CTRL_RST)
    while card.read(card_model.CTRL, 32) & card_model.CTRL_RST:
        pass
    card.write(card_model.IMC, 32, 0xFFFFFFFF)
    card.write(card_model.CTRL, 32, card_model.CTRL_SLU)
    for base, address in ((card_model.RDBAL, RX), (card_model.TDBAL, TX)):
        card.write(base, 32, address)
        card.write(base + 8, 32, 16 * COUNT)
    card.write(card_model.RDT, 32, COUNT - 1)
    if upto == "tail":
        return card
    card.write(card_model.TCTL, 32, card_model.TCTL_EN | card_model.TCTL_PSP)
    while not card.read(card_model.STATUS, 32) & card_model.STATUS_LU:
        pass
    rctl = card_model.RCTL_EN | card_model.RCTL_BAM | card_model.RCTL_SECRC
    card.write(card_model.RCTL, 32, rctl)
    return card


def send(card: Card, ram: Ram, slot: int, length: int, command: int = 0x0B) -> None:
    descriptor = (BUFFERS + 0x20000).to_bytes(8, "little") + length.to_bytes(2, "little")
    ram.write(TX + 16 * slot, descriptor + bytes([0, command, 0, 0, 0, 0]))
    card.write(card_model.TDT, 32, (slot + 1) % COUNT)


def test_frames_arrive_in_order_with_their_descriptors() -> None:
    ram = Ram()
    card = started(ram)
    assert card.free == 15
    frames = [TO_US + bytes([i]) * (46 + i) for i in range(15)]
    assert all(card.deliver(frame) for frame in frames)
    assert not card.deliver(frames[0])
    assert card.missed == 1
    for i, frame in enumerate(frames):
        assert ram.read(BUFFERS + 2048 * i, len(frame)) == frame
        descriptor = ram.read(RX + 16 * i, 16)
        assert int.from_bytes(descriptor[8:10], "little") == len(frame)
        assert descriptor[12] & 3 == 3
        assert descriptor[13] == 0
    card.write(card_model.RDT, 32, 3)
    assert card.free == 4
    assert card.deliver(frames[1])


def test_short_frames_are_filled_up() -> None:
    ram = Ram()
    card = started(ram)
    ram.write(BUFFERS, b"\xee" * 2048)
    assert card.deliver(MAC + b"abc")
    assert ram.read(RX + 8, 2) == b"\x3c\0"
    assert ram.read(BUFFERS, 61) == MAC + b"abc" + bytes(51) + b"\xee"


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (MAC, True),
        (b"\xff" * 6, True),
        (MAC[:5] + b"\x57", False),
        (bytes.fromhex("01005e000001"), False),
        (b"", False),
        (b"\xff" * 5, False),
        (MAC[:4], False),
    ],
)
def test_filter(target: bytes, kept: bool) -> None:
    assert started(Ram()).deliver(target + bytes(60) * (len(target) == 6)) is kept


def test_multicast_by_hash() -> None:
    card = started(Ram())
    target = bytes.fromhex("01005e000001")
    bits = (target[4] >> 4 | target[5] << 4) & 0xFFF
    card.write(card_model.MTA + 4 * (bits >> 5), 32, 1 << (bits & 31))
    assert card.deliver(target + bytes(54))


def test_sending_in_pieces_and_held_back() -> None:
    ram = Ram()
    card = started(ram)
    ram.write(BUFFERS + 0x20000, bytes(range(200)))
    send(card, ram, 0, 50, command=0x0A)
    assert card.sent == []
    send(card, ram, 1, 20)
    assert card.sent == [bytes(range(50)) + bytes(range(20))]
    assert ram.read(TX + 12, 1) == ram.read(TX + 28, 1) == b"\1"
    card.held = True
    send(card, ram, 2, 100)
    send(card, ram, 3, 101)
    assert (len(card.sent), card.waiting) == (1, 2)
    assert ram.read(TX + 44, 1) == b"\0"
    card.release(1)
    assert (len(card.sent), card.waiting) == (2, 1)
    assert ram.read(TX + 44, 1) == b"\1"
    assert card.read(card_model.TDH, 32) == 3


def test_link_needs_the_cable() -> None:
    card = started(Ram(), upto="tail")
    card.cable = False
    assert all(not card.read(card_model.STATUS, 32) & 2 for _ in range(9))
    assert not card.receiving


def test_a_late_descriptor_is_not_seen() -> None:
    ram = Ram()
    card = started(ram)
    ram.write(RX, (BUFFERS + 0x18000).to_bytes(8, "little"))
    card.deliver(TO_US + bytes(46))
    assert ram.read(BUFFERS, 6) == MAC


def test_faults() -> None:
    ram = Ram()
    card = started(ram)
    for access in (
        lambda: card.read(card_model.CTRL, 8),
        lambda: card.read(card_model.CTRL + 2, 32),
        lambda: card.read(card_model.IMC, 32),
        lambda: card.write(card_model.STATUS, 32, 0),
        lambda: card.write(0x0014, 32, 0),
        lambda: card.write(card_model.RDT, 32, 16),
        lambda: send(card, ram, 0, 0),
    ):
        with pytest.raises(FaultError):
            access()
    for length, command, message in ((60, 0x09, "FCS"), (60, 0x2B, "legacy"), (1519, 0x0B, "1519")):
        with pytest.raises(FaultError, match=message):
            send(started(ram), ram, 0, length, command)


def test_a_buffer_given_twice_is_a_fault() -> None:
    ram = Ram()
    card = started(ram, upto="tail")
    ram.write(RX + 16 * 5, BUFFERS.to_bytes(8, "little"))
    with pytest.raises(FaultError, match="given twice"):
        card.write(card_model.RCTL, 32, card_model.RCTL_EN)


def test_writes_during_reset_are_faults() -> None:
    card = Card(Ram(), MAC)
    card.write(card_model.CTRL, 32, card_model.CTRL_RST)
    with pytest.raises(FaultError, match="RST"):
        card.write(card_model.RDBAL, 32, 0)


def test_short_frames_need_padding() -> None:
    ram = Ram()
    card = started(ram)
    card.write(card_model.TCTL, 32, card_model.TCTL_EN)
    with pytest.raises(FaultError, match="PSP"):
        send(card, ram, 0, 42)


def test_tail_before_enable() -> None:
    ram = Ram()
    card = started(ram, upto="tail")
    with pytest.raises(FaultError, match=r"TCTL\.EN"):
        send(card, ram, 0, 60)
