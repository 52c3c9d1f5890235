"""ACPI tables in words: `acpi_lines(read_acpi(machine.acpi))`, a line for each thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metaos.probe.acpi_tables import Acpi, Madt, NumaNode, Table


def acpi_lines(acpi: Acpi) -> list[str]:
    """What `metaos show` says of the tables, a line for each thing."""
    return [
        *(_table_line(t) for t in acpi.tables),
        *_platform_lines(acpi),
        *_interrupt_lines(acpi.madt),
        *(_node_line(node) for node in acpi.nodes),
        *(f"fault: {fault.table} at {fault.offset:#x}: {fault.text}" for fault in acpi.faults),
    ]


def _table_line(table: Table) -> str:
    name = table.signature.strip()
    sound = "" if table.sound else "  BROKEN"
    where = f"at {table.address:#x}  " if table.address else ""
    return (
        f"{name:<8} {where}{table.length} bytes  revision {table.revision}  {table.maker}{sound}"
    ).rstrip()


def _platform_lines(acpi: Acpi) -> Iterator[str]:
    for ecam in acpi.ecam:
        segment = f"segment {ecam.segment}, " if ecam.segment else ""
        yield (
            f"config space at {ecam.base:#x}: {segment}"
            f"buses {ecam.first_bus:02x} to {ecam.last_bus:02x}"
        )
    if acpi.fadt is not None:
        if acpi.fadt.pm_timer is not None:
            yield f"PM timer at {acpi.fadt.pm_timer}, {acpi.fadt.timer_bits} bits count"
        if acpi.fadt.reset is not None:
            yield f"reset: {acpi.fadt.reset_value:#04x} to {acpi.fadt.reset}"
    if acpi.hpet is not None:
        yield f"HPET {acpi.hpet.number} at {acpi.hpet.address}"
    if acpi.console is not None:
        console = acpi.console
        more = (f", {console.baud} baud" if console.baud else "") + (
            f", function {console.function}" if console.function else ""
        )
        yield f"serial console at {console.address}{more}"


def _interrupt_lines(madt: Madt | None) -> Iterator[str]:
    if madt is None:
        return
    enabled = [p for p in madt.processors if p.enabled]
    others = len(madt.processors) - len(enabled)
    yield (
        f"processors: {len(enabled)}{f', {others} not enabled' if others else ''}, "
        f"APIC ids {_ranges([p.apic for p in enabled]) or 'none'}; "
        f"local APIC at {madt.local_apic:#x}"
    )
    for chip in madt.io_apics:
        yield f"I/O APIC {chip.id} at {chip.address:#x}, lines from {chip.first}"
    for change in madt.overrides:
        yield f"IRQ {change.irq} is line {change.line}, {change.trigger}, {change.polarity}"


def _node_line(node: NumaNode) -> str:
    memory = ", ".join(f"{m.base:#x} to {m.base + m.size - 1:#x}" for m in node.memory if m.size)
    return (
        f"NUMA node {node.number}: APIC ids {_ranges(node.apics) or 'none'}; "
        f"memory {memory or 'none'}"
    )


def _ranges(numbers: Sequence[int]) -> str:
    """ "0 to 3, 8": a list of numbers, short."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)
