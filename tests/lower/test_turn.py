"""Turns in the interpreter: states that wrap, indices that are offsets, old and new values."""

from __future__ import annotations

from itertools import pairwise

import pytest

from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.plan import DevicePlan
from metaos.lower.values import Frame
from tests.lower.lowering import BASE, number, placed, planned, run, turned

LAYOUT = (
    "layout L {size} bytes little", "  31:0 low", "  63:32 high",
)  # fmt: skip


def layout(size: int) -> tuple[str, ...]:
    return tuple(line.format(size=size) for line in LAYOUT)


@pytest.mark.parametrize("stride", [8, 16, 64, 2048])
@pytest.mark.parametrize(("bits", "amount"), [(1, 1), (3, 1), (4, 1), (4, 7), (5, 31), (8, 1)])
def test_a_cursor_wraps_at_every_value(stride: int, bits: int, amount: int) -> None:
    """Whatever the state is multiplied by in memory, it counts modulo 2^bits."""
    count = 1 << bits
    device = planned(
        *layout(stride),
        f"table t[{count}] of L align 16",
        f"state at : u{bits}",
        "turn",
        "  t[at] <- { low = 0xA5A5A5A5, high = 1 }",
        f"  at <- at + {amount}",
    )
    state = device.states["at"]
    assert 1 << state.scale == stride
    program, regions = turned(device), placed(device)
    place = regions[state.symbol][1]
    for value in range(count):
        place.write(0, state.storage, value << state.scale)
        regions["00:03.0.t"][1].data[:] = bytes(count * stride)
        run(program, regions)
        assert place.read(0, state.storage) == (value + amount) % count << state.scale
        data = regions["00:03.0.t"][1].data
        touched = [i for i in range(count) if any(data[i * stride : (i + 1) * stride])]
        assert touched == [value]
        assert data[value * stride : value * stride + 8] == b"\xa5\xa5\xa5\xa5\1\0\0\0"


@pytest.mark.parametrize(("bits", "stride"), [(4, 16), (4, 32), (3, 8), (5, 16), (2, 1)])
def test_the_next_element_wraps(bits: int, stride: int) -> None:
    """`t[at + 1]` of the last is the first."""
    count = 1 << bits
    rows = layout(stride) if stride >= 8 else ("layout L 1 bytes little", "  7:0 low")
    device = planned(
        *rows,
        f"table t[{count}] of L align 16",
        f"state at, seen : u{bits}",
        "state next : u8",
        "turn",
        "  next <- t[at + 1].low[7:0]" if stride >= 8 else "  next <- t[at + 1].low",
        "  at <- at + 1",
        "  seen <- at",
    )
    content = b"".join(bytes([i + 100]).ljust(stride, b"\0") for i in range(count))
    program, regions = turned(device), placed(device, {"t": content})
    at, seen = device.states["at"], device.states["seen"]
    for turn in range(2 * count):
        run(program, regions)
        assert number(regions, "00:03.0.next", 1) == 100 + (turn + 1) % count
        old = regions[seen.symbol][1].read(0, seen.storage) >> seen.scale
        assert old == turn % count
        assert regions[at.symbol][1].read(0, at.storage) >> at.scale == (turn + 1) % count


@pytest.mark.parametrize("bits", [1, 3, 5, 8, 12, 16, 31, 32, 48, 64])
def test_a_state_of_any_width_wraps_by_its_type(bits: int) -> None:
    device = planned(f"state n : u{bits}", "turn", "  n <- n + 1")
    state, regions, program = device.states["n"], placed(device), turned(device)
    place, top = regions["00:03.0.n"][1], (1 << bits) - 1
    for value in {0, 1, top >> 1, top - 1, top}:
        place.write(0, state.storage, value)
        run(program, regions)
        assert place.read(0, state.storage) == (value + 1) & top


@pytest.mark.parametrize(
    ("steps", "a", "b"),
    [
        pytest.param(("a <- b", "b <- a"), 20, 10, id="change places"),
        pytest.param(("a <- b", "b <- a'"), 20, 20, id="the new value"),
        pytest.param(("a <- a + 1", "b <- a"), 11, 10, id="counted, then read"),
        pytest.param(("a <- a + 1", "b <- a + 1"), 11, 11, id="the same sum twice"),
        pytest.param(("a <- a + 1", "b <- a' + 1"), 11, 12, id="a sum of the new value"),
        pytest.param(("a <- a + 1", "a <- a + 1"), 11, 20, id="written twice from the old"),
        pytest.param(("a <- 5", "a <- a + 1"), 11, 20, id="set, then counted from the old"),
        pytest.param(("a <- a - 11",), 255, 20, id="below 0"),
        pytest.param(("a <- a * 100",), 1000 % 256, 20, id="a product"),
        pytest.param(("a <- ~a",), 245, 20, id="all bits"),
        pytest.param(("a <- a << 6",), 640 % 256, 20, id="shifted up"),
        pytest.param(("a <- b >> 2",), 5, 20, id="shifted down"),
        pytest.param(("a <- (a ^ b) | 1",), 31, 20, id="bits"),
        pytest.param(("a <- b[4:2]",), 5, 20, id="bits of a number"),
        pytest.param(("a <- 1 when a == 10", "b <- 1 when a == 11"), 1, 20, id="guards"),
        pytest.param(("when a < b", "  a <- 1", "  b <- 2 when a == 9"), 1, 20, id="blocks"),
        pytest.param(("when b < a", "  a <- 1", "when a <= 10", "  b <- 2"), 10, 2, id="guards 2"),
        pytest.param(("c = a == 10", "a <- 3 when c & b == 20"), 3, 20, id="named truth"),
        pytest.param(("c = a == 10", "a <- 3 when !c"), 10, 20, id="not"),
        pytest.param(("c = a == 10", "a <- c"), 1, 20, id="truth as a number"),
    ],
)
def test_steps(steps: tuple[str, ...], a: int, b: int) -> None:
    device = planned("state a, b : u8", "turn", *(f"  {step}" for step in steps))
    regions = placed(device, {"a": b"\x0a", "b": b"\x14"})
    run(turned(device), regions)
    assert (number(regions, "00:03.0.a", 1), number(regions, "00:03.0.b", 1)) == (a, b)


def ring(*steps: str) -> tuple[str, ...]:
    return (
        "layout L 16 bytes little",
        "  31:0 addr",
        "  63:32 n",
        "  64 DONE",
        "  71:65 errors",
        "table t[4] of L align 16",
        "table buf[8] of bytes 2048",
        "state own[4] : u3 = i",
        "state spare[4] : u3 = i + 4",
        "state head, tail : u2",
        "state got : u32",
        "turn",
        *(f"  {step}" for step in steps),
    )


@pytest.mark.parametrize("head", range(4))
@pytest.mark.parametrize("tail", range(4))
@pytest.mark.parametrize("swapped", [True, False])
def test_swap(head: int, tail: int, swapped: bool) -> None:
    device = planned(
        *ring(
            f"swap own[head], spare[tail] when got == {int(not swapped)}",
            "t[head] <- { addr = &buf[own'[head]] }",
        )
    )
    own, spare, regions = device.states["own"], device.states["spare"], placed(device)
    for i in range(4):
        for state, value in ((own, i), (spare, i + 4)):
            regions[state.symbol][1].write(i * state.stride, state.storage, value << state.scale)
    for name, value in (("head", head), ("tail", tail)):
        state = device.states[name]
        regions[state.symbol][1].write(0, state.storage, value << state.scale)
    run(turned(device), regions)

    def held(name: str) -> list[int]:
        state = device.states[name]
        place = regions[state.symbol][1]
        return [place.read(i * state.stride, state.storage) >> state.scale for i in range(4)]

    wanted_own, wanted_spare = [0, 1, 2, 3], [4, 5, 6, 7]
    if swapped:
        wanted_own[head], wanted_spare[tail] = wanted_spare[tail], wanted_own[head]
    assert (held("own"), held("spare")) == (wanted_own, wanted_spare)
    base = regions["00:03.0.buf"][0]
    at = regions["00:03.0.t"][1].read(16 * head, 32)
    assert at == base + 2048 * wanted_own[head]


def test_an_element_is_written_whole_or_not_at_all() -> None:
    device = planned(*ring("t[1] <- { n = 7, DONE } when got == 1"))
    for got in (0, 1):
        regions = placed(device, {"t": b"\xff" * 64, "got": bytes([got])})
        run(turned(device), regions)
        element = (b"\0\0\0\0\7\0\0\0\1" + bytes(7)) if got else b"\xff" * 16
        assert regions["00:03.0.t"][1].data == b"\xff" * 16 + element + b"\xff" * 32


def test_fields_of_elements_are_read() -> None:
    device = planned(*ring("e = t[2]", "got <- e.n when e.DONE & e.errors == 5"))
    for flags, wanted in ((0x0B, 77), (0x0A, 0), (0x09, 0), (0x8B, 0)):
        element = b"\0\0\0\0\x4d\0\0\0" + bytes([flags]) + bytes(7)
        regions = placed(device, {"t": bytes(32) + element})
        run(turned(device), regions)
        assert number(regions, "00:03.0.got") == wanted


REGISTERS = (
    "fact regs : window = bar[0]",
    "registers csr at regs mmio 32 bits",
    "  0x10 A rw @m 1",
    "    3:0 LOW",
    "    9:8 MODE",
    "  0x14 B ro @m 1",
    "    4 BIT",
)


@pytest.mark.parametrize("open_", [0, 1])
def test_registers_in_memory(open_: int) -> None:
    device = planned(
        *REGISTERS, "state n, got, go : u8",
        "turn", "  r = B.BIT when go == 1 else 1", "  got <- r",
        "  A <- { LOW = n[3:0], MODE = 2 } when go == 1",
    )  # fmt: skip
    regions = placed(device, {"n": b"\x2c", "go": bytes([open_]), "got": b"\x63"}, registers=64)
    window = regions["00:03.0.regs"][1]
    window.write(0x10, 32, 0x55555555)
    run(turned(device), regions)
    assert number(regions, "00:03.0.got", 1) == (0 if open_ else 1)
    assert window.read(0x10, 32) == (0x20C if open_ else 0x55555555)


class Ports:
    """Ports that read as what they were given; every access is remembered."""

    def __init__(self, values: dict[int, int]) -> None:
        self.values, self.log = values, list[tuple[str, int, int, int]]()

    def read(self, port: int, width: int) -> int:
        self.log.append(("in", port, width, self.values[port]))
        return self.values[port]

    def write(self, port: int, width: int, value: int) -> None:
        self.log.append(("out", port, width, value))


@pytest.mark.parametrize("width", [8, 16, 32])
@pytest.mark.parametrize("open_", [0, 1])
def test_guarded_ports_are_not_touched(width: int, open_: int) -> None:
    device = planned(
        f"registers p at 0x60 port {width} bits", "  0 A rw @m 1", "  4 B rw @m 1",
        "state go, got : u8", "turn", "  x = A when go == 1 else 3", "  got <- x[7:0]",
        "  B <- 0x5A when go == 1", "  A <- 1",
    )  # fmt: skip
    regions = placed(device, {"go": bytes([open_])})
    ports = Ports({0x60: 0x77, 0x64: 0})
    run(turned(device), regions, ports)
    guarded = [("in", 0x60, width, 0x77), ("out", 0x64, width, 0x5A)] if open_ else []
    assert ports.log == [*guarded, ("out", 0x60, width, 1)]
    assert number(regions, "00:03.0.got", 1) == (0x77 if open_ else 3)


def test_places_do_not_lie_over_each_other() -> None:
    device = planned(*ring("head <- head + 1"))
    starts = sorted((start, start + ram.size) for start, ram in placed(device).values())
    assert starts[0][0] == BASE
    assert all(a[1] <= b[0] for a, b in pairwise(starts))


STREAM = (
    "registers p at 0x60 port 8 bits", "  0 N ro @m 1", "  4 DATA rw {width} bits stream @m 1",
    "state go : u8", "table buf[2] of bytes 64",
)  # fmt: skip


def stream(width: int, *steps: str) -> DevicePlan:
    lines = (line.format(width=width) for line in STREAM)
    return planned(*lines, "turn", *(f"  {step}" for step in steps))


@pytest.mark.parametrize("width", [8, 16, 32])
@pytest.mark.parametrize("count", [0, 1, 15])
@pytest.mark.parametrize("open_", [0, 1])
def test_a_block_comes_through_a_port(width: int, count: int, open_: int) -> None:
    device = stream(width, "read DATA into buf[1] count N[3:0] when go == 1")
    regions = placed(device, {"go": bytes([open_]), "buf": b"\xee" * 128})
    ports = Ports({0x60: count | 0xF0, 0x64: 0x04030201})
    run(turned(device), regions, ports)
    item = (0x04030201).to_bytes(4, "little")[: width // 8]
    came = item * count * open_
    assert len(ports.log) == 1 + count * open_
    assert regions["00:03.0.buf"][1].data == b"\xee" * 64 + came + b"\xee" * (64 - len(came))


@pytest.mark.parametrize("width", [8, 16, 32])
@pytest.mark.parametrize("open_", [0, 1])
def test_a_block_goes_through_a_port(width: int, open_: int) -> None:
    device = stream(
        width, "when go == 1", "  write DATA from buf[0] count 3", "write DATA from buf[1] count 2"
    )
    content = bytes(range(128))
    regions = placed(device, {"go": bytes([open_]), "buf": content})
    ports = Ports({})
    run(turned(device), regions, ports)
    size = width // 8
    starts = [*(size * i for i in range(3 * open_)), 64, 64 + size]
    sent = [int.from_bytes(content[at : at + size], "little") for at in starts]
    assert ports.log == [("out", 0x64, width, value) for value in sent]
    assert regions["00:03.0.buf"][1].data == content


def test_what_came_is_read_from_its_element() -> None:
    device = planned(
        "layout L 4 bytes little", "  15:0 a", "  31:16 b", "table t[1] of L", "state got : u16",
        "registers p at 0x60 port 16 bits", "  0 DATA rw stream @m 1",
        "turn", "  read DATA into t[0] count 2", "  got <- t[0].b",
    )  # fmt: skip
    regions = placed(device)
    run(turned(device), regions, Ports({0x60: 0x1234}))
    assert number(regions, "00:03.0.got", 2) == 0x1234


@pytest.mark.parametrize("n", [0, 1, 200, 255])
def test_a_choice(n: int) -> None:
    device = planned(
        "state n, a : u8", "state b : u16", "state head[4] : u2",
        "turn", "  a <- select(n < 100 + 100, n, 3 + 4)",
        "  b <- select(n == 0 | n == 255, 0x1234, n + b)",
    )  # fmt: skip
    regions = placed(device, {"n": bytes([n]), "b": b"\x01\x01"})
    run(turned(device), regions)
    assert number(regions, "00:03.0.a", 1) == (n if n < 200 else 7)
    assert number(regions, "00:03.0.b", 2) == (0x1234 if n in (0, 255) else n + 0x101)


def test_a_frame_at_a_place_that_nothing_chooses() -> None:
    """The services get its address, whichever element it is."""
    device = planned(
        "table buf[2] of bytes 2048", "state n : u16",
        "turn", "  offer frame at buf[1] length 60 -> answered, length", "  n <- length",
    )  # fmt: skip
    bases = []

    def services(builder: Builder, frame: Frame) -> tuple[Op, Op]:
        bases.append(frame.base)
        return frame.gate, builder.const(5, 16)

    turned(device, services)  # type: ignore[arg-type]
    (base,) = bases
    assert str(base.address) == "00:03.0.buf+2048"
