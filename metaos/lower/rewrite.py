"""In-place rewrites of a frame: bytes and where they come from, stored in few wide words."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.program import ABSOLUTE, Op
from metaos.lower.values import Frame
from metaos.told import bytes_of, little_endian


@dataclass(frozen=True, slots=True)
class ByteSource:
    """One byte of an answer: a `constant`, byte `number` of the frame, of the place
    `symbol`, or of the number `value` (little-endian)."""

    kind: str
    number: int
    symbol: str = ""
    span: Span | None = None
    value: Op | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """`size` bytes stored at once at frame offset `offset`."""

    offset: int
    size: int
    source: ByteSource
    constant: int = 0


def chunks(sources: dict[int, ByteSource]) -> tuple[Chunk, ...]:
    """Cover the bytes with power-of-two stores, in order of offset.

    A copy may be wider than its run where later stores set the bytes beyond it.
    """
    result: list[Chunk] = []
    offsets = sorted(sources)
    position = 0
    while position < len(offsets):
        start = offsets[position]
        run = _run(sources, start)
        source = sources[start]
        if source.kind == "value":
            size = run
        elif source.kind == "constant":
            size = next(n for n in (4, 2, 1) if n <= run)
        else:
            size = next(n for n in (8, 4, 2, 1) if n <= run)
            wide = next((n for n in (2, 4, 8) if n >= run), size)
            if wide > size and all(o in sources for o in range(start + run, start + wide)):
                result.append(Chunk(start, wide, source))
                position += run
                continue
        data = [sources[start + i].number & 0xFF for i in range(size)]
        result.append(Chunk(start, size, source, little_endian(data)))
        position += size
    return tuple(result)


def _run(sources: dict[int, ByteSource], start: int) -> int:
    """Bytes from `start` that come from one place in order."""
    first, length = sources[start], 1
    while (next_byte := sources.get(start + length)) is not None:
        same = (next_byte.kind, next_byte.symbol) == (first.kind, first.symbol)
        follows = first.kind == "constant" or next_byte.number == first.number + length
        if not same or not follows or next_byte.value is not first.value:
            break
        length += 1
    return length


def wire_bytes(
    b: Builder, number: Op, start: int, size: int, span: Span | None
) -> dict[int, ByteSource]:
    """The `size` bytes, 8 at most, of a number in the order of the wire, from byte `start`."""
    found: dict[int, ByteSource] = {}
    for piece in (8, 4, 2, 1):
        while size >= piece:
            high = b.resize(b.lshr(number, b.const(8 * (size - piece), number.bits)), 8 * piece)
            if high.kind == "const":
                data = reversed(bytes_of(high.value, piece))
                constants = (ByteSource("constant", byte, span=span) for byte in data)
                found |= dict(enumerate(constants, start))
            else:
                value = b.bswap(high)
                sources = (ByteSource("value", i, span=span, value=value) for i in range(piece))
                found |= dict(enumerate(sources, start))
            start, size = start + piece, size - piece
    return found


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One service's stores under its gate."""

    gate: Op
    chunks: tuple[Chunk, ...]

    def load(self, b: Builder, frame: Frame, places: dict[str, Op]) -> list[Op]:
        """The chunks' values, read before any is stored.

        `places` keeps the 64-bit words of places already loaded.
        """
        values = []
        for chunk in self.chunks:
            source, bits = chunk.source, chunk.size * 8
            with b.at(source.span):
                if source.kind == "constant":
                    values.append(b.const(chunk.constant, bits))
                elif source.kind == "value":
                    assert source.value is not None
                    values.append(source.value)
                elif source.kind == "frame":
                    values.append(frame.load(b, bits, source.number))
                else:
                    if source.symbol not in places:
                        places[source.symbol] = b.load(64, source.symbol)
                    values.append(places[source.symbol])
        return values

    def store(self, b: Builder, frame: Frame, values: list[Op]) -> None:
        for chunk, value in zip(self.chunks, values, strict=True):
            with b.at(chunk.source.span):
                if chunk.source.kind == "place":  # the part is taken where it is stored
                    low = b.const(8 * chunk.source.number, 64)
                    value = b.resize(b.lshr(value, low), 8 * chunk.size)
                b.store(value, ABSOLUTE, chunk.offset, (frame.base, self.gate))
