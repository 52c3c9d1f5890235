"""The text of `metaos show`: a machine as a tree."""

from __future__ import annotations

import re
from collections.abc import Iterator

from metaos.cli_processor import processor_lines
from metaos.match.tree import ShownBus, ShownFunction, ShownMachine
from metaos.probe.acpi import read_acpi
from metaos.probe.acpi_text import acpi_lines
from metaos.probe.machine import AcpiTable, MemoryRange, Unknown

_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_KINDS = {1: "usable", 2: "reserved", 3: "ACPI tables", 4: "ACPI NVS", 5: "unusable"}
"""ACPI 6.4 §15.1."""


def tree_text(shown: ShownMachine, tables: tuple[AcpiTable, ...]) -> str:
    """Processor, memory, buses, what firmware left, and what is not known."""
    lines = [*processor_lines(shown.processor), *_memory(shown.memory)]
    for bus in shown.buses:
        lines += _bus(bus, "")
    if shown.legacy:
        ports = (f"{x.kind}{x.index} at {x.port:#x}" for x in shown.legacy)
        lines.append("legacy     " + ", ".join(ports))
    lines += [f"{x.address}  {x.kind}: {x.name}, {size_text(x.size)}" for x in shown.mmio]
    if tables:
        lines += ["ACPI", *(f"  {line}" for line in acpi_lines(read_acpi(tables)))]
    if shown.learnt:
        lines += ["learnt", *(f"  {x.device} {x.name} = {x.value:#x}" for x in shown.learnt)]
    if shown.emulator:
        words = " ".join(shown.emulator.arguments)
        lines.append(f"QEMU       --target {shown.emulator.target}{f' -- {words}' * bool(words)}")
    lines += _unknown(shown.unknown)
    return "\n".join(_printable(line.rstrip()) for line in lines)


def size_text(number: int) -> str:
    """A size in the largest unit that divides it."""
    for unit, name in _UNITS:
        if number and number % unit == 0:
            return f"{number // unit} {name}"
    return f"{number} bytes"


def _memory(ranges: tuple[MemoryRange, ...]) -> Iterator[str]:
    if ranges:
        usable = sum(r.size for r in ranges if r.kind == 1)
        unit, name = next((u for u in _UNITS if usable >= u[0]), (1, "bytes"))
        yield f"memory     {usable / unit:.4g} {name} usable"
    for r in ranges:
        kind = _KINDS.get(r.kind, f"kind {r.kind}")
        yield f"  {r.base:#014x}  {size_text(r.size):>14}  {kind}"


def _bus(bus: ShownBus, indent: str) -> Iterator[str]:
    where = f"domain {bus.domain:04x} " if bus.domain else ""
    yield f"{indent}{where}bus {bus.number:02x}"
    for function in bus.functions:
        yield from _function(function, f"{indent}  ")


def _function(function: ShownFunction, indent: str) -> Iterator[str]:
    kind = f"{function.class_name}: " if function.class_name else ""
    yield (
        f"{indent}{function.address}  {function.ids}  class {function.class_code} "
        f"revision {function.revision}  {kind}{function.name}"
    )
    inner = f"{indent}  "
    if function.subsystem:
        yield f"{inner}subsystem {function.subsystem}"
    if function.mac:
        yield f"{inner}mac {function.mac}"
    for bar in function.bars:
        name = "ROM  " if bar.index == 6 else f"bar {bar.index}"
        more = " prefetchable" * bar.prefetchable
        where = f"at {bar.address:#x}" if bar.address else "not placed"
        yield f"{inner}{name}  {bar.kind.value}{more}  {size_text(bar.size)} {where}"
    if function.capabilities:
        entries = (f"{c.name} {c.offset:02x}" for c in function.capabilities)
        yield f"{inner}capabilities  {', '.join(entries)}"
    if function.buses is not None:
        first, last = function.buses
        yield f"{inner}leads to bus {first:02x}" + (f" to {last:02x}" if last > first else "")
    for window in function.forwards:
        yield f"{inner}forwards {window.kind} {window.start:#x} to {window.end:#x}"
    for bus in function.behind:
        yield from _bus(bus, inner)


def _unknown(facts: tuple[Unknown, ...]) -> Iterator[str]:
    """What is not known; the same of many functions once."""
    if not facts:
        return
    groups: dict[tuple[str, str, str], list[str]] = {}
    for fact in facts:
        address, _, rest = fact.what.partition(" ")
        if not re.fullmatch(r"[0-9a-f:]+\.[0-7]", address):
            address, rest = "", fact.what
        reason = fact.reason.replace(address, "*") if address else fact.reason
        groups.setdefault((rest, reason, fact.origin), []).append(address)
    yield "unknown"
    for (what, reason, origin), addresses in groups.items():
        if len(addresses) > 1:
            what = f"{what} of {len(addresses)} functions"
        else:
            what = f"{addresses[0]} {what}".strip()
            reason = reason.replace("*", addresses[0]) if addresses[0] else reason
        yield f"  {what}: {reason} ({origin})"


def _printable(text: str) -> str:
    """Text out of a file that anybody may have written, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)
