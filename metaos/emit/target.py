"""The processor that code is made for: CPUID leaves to LLVM features.

Only general-purpose instructions are of use to an image that saves no vector state.
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.emit.features import PLACES, features
from metaos.probe.machine import Cpu

TRIPLE = "x86_64-unknown-none-elf"
BASELINE = ("-mmx", "-sse", "-sse2", "-x87", "-idivq-to-divl")
"""No vector or x87 state; and no division whose width a branch would choose."""


@dataclass(frozen=True, slots=True)
class CpuFeature:
    """One CPUID bit of use to an image, which saves no vector state.

    `register` 0 to 3 is EAX to EDX of `leaf`, subleaf 0. `flag` is Linux's name
    (arch/x86/include/asm/cpufeatures.h). `mnemonics` are the instructions that need it, for
    the guard to test what is used.
    """

    name: str
    leaf: int
    register: int
    bit: int
    mnemonics: frozenset[str]
    flag: str

    @property
    def fact(self) -> str:
        """Where the machine file says it, as accounts name facts."""
        return f"cpu.leaves.{self.leaf:#x}"


def _feature(name: str, mnemonics: str, flag: str = "") -> CpuFeature:
    at = PLACES[name]
    words = frozenset(mnemonics.split())
    return CpuFeature(name, at.leaf, at.register, at.bit, words, flag or name)


FEATURES = (
    _feature("popcnt", "popcnt"),
    _feature("movbe", "movbe"),
    _feature("bmi", "andn bextr blsi blsmsk blsr tzcnt", "bmi1"),
    _feature("bmi2", "bzhi mulx pdep pext rorx sarx shlx shrx"),
    _feature("adx", "adcx adox"),
    _feature("lzcnt", "lzcnt", "abm"),
)


def cpu_features(cpu: Cpu) -> tuple[str, ...]:
    """The features LLVM may use on every logical processor, by LLVM's names.

    They are read from the leaves; from the flags only where no source had leaves.
    """
    if not cpu.leaves:
        return tuple(f.name for f in FEATURES if f.flag in cpu.flags)
    has = features(cpu)
    return tuple(f.name for f in FEATURES if f.name in has)


def used_features(mnemonics: frozenset[str]) -> tuple[CpuFeature, ...]:
    """The features whose instructions occur in finished code."""
    return tuple(f for f in FEATURES if f.mnemonics & mnemonics)
