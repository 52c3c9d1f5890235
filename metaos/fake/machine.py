"""A machine for one rule: `machine_for(pattern) -> Machine`, as its `match` and `fake` say.

Ids and capabilities are what the rule matches. Base address registers are those its facts
name: 128 KiB of memory or 256 ports, unless the fake says `has bar[N] = SIZE`. Addresses
are made up. What a table or a port's number must be, `has` lines say.
"""

from __future__ import annotations

import msgspec

from metaos.errors import MetaosError, Problem
from metaos.match.device import Device, devices, type_of
from metaos.match.facts import Fact, evaluate
from metaos.match.keys import differs
from metaos.pattern import syntax as s
from metaos.pattern.kinds import REGISTERS
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import dotted, walk
from metaos.probe.machine import (
    SCHEMA,
    AcpiTable,
    Bar,
    BarKind,
    Capability,
    Cpu,
    CpuidLeaf,
    Function,
    Legacy,
    Machine,
    Mmio,
    Network,
    Origin,
    Wire,
)

ADDRESS = "00:01.0"
MAC = 0x0200_0000_0001
"""Locally administered, no group."""
_MEMORY, _PORTS = 0x2000_0000, 0xC000
_MEMORY_SIZE, _PORTS_SIZE = 0x2_0000, 0x100
_WINDOW_SIZE, _LOOKED_AT = 0x200, 16
_LEGACY_PORT = 0x1000
_LINE = 11
"""Where firmware has routed pins and windows."""
_SIGNAL = 0x05
"""The capability by which a function sends messages. PCI 3.0, appendix H."""
_ENTRIES_AT = 44
"""Where an MADT's structures begin. ACPI 6.4 table 5.19."""
_CONFIG, _FIRST_CAPABILITY = 256, 0x40
_FILE = Origin.FILE


def machine_for(pattern: Pattern) -> Machine:
    """The machine on which the rule's examples run. Raises MetaosError if it does not match."""
    match = pattern.of(s.Match)[0]
    functions: tuple[Function, ...] = ()
    legacy: tuple[Legacy, ...] = ()
    acpi: tuple[AcpiTable, ...] = ()
    mmio: tuple[Mmio, ...] = ()
    if match.kind == "pci":
        functions = (_function(pattern),)
    elif match.kind == "legacy":
        port = _numbers(pattern).get("legacy.port", _LEGACY_PORT)
        legacy = (Legacy(kind=match.name, index=0, port=port, origin=_FILE),)
    elif match.kind == "acpi":
        data = _table(pattern, match.name)
        table = AcpiTable(signature=match.name, address=0, data=data.hex(), origin=_FILE)
        acpi = (table,)
    elif match.kind == "mmio":
        mmio = (_mmio(pattern, match.name),)
    machine = _machine(functions, legacy, acpi)
    cpu = msgspec.structs.replace(machine.cpu, leaves=_leaves(pattern))
    return msgspec.structs.replace(machine, cpu=cpu, mmio=mmio)


def device_for(pattern: Pattern, machine: Machine) -> Device:
    """The device of that machine which the rule serves."""
    match = pattern.of(s.Match)[0]
    found = next(
        (
            d
            for d in devices(machine)
            if d.kind == match.kind
            and type_of(d) == match.entry
            and (d.kind != "platform" or d.address == match.name)
        ),
        None,
    )
    if found is None:
        raise MetaosError(f"'{pattern.name}' cannot be tested: a fake is no {match.kind} yet")
    why = next((w for m in pattern.of(s.Match) if (w := differs(m, found, pattern))), "")
    if why:
        raise MetaosError(
            f"'{pattern.name}' does not match its own fake: {why}",
            problems=[Problem("E0280", why, pattern.of(s.Match)[-1].span)],
            hint="say what its machine has: has acpi.u32[76] = 0x608",
        )
    return found


def _machine(
    functions: tuple[Function, ...], legacy: tuple[Legacy, ...], acpi: tuple[AcpiTable, ...]
) -> Machine:
    mac = ":".join(f"{MAC >> shift & 0xFF:02x}" for shift in range(40, -8, -8))
    return Machine(
        schema=SCHEMA,
        cpu=Cpu(vendor="", brand="", leaves=(), origin=_FILE),
        memory=(),
        functions=functions,
        legacy=legacy,
        acpi=acpi,
        networks=tuple(Network(address=f.address, mac=mac, origin=_FILE) for f in functions),
        learnt=(),
    )


def _numbers(pattern: Pattern) -> dict[str, int]:
    """What `has NAME = VALUE` lines say, by the place as written."""
    return {dotted(h.place): h.value for fake in pattern.fakes for h in fake.has}


def _indexed(pattern: Pattern, of: str) -> dict[tuple[str, int], int]:
    """What `has OF.uN[K] = V` lines say, by width and offset; `has OF[K] = V` has no width."""
    found: dict[tuple[str, int], int] = {}
    for has in (h for fake in pattern.fakes for h in fake.has):
        match has.place:
            case s.Index(of=s.Member(of=s.Name(text=text), name=width), index=s.Number(value=at)):
                if text == of:
                    found[width, at] = has.value
            case s.Index(of=s.Name(text=text), index=s.Number(value=at)) if text == of:
                found["", at] = has.value
    return found


def _table(pattern: Pattern, signature: str) -> bytes:
    """An ACPI table with the numbers that the fake says, as long as they need; at its end the
    structure that the rule matches."""
    numbers = _indexed(pattern, "acpi")
    data = bytearray(max([_ENTRIES_AT, *(at + 8 for _, at in numbers)]))
    data[:4] = signature.encode("ascii", "replace")[:4].ljust(4)
    entry = pattern.of(s.Match)[0].entry
    if entry is None:
        return _laid(numbers, data)
    numbers = _indexed(pattern, "entry")
    inside = bytearray(max([2, *(at + int(width[1:]) // 8 for width, at in numbers)]))
    inside[:2] = entry, len(inside)
    return _laid(_indexed(pattern, "acpi"), data[:_ENTRIES_AT]) + _laid(numbers, inside)


def _laid(numbers: dict[tuple[str, int], int], data: bytearray) -> bytes:
    """`data` with numbers in it, by width and offset."""
    for (width, at), value in numbers.items():
        size = int(width[1:]) // 8
        data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(data)


_NUMBERED = 1
"""Its local APIC's number is in this leaf. Source: Intel SDM vol. 2A, CPUID."""


def _leaves(pattern: Pattern) -> tuple[CpuidLeaf, ...]:
    """The leaves of CPUID that the fake says something of, and the one with its number, 0."""
    numbers = _indexed(pattern, "cpuid")
    return tuple(
        CpuidLeaf(leaf=leaf, subleaf=0, **{r: numbers.get((r, leaf), 0) for r in REGISTERS})
        for leaf in sorted({_NUMBERED, *(leaf for _, leaf in numbers)})
    )


def _mmio(pattern: Pattern, kind: str) -> Mmio:
    """A window that begins with the numbers that the fake says."""
    data = _laid(_indexed(pattern, "mmio"), bytearray(_LOOKED_AT))
    wire = Wire(line=_LINE, edge=False, low=False)
    return Mmio(
        kind=kind,
        base=_MEMORY,
        size=_WINDOW_SIZE,
        data=data.hex(),
        name="",
        origin=_FILE,
        interrupt=wire,
    )


def _function(pattern: Pattern) -> Function:
    keys = {key: value for m in pattern.of(s.Match) for key, value in m.keys}
    config = bytearray(_CONFIG)
    capabilities = _capabilities(pattern, config)
    function = Function(
        address=ADDRESS,
        vendor=keys.get("vendor", 1),
        device=keys.get("device", 1),
        class_code=keys.get("class", 0),
        revision=keys.get("revision", 0),
        subsystem_vendor=keys.get("subsystem_vendor", 0),
        subsystem_device=keys.get("subsystem_device", 0),
        header_type=0,
        interrupt_pin=1,
        interrupt_line=_LINE,
        bars=(),
        capabilities=capabilities,
        config=config.hex(),
        name="",
        origin=_FILE,
    )
    return _with_bars(function, pattern)


def _capabilities(pattern: Pattern, config: bytearray) -> tuple[Capability, ...]:
    """The capability list, written into `config`: id, next, then what the fake says."""
    found: list[Capability] = []
    at = _FIRST_CAPABILITY
    said = [c for fake in pattern.fakes for c in fake.capabilities]
    interrupt = pattern.one(s.Interrupt)
    if interrupt is not None and interrupt.kind == "message":
        said.append(s.HasCapability(_SIGNAL, (("u32", 12, 0),), interrupt.span))
    for one in said:
        found.append(Capability(id=one.id, offset=at))
        config[at] = one.id
        end = at + 2
        for width, offset, value in one.numbers:
            size = int(width[1:]) // 8
            config[at + offset : at + offset + size] = value.to_bytes(size, "little")
            end = max(end, at + offset + size)
        at = end + 3 & ~3
        config[found[-1].offset + 1] = at
    if found:
        config[found[-1].offset + 1] = 0
    return tuple(found)


def _with_bars(function: Function, pattern: Pattern) -> Function:
    """The function with the base address registers that the rule's facts name."""
    device = Device(ADDRESS, "pci", function=function)
    sizes = {at: value for (_, at), value in _indexed(pattern, "bar").items()}
    known: dict[str, Fact] = {}
    kinds: dict[int, BarKind] = {}
    for fact in pattern.of(s.Fact):
        if fact.type == "capability":
            known[fact.name] = evaluate(fact.value, device, known)
        kind = {"window": BarKind.MEM32, "ports": BarKind.IO}.get(fact.type)
        for node in walk(fact.value) if kind is not None else ():
            if isinstance(node, s.Index) and isinstance(node.of, s.Name) and node.of.text == "bar":
                index = evaluate(node.index, device, known)
                assert isinstance(index, int) and kind is not None
                kinds[index] = kind
    bars = tuple(_bar(i, kind, sizes.get(i)) for i, kind in sorted(kinds.items()))
    return msgspec.structs.replace(function, bars=bars)


def _bar(index: int, kind: BarKind, size: int | None) -> Bar:
    memory = kind is not BarKind.IO
    return Bar(
        index=index,
        kind=kind,
        prefetchable=False,
        address=(_MEMORY + index * 0x100_0000) if memory else _PORTS + index * 0x400,
        size=size or (_MEMORY_SIZE if memory else _PORTS_SIZE),
        origin=_FILE,
    )
