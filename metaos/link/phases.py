"""The linker's own code: the end of every phase, and the whole wipe phase; gates.py has the trap.

All of it is straight-line and assembled with keystone, which is imported when first used.
A steady phase that sleeps ends in `sti; hlt` before its `jmp`. The phase change is

    mov eax, next
    mov eax, [rax]          ; a root lies below 4 GiB: the upper half of RAX becomes 0
    mov cr3, rax            ; from here on the code page is another one
    jmp rel32               ; so this is the next phase's own, at the same address

(`mov eax, [next]` has 64 bits of address, so two bytes more.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from metaos.link.layout import CODE_END

JMP_LENGTH = 5
SLEEP = b"\xfb\xf4"
"""sti; hlt: interrupts are let in with the next instruction, so none comes between the two."""
CHANGE_LENGTH = 15
"""Bytes of the phase change, the jmp included."""
HANDOVER = CODE_END - CHANGE_LENGTH
"""Linear address of every phase change; the loader enters here, with `next` = guard's root."""


def tail_length(phase: str, sleeps: bool) -> int:
    """Bytes that the linker adds to a phase's code."""
    if phase != "steady":
        return CHANGE_LENGTH
    return JMP_LENGTH + len(SLEEP) * sleeps


def tail(phase: str, sleeps: bool, next_place: int, length: int) -> bytes:
    """The end of a phase whose code is `length` bytes, this tail included."""
    jmp = b"\xe9" + struct.pack("<i", -length)
    if phase == "steady":
        return SLEEP * sleeps + jmp
    change = assemble(f"mov eax, {next_place}\nmov eax, dword ptr [rax]\nmov cr3, rax")
    assert len(change) + JMP_LENGTH == CHANGE_LENGTH
    return change + jmp


def wipe_length(ranges: int) -> int:
    """Bytes of the wipe code without its tail."""
    return len(wipe_code(((0, 8),) * ranges, 0x200000, 0x100000))


def wipe_code(ranges: Iterable[tuple[int, int]], next_place: int, root: int) -> bytes:
    """Clear the byte ranges (multiples of 8), then set `next` to `root`.

    Its length is fixed by the number of ranges.
    """
    lines = ["xor eax, eax"]
    for start, end in ranges:
        lines += [f"mov edi, {start}", f"mov ecx, {(end - start) // 8}", "rep stosq"]
    lines += [f"mov edi, {next_place}", f"mov eax, {root}", "stosd"]
    return assemble("\n".join(lines))


def assemble(text: str) -> bytes:
    """Intel syntax to bytes."""
    from keystone import KS_ARCH_X86, KS_MODE_64, Ks

    code, _ = Ks(KS_ARCH_X86, KS_MODE_64).asm(text, as_bytes=True)
    return bytes(code)
