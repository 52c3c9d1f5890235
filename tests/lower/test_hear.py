"""Lines that a service hears of what consoles show, beside a model of lists."""

from __future__ import annotations

import random

from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import SHADOW, Program
from metaos.lower.hear import Heard
from metaos.pattern import syntax as s
from tests.lower.lowering import NOWHERE

COUNT, SIZE = 4, 12
PLACES = ("ring", "gate", "waits", "length", "out", "count")


def program() -> tuple[Program, Heard]:
    """A turn: a character is heard, and where the gate is open a line leaves to `out`."""
    heard = Heard(s.Hear(COUNT, SIZE, NOWHERE), "log")
    b = Builder("card", "steady")
    with b.at(NOWHERE):
        heard.take(b, "ring")
        b.barrier()
        gate = b.load(64, "gate")
        b.store(b.zext(heard.waiting(b), 64), "waits")
        b.store(b.zext(heard.length(b), 64), "length")
        b.store(b.zext(heard.lost(b), 64), "count")
        heard.copy(b, b.address("out"), 0, gate)
        heard.said(b, gate)
    made = b.finish()
    check(made)
    return made, heard


class Machine:
    """The program, its places, and characters that are written as consoles' ring has them."""

    def __init__(self) -> None:
        self.program, heard = program()
        names = [*PLACES, *(p.name for p in heard.places("card"))]
        self.places = {n: (0x20_0000 + 0x1_0000 * i, Ram(bytes(512))) for i, n in enumerate(names)}
        self.written = 0

    def number(self, place: str) -> int:
        return int.from_bytes(self.places[place][1].data[:8], "little")

    def turn(self, char: str = "", *, send: bool = False) -> None:
        ring = self.places["ring"][1].data
        if char:
            ring[self.written] = ord(char)
            self.written = (self.written + 1) % 256
            ring[self.written] = 0
        self.places["gate"][1].data[:8] = (0 if send else SHADOW).to_bytes(8, "little")
        run(self.program, Memory(self.places))

    def hear(self, text: str) -> None:
        for char in text:
            self.turn(char)

    def sent(self) -> str | None:
        """The next line, which leaves."""
        self.turn()
        if not self.number("waits"):
            return None
        length = self.number("length")
        self.turn(send=True)
        return bytes(self.places["out"][1].data[:length]).decode("ascii")


def test_lines_come_out_in_order_and_long_ones_are_cut() -> None:
    machine = Machine()
    assert machine.sent() is None
    machine.hear("one\r\n\r\nthe second line is long\r\nhalf")
    assert [machine.sent(), machine.sent(), machine.sent()] == ["one", "the second l", None]
    machine.hear(" of it\r\n")
    assert machine.sent() == "half of it"
    assert machine.number("count") == 0


def test_a_line_without_room_is_counted_and_none_is_torn() -> None:
    draw = random.Random(5)
    machine, waiting, lost, seen = Machine(), list[str](), 0, 0
    for number in range(300):
        if draw.random() < 0.6:
            text = f"{number} " + "x" * draw.randrange(20)
            machine.hear(f"{text}\r\n")
            if len(waiting) < COUNT - 1:
                waiting.append(text[:SIZE])
            else:
                lost += 1
        else:
            line = machine.sent()
            assert line == (waiting.pop(0) if waiting else None)
            seen += line is not None
        assert machine.number("count") == lost
    assert seen > 80 and lost > 20
