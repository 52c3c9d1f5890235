"""LLVM's x86 features, each with the place where CPUID says that a processor has it.

Entering: a `Cpu`; leaving: LLVM's feature names.

    features(machine.cpu)  ->  frozenset({"cmov", "popcnt", "avx2", ...})

Source: Intel SDM vol. 2A, CPUID; Intel Architecture Instruction Set Extensions Programming
Reference, chapter 1; AMD64 APM vol. 3, appendix D.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from metaos.probe.cpu import Answer, answers
from metaos.probe.machine import Cpu, CpuidLeaf

REGISTERS: Final = ("eax", "ebx", "ecx", "edx")
_EXTENDED: Final = 0x8000_0000


@dataclass(frozen=True, slots=True)
class Place:
    """`width` bits from `bit` of a CPUID register, which have the feature if `least` or more.

    `register` 0 to 3 is EAX to EDX. `state` are the bits of XCR0 that the feature needs an
    operating system to set, and save: 2 SSE, 4 AVX, 0xe0 AVX-512, 0x200 protection keys,
    0x60000 AMX, 0x80000 APX; 0 where it works on general-purpose registers alone.
    Source: Intel SDM vol. 1 §13.1.
    """

    leaf: int
    subleaf: int
    register: int
    bit: int
    state: int = 0
    width: int = 1
    least: int = 1

    def held(self, answer: CpuidLeaf) -> bool:
        """Whether the answer of this leaf says that the feature is there."""
        value: int = getattr(answer, REGISTERS[self.register])
        return value >> self.bit & (1 << self.width) - 1 >= self.least


_X87, _SSE, _AVX, _PKU = 1, 2, 4 | 2, 0x200
_AVX512, _AMX, _APX = 0xE0 | _AVX, 0x60000, 0x80000


def _bits(
    leaf: int, subleaf: int, register: int, state: int, names: Iterable[tuple[int, str]]
) -> dict[str, Place]:
    return {name: Place(leaf, subleaf, register, bit, state) for bit, name in names}


_EBX, _ECX, _EDX = 1, 2, 3

PLACES: Final[dict[str, Place]] = {
    **_bits(1, 0, _EDX, _X87, ((0, "x87"), (23, "mmx"))),
    **_bits(1, 0, _EDX, 0, ((8, "cx8"), (15, "cmov"), (24, "fxsr"))),
    **_bits(1, 0, _EDX, _SSE, ((25, "sse"), (26, "sse2"))),
    **_bits(
        1, 0, _ECX, _SSE,
        ((0, "sse3"), (1, "pclmul"), (9, "ssse3"), (19, "sse4.1"), (20, "sse4.2"), (25, "aes")),
    ),
    **_bits(
        1, 0, _ECX, 0,
        ((13, "cx16"), (20, "crc32"), (22, "movbe"), (23, "popcnt"), (26, "xsave"), (30, "rdrnd")),
    ),
    **_bits(1, 0, _ECX, _AVX, ((12, "fma"), (28, "avx"), (29, "f16c"))),
    **_bits(
        7, 0, _EBX, 0,
        (
            (0, "fsgsbase"), (2, "sgx"), (3, "bmi"), (8, "bmi2"), (10, "invpcid"), (11, "rtm"),
            (18, "rdseed"), (19, "adx"), (23, "clflushopt"), (24, "clwb"),
        ),
    ),
    **_bits(7, 0, _EBX, _SSE, ((29, "sha"),)),
    **_bits(7, 0, _EBX, _AVX, ((5, "avx2"),)),
    **_bits(
        7, 0, _EBX, _AVX512,
        (
            (16, "avx512f"), (17, "avx512dq"), (21, "avx512ifma"), (28, "avx512cd"),
            (30, "avx512bw"), (31, "avx512vl"),
        ),
    ),
    **_bits(
        7, 0, _ECX, _AVX512,
        (
            (1, "avx512vbmi"), (6, "avx512vbmi2"), (11, "avx512vnni"), (12, "avx512bitalg"),
            (14, "avx512vpopcntdq"),
        ),
    ),
    **_bits(7, 0, _ECX, _PKU, ((3, "pku"),)),
    **_bits(
        7, 0, _ECX, 0,
        (
            (5, "waitpkg"), (7, "shstk"), (22, "rdpid"), (25, "cldemote"), (27, "movdiri"),
            (28, "movdir64b"), (29, "enqcmd"),
        ),
    ),
    **_bits(7, 0, _ECX, _SSE, ((8, "gfni"), (23, "kl"))),
    **_bits(7, 0, _ECX, _AVX, ((9, "vaes"), (10, "vpclmulqdq"))),
    **_bits(
        7, 0, _EDX, 0, ((5, "uintr"), (14, "serialize"), (16, "tsxldtrk"), (18, "pconfig"))
    ),
    **_bits(7, 0, _EDX, _AVX512, ((8, "avx512vp2intersect"), (23, "avx512fp16"))),
    **_bits(7, 0, _EDX, _AMX, ((22, "amx-bf16"), (24, "amx-tile"), (25, "amx-int8"))),
    **_bits(
        7, 1, 0, _AVX, ((0, "sha512"), (1, "sm3"), (2, "sm4"), (4, "avxvnni"), (23, "avxifma"))
    ),
    **_bits(7, 1, 0, 0, ((3, "raoint"), (7, "cmpccxadd"), (22, "hreset"), (31, "movrs"))),
    **_bits(7, 1, 0, _AVX512, ((5, "avx512bf16"),)),
    **_bits(7, 1, 0, _AMX, ((21, "amx-fp16"),)),
    **_bits(
        7, 1, _EDX, _AVX, ((4, "avxvnniint8"), (5, "avxneconvert"), (10, "avxvnniint16"))
    ),
    **_bits(7, 1, _EDX, _AMX, ((8, "amx-complex"),)),
    **_bits(7, 1, _EDX, 0, ((14, "prefetchi"), (15, "usermsr"))),
    **_bits(
        7, 1, _EDX, _APX,
        (
            (21, "egpr"), (21, "push2pop2"), (21, "ppx"), (21, "ndd"), (21, "ccmp"), (21, "nf"),
            (21, "cf"), (21, "zu"),
        ),
    ),
    **_bits(0xD, 1, 0, 0, ((0, "xsaveopt"), (1, "xsavec"), (3, "xsaves"))),
    **_bits(0x14, 0, _EBX, 0, ((4, "ptwrite"),)),
    **_bits(0x19, 0, _EBX, _SSE, ((2, "widekl"),)),
    **_bits(
        0x1E, 1, 0, _AMX,
        ((4, "amx-fp8"), (6, "amx-tf32"), (7, "amx-avx512"), (8, "amx-movrs")),
    ),
    "avx10.1": Place(0x24, 0, _EBX, 0, _AVX512, width=8, least=1),
    "avx10.2": Place(0x24, 0, _EBX, 0, _AVX512, width=8, least=2),
    **_bits(
        _EXTENDED + 1, 0, _ECX, 0,
        ((0, "sahf"), (5, "lzcnt"), (8, "prfchw"), (15, "lwp"), (21, "tbm"), (29, "mwaitx")),
    ),
    **_bits(_EXTENDED + 1, 0, _ECX, _SSE, ((6, "sse4a"),)),
    **_bits(_EXTENDED + 1, 0, _ECX, _AVX, ((11, "xop"), (16, "fma4"))),
    **_bits(_EXTENDED + 1, 0, _EDX, 0, ((29, "64bit"),)),
    **_bits(_EXTENDED + 8, 0, _EBX, 0, ((0, "clzero"), (4, "rdpru"), (9, "wbnoinvd"))),
}  # fmt: skip
"""Where each feature's bits are, by LLVM's name."""


def features(cpu: Cpu) -> frozenset[str]:
    """LLVM's names of what every logical processor of `cpu` has, in leaves that it has."""
    return frozenset.intersection(*(_of(answer) for answer in answers(cpu)))


def needs_state(name: str) -> bool:
    """Whether a feature works on registers that an operating system has to save."""
    return PLACES[name].state != 0


def _of(answer: Answer) -> frozenset[str]:
    found = ((name, place, answer(place.leaf, place.subleaf)) for name, place in PLACES.items())
    return frozenset(name for name, place, said in found if said is not None and place.held(said))
