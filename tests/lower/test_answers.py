"""What services answer, in the interpreter: updated checksums, fields, lengths, which service."""

from __future__ import annotations

import random
import struct

import pytest

from tests.lower.lowering import Answering

pytestmark = pytest.mark.long

SUMMED = """layout H 8 bytes big
  kind u8
  hops u8
  sum  u16
  rest u32
"""


def updating(old: str, new: str, *tests: str) -> Answering:
    """A service whose answer changes one byte and updates the sum."""
    accept = "".join(f"    {test}\n" for test in tests)
    return Answering(
        SUMMED + "service root over frame\n  header H\n"
        + (f"  accept when\n{accept}" if tests else "")
        + f"  reply\n    {old} <- {new}\n    sum <- update(sum, {old}, {new})\n  send 60\n",
        names=("root",),
    )  # fmt: skip


def updated(total: int, old: int, new: int) -> int:
    """RFC 1624: HC' = ~(~HC + ~m + m'), with the zero that adding m to HC yields.

    HC + m in ones' complement is 0xFFFF where the sum is zero; taking away m' yields 0.
    """
    total += old
    total = (total & 0xFFFF) + (total >> 16)
    if new:
        total -= new
        if total < 0:
            total += 0xFFFF
    return total


def same_number(a: int, b: int) -> bool:
    return a % 0xFFFF == b % 0xFFFF


@pytest.mark.parametrize(
    ("old", "shift"), [pytest.param("kind", 8, id="high byte"), pytest.param("hops", 0, id="low")]
)
@pytest.mark.parametrize("new", [0, 1, 64, 0xFF])
def test_update_follows_rfc_1624(old: str, shift: int, new: int) -> None:
    service = updating(old, str(new))
    source = random.Random(new)
    sums = {0, 1, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFEFF, 0xFF00, 0xFFFE, 0xFFFF, new << shift}
    sums |= {(~(byte << shift)) & 0xFFFF for byte in (0, 8, 64, 0xFF)}
    sums |= {source.randrange(1 << 16) for _ in range(40)}
    for total in sorted(sums):
        for byte in (0, 1, 8, 63, 64, 65, 0x7F, 0x80, 0xFF):
            fields = (byte, 0) if old == "kind" else (0, byte)
            frame = struct.pack(">BBHI", *fields, total, 5).ljust(60, b"\0")
            made = service.ask(frame)
            assert made is not None
            (found,) = struct.unpack_from(">H", made, 2)
            wanted = updated(total, byte << shift, new << shift)
            assert found == wanted, (total, byte, new)
            assert same_number(found, total + (byte << shift) - (new << shift))


@pytest.mark.parametrize("known", [0, 8, 64, 0xFF])
def test_all_sums_where_the_byte_is_known(known: int) -> None:
    """As an echo's: every 16-bit checksum, a right one stays right and a wrong one wrong."""
    service = updating("kind", "0", f"kind == {known}")
    for total in range(0, 1 << 16, 7):
        frame = struct.pack(">BBHI", known, 0, total, 5).ljust(60, b"\0")
        made = service.ask(frame)
        assert made is not None
        (found,) = struct.unpack_from(">H", made, 2)
        assert found == updated(total, known << 8, 0)


def test_which_zero() -> None:
    """0xFFFF where nothing is taken away, 0x0000 where something is."""
    assert updating("kind", "0").ask(struct.pack(">BBHI", 8, 0, 0xF7FF, 0).ljust(60, b"\0")) == (
        struct.pack(">BBHI", 0, 0, 0xFFFF, 0).ljust(60, b"\0")
    )
    assert updating("kind", "64").ask(struct.pack(">BBHI", 8, 0, 0x3800, 0).ljust(60, b"\0")) == (
        struct.pack(">BBHI", 64, 0, 0x0000, 0).ljust(60, b"\0")
    )


HEADERS = """layout Outer 14 bytes big
  to   u48
  from u48
  kind u16
layout Left 8 bytes big
  a u16
  b u16
  c u32
layout Right 8 bytes big
  d u32
  e u32
"""
TREE = (
    HEADERS
    + """
service outer over frame
  header Outer
  accept when from[40] == 0
  reply
    to   <- from
    from <- my.mac
service left over outer where kind == 1
  header Left
  accept when a <= b
  reply
    a <- b
    b <- a
    c <- 0x01020304
  send 40
service right over outer where kind == 2
  header Right
  accept when d != e
  reply
    d <- my.ip
    e <- d
  send frame.length
"""
)
TO, FROM = bytes(range(0x10, 0x16)), bytes(range(0x20, 0x26))
MAC = bytes.fromhex("525400123456")


def tree() -> Answering:
    return Answering(TREE, names=("outer", "left", "right"))


def frame(kind: int, rest: bytes, length: int = 60) -> bytes:
    return (TO + FROM + struct.pack(">H", kind) + rest).ljust(length, b"\x99")


def test_each_service_answers_in_its_own_way() -> None:
    service = tree()
    left = service.ask(frame(1, struct.pack(">HHI", 3, 9, 7)))
    assert left == (FROM + MAC + struct.pack(">HHHI", 1, 9, 3, 0x01020304)).ljust(40, b"\x99")
    right = service.ask(frame(2, struct.pack(">II", 3, 9), length=77))
    assert right == (FROM + MAC + struct.pack(">HII", 2, 0x0A00020F, 3)).ljust(77, b"\x99")


@pytest.mark.parametrize(
    ("kind", "rest"),
    [(1, struct.pack(">HHI", 9, 3, 0)), (2, struct.pack(">II", 3, 3)), (3, b"")],
)
def test_nobody_answers(kind: int, rest: bytes) -> None:
    assert tree().ask(frame(kind, rest)) is None


def test_a_group_gets_no_answer_from_anybody() -> None:
    asked = bytearray(frame(1, struct.pack(">HHI", 3, 9, 7)))
    asked[6] |= 1
    assert tree().ask(bytes(asked)) is None


def test_a_service_left_out_is_silent() -> None:
    service = Answering(TREE, names=("outer", "right"))
    assert service.ask(frame(1, struct.pack(">HHI", 3, 9, 7))) is None
    assert service.ask(frame(2, struct.pack(">II", 3, 9))) is not None


def test_a_child_reads_what_came_not_what_its_parent_answers() -> None:
    """The received frame is read by all, whoever stores first."""
    text = HEADERS + (
        "layout Inner 12 bytes big\n  x u48\n  y u48\n"
        "service outer over frame\n  header Outer\n  reply\n    to <- from\n    from <- to\n"
        "service inner over outer where kind == 7\n  header Inner\n"
        "  reply\n    x <- outer.from\n    y <- outer.to\n  send 30\n"
    )
    service = Answering(text, names=("outer", "inner"))
    made = service.ask(frame(7, bytes(12)))
    assert made is not None and made[:26] == FROM + TO + b"\0\x07" + FROM + TO


@pytest.mark.parametrize("length", [0, 1, 14, 42, 60, 1514, 0xFFFF])
def test_send_says_the_length(length: int) -> None:
    """A number of 16 bits."""
    text = "layout H 2 bytes big\n  n u16\nservice root over frame\n  header H\n  send n\n"
    service = Answering(text, names=("root",))
    made = service.ask(struct.pack(">H", length).ljust(60, b"\0"))
    assert made is not None and len(made) == min(length, 2048)
