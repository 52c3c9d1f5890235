"""The queue between two cards: order, what has no room, and whose turn it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metaos import resources
from metaos.errors import MetaosError, Span
from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import SHADOW, Program
from metaos.lower.headers import Mine, Wire
from metaos.lower.passing import MOST, SLOTS, Queue
from metaos.lower.services import Services
from metaos.lower.values import Frame
from metaos.match.rows import rows_of
from metaos.pattern.patterns import load

QUEUE = Queue("to", Span("", 1, 1, 2))
PATTERNS = load([resources.PATTERNS])
MAC = bytes.fromhex("525400123456")


class Card:
    """One card's services and the queues beside it, in memory; a frame comes, or there is room."""

    def __init__(self, *names: str, waiting: bool = False) -> None:
        carried = tuple(x for x in PATTERNS.services.values() if x.name in ("ethernet", *names))
        wire = Wire(QUEUE if waiting else None, None if waiting else QUEUE)
        mine = Mine(0x0A00020F, "mac")
        self.services = Services(carried, PATTERNS.layouts, mine, wire=wire)
        parts = {QUEUE.symbol(name): size for name, size in QUEUE.sizes.items()}
        parts |= {"frame": 2048, "mac": 8, "length": 8, "answered": 8, "sent": 8}
        parts |= {at.symbol: 8 for at in self.services.states()}
        self.ram = {name: Ram(size) for name, size in parts.items()}
        self.ram["mac"].data[:6] = MAC
        starts = {name: 0x200000 + n * 0x10000 for n, name in enumerate(parts)}
        self.memory = Memory({n: (starts[n], self.ram[n]) for n in parts})
        self.offer, self.grant = self.program(grant=False), self.program(grant=waiting)

    def program(self, grant: bool) -> Program:
        b = Builder("card", "steady")
        frame = Frame(b.address("frame"), b.load(32, "length"), b.const(0, 64), 60)
        splice = self.services.speak if grant else self.services
        answered, length = splice(b, frame)
        b.store(answered, "answered")
        b.store(b.resize(length, 32), "sent")
        program = b.finish()
        check(program)
        return program

    def comes(self, frame: bytes) -> bool:
        """A frame comes; whether it is answered."""
        self.ram["frame"].data[: len(frame)] = frame
        self.ram["length"].data[:2] = len(frame).to_bytes(2, "little")
        run(self.offer, self.memory)
        return self.number("answered") != SHADOW

    def goes(self) -> bytes | None:
        """There is room; the frame that goes out."""
        run(self.grant, self.memory)
        shut = self.number("answered") == SHADOW
        return None if shut else bytes(self.ram["frame"].data[: self.number("sent")])

    def number(self, name: str) -> int:
        return int.from_bytes(self.ram[name].data[:8], "little") & 0xFFFF_FFFF

    def put(self, frame: bytes) -> None:
        """What another card does."""
        b = Builder("other", "steady")
        came = Frame(b.address("frame"), b.const(len(frame), 32), b.const(0, 64))
        gate = QUEUE.room(b, came.gate, came.length)
        QUEUE.put(b, came, gate, b.const(0, 64))
        QUEUE.sent_on(b, gate)
        self.ram["frame"].data[: len(frame)] = frame
        run(b.finish(), self.memory)


def frame(number: int, size: int = 60) -> bytes:
    head = b"\x02\0\0\0\0\x07" + b"\x02\0\0\0\0\x02\x88\xb6"
    return head + bytes((number + i) & 0xFF for i in range(size - 14))


def test_what_has_no_room_is_dropped_and_not_counted() -> None:
    card = Card("forward")
    for number in range(SLOTS + 3):
        assert not card.comes(frame(number))
    assert card.number("forward.passed") == SLOTS
    assert card.number(QUEUE.symbol("head")) == SLOTS


@pytest.mark.parametrize(("size", "passes"), [(60, 1), (MOST, 1), (MOST + 1, 0), (2048, 0)])
def test_the_longest_frame_fits_and_a_longer_one_is_dropped(size: int, passes: int) -> None:
    card = Card("forward")
    card.comes(frame(1, size))
    assert card.number("forward.passed") == passes


def test_frames_go_in_their_order_round_and_round() -> None:
    card = Card("arp", waiting=True)
    for number in range(5 * SLOTS):
        card.put(frame(2 * number, 60 + number))
        card.put(frame(2 * number + 1, 1514))
        assert card.goes() == frame(2 * number, 60 + number)
        assert card.goes() == frame(2 * number + 1, 1514)
        assert card.goes() is None


def arp() -> bytes:
    """Who has our address?"""
    body = bytes.fromhex("0001080006040001") + b"\x02\0\0\0\0\x02" + bytes([10, 0, 2, 2])
    ask = b"\xff" * 6 + b"\x02\0\0\0\0\x02\x08\x06" + body + bytes(6) + bytes([10, 0, 2, 15])
    return ask.ljust(60, b"\0")


def test_a_full_queue_and_answers_take_turns() -> None:
    card = Card("arp", waiting=True)
    for number in range(SLOTS - 1):
        card.put(frame(number))
    assert card.comes(arp()) and card.comes(arp()), "while there is room answers go first"
    card.put(frame(SLOTS - 1))
    sent = []
    for number in range(20):
        if card.comes(arp()):
            sent.append(-1)
        else:
            out = card.goes()
            assert out is not None
            sent.append(out[14])
        card.put(frame(SLOTS + number))
    passed = [x for x in sent if x >= 0]
    assert sent.count(-1) == 10 and passed == sorted(set(passed)), "of those with room, in order"


RULES = next(x for x in PATTERNS.services["firewall"].lists if x.name == "rules")


def test_rows_are_prefixes_ranges_and_numbers() -> None:
    rows = ({"src": "10.0.0.0/8", "dport": "1-7", "allow": 1}, {"protocol": 6, "allow": 0})
    assert rows_of(RULES, rows, "firewall").rows == (
        ((0x0A00_0000, 0xFF00_0000), (0, 0), (0, 255), (0, 65535), (1, 6), (1, 0)),
        ((0, 0), (0, 0), (6, 0), (0, 65535), (0, 65535), (0, 0)),
    )


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"allow": 1, "port": 7}, "there is no column 'port'"),
        ({"src": "10.0.0.0/8"}, "'allow' is missing"),
        ({"allow": 2}, "allow = '2' is not a number of 1 bits"),
        ({"allow": 1, "src": "10.0.0.1/8"}, "is not a prefix, as 10.0.0.0/8"),
        ({"allow": 1, "dport": "9-7"}, "is not a range, as 1024-65535"),
        ({"allow": 1, "dport": "1-70000"}, "is not a range, as 1024-65535"),
        ({"allow": 1, "dport": "http"}, "is not a range, as 1024-65535"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(row: dict[str, int | str], wrong: str) -> None:
    with pytest.raises(MetaosError) as refused:
        rows_of(RULES, (row,), "firewall")
    assert "E0311" in refused.value.render() and wrong in refused.value.render()


def test_each_row_costs_the_same() -> None:
    """Whatever it says: the same instructions, and a turn's number of ops grows by as many."""
    row: dict[str, int | str] = {"src": "10.0.0.0/8", "dport": 53, "allow": 1}

    def ops(rows: tuple[dict[str, int | str], ...]) -> int:
        service = PATTERNS.services["firewall"]
        listed = (rows_of(service.lists[0], rows, "firewall"),)
        own = replace(service, lists=listed)
        carried = (PATTERNS.services["ethernet"], own)
        b = Builder("card", "steady")
        wire = Wire(beyond=QUEUE)
        came = Frame(b.address("frame"), b.load(32, "length"), b.const(0, 64), 60)
        Services(carried, PATTERNS.layouts, Mine(1, "mac"), wire=wire)(b, came)
        return len(b.finish().ops)

    one, two, three = ops((row,)), ops((row, {"allow": 0})), ops((row, {"allow": 0}, row))
    assert abs((three - two) - (two - one)) <= 2  # constants that a first use declares
