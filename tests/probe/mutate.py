"""Damage to texts and bytes as wires, terminals and people do it, from a seed; nothing is lost of
what made it: `mutated(data, seed)` is the same every time."""

from __future__ import annotations

import random

from metaos.probe.lines import checksum

_SCRAPS = (
    b"\0", b"\n", b"\r", b"\r\n\r\n", b"*", b" ", b"\t", b"\x1b[", b"\x1b]0;", b"\xff\xfe", b"\xc3",
    "\u2028".encode(), b"0000 ", b"ffff", b"-1", b"99999999999999999999", b"1e999", b"NaN", b"null",
    b'"', b"{", b"[", b"]", b"}", b",", b"0x", b":", b"@ 0x0", b"0000 metaos-discoverer 02*57e2\n",
    b"ffff end 0000*0000\n", b"A" * 300, b"[" * 2000,
)  # fmt: skip


def mutated(data: bytes, seed: int) -> bytes:
    """One to eight changes anywhere: bits, slices lost, doubled, moved, scraps put in, cut off."""
    chance = random.Random(seed)
    raw = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(raw) + 1)
        end = min(len(raw), at + chance.choice((1, 1, 2, 7, 40, 700)))
        match chance.randrange(8):
            case 0 | 1 if at < len(raw):
                raw[at] ^= 1 << chance.randrange(8)
            case 2 if at < len(raw):
                raw[at] = chance.randrange(256)
            case 3:
                del raw[at:end]
            case 4:
                raw[at:at] = raw[at:end]
            case 5:
                raw[at:at] = chance.choice(_SCRAPS)
            case 6:
                piece = raw[at:end]
                del raw[at:end]
                to = chance.randrange(len(raw) + 1)
                raw[to:to] = piece
            case 7 if chance.random() < 0.2:
                del raw[at:]
    return bytes(raw)


def resealed(text: str, seed: int) -> str:
    """Lines of the discoverer whose bodies are changed and whose checksums are right all the same.

    What is behind the checksum must stand that, too.
    """
    chance = random.Random(seed)
    lines = text.splitlines()
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(lines))
        body, _, _ = lines[at].partition("*")
        words = body.split(" ")
        which = chance.randrange(len(words))
        match chance.randrange(6):
            case 0:
                words[which] = f"{chance.getrandbits(4 * len(words[which])):x}"
            case 1:
                words[which] = chance.choice(("f", "0")) * len(words[which])
            case 2:
                del words[which]
            case 3:
                words.insert(which, words[which])
            case 4:
                words = lines[chance.randrange(len(lines))].partition("*")[0].split(" ")
            case 5:
                place = chance.randrange(max(1, len(words[which])))
                digit = f"{chance.randrange(16):x}"
                words[which] = words[which][:place] + digit + words[which][place + 1 :]
        changed = " ".join(words)
        lines[at] = f"{changed}*{checksum(changed)}"
    return "\n".join(lines)
