"""What CPUID leaves say in words: the processor's vendor and brand.

Source: Intel SDM volume 2A, CPUID, leaves 0 and 0x80000002 to 0x80000004.
"""

from __future__ import annotations

from collections.abc import Iterable

from metaos.probe.machine import CpuidLeaf


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


def _text(*registers: int) -> str:
    raw = b"".join(register.to_bytes(4, "little") for register in registers)
    return raw.split(b"\0")[0].decode("latin-1").strip()
