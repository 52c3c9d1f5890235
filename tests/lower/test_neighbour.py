"""Whom a datagram goes to: asked once a second until there is an answer, and again in time."""

from __future__ import annotations

from metaos import resources
from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import SHADOW
from metaos.lower.clock import BEGUN, NOW, Ticks
from metaos.lower.headers import Mine
from metaos.lower.services import Services
from metaos.lower.values import Frame
from metaos.pattern.patterns import load

SECOND = 1_000_000_000
IP, HOP, STRANGER = 0x0A00020F, 0x0A000202, 0x0A000203
MAC = bytes.fromhex("525400123456")
PLACES = ("frame", "gate", "said", "length", "mac", NOW)


class Card:
    """The service alone on a card: a second passes, a frame may come, and it may ask."""

    def __init__(self) -> None:
        patterns = load([resources.PATTERNS])
        chain = tuple(patterns.services[name] for name in ("ethernet", "neighbour"))
        mine = Mine(IP, "mac", mask=0xFFFFFF00, gateway=HOP)
        services = Services(chain, patterns.layouts, mine, None, Ticks(0, 32, 32, SECOND))
        builder = Builder("frames", "steady")
        with builder.at(chain[1].span):
            base, room = builder.address("frame"), builder.address("frame", 2048)
            services(builder, Frame(base, builder.const(60, 32), builder.load(64, "gate"), 60))
            free = Frame(room, builder.const(0, 32), builder.const(0, 64))
            builder.store(services.speak(builder, free)[0], "said")
        self.program = builder.finish()
        check(self.program)
        self.states = {at.node.name: at.symbol for at in services.states()}
        names = {*PLACES, *self.states.values()}
        names |= {op.address.symbol for op in self.program.ops if op.address is not None}
        places = enumerate(sorted(names - {"absolute"}))
        self.places = {name: (0x20_0000 + 0x4_0000 * n, Ram(bytes(4096))) for n, name in places}
        self.put("mac", MAC)
        self.now = BEGUN

    def put(self, place: str, data: bytes) -> None:
        self.places[place][1].data[: len(data)] = data

    def state(self, name: str) -> int:
        return int.from_bytes(self.places[self.states[name]][1].data[:8], "little")

    def second(self, frame: bytes = b"") -> bool:
        """Whether it asks in the second that passes, and then right again."""
        asked = []
        for came in (frame, b""):
            self.put("frame", came.ljust(60, b"\0"))
            self.put("gate", (0 if came else SHADOW).to_bytes(8, "little"))
            self.put(NOW, self.now.to_bytes(8, "little"))
            run(self.program, Memory(self.places))
            said = self.places["said"][1].data[:8]
            asked.append(not int.from_bytes(said, "little"))
        self.now += SECOND
        assert not asked[1] or asked[0] is False
        return any(asked)


def answer(mac: bytes, ip: int) -> bytes:
    head = MAC + mac + bytes.fromhex("08060001080006040002")
    return head + mac + ip.to_bytes(4, "big") + MAC + IP.to_bytes(4, "big")


def test_it_asks_every_second_until_it_is_answered_by_the_right_one() -> None:
    card = Card()
    assert [card.second() for _ in range(3)] == [True] * 3
    card.second(answer(b"\2\0\0\0\0\7", STRANGER))
    assert not card.state("left") and card.second()
    card.second(answer(b"\2\0\0\0\0\2", HOP))
    assert card.state("mac") == 0x02_00_00_00_00_02 and card.state("owner") == HOP
    assert not any(card.second() for _ in range(30))


def test_it_asks_again_before_the_answer_is_too_old_and_when_nobody_answers_any_more() -> None:
    card = Card()
    card.second(answer(b"\2\0\0\0\0\2", HOP))
    quiet = next(n for n in range(100) if card.second())
    assert 35 <= quiet <= 45 and card.state("left")
    card.second(answer(b"\2\0\0\0\0\3", HOP))  # another card has taken its place
    assert card.state("mac") == 0x02_00_00_00_00_03
    assert 35 <= next(n for n in range(100) if card.second()) <= 45
    assert all(card.second() for _ in range(60))
    assert not card.state("left"), "what is not answered any more does not count"
