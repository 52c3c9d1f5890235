"""Damaged bytes for the parsers of this folder: `mutated(content, random)`."""

from __future__ import annotations

from random import Random

_PIECES = (
    b"\0", b"\xff", b"\n", b"\r\n", b" ", b":", b"0x", b"-", b"0xffffffffffffffff", b"1" * 40,
    "é".encode(), b"\xf0\x9f", b"\x1b[31m", b"00:00.0", b"ffff", b"-1", b"0" * 5000,
)  # fmt: skip


def mutated(content: bytes, random: Random) -> bytes:
    """`content` with one to four changes: bytes flipped, cut, doubled, moved or put in."""
    data = bytearray(content)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        to = min(len(data), at + random.choice((1, 1, 2, 8, 64)))
        match random.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1:
                del data[at:to]
            case 2:
                data[at:at] = data[at:to] * random.choice((1, 2, 50))
            case 3:
                data[at:at] = random.choice(_PIECES)
            case 4:
                data[at:to] = random.choice(_PIECES)
            case 5:
                data[at:to] = random.randbytes(to - at)
            case _ if random.random() < 0.2:
                del data[at:]
    return bytes(data)
