"""What services accept, in the interpreter against Python: sums, comparisons, lengths."""

from __future__ import annotations

import random
import struct
from itertools import product

import pytest

from metaos.errors import MetaosError
from tests.lower.lowering import Answering, problem_of
from tests.model.reference import checksum, ones_sum

SIZE = 64
EDGES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


def layout(name: str, *fields: str) -> str:
    size = sum(int(f.split()[1][1:]) for f in fields) // 8
    return f"layout {name} {size} bytes big\n" + "".join(f"  {f}\n" for f in fields)


def accepting(header: str, *tests: str, least: int = 60) -> Answering:
    """A service over the frame that answers where all tests hold."""
    text = header + "service root over frame\n  header H\n  accept when\n"
    text += "".join(f"    {test}\n" for test in tests) + "  send 60\n"
    return Answering(text, names=("root",), least=least)


def sum_header(words: int) -> str:
    fields = ["first u8", "second u8", "third u16", *(f"w{i} u32" for i in range(1, words))]
    return layout("H", *fields)


def adversarial(source: random.Random, size: int) -> bytes:
    """A header whose words carry as often as can be."""
    kind = source.random()
    if kind < 0.3:
        return source.randbytes(size)
    if kind < 0.7:
        return bytes(source.choice((0, 0xFF, 0xFF, 0xFE, 1)) for _ in range(size))
    return b"".join(source.choice((b"\0" * 4, b"\xff" * 4)) for _ in range(size // 4))


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5, 6, 7, 8, 10, 12])
def test_the_sum_is_exact(words: int) -> None:
    """Right sums are accepted and all others not, whatever carries on the way."""
    size, source, right = 4 * words, random.Random(words), 0
    service = accepting(sum_header(words), "sum16(header) == 0xFFFF", "first == 0x45")
    for number in range(400):
        header = bytearray(adversarial(source, size))
        header[0] = 0x45
        if number % 2:
            at = source.randrange(2, size, 2)
            header[at : at + 2] = b"\0\0"
            header[at : at + 2] = checksum(bytes(header))
            if source.random() < 0.2:
                header[source.randrange(1, size)] ^= 1 << source.randrange(8)
        wanted = ones_sum(bytes(header)) == 0xFFFF
        right += wanted
        frame = bytes(header).ljust(SIZE, b"\x77")
        assert (service.ask(frame) is not None) == wanted, header.hex()
    assert right > 100


def test_either_zero_is_a_right_sum() -> None:
    service = accepting(sum_header(5), "sum16(header) == 0xFFFF", "first == 0x45")
    header = bytearray(b"\x45" + bytes(19))
    header[4:6] = checksum(bytes(header))
    assert service.ask(bytes(header).ljust(60, b"\0")) is not None
    for other in (b"\0\0", b"\xff\xff"):
        header[8:10] = other
        assert service.ask(bytes(header).ljust(60, b"\0")) is not None


def test_a_constant_word_counts_in_the_sum() -> None:
    """A word that another test fixes is not loaded for the sum, but it counts."""
    service = accepting(sum_header(3), "w1 == 0x12345678", "first == 1", "sum16(header) == 0xFFFF")
    header = bytearray(b"\x01\0\0\0\x12\x34\x56\x78\0\0\0\0")
    header[2:4] = checksum(bytes(header))
    assert service.ask(bytes(header).ljust(60, b"\0")) is not None
    header[7] ^= 1
    assert service.ask(bytes(header).ljust(60, b"\0")) is None


COMPARISONS = {"==": int.__eq__, "!=": int.__ne__, "<": int.__lt__, "<=": int.__le__}


def values(bits: int) -> list[int]:
    top = (1 << bits) - 1
    ends = {0, 1, 2, top, top - 1, top >> 1, (top >> 1) + 1, 0xFF, 0x100, 0xFFFF, 0x10000}
    ends |= {1 << 32, (1 << 32) - 1, 1 << 47}
    return sorted(v for v in ends if v <= top)


@pytest.mark.parametrize("operator", COMPARISONS)
@pytest.mark.parametrize("bits", [8, 16, 32, 48, 64])
def test_two_fields_compare_as_numbers(operator: str, bits: int) -> None:
    service = accepting(layout("H", f"a u{bits}", f"b u{bits}"), f"a {operator} b")
    for a, b in product(values(bits), repeat=2):
        frame = (a.to_bytes(bits // 8, "big") + b.to_bytes(bits // 8, "big")).ljust(SIZE, b"\x5a")
        wanted = COMPARISONS[operator](a, b)
        assert (service.ask(frame) is not None) == wanted, (a, operator, b)


@pytest.mark.parametrize("operator", COMPARISONS)
@pytest.mark.parametrize(
    ("bits", "constant"),
    [
        (8, 7), (8, 0x80), (16, 0x0100), (16, 0x0800), (16, 0x1234), (16, 0xFF00), (32, 0xE0000000),
        (32, 0x00010000), (32, 0x12345678), (32, 1), (48, 0x0100_0000_0000), (48, 0xFFFF_FFFF_FFFF),
        (64, 1 << 63), (64, 0x1_0000_0000),
    ],
)  # fmt: skip
def test_a_field_compares_with_a_constant(operator: str, bits: int, constant: int) -> None:
    service = accepting(layout("H", f"a u{bits}", "rest u16"), f"a {operator} {constant:#x}")
    near = {constant - 1, constant, constant + 1, constant ^ (1 << bits - 1)}
    for a in sorted({*values(bits), *(v for v in near if 0 <= v < 1 << bits)}):
        frame = a.to_bytes(bits // 8, "big").ljust(SIZE, b"\x5a")
        wanted = COMPARISONS[operator](a, constant)
        assert (service.ask(frame) is not None) == wanted, (a, operator, constant)


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        pytest.param("a + 20 == b", lambda a, b, n: a + 20 == b, id="a sum"),
        pytest.param("20 + a == b", lambda a, b, n: a + 20 == b, id="a sum, turned"),
        pytest.param("a == b + 20", lambda a, b, n: a == b + 20, id="a sum on the right"),
        pytest.param("a + b == 300", lambda a, b, n: a + b == 300, id="two fields"),
        pytest.param("a + b == frame.length", lambda a, b, n: a + b == n, id="and the length"),
        pytest.param("a + 14 <= frame.length", lambda a, b, n: a + 14 <= n, id="a length"),
        pytest.param("a + 20 <= b", lambda a, b, n: a + 20 <= b, id="a bound"),
        pytest.param("b < a + 20", lambda a, b, n: b < a + 20, id="a strict bound"),
        pytest.param("a - 20 == b", lambda a, b, n: a - 20 == b, id="a difference"),
        pytest.param("a == frame.length", lambda a, b, n: a == n, id="the length itself"),
    ],
)
def test_lengths_do_not_wrap(test: str, holds: object) -> None:
    """Fields of 16 bits are numbers, their sums too: nothing comes round to 0."""
    assert callable(holds)
    service = accepting(layout("H", "a u16", "b u16"), test)
    proved = accepting(layout("H", "a u16", "b u16"), "20 <= b", "20 <= a", test)
    edges = (0, 1, 19, 20, 21, 40, 46, 60, 64, 150, 280, 0xFFEB, 0xFFEC, 0xFFED, 0xFFFF)
    for a, b in product(edges, repeat=2):
        frame = struct.pack(">HH", a, b).ljust(SIZE, b"\0")
        wanted = holds(a, b, SIZE)
        assert (service.ask(frame) is not None) == wanted, (a, b)
        both = wanted and a >= 20 and b >= 20
        assert (proved.ask(frame) is not None) == both, (a, b)


def test_a_wide_field_is_not_cut_to_compare() -> None:
    service = accepting(layout("H", "a u16", "b u32"), "20 <= b", "a + 20 == b")
    assert service.ask(struct.pack(">HI", 80, 100).ljust(SIZE, b"\0")) is not None
    assert service.ask(struct.pack(">HI", 80, 100 + 0x10000).ljust(SIZE, b"\0")) is None


def test_sums_of_wide_fields_do_not_wrap() -> None:
    service = accepting(layout("H", "a u32", "b u32"), "a + 2 <= b")
    assert service.ask(struct.pack(">II", 3, 5).ljust(SIZE, b"\0")) is not None
    assert service.ask(struct.pack(">II", 0xFFFFFFFF, 5).ljust(SIZE, b"\0")) is None


@pytest.mark.parametrize(
    ("tests", "frame", "answered"),
    [
        (("a[0] == 1",), "01", True), (("a[0] == 1",), "fe", False), (("a[7] == 0",), "7f", True),
        (("a[7] == 0",), "80", False), (("a[7] == 1", "a[0] == 0"), "80", True),
        (("a[7] == 1", "a[0] == 0"), "81", False),
    ],
)  # fmt: skip
def test_single_bits(tests: tuple[str, ...], frame: str, answered: bool) -> None:
    service = accepting(layout("H", "a u8", "b u8"), *tests)
    assert (service.ask(bytes.fromhex(frame).ljust(60, b"\0")) is not None) == answered


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        pytest.param(("a u4", "b u4"), "a == 4 & b == 5", id="nibbles"),
        pytest.param(("a u3", "b u13"), "b == 0x1234", id="13 bits"),
        pytest.param(("x u1", "y u1", "z u1", "b u13"), "z == 0 & b == 0", id="flags"),
        pytest.param(("a u12", "b u12"), "a == 0xABC", id="12 bits over a byte's end"),
    ],
)
def test_fields_inside_bytes(fields: tuple[str, ...], where: str) -> None:
    service = accepting(layout("H", *fields), where)
    sizes = [int(f.split()[1][1:]) for f in fields]
    wanted = {part.split()[0]: int(part.split()[-1], 0) for part in where.split(" & ")}
    names = [f.split()[0] for f in fields]
    total = sum(sizes)
    source = random.Random(total)
    near = [0x45, 0x1234 & (1 << total) - 1, *((0xABC << 12, 0xABCFFF) if total == 24 else ())]
    for whole in [*near, *(source.randrange(1 << total) for _ in range(300))]:
        left, seen = total, {}
        for name, size in zip(names, sizes, strict=True):
            left -= size
            seen[name] = whole >> left & (1 << size) - 1
        right = all(seen[name] == value for name, value in wanted.items())
        frame = whole.to_bytes(total // 8, "big").ljust(60, b"\xff")
        assert (service.ask(frame) is not None) == right, hex(whole)


def test_tests_that_exclude_each_other_are_an_error() -> None:
    with pytest.raises(MetaosError) as refused:
        accepting(layout("H", "a u8", "b u8"), "a == 4", "a == 5")
    code, text = problem_of(refused.value)
    assert code == "E0442" and "0.pattern:8:5" in text


def test_the_gate_of_the_card_closes_everything() -> None:
    service = accepting(layout("H", "a u8", "b u8"), "a == 4")
    frame = b"\x04".ljust(60, b"\0")
    assert service.ask(frame) is not None
    assert service.ask(frame, gate=1 << 30) is None


@pytest.mark.parametrize("least", [0, 5, 6, 7])
def test_a_frame_shorter_than_the_headers_is_not_answered(least: int) -> None:
    """What the card itself guarantees need not be tested."""
    service = accepting(layout("H", "a u8", "b u32", "c u8"), "a == 4", least=least)
    for length in range(max(1, least), 12):
        assert (service.ask(b"\x04".ljust(length, b"\0")) is not None) == (length >= 6)


def test_named_constants() -> None:
    text = layout("H", "kind u16", "port u16")
    text += "service root over frame\n  header H\n  constant PORT : u16 = 7\n"
    text += "  constant NEXT : u16 = 4 + 4\n"
    text += "  accept when port == PORT & kind != NEXT\n  reply\n    kind <- NEXT\n  send 60\n"
    service = Answering(text, names=("root",))
    made = service.ask(struct.pack(">HH", 1, 7).ljust(60, b"\0"))
    assert made is not None and made[:4] == struct.pack(">HH", 8, 7)
    assert service.ask(struct.pack(">HH", 1, 8).ljust(60, b"\0")) is None
    assert service.ask(struct.pack(">HH", 8, 7).ljust(60, b"\0")) is None
