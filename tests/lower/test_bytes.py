"""Tests of constant bytes and rewrites of a frame, against a byte-by-byte reference."""

from __future__ import annotations

import random

import pytest

from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.interpret import Memory, Ram, run
from metaos.lower.masks import Masks
from metaos.lower.rewrite import ByteSource, Rewrite, chunks
from metaos.lower.values import Frame
from tests.lower.lowering import NOWHERE

SIZE = 64


Words = list[tuple[int, int, int, int, Span]]


def holds(words: Words, data: bytes) -> bool:
    return all(
        int.from_bytes(data[at : at + size], "little") & mask == value
        for at, size, mask, value, _ in words
    )


def bits_of(data: bytes, first: int, bits: int) -> int:
    """Bits as they come on the wire, from the highest of the first byte."""
    whole = int.from_bytes(data, "big")
    return whole >> len(data) * 8 - first - bits & (1 << bits) - 1


def test_covers_what_was_asked_and_no_more() -> None:
    source = random.Random(1)
    for _ in range(100):
        data = bytearray(source.choice((0, 0xFF, source.randrange(256))) for _ in range(SIZE))
        masks, fields, first = Masks(), [], source.randrange(16)
        while first < 40 * 8:
            bits = source.choice((1, 1, 4, 8, 8, 13, 16, 16, 32, 48))
            fields.append((first, bits))
            masks.add(first, bits, bits_of(bytes(data), first, bits), NOWHERE)
            first += bits + source.choice((0, 0, 0, 3, 8, 24))
        words = masks.covered()
        assert holds(words, bytes(data))
        seen = {bit for first, bits in fields for bit in range(first, first + bits)}
        for bit in range(SIZE * 8):
            data[bit // 8] ^= 0x80 >> bit % 8
            assert holds(words, bytes(data)) == (bit not in seen), (fields, bit)
            data[bit // 8] ^= 0x80 >> bit % 8


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param([(0, 16, 0x0800)], [(0, 2, 0xFFFF, 0x0008)], id="a word on the wire"),
        pytest.param([(0, 64, 1)], [(0, 8, (1 << 64) - 1, 1 << 56)], id="eight bytes"),
        pytest.param(
            [(0, 8, 1), (8, 8, 2), (16, 8, 3)],
            [(0, 2, 0xFFFF, 0x0201), (2, 1, 0xFF, 3)],
            id="neighbours",
        ),
        pytest.param(
            [(2, 1, 0), (3, 13, 0)], [(0, 2, 0xFF3F, 0)], id="zeros of parts of bytes join"
        ),
        pytest.param([(3, 13, 1)], [(0, 1, 0x1F, 0), (1, 1, 0xFF, 1)], id="others do not"),
        pytest.param([(0, 4, 4), (4, 4, 5)], [(0, 1, 0xFF, 0x45)], id="two halves of a byte"),
        pytest.param([(7, 1, 1)], [(0, 1, 1, 1)], id="a bit"),
    ],
)
def test_words(fields: list[tuple[int, int, int]], words: list[tuple[int, int, int, int]]) -> None:
    masks = Masks()
    for first, bits, value in fields:
        masks.add(first, bits, value, NOWHERE)
    assert [found[:4] for found in masks.covered()] == words


def rewritten(frame: bytes, sources: dict[int, ByteSource], mac: bytes, *, closed: bool) -> bytes:
    """What a rewrite's stores make of a frame."""
    b = Builder("00:03.0", "steady")
    gate = b.zext(b.load(32, "gate"), 64)
    offered = Frame(b.address("frame", 0, (b.load(64, "zero"),)), b.const(SIZE, 32), gate)
    rewrite = Rewrite(gate, chunks(sources))
    rewrite.store(b, offered, rewrite.load(b, offered, {}))
    regions = {
        "frame": (0x200000, Ram(frame)),
        "mac": (0x210000, Ram(mac)),
        "zero": (0x210010, Ram(8)),
        "gate": (0x210020, Ram((closed << 30).to_bytes(4, "little"))),
    }
    run(b.finish(), Memory(regions))
    return bytes(regions["frame"][1].data)


def picked(source: random.Random, frame: bytes, mac: bytes) -> tuple[dict[int, ByteSource], bytes]:
    """Random sources of runs of bytes, and the frame they make."""
    sources: dict[int, ByteSource] = {}
    wanted = bytearray(frame)
    at = source.randrange(4)
    while at < 40:
        size, kind = source.choice((1, 2, 4, 6)), source.choice(("constant", "frame", "place"))
        start = source.randrange(0, 8 - size) if kind == "place" else source.randrange(0, 40)
        for i in range(size):
            if kind == "constant":
                sources[at + i] = ByteSource(kind, value := source.randrange(256))
                wanted[at + i] = value
            elif kind == "frame":
                sources[at + i] = ByteSource(kind, start + i)
                wanted[at + i] = frame[start + i]
            else:
                sources[at + i] = ByteSource(kind, start + i, "mac")
                wanted[at + i] = mac[start + i]
        at += size + source.choice((0, 0, 0, 1, 5))
    return sources, bytes(wanted)


def test_a_rewrite_is_byte_by_byte() -> None:
    source = random.Random(2)
    for _ in range(500):
        frame, mac = source.randbytes(SIZE), source.randbytes(8)
        sources, wanted = picked(source, frame, mac)
        assert rewritten(frame, sources, mac, closed=False) == wanted, sources
        assert rewritten(frame, sources, mac, closed=True) == frame


def test_fields_that_change_places() -> None:
    frame = bytes(range(SIZE))
    sources = {i: ByteSource("frame", i + 6) for i in range(6)}
    sources |= {i + 6: ByteSource("frame", i) for i in range(6)}
    made = rewritten(frame, sources, bytes(8), closed=False)
    assert made == frame[6:12] + frame[:6] + frame[12:]


@pytest.mark.parametrize(
    ("runs", "sizes"),
    [
        pytest.param([("frame", 0, 4)], [(0, 4)], id="a word"),
        pytest.param([("frame", 0, 6)], [(0, 4), (4, 2)], id="six bytes alone"),
        pytest.param(
            [("frame", 10, 6), ("frame", 30, 6)],
            [(0, 8), (6, 4), (10, 2)],
            id="six bytes that the next field overwrites two of",
        ),
        pytest.param([("constant", 0, 8)], [(0, 4), (4, 4)], id="no constant of eight bytes"),
    ],
)
def test_few_stores(runs: list[tuple[str, int, int]], sizes: list[tuple[int, int]]) -> None:
    sources, at = {}, 0
    for kind, start, length in runs:
        for i in range(length):
            sources[at + i] = ByteSource(kind, start + i)
        at += length
    assert [(c.offset, c.size) for c in chunks(sources)] == sizes
