"""What CPUID leaves say in words: the processor's vendor and brand, family and model.

Source: Intel SDM volume 2A, CPUID, leaves 0, 1 and 0x80000002 to 0x80000004; AMD64 APM
volume 3, appendix E.3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from metaos.probe.machine import Cpu, CpuidLeaf, Origin, Processor

Answer = Callable[[int, int], CpuidLeaf | None]
"""What one logical processor answers to a leaf and subleaf; None if it has no such leaf."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which processor it is, as its maker counts; all 0 without leaf 1."""

    vendor: str
    family: int
    model: int
    stepping: int


def describe(leaves: Iterable[CpuidLeaf]) -> tuple[str, str]:
    """Vendor and brand; empty where there is no such leaf."""
    known = {leaf.leaf: leaf for leaf in leaves if leaf.subleaf == 0}
    vendor = brand = ""
    if zero := known.get(0):
        vendor = _text(zero.ebx, zero.edx, zero.ecx)
    names = [known[leaf] for leaf in (0x80000002, 0x80000003, 0x80000004) if leaf in known]
    if len(names) == 3:
        brand = _text(*(r for leaf in names for r in (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx)))
    return vendor, brand


def identity(cpu: Cpu) -> Identity:
    """Vendor, family, model and stepping, the extended fields added in."""
    eax = next((x.eax for x in cpu.leaves if (x.leaf, x.subleaf) == (1, 0)), 0)
    family, model = eax >> 8 & 0xF, eax >> 4 & 0xF
    if family in (0x6, 0xF):
        model |= eax >> 12 & 0xF0
    if family == 0xF:
        family += eax >> 20 & 0xFF
    return Identity(vendor=cpu.vendor, family=family, model=model, stepping=eax & 0xF)


def answer(cpu: Cpu, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX and EDX, as the first processor answers; zeros of a leaf that is not known."""
    for known in cpu.leaves:
        if (known.leaf, known.subleaf) == (leaf, subleaf):
            return int(known.eax), int(known.ebx), int(known.ecx), int(known.edx)
    return 0, 0, 0, 0


def cpu_of(found: Mapping[int, tuple[CpuidLeaf, ...]], origin: Origin) -> Cpu:
    """The processor whose logical processors, by number, have these leaves; at least one."""
    first = min(found)
    vendor, brand = describe(found[first])
    return Cpu(
        vendor=vendor,
        brand=brand,
        leaves=found[first],
        origin=origin,
        others=tuple(
            Processor(number=number, leaves=_differing(found[first], found[number]))
            for number in sorted(found)
            if number != first
        ),
    )


def _differing(first: tuple[CpuidLeaf, ...], other: tuple[CpuidLeaf, ...]) -> tuple[CpuidLeaf, ...]:
    """The leaves of another processor that are not as the first one's; zeros where it has none."""
    ours = {(leaf.leaf, leaf.subleaf): leaf for leaf in first}
    theirs = {(leaf.leaf, leaf.subleaf): leaf for leaf in other}
    for leaf, subleaf in ours.keys() - theirs.keys():
        theirs[leaf, subleaf] = CpuidLeaf(leaf=leaf, subleaf=subleaf, eax=0, ebx=0, ecx=0, edx=0)
    return tuple(leaf for key, leaf in sorted(theirs.items()) if ours.get(key) != leaf)


def answers(cpu: Cpu) -> list[Answer]:
    """What each logical processor answers, the first one first.

    A leaf beyond the highest that the processor says it has is no answer: some repeat another
    leaf's there (Intel SDM vol. 2A, CPUID).
    """
    first = {(x.leaf, x.subleaf): x for x in cpu.leaves}
    others = [first | {(x.leaf, x.subleaf): x for x in other.leaves} for other in cpu.others]
    return [_within(leaves) for leaves in (first, *others)]


def _within(leaves: dict[tuple[int, int], CpuidLeaf]) -> Answer:
    def answer(leaf: int, subleaf: int) -> CpuidLeaf | None:
        highest = leaves.get((leaf & 0xFFFF_0000, 0))
        if highest is not None and leaf > highest.eax:
            return None
        return leaves.get((leaf, subleaf))

    return answer


def _text(*registers: int) -> str:
    raw = b"".join(register.to_bytes(4, "little") for register in registers)
    return raw.split(b"\0")[0].decode("latin-1").strip()
