"""Several machine files of one machine made one: `merge(files)`.

    merged = merge([("a.json", a), ("b.json", b)])

What one file does not know is taken from another. Where they differ, the origin decides
(`agree.py`), and the conflict is reported. What nobody knows stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from metaos.errors import MetaosError, Problem
from metaos.probe.agree import Claim, Conflict, Source, Verdicts
from metaos.probe.check import check
from metaos.probe.machine import (
    SCHEMA,
    AcpiTable,
    Cpu,
    Emulator,
    Function,
    Learnt,
    Legacy,
    Machine,
    MemoryRange,
    Mmio,
    Network,
    Origin,
    Pin,
    Unknown,
    address_order,
)
from metaos.probe.merge_functions import merge_functions

_RSDP = "RSD PTR "
_ADDRESS = re.compile(r"([0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that `lacking` did not know and another file does."""

    fact: str
    lacking: tuple[str, ...]


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, on what the files differed, and what they filled in for one another."""

    machine: Machine
    conflicts: tuple[Conflict, ...]
    filled: tuple[Filled, ...]


def merge(files: Sequence[tuple[str, Machine]]) -> Merged:
    """One machine out of several files; each is named as messages are to name it.

    Raises:
        MetaosError: what comes out contradicts itself.
    """
    sources = [Source(name, order, machine) for order, (name, machine) in enumerate(files)]
    verdicts = Verdicts()
    machine = Machine(
        schema=SCHEMA,
        cpu=_cpu(sources, verdicts),
        memory=_memory(sources, verdicts),
        functions=merge_functions(sources, verdicts),
        legacy=_legacy(sources, verdicts),
        acpi=_tables(sources, verdicts),
        networks=(),
        learnt=(),
        mmio=_mmio(sources),
        pins=_pins(sources),
    )
    machine = msgspec.structs.replace(
        machine,
        networks=_networks(sources, machine, verdicts),
        learnt=_learnt(sources, verdicts),
        emulator=_emulator(sources, verdicts),
    )
    unknown, filled = _unknown(sources, machine, verdicts)
    machine = msgspec.structs.replace(machine, unknown=unknown)
    _demand_sense(machine)
    return Merged(machine=machine, conflicts=tuple(verdicts.conflicts), filled=filled)


def _mmio(sources: Sequence[Source]) -> tuple[Mmio, ...]:
    """All that one of the files says, by its base."""
    found = {x.base: x for s in reversed(sources) for x in s.machine.mmio}
    return tuple(found[base] for base in sorted(found))


def _pins(sources: Sequence[Source]) -> tuple[Pin, ...]:
    """All that one of the files says, by the function."""
    found = {x.address: x for s in reversed(sources) for x in s.machine.pins}
    return tuple(found[address] for address in sorted(found, key=address_order))


def _demand_sense(machine: Machine) -> None:
    faults = [Problem("E0803", f"{where}: {what}") for where, what in check(machine)]
    if faults:
        raise MetaosError(
            "what the files say does not fit together",
            problems=faults,
            hint="are they of the same machine? 'metaos diff A B' says in what they differ",
        )


def _cpu(sources: Sequence[Source], verdicts: Verdicts) -> Cpu:
    """The processor of who has leaves, else of who has words."""

    def shown(cpu: Cpu) -> str:
        values = {(x.leaf, x.subleaf, x.eax, x.ebx, x.ecx, x.edx) for x in cpu.leaves}
        others = {
            (x.leaf, x.subleaf, x.eax, x.ebx, x.ecx, x.edx)
            for s in with_leaves
            for x in s.machine.cpu.leaves
        }
        leaves = sorted({f"{leaf:#x}" for leaf, *_ in others - values}, key=lambda t: int(t, 16))
        return f"{cpu.brand or cpu.vendor}, {len(cpu.leaves)} leaves; others at {' '.join(leaves)}"

    with_leaves = [s for s in sources if s.machine.cpu.leaves]
    claims = [
        Claim(s, s.machine.cpu.origin, s.machine.cpu)
        for s in with_leaves or [s for s in sources if s.machine.cpu.vendor] or sources[:1]
    ]
    alike = len({(c.value.leaves, c.value.vendor, c.value.brand) for c in claims}) == 1
    kept = verdicts.settle("cpu", claims, shown, quiet=alike)
    assert kept is not None
    same = [s.machine.cpu for s in sources if s.machine.cpu.leaves == kept.value.leaves]
    return msgspec.structs.replace(
        kept.value,
        flags=kept.value.flags
        or next((s.machine.cpu.flags for s in sources if s.machine.cpu.flags), ()),
        others=kept.value.others or next((cpu.others for cpu in same if cpu.others), ()),
    )


def _memory(sources: Sequence[Source], verdicts: Verdicts) -> tuple[MemoryRange, ...]:
    def shown(ranges: tuple[MemoryRange, ...]) -> str:
        usable = sum(r.size for r in ranges if r.kind == 1)
        return f"{len(ranges)} ranges, {usable:#x} bytes usable"

    def plain(ranges: tuple[MemoryRange, ...]) -> tuple[tuple[int, int, int], ...]:
        return tuple((r.base, r.size, r.kind) for r in ranges)

    claims = [
        Claim(s, s.machine.memory[0].origin, s.machine.memory) for s in sources if s.machine.memory
    ]
    alike = len({plain(c.value) for c in claims}) < 2
    kept = verdicts.settle("memory map", claims, shown, quiet=alike)
    return () if kept is None else kept.value


def _legacy(sources: Sequence[Source], verdicts: Verdicts) -> tuple[Legacy, ...]:
    """Ports by kind and number; a source that can see them says also which are not there."""
    keys = dict.fromkeys((x.kind, x.index) for s in sources for x in s.machine.legacy)
    found = []
    for kind, index in keys:
        claims: list[Claim[int]] = []
        for s in sources:
            mine = [x for x in s.machine.legacy if (x.kind, x.index) == (kind, index)]
            if mine:
                claims.append(Claim(s, mine[0].origin, mine[0].port))
            elif not s.lacks("legacy ports") and not s.lacks(f"legacy {kind}"):
                claims.append(Claim(s, _origin(s.machine), 0))
        kept = verdicts.settle(
            f"legacy {kind}{index}", claims, lambda port: f"port {port:#x}" if port else "not there"
        )
        if kept is not None and kept.value:
            found.append(Legacy(kind=kind, index=index, port=kept.value, origin=kept.origin))
    return tuple(sorted(found, key=lambda x: (x.kind, x.index)))


def _origin(machine: Machine) -> Origin:
    """Whose file it is, of what is not in it: the origin of most of it."""
    return machine.functions[0].origin if machine.functions else machine.cpu.origin


def _tables(sources: Sequence[Source], verdicts: Verdicts) -> tuple[AcpiTable, ...]:
    """Tables by signature: no source sees all of them, so none is dropped for being absent."""
    found: list[AcpiTable] = []
    ranked = sorted(
        (s for s in sources if s.machine.acpi),
        key=lambda s: Claim(s, s.machine.acpi[0].origin, None).rank,
    )
    addresses = {t.data: t.address for s in ranked for t in s.machine.acpi if t.address}
    for signature in dict.fromkeys(t.signature for s in ranked for t in s.machine.acpi):
        claims = []
        for s in ranked:
            mine = tuple(t for t in s.machine.acpi if t.signature == signature)
            if mine:
                claims.append(Claim(s, mine[0].origin, mine))
        alike = len({tuple(sorted(t.data for t in c.value)) for c in claims}) == 1
        kept = verdicts.settle(f"acpi {signature}", claims, _sizes, quiet=alike)
        for table in kept.value if kept is not None else ():
            address = table.address or addresses.get(table.data, 0)
            found.append(msgspec.structs.replace(table, address=address))
    return tuple(found)


def _sizes(tables: tuple[AcpiTable, ...]) -> str:
    """How tables are told apart: length and the checksum byte at 9. ACPI 6.4 §5.2.6."""
    return ", ".join(f"{len(t.data) // 2} bytes (checksum {t.data[18:20]})" for t in tables)


def _networks(
    sources: Sequence[Source], machine: Machine, verdicts: Verdicts
) -> tuple[Network, ...]:
    found = []
    for function in machine.functions:
        claims = [
            Claim(s, n.origin, n.mac)
            for s in sources
            for n in s.machine.networks
            if n.address == function.address
        ]
        kept = verdicts.settle(f"{function.address} mac", claims, str)
        if kept is not None:
            found.append(Network(address=function.address, mac=kept.value, origin=kept.origin))
    return tuple(found)


def _learnt(sources: Sequence[Source], verdicts: Verdicts) -> tuple[Learnt, ...]:
    keys = dict.fromkeys((x.device, x.pattern, x.name) for s in sources for x in s.machine.learnt)
    found = []
    for key in keys:
        claims = [
            Claim(s, x.origin, x.value)
            for s in sources
            for x in s.machine.learnt
            if (x.device, x.pattern, x.name) == key
        ]
        kept = verdicts.settle(f"{key[0]} learnt {key[1]}.{key[2]}", claims, hex)
        assert kept is not None
        device, pattern, name = key
        found.append(
            Learnt(device=device, pattern=pattern, name=name, value=kept.value, origin=kept.origin)
        )
    return tuple(found)


def _emulator(sources: Sequence[Source], verdicts: Verdicts) -> Emulator | None:
    claims = [
        Claim(s, s.machine.emulator.origin, s.machine.emulator)
        for s in sources
        if s.machine.emulator is not None
    ]
    alike = len({(c.value.target, c.value.arguments) for c in claims}) < 2
    kept = verdicts.settle(
        "emulator", claims, lambda e: " ".join((e.target, *e.arguments)), quiet=alike
    )
    return None if kept is None else kept.value


def _unknown(
    sources: Sequence[Source], machine: Machine, verdicts: Verdicts
) -> tuple[tuple[Unknown, ...], tuple[Filled, ...]]:
    """What nobody knows, and what somebody knew for another."""
    lost = {fact.what: fact for fact in verdicts.lost}
    facts = {fact.what: fact for s in reversed(sources) for fact in s.machine.unknown} | lost
    unknown, filled = [], []
    for what, fact in sorted(facts.items(), key=lambda item: _position(sources, item[0])):
        if what in lost or not _known(sources, machine, what):
            unknown.append(fact)
        else:
            lacking = tuple(s.name for s in sources if s.lacks(what))
            filled.append(Filled(fact=what, lacking=lacking))
    return tuple(unknown), tuple(filled)


def _position(sources: Sequence[Source], what: str) -> tuple[int, int]:
    """Where a fact is named first; at the end where only the merge lost it."""
    places = (
        (s.order, i)
        for s in sources
        for i, fact in enumerate(s.machine.unknown)
        if fact.what == what
    )
    return next(places, (len(sources), 0))


def _known(sources: Sequence[Source], machine: Machine, what: str) -> bool:
    """Whether a fact is known now. Of a function that turned out not to be there all is."""
    address, _, rest = what.partition(" ")
    function = next((f for f in machine.functions if f.address == address), None)
    if function is not None:
        return _known_of(sources, machine, function, rest)
    if _ADDRESS.fullmatch(address):
        return rest != "config header"
    others = [s for s in sources if not s.lacks(what)]
    match what:
        case "memory map":
            return bool(machine.memory)
        case "cpuid leaves":
            return bool(machine.cpu.leaves)
        case "pci functions":
            return any(s.machine.functions for s in others)
        case "acpi tables":
            return any(s.machine.acpi for s in others)
        case "acpi addresses":
            return all(table.address for table in machine.acpi)
        case "acpi root tables":
            return any(table.signature == _RSDP for table in machine.acpi)
        case "legacy com" | "legacy lpt":
            return any(not s.lacks("legacy ports") for s in others)
    if what.startswith("acpi "):
        name = what.removeprefix("acpi ")
        return any(
            t.signature in (name, name.rstrip("0123456789")) for s in others for t in s.machine.acpi
        )
    return bool(others)


def _known_of(sources: Sequence[Source], machine: Machine, function: Function, what: str) -> bool:
    """Whether a fact of a function is known now."""
    if what == "mac":
        return any(network.address == function.address for network in machine.networks)
    if what.startswith("config from "):
        return len(function.config) // 2 > int(what.split()[-1], 16)
    return any(
        not s.lacks(f"{function.address} {what}")
        for s in sources
        if any(f.address == function.address for f in s.machine.functions)
    )
