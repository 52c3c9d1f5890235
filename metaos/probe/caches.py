"""The caches that CPUID tells of: `caches(answer) -> tuple[Cache, ...]`.

Source: Intel SDM vol. 2A, CPUID, leaf 4 and table 3-12 (descriptors of leaf 2); AMD64 APM
vol. 3, appendix E, leaves 0x80000005, 0x80000006 and 0x8000001D.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from metaos.probe.cpu import Answer

KIB = 1 << 10
_KINDS = {1: "data", 2: "instruction", 3: "unified"}
_MOST_SUBLEAVES = 16
_TOPOLOGY_EXTENSIONS = 1 << 22
"""In ECX of leaf 0x80000001: leaves 0x8000001D and 0x8000001E are there."""


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache: `size` and `line` in bytes; `ways` 0 where any line can hold anything.

    `sharing` are the logical processors that at most share one; 0 where it is not told.
    """

    level: int
    kind: str
    size: int
    ways: int
    line: int
    sharing: int = 0


def caches(answer: Answer) -> tuple[Cache, ...]:
    """All caches of one logical processor, the nearest first."""
    extended = answer(0x8000_0001, 0)
    found: list[Cache] = []
    if extended is not None and extended.ecx & _TOPOLOGY_EXTENSIONS:
        found = list(_deterministic(answer, 0x8000_001D))
    found = found or list(_deterministic(answer, 4)) or list(_described(answer))
    return tuple(sorted(found or _amd(answer), key=lambda x: (x.level, x.kind)))


def _deterministic(answer: Answer, leaf: int) -> Iterator[Cache]:
    """Leaf 4, and AMD's leaf of the same form: a subleaf for each cache."""
    for subleaf in range(_MOST_SUBLEAVES):
        said = answer(leaf, subleaf)
        if said is None or said.eax & 0x1F not in _KINDS:
            return
        line, ways = (said.ebx & 0xFFF) + 1, (said.ebx >> 22) + 1
        partitions, sets = (said.ebx >> 12 & 0x3FF) + 1, said.ecx + 1
        yield Cache(
            level=said.eax >> 5 & 7,
            kind=_KINDS[said.eax & 0x1F],
            size=line * ways * partitions * sets,
            ways=0 if said.eax >> 9 & 1 else ways,
            line=line,
            sharing=(said.eax >> 14 & 0xFFF) + 1,
        )


def _described(answer: Answer) -> Iterator[Cache]:
    """Leaf 2: a byte for each cache, bytes 1 to 15; a register with its top bit set has none."""
    said = answer(2, 0)
    if said is None:
        return
    registers = (said.eax & ~0xFF, said.ebx, said.ecx, said.edx)
    for register in registers:
        for byte in register.to_bytes(4, "little") if register >> 31 == 0 else b"":
            if byte in _DESCRIPTORS:
                level, kind, kib, ways, line = _DESCRIPTORS[byte]
                yield Cache(level, kind, kib * KIB, ways, line)


def _amd(answer: Answer) -> Iterator[Cache]:
    """AMD's leaves of before 0x8000001D."""
    if (first := answer(0x8000_0005, 0)) is not None:
        for kind, register in (("data", first.ecx), ("instruction", first.edx)):
            if register >> 24:
                ways = register >> 16 & 0xFF
                yield Cache(1, kind, (register >> 24) * KIB, ways % 0xFF, register & 0xFF)
    if (second := answer(0x8000_0006, 0)) is not None:
        sizes = (
            (2, (second.ecx >> 16) * KIB, second.ecx),
            (3, (second.edx >> 18) * 512 * KIB, second.edx),
        )
        for level, size, register in sizes:
            if size and register >> 12 & 0xF:
                ways = _ASSOCIATIVITY.get(register >> 12 & 0xF, 0)
                yield Cache(level, "unified", size, ways, register & 0xFF)


_ASSOCIATIVITY = {
    1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 16, 0xA: 32, 0xB: 48, 0xC: 64, 0xD: 96, 0xE: 128,
}  # fmt: skip
"""Ways by AMD's code; 0xF, fully associative, is 0."""

_L1D, _L1I, _L2, _L3 = (1, "data"), (1, "instruction"), (2, "unified"), (3, "unified")
_DESCRIPTORS: dict[int, tuple[int, str, int, int, int]] = {
    byte: (*which, kib, ways, line)
    for which, table in (
        (_L1I, {
            0x06: (8, 4, 32), 0x08: (16, 4, 32), 0x09: (32, 4, 64), 0x30: (32, 8, 64),
        }),
        (_L1D, {
            0x0A: (8, 2, 32), 0x0C: (16, 4, 32), 0x0D: (16, 4, 64), 0x0E: (24, 6, 64),
            0x2C: (32, 8, 64), 0x60: (16, 8, 64), 0x66: (8, 4, 64), 0x67: (16, 4, 64),
            0x68: (32, 4, 64),
        }),
        (_L2, {
            0x1D: (128, 2, 64), 0x21: (256, 8, 64), 0x24: (1024, 16, 64), 0x41: (128, 4, 32),
            0x42: (256, 4, 32), 0x43: (512, 4, 32), 0x44: (1024, 4, 32), 0x45: (2048, 4, 32),
            0x48: (3072, 12, 64), 0x49: (4096, 16, 64), 0x4E: (6144, 24, 64),
            0x78: (1024, 4, 64), 0x79: (128, 8, 64), 0x7A: (256, 8, 64), 0x7B: (512, 8, 64),
            0x7C: (1024, 8, 64), 0x7D: (2048, 8, 64), 0x7F: (512, 2, 64), 0x80: (512, 8, 64),
            0x82: (256, 8, 32), 0x83: (512, 8, 32), 0x84: (1024, 8, 32), 0x85: (2048, 8, 32),
            0x86: (512, 4, 64), 0x87: (1024, 8, 64),
        }),
        (_L3, {
            0x22: (512, 4, 64), 0x23: (1024, 8, 64), 0x25: (2048, 8, 64), 0x29: (4096, 8, 64),
            0x46: (4096, 4, 64), 0x47: (8192, 8, 64), 0x4A: (6144, 12, 64),
            0x4B: (8192, 16, 64), 0x4C: (12288, 12, 64), 0x4D: (16384, 16, 64),
            0xD0: (512, 4, 64), 0xD1: (1024, 4, 64), 0xD2: (2048, 4, 64), 0xD6: (1024, 8, 64),
            0xD7: (2048, 8, 64), 0xD8: (4096, 8, 64), 0xDC: (1536, 12, 64),
            0xDD: (3072, 12, 64), 0xDE: (6144, 12, 64), 0xE2: (2048, 16, 64),
            0xE3: (4096, 16, 64), 0xE4: (8192, 16, 64), 0xEA: (12288, 24, 64),
            0xEB: (18432, 24, 64), 0xEC: (24576, 24, 64),
        }),
    )
    for byte, (kib, ways, line) in table.items()
}  # fmt: skip
"""Leaf 2's bytes: level, kind, KiB, ways, bytes of a line. Byte 0x49 is a level 3 cache in one
Xeon MP of family 15 only."""
