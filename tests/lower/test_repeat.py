"""`repeat` in a sequence: the rows it makes, joined into loops where rounds are alike."""

from __future__ import annotations

import pytest

from metaos.lower.loops import COUNT
from metaos.lower.row import Row
from metaos.lower.rows import RowLowering
from metaos.lower.text import Texts
from metaos.pattern import syntax as s
from tests.lower.lowering import planned

REGISTERS = (
    "registers io at 0x70 port 8 bits",
    "  0 P[4] rw @m 1",
    "    0 IN",
    "    1 OUT",
    "  4 Q rw @m 1",
    "    0 IN",
    "    1 OUT",
    "layout L 8 bytes little",
    "  31:0 a",
    "  47:32 b",
    "table t[2] of L",
)


def rows(*lines: str) -> list[Row]:
    device = planned(*REGISTERS, "sequence init", *(f"  {line}" for line in lines))
    (init,) = device.pattern.of(s.Sequence)
    return RowLowering(device, Texts(), {}, {}, None).lower(init.rows)


def kinds(made: list[Row]) -> list[str]:
    return [row.kind for row in made]


def test_numbers_go_up_or_down_both_ends_included() -> None:
    up = rows("repeat i in 1..3", "  P[i] <- i")
    assert [(r.place.value, r.value.value) for r in up] == [(0x71, 1), (0x72, 2), (0x73, 3)]
    assert rows("repeat i in 3..1", "  P[i] <- i") == up[::-1]
    assert [r.value.value for r in rows("repeat i in 2..2", "  Q <- i")] == [2]


def test_what_is_alike_is_a_loop() -> None:
    made = rows("Q <- 0", "repeat i in 0..99", "  read Q", "Q <- 1")
    assert kinds(made) == ["port8.write", "mem8.write", "port8.test", "mem8.loop", "port8.write"]
    start, one, loop = made[1:4]
    assert (start.place.symbol, start.value.value) == (COUNT, 99)
    assert (loop.place.symbol, loop.aside) == (COUNT, 1)
    assert (start.span.line, one.span.line, loop.span.line) == (17, 18, 17)


def test_a_serial_word() -> None:
    made = rows(
        "repeat i in 15..0",
        "  Q <- { OUT = 0b1010_0000_0000_1111[i] }",
        "  mac[16 + i] <- Q.IN",
    )
    assert kinds(made) == ["mem8.write", "port8.flip", "port8.bit", "mem8.loop"]
    flip, bit = made[1], made[2]
    assert (flip.value.value, flip.aside, flip.bits) in [(2, 2, 0x5FF0), (0, 2, 0xA00F)]
    assert (bit.value.value, bit.aside, bit.bits) == (2, 0, 1)


def test_one_in_another_is_done_for_each_of_its_numbers() -> None:
    made = rows("repeat w in 0..2", "  repeat i in 15..0", "    mac[16 * w + i] <- Q.IN")
    assert kinds(made) == ["mem8.write", "port8.bit", "mem8.loop"] * 3
    assert [r.value.value for r in made[1::3]] == [0, 2, 4]


def test_what_differs_stays() -> None:
    assert kinds(rows("repeat i in 0..3", "  P[i] <- 1")) == ["port8.write"] * 4
    assert kinds(rows("repeat i in 0..15", "  mac[i] <- Q.IN")) == ["port8.bit"] * 16
    assert kinds(rows("repeat i in 0..8", "  Q <- 1 given i == 4")) == ["port8.write"]


@pytest.mark.parametrize(
    ("line", "kind", "place", "value"),
    [
        ("t[1].a <- mac[31:0]", "mem32.keep", 0, 8),
        ("t[0].b <- mac[47:32]", "mem16.keep16", 4, 4),
    ],
)
def test_a_state_goes_into_a_table(line: str, kind: str, place: int, value: int) -> None:
    (made,) = rows(line)
    assert (made.kind, made.place.value, made.value.value) == (kind, place, value)
    assert made.place.symbol.endswith(".mac") and made.value.symbol.endswith(".t")
