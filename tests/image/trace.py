"""Executed addresses, with string instructions counted once whatever their count."""

from __future__ import annotations

from collections.abc import Iterable

from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from metaos.link.image import Image


def phase_code(image: Image, phase: str) -> bytes:
    """The machine code of a phase, from the image's bytes."""
    return b"".join(image.data[r.start : r.end] for r in image.manifest.phase(phase).code_file)


def string_instructions(image: Image, phase: str) -> frozenset[int]:
    """The linear addresses of a phase's repeated string instructions."""
    start = image.manifest.phase(phase).code_linear
    decoded = Cs(CS_ARCH_X86, CS_MODE_64).disasm(phase_code(image, phase), start)
    return frozenset(i.address for i in decoded if i.bytes[0] in (0xF2, 0xF3))


def blocks(executed: Iterable[int], strings: frozenset[int]) -> tuple[int, ...]:
    """Starts of blocks; a string instruction begins one for each repetition, left out here."""
    return tuple(address for address in executed if address not in strings)


def instructions(executed: Iterable[int], strings: frozenset[int]) -> tuple[int, ...]:
    """Instructions; a string instruction is seen again for each repetition."""
    kept: list[int] = []
    for address in executed:
        if address not in strings or not kept or kept[-1] != address:
            kept.append(address)
    return tuple(kept)
