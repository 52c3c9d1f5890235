"""All CPUID leaves of a processor, by asking: `leaves(ask)`.

`ask(leaf, subleaf)` gives EAX, EBX, ECX, EDX. What is asked is what the discoverer asks
(docs/discoverer.md), so that both give the same leaves.

Source: Intel SDM volume 2A, CPUID; AMD64 APM volume 3, appendix E.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Callable, Iterator

from metaos.errors import MetaosError
from metaos.probe.machine import CpuidLeaf

Registers = tuple[int, int, int, int]
Ask = Callable[[int, int], Registers]

_RANGES = (0, 0x4000_0000, 0x8000_0000)
"""Of the processor, of the hypervisor that it runs under if one does, and the extended ones."""
_LAST_OF_RANGE = 0xFF
_MOST_SUBLEAVES = 63
_COUNT = frozenset({0x7, 0x14, 0x17, 0x18, 0x1D, 0x24})
"""EAX of subleaf 0 is the last one."""
_TYPE = frozenset({0x4, 0x1B, 0x8000_001D})
"""They end where EAX[4:0], the kind, is 0."""
_LEVEL = frozenset({0xB, 0x1F, 0x8000_0026})
"""They end where ECX[15:8], the kind of level, is 0."""
_SPARSE = frozenset({0xD, 0xF, 0x10, 0x12, 0x1E, 0x20, 0x23, 0x8000_0020})
"""Those that are not all zeros."""

_CODE = bytes.fromhex(
    "53"  #             push rbx
    "89f8"  #           mov eax, edi
    "89f1"  #           mov ecx, esi
    "4989d0"  #         mov r8, rdx
    "0fa2"  #           cpuid
    "418900"  #         mov [r8], eax
    "41895804"  #       mov [r8 + 4], ebx
    "41894808"  #       mov [r8 + 8], ecx
    "4189500c"  #       mov [r8 + 12], edx
    "5b"  #             pop rbx
    "c3"  #             ret
)
"""void ask(uint32_t leaf, uint32_t subleaf, uint32_t answer[4]), System V AMD64 ABI §3.2."""


def leaves(ask: Ask) -> tuple[CpuidLeaf, ...]:
    """Every leaf and subleaf that means something, in order."""
    return tuple(_leaves(ask))


def _leaves(ask: Ask) -> Iterator[CpuidLeaf]:
    for first in _RANGES:
        last = ask(first, 0)[0]
        if not first <= last <= first + _LAST_OF_RANGE:
            continue  # no such range: the answer is arbitrary
        for leaf in range(first, last + 1):
            yield from _subleaves(ask, leaf)


def _subleaves(ask: Ask, leaf: int) -> Iterator[CpuidLeaf]:
    answer = ask(leaf, 0)
    yield _leaf(leaf, 0, answer)
    if not any(leaf in rule for rule in (_COUNT, _TYPE, _LEVEL, _SPARSE)):
        return
    last = answer[0] if leaf in _COUNT and answer[0] <= _MOST_SUBLEAVES else _MOST_SUBLEAVES
    for subleaf in range(1, last + 1):
        answer = ask(leaf, subleaf)
        if (leaf in _TYPE and not answer[0] & 0x1F) or (leaf in _LEVEL and not answer[2] & 0xFF00):
            return
        if leaf not in _SPARSE or any(answer):
            yield _leaf(leaf, subleaf, answer)


def _leaf(leaf: int, subleaf: int, answer: Registers) -> CpuidLeaf:
    eax, ebx, ecx, edx = answer
    return CpuidLeaf(leaf=leaf, subleaf=subleaf, eax=eax, ebx=ebx, ecx=ecx, edx=edx)


def instruction() -> Ask:
    """The CPUID instruction of the processor on which this runs.

    Raises:
        MetaosError: another kind of processor, or the host allows no new code in memory.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        raise MetaosError(f"this is no x86-64 processor, but {platform.machine()}")
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError as error:
        raise MetaosError(
            f"the CPUID instruction cannot be executed from here: {error.strerror}"
        ) from error
    page.write(_CODE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    words = ctypes.c_uint32 * 4
    call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.POINTER(words))(start)

    def ask(leaf: int, subleaf: int) -> Registers:
        assert page  # it must live as long as the function
        answer = words()
        call(leaf, subleaf, ctypes.byref(answer))
        eax, ebx, ecx, edx = answer
        return eax, ebx, ecx, edx

    return ask
