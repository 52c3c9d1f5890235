"""Damage for the parsers of this folder: `mutated(content, random)`, `resealed(text, random)`."""

from __future__ import annotations

from random import Random

from metaos.probe.lines import checksum

_PIECES = (
    b"\0", b"\xff", b"\n", b"\r\n", b" ", b":", b"0x", b"-", b"0xffffffffffffffff", b"1" * 40,
    "é".encode(), b"\xf0\x9f", b"\x1b[31m", b"00:00.0", b"ffff", b"-1", b"0" * 5000,
    b"*", b'"', b"{", b"}", b"[" * 2000, b"]", b",", b"\t", b"1e999", b"NaN", b"@ 0x0", b"\x1b]0;",
    "\u2028".encode(), b"0000 metaos-discoverer 02*57e2\n", b"ffff end 0000*0000\n",
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


def resealed(text: str, random: Random) -> str:
    """Lines of the discoverer whose bodies are changed and whose checksums are right all the same.

    What is behind the checksum must stand that, too.
    """
    lines = text.splitlines()
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(lines))
        body, _, _ = lines[at].partition("*")
        words = body.split(" ")
        which = random.randrange(len(words))
        match random.randrange(6):
            case 0:
                words[which] = f"{random.getrandbits(4 * len(words[which])):x}"
            case 1:
                words[which] = random.choice(("f", "0")) * len(words[which])
            case 2:
                del words[which]
            case 3:
                words.insert(which, words[which])
            case 4:
                words = lines[random.randrange(len(lines))].partition("*")[0].split(" ")
            case 5:
                place = random.randrange(max(1, len(words[which])))
                digit = f"{random.randrange(16):x}"
                words[which] = words[which][:place] + digit + words[which][place + 1 :]
        changed = " ".join(words)
        lines[at] = f"{changed}*{checksum(changed)}"
    return "\n".join(lines)
