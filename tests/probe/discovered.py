"""What the discoverer would print on the machine that a file describes: `printed(machine)`."""

from __future__ import annotations

from collections.abc import Iterator

from metaos.probe.header import BARS, ROM_INDEX, ROMS, layout_of
from metaos.probe.lines import checksum
from metaos.probe.machine import BarKind, Function, Machine


def printed(machine: Machine) -> str:
    """Numbered lines with checksums."""
    bodies = ["metaos-discoverer 02", *_bodies(machine)]
    bodies.append(f"end {len(bodies) + 1:04x}")
    numbered = [f"{number:04x} {body}" for number, body in enumerate(bodies)]
    return "".join(f"{text}*{checksum(text)}\r\n" for text in numbered)


def _bodies(machine: Machine) -> Iterator[str]:
    for x in machine.cpu.leaves:
        registers = " ".join(f"{r:08x}" for r in (x.leaf, x.subleaf, x.eax, x.ebx, x.ecx, x.edx))
        yield f"cpuid {registers}"
    for r in machine.memory:
        yield f"e820 {r.base:016x} {r.size:016x} {r.kind:08x} 00000001"
    for port in machine.legacy:
        yield f"{port.kind} {port.index:02x} {port.port:04x}"
    for function in machine.functions:
        yield from _function(function)
    for table in machine.acpi:
        for at in range(0, len(table.data), 32):
            yield f"acpi {table.address:08x} {at // 2:08x} {table.data[at : at + 32]}"


def _function(function: Function) -> Iterator[str]:
    config = bytes.fromhex(function.config)
    for at in range(0, 256, 16):
        yield f"pci {function.address} {at:02x} {config[at : at + 16].hex()}"
    count = BARS.get(layout_of(config), 0)
    answers = [0] * (count + 1)
    for bar in function.bars:
        at = count if bar.index == ROM_INDEX else bar.index
        mask = -bar.size & (1 << 64) - 1
        answers[at] = mask & 0xFFFFFFFF
        if bar.kind is BarKind.MEM64:
            answers[at + 1] = mask >> 32
    if count:
        yield f"bars {function.address} {' '.join(f'{a:08x}' for a in answers[:count])}"
    if layout_of(config) in ROMS:
        yield f"rom {function.address} {answers[count]:08x}"
