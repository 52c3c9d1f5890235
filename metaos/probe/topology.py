"""How many packages, cores and threads there are: `topology(cpu) -> Topology`.

Each logical processor's APIC id is its package, core and thread, side by side as bits. Source:
Intel SDM vol. 3A §9.9 (leaves 4, 0Bh, 1Fh), vol. 2A, CPUID, leaves 7 and 1Ah; AMD64 APM vol. 3,
appendix E, leaves 0x80000008, 0x8000001E.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from metaos.probe.cpu import Answer, answers, describe
from metaos.probe.machine import Cpu

_AMD = ("AuthenticAMD", "HygonGenuine")
_HYPER_THREADING = 1 << 28
_HYBRID = 1 << 15
_TOPOLOGY_EXTENSIONS = 1 << 22
_KINDS = {0x20: "efficient", 0x40: "performance"}
"""Leaf 1Ah, EAX 31:24: Intel Atom and Intel Core."""
_THREAD_LEVEL = 1
_MOST_LEVELS = 8
_AMD_ZEN = 0x17
"""From this family on the processors of a compute unit are a core's threads."""


@dataclass(frozen=True, slots=True)
class Topology:
    """`listed` logical processors tell of themselves; of a machine's all, if there are others.

    `cores` and `threads` are those of all packages, or of one where `packages` is None, since
    only one processor was listed; then they may be no more than how many there is room for
    (`at_most`). `kinds` are the cores of each kind, of hybrid processors.
    """

    listed: int
    packages: int | None
    cores: int
    threads: int
    at_most: bool
    kinds: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a logical processor is; the counts are those of its package, or more if `at_most`."""

    apic: int
    thread_bits: int
    package_bits: int
    cores: int
    threads: int
    kind: str
    at_most: bool = False

    @property
    def core(self) -> int:
        return self.apic >> self.thread_bits

    @property
    def package(self) -> int:
        return self.apic >> self.package_bits


def topology(cpu: Cpu) -> Topology:
    """Count what the leaves of all listed processors tell."""
    places = [_place(answer) for answer in answers(cpu)]
    kinds = Counter(kind for _, kind in {(p.core, p.kind) for p in places} if kind)
    if len(places) == 1:
        one = places[0]
        return Topology(1, None, one.cores, one.threads, one.at_most, tuple(kinds.items()))
    return Topology(
        listed=len(places),
        packages=len({place.package for place in places}),
        cores=len({place.core for place in places}),
        threads=len({place.apic for place in places}),
        at_most=False,
        kinds=tuple(sorted(kinds.items(), reverse=True)),
    )


def _place(answer: Answer) -> _Place:
    return _by_levels(answer, 0x1F) or _by_levels(answer, 0x0B) or _by_counts(answer)


def _by_levels(answer: Answer, leaf: int) -> _Place | None:
    """Leaves 0Bh and 1Fh: for each level its kind, how far to shift, and how many are below."""
    thread_bits = package_bits = apic = 0
    threads = in_core = 0
    for subleaf in range(_MOST_LEVELS):
        said = answer(leaf, subleaf)
        if said is None or not said.ebx & 0xFFFF or not said.ecx >> 8 & 0xFF:
            break
        apic, package_bits, threads = said.edx, said.eax & 0x1F, said.ebx & 0xFFFF
        if said.ecx >> 8 & 0xFF == _THREAD_LEVEL:
            thread_bits, in_core = package_bits, threads
    if not threads:
        return None
    cores = max(1, threads // max(1, in_core))
    return _Place(apic, thread_bits, package_bits, cores, threads, _kind(answer))


def _by_counts(answer: Answer) -> _Place:
    """Processors without these leaves: counts, of which the bits follow."""
    vendor = describe(x for x in [answer(0, 0)] if x)[0]
    first = answer(1, 0)
    apic = first.ebx >> 24 if first else 0
    threads = (first.ebx >> 16 & 0xFF) if first and first.edx & _HYPER_THREADING else 1
    if vendor in _AMD:
        return _amd(answer, apic)
    caches = answer(4, 0)
    cores = (caches.eax >> 26) + 1 if caches and caches.eax & 0x1F else 1
    threads = max(threads, 1)
    cores = min(cores, threads)
    package_bits, core_bits = _bits(threads), _bits(cores)
    return _Place(
        apic=apic,
        thread_bits=max(0, package_bits - core_bits),
        package_bits=package_bits,
        cores=cores,
        threads=threads,
        kind=_kind(answer),
        at_most=threads > 1,
    )


def _amd(answer: Answer, apic: int) -> _Place:
    sizes, extended = answer(0x8000_0008, 0), answer(0x8000_0001, 0)
    threads = (sizes.ecx & 0xFF) + 1 if sizes else 1
    package_bits = (sizes.ecx >> 12 & 0xF) or _bits(threads) if sizes else 0
    in_core = 1
    unit = answer(0x8000_001E, 0)
    if unit is not None and extended is not None and extended.ecx & _TOPOLOGY_EXTENSIONS:
        apic = unit.eax
        if _family(answer) >= _AMD_ZEN:
            in_core = (unit.ebx >> 8 & 0xFF) + 1
    cores = max(1, threads // in_core)
    return _Place(apic, _bits(in_core), package_bits, cores, threads, "")


def _family(answer: Answer) -> int:
    first = answer(1, 0)
    return (first.eax >> 8 & 0xF) + (first.eax >> 20 & 0xFF) if first else 0


def _kind(answer: Answer) -> str:
    """Which kind of core a hybrid processor's is; empty in others."""
    features, hybrid = answer(7, 0), answer(0x1A, 0)
    if features is None or hybrid is None or not features.edx & _HYBRID:
        return ""
    return _KINDS.get(hybrid.eax >> 24, f"kind {hybrid.eax >> 24:#x}")


def _bits(count: int) -> int:
    """Bits that number `count` things."""
    return (count - 1).bit_length()
