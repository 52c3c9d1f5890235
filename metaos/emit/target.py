"""The processor that code is made for: CPUID leaves to LLVM features.

Only general-purpose instructions are of use to an image that saves no vector state.
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.probe.machine import Cpu

TRIPLE = "x86_64-unknown-none-elf"
BASELINE = ("-mmx", "-sse", "-sse2", "-x87", "-idivq-to-divl")
"""No vector or x87 state; and no division whose width a branch would choose."""

REGISTERS = ("eax", "ebx", "ecx", "edx")


@dataclass(frozen=True, slots=True)
class CpuFeature:
    """One CPUID bit. `register` 0 to 3 is EAX to EDX of `leaf`, subleaf 0.

    `flag` is Linux's name (arch/x86/include/asm/cpufeatures.h), where it is not LLVM's.
    `mnemonics` are the instructions that need it, for the guard to test what is used.
    Source: Intel SDM vol. 2A, CPUID; AMD64 APM vol. 3 appendix D.
    """

    name: str
    leaf: int
    register: int
    bit: int
    mnemonics: frozenset[str]
    flag: str = ""


FEATURES = (
    CpuFeature("popcnt", 1, 2, 23, frozenset({"popcnt"})),
    CpuFeature("movbe", 1, 2, 22, frozenset({"movbe"})),
    CpuFeature(
        "bmi", 7, 1, 3,
        frozenset({"andn", "bextr", "blsi", "blsmsk", "blsr", "tzcnt"}), "bmi1",
    ),
    CpuFeature(
        "bmi2", 7, 1, 8,
        frozenset({"bzhi", "mulx", "pdep", "pext", "rorx", "sarx", "shlx", "shrx"}),
    ),
    CpuFeature("adx", 7, 1, 19, frozenset({"adcx", "adox"})),
    CpuFeature("lzcnt", 0x8000_0001, 2, 5, frozenset({"lzcnt"}), "abm"),
)  # fmt: skip


def cpu_features(cpu: Cpu) -> tuple[str, ...]:
    """The features LLVM may use on a processor, by LLVM's names.

    They are read from the leaves; from the flags only where no source had leaves.
    """
    if not cpu.leaves:
        return tuple(f.name for f in FEATURES if (f.flag or f.name) in cpu.flags)
    leaves = {(x.leaf, x.subleaf): x for x in cpu.leaves}
    found = []
    for feature in FEATURES:
        leaf = leaves.get((feature.leaf, 0))
        if leaf is not None and getattr(leaf, REGISTERS[feature.register]) >> feature.bit & 1:
            found.append(feature.name)
    return tuple(found)


def used_features(mnemonics: frozenset[str]) -> tuple[CpuFeature, ...]:
    """The features whose instructions occur in finished code."""
    return tuple(f for f in FEATURES if f.mnemonics & mnemonics)
