"""The loader's two lists: what to copy where, and the words to write.

    pieces: {destination:32, length in dwords:32} ..., 8 bytes of zeros
    fills:  {address:32, value:32, count:16, step:16, stride:32, signed} ..., 12 bytes of zeros

The packed pieces follow in the order of their list, each a multiple of 4 bytes.
`read_lists` takes both apart again, so that what the loader will do can be known without
running it:

    memory = expand(image)      # {physical address of a page: its 4096 bytes}
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from metaos.errors import Exit, MetaosError
from metaos.link.image import Image
from metaos.link.loader import FIXED
from metaos.link.progressions import Progression

_PIECE = struct.Struct("<II")
_FILL = struct.Struct("<IIHHi")
PIECE_LENGTH, FILL_LENGTH = _PIECE.size, _FILL.size
PIECES_END = bytes(8)
FILLS_END = bytes(12)
_PAGE = 4096
_MOST_WORDS = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes to copy to the physical address `destination`, a multiple of 4 of each."""

    destination: int
    data: bytes


def pack_piece(piece: Piece) -> bytes:
    """A piece's list entry."""
    return _PIECE.pack(piece.destination, len(piece.data) // 4)


def pack_fill(fill: Progression) -> bytes:
    """A fill's list entry. Raises struct.error if a number does not fit."""
    return _FILL.pack(fill.address, fill.value, fill.count, fill.step, fill.stride)


def read_lists(loaded: bytes) -> tuple[tuple[Piece, ...], tuple[Progression, ...]]:
    """Read the lists of an image's loaded bytes, as its loader will.

    Raises:
        MetaosError: a list does not end, or a piece is not wholly there (exit LAW_BROKEN).
    """
    at = FIXED
    sizes = []
    fills = []
    try:
        while (entry := _PIECE.unpack_from(loaded, at))[1]:
            sizes.append(entry)
            at += PIECE_LENGTH
        at += len(PIECES_END)
        while struct.unpack_from("<8xH", loaded, at)[0]:
            address, value, count, step, stride = _FILL.unpack_from(loaded, at)
            fills.append(Progression(address, count, stride, value, step))
            at += FILL_LENGTH
        at += len(FILLS_END)
    except struct.error as error:
        raise _broken("a list of the boot loader does not end") from error
    pieces = []
    for destination, dwords in sizes:
        data = loaded[at : at + 4 * dwords]
        if len(data) != 4 * dwords:
            raise _broken("a packed piece is cut short")
        pieces.append(Piece(destination, data))
        at += len(data)
    return tuple(pieces), tuple(fills)


def expand(image: Image) -> dict[int, bytes]:
    """RAM as the loader leaves it: every page that a piece or fill touches, else zeros.

    Deposits are still zero. Raises MetaosError as `read_lists` does.
    """
    pieces, fills = read_lists(image.loaded)
    pages: dict[int, bytearray] = {}
    for piece in pieces:
        _write(pages, piece.destination, piece.data)
    if sum(fill.count for fill in fills) > _MOST_WORDS:
        raise _broken("the boot loader's fills are more than any image needs")
    for fill in fills:
        for address, value in fill.words():
            _write(pages, address, value.to_bytes(4, "little"))
    return {at: bytes(page) for at, page in sorted(pages.items())}


def _write(pages: dict[int, bytearray], address: int, data: bytes) -> None:
    while data:
        page, offset = address // _PAGE * _PAGE, address % _PAGE
        part = data[: _PAGE - offset]
        pages.setdefault(page, bytearray(_PAGE))[offset : offset + len(part)] = part
        address, data = address + len(part), data[len(part) :]


def _broken(what: str) -> MetaosError:
    return MetaosError(what, hint="build the image again", exit_code=Exit.LAW_BROKEN)
