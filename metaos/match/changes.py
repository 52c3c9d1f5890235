"""The facts in which two machines differ: `changes(a, b) -> (Change, ...)`.

Nothing here knows of images: a change says which fact, of what kind, and both values.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from metaos.emit.target import cpu_features
from metaos.match.serves import high_memory
from metaos.match.untold import untold
from metaos.probe.machine import Bar, Function, Machine, MemoryRange, Wire

_GUARDED = (
    "vendor", "device", "class_code", "revision", "subsystem_vendor", "subsystem_device",
    "header_type",
)  # fmt: skip
_DIGITS = {
    "class_code": 6, "revision": 2, "header_type": 2, "interrupt_pin": 1, "interrupt_line": 1,
}  # fmt: skip


SETTINGS = "firmware's settings"
"""Config bytes that firmware sets: command, and a bridge's buses and windows among them."""


class Kind(StrEnum):
    """What a fact is to an image: folded, chosen at build time, read at start, or nothing.

    Or one of the files does not know it.
    """

    MODEL = "model"
    PLACEMENT = "placement"
    UNIT = "unit"
    UNKNOWN = "unknown"
    NOTE = "note"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of `subject` ("00:03.0", "cpu", "memory", "com0") that is not the same.

    `fact` is empty where the whole subject was added, removed or moved (`to` its new
    address). `a` and `b` are texts, empty where there is none. `guarded`: one of the
    config words by which functions are recognised. `address`: of a window that moved, in A.
    """

    subject: str
    fact: str
    how: str
    kind: Kind
    a: str = ""
    b: str = ""
    to: str = ""
    guarded: bool = False
    address: int = 0


def changes(a: Machine, b: Machine) -> tuple[Change, ...]:
    """Everything that differs; where it was read from does not count.

    What one file does not know is one change of kind `UNKNOWN`, whatever would follow from it.
    """
    every = (
        *_cpu(a, b), *_memory(a, b), *_functions(a, b), *_legacy(a, b), *_windows(a, b),
        *_pins(a, b),
        *_tables(a, b), *_macs(a, b), *_learnt(a, b), *_emulator(a, b),
    )  # fmt: skip
    found: dict[Change, None] = {}
    for change in every:
        lost = untold(a, b, change.subject, change.fact) if change.kind is not Kind.NOTE else None
        if lost is not None:
            side, fact = lost
            text = f"not known of {side}: {fact.reason}"
            change = Change(subject=fact.what, fact="", how="unknown", kind=Kind.UNKNOWN, a=text)
        found[change] = None
    return tuple(found)


def _one(subject: str, fact: str, kind: Kind, a: str, b: str) -> Iterator[Change]:
    """A change of one fact, if it is one; an empty text is a fact that is not there."""
    if a != b:
        how = "changed" if a and b else "removed" if a else "added"
        yield Change(subject=subject, fact=fact, how=how, kind=kind, a=a, b=b)


def _cpu(a: Machine, b: Machine) -> Iterator[Change]:
    yield from _one("cpu", "vendor", Kind.MODEL, a.cpu.vendor, b.cpu.vendor)
    yield from _one("cpu", "brand", Kind.MODEL, a.cpu.brand, b.cpu.brand)
    features = (" ".join(sorted(cpu_features(m.cpu))) or "none" for m in (a, b))
    yield from _one("cpu", "features", Kind.MODEL, *features)
    ours, theirs = ({(x.leaf, x.subleaf): x for x in m.cpu.leaves} for m in (a, b))
    differ = sum(ours.get(key) != theirs.get(key) for key in ours.keys() | theirs.keys())
    if differ:
        counts = (f"{len(ours)} leaves", f"{len(theirs)} leaves, {differ} of all differ")
        yield from _one("cpu", "leaves", Kind.MODEL, *counts)


def _memory(a: Machine, b: Machine) -> Iterator[Change]:
    amounts = (f"{high_memory(m) // 1024} KiB above 1 MiB" for m in (a, b))
    yield from _one("memory", "usable", Kind.UNIT, *amounts)

    def ranges(machine: Machine) -> dict[int, MemoryRange]:
        return {r.base: r for r in machine.memory}

    ours, theirs = ranges(a), ranges(b)
    for base in sorted(ours.keys() | theirs.keys()):
        texts = (_range(x.get(base)) for x in (ours, theirs))
        yield from _one("memory", f"range {base:#x}", Kind.PLACEMENT, *texts)


def _range(entry: MemoryRange | None) -> str:
    return "" if entry is None else f"{entry.size:#x} bytes, kind {entry.kind}"


def _functions(a: Machine, b: Machine) -> Iterator[Change]:
    ours, theirs = ({f.address: f for f in m.functions} for m in (a, b))
    moved = _moved(ours, theirs)
    there = set(moved.values())
    for address in sorted(ours.keys() | theirs.keys()):
        x, y = ours.get(address), theirs.get(address)
        if x is not None and y is not None:
            yield from _function(address, x, y)
        elif x is not None and address in moved:
            to = moved[address]
            yield Change(
                subject=address, fact="", how="moved", kind=Kind.MODEL,
                a=_name(x), b=f"at {to}", to=to,
            )  # fmt: skip
            yield from _function(to, x, theirs[to])
        elif address not in there:
            texts = ("" if f is None else _name(f) for f in (x, y))
            yield from _one(address, "", Kind.MODEL, *texts)


def _name(function: Function) -> str:
    ids = f"{function.vendor:04x}:{function.device:04x}"
    return f"{ids} class {function.class_code:06x} revision {function.revision:02x}"


def _moved(ours: dict[str, Function], theirs: dict[str, Function]) -> dict[str, str]:
    """Old address -> new one of functions with the same ids at another address, in order."""
    free = [f for address, f in sorted(theirs.items()) if address not in ours]
    found = {}
    for address, function in sorted(ours.items()):
        if address in theirs:
            continue
        same = next((f for f in free if _ids(f) == _ids(function)), None)
        if same is not None:
            free.remove(same)
            found[address] = same.address
    return found


def _ids(function: Function) -> tuple[int, ...]:
    return tuple(getattr(function, name) for name in _GUARDED[:-1])


def _function(address: str, x: Function, y: Function) -> Iterator[Change]:
    for name in (*_GUARDED, "interrupt_pin", "interrupt_line"):
        texts = (f"{getattr(f, name):#0{_DIGITS.get(name, 4) + 2}x}" for f in (x, y))
        kind = Kind.PLACEMENT if name == "interrupt_line" else Kind.MODEL
        for change in _one(address, name, kind, *texts):
            yield msgspec.structs.replace(change, guarded=name in _GUARDED)
    ours, theirs = ({bar.index: bar for bar in f.bars} for f in (x, y))
    for index in sorted(ours.keys() | theirs.keys()):
        yield from _bar(address, ours.get(index), theirs.get(index))
    lists = (" ".join(f"{c.id:02x}@{c.offset:02x}" for c in f.capabilities) for f in (x, y))
    yield from _one(address, "capabilities", Kind.MODEL, *lists)
    yield from _config(address, x, y)
    yield from _one(address, "name", Kind.NOTE, x.name, y.name)


def _bar(address: str, x: Bar | None, y: Bar | None) -> Iterator[Change]:
    bar = x or y
    assert bar is not None
    what = f"bar {bar.index}"
    if x is None or y is None:
        texts = ("" if b is None else f"{b.kind.value} {b.size:#x} bytes" for b in (x, y))
        yield from _one(address, what, Kind.MODEL, *texts)
        return
    shapes = (f"{b.kind.value}{' prefetchable' * b.prefetchable}" for b in (x, y))
    yield from _one(address, f"{what} kind", Kind.MODEL, *shapes)
    yield from _one(address, f"{what} size", Kind.MODEL, f"{x.size:#x}", f"{y.size:#x}")
    places = _one(address, f"{what} address", Kind.PLACEMENT, f"{x.address:#x}", f"{y.address:#x}")
    yield from (msgspec.structs.replace(c, address=x.address) for c in places)


def _config(address: str, x: Function, y: Function) -> Iterator[Change]:
    """Config bytes that no other change speaks of.

    What firmware sets: command and status, cache line and latency timer, a bridge's buses and
    windows. Source: PCI Local Bus Specification 3.0 §6.2; PCI-to-PCI Bridge 1.2 §3.2.
    """
    bridge = x.header_type & 0x7F == 1
    read = {*range(4), *range(8, 12), 14, *range(0x10, 0x18), 0x3C, 0x3D}
    read |= set(range(0x38, 0x3C)) if bridge else {*range(0x18, 0x28), *range(0x2C, 0x34)}
    firmware = {*range(4, 8), 12, 13, *(range(0x18, 0x34) if bridge else ())}
    ours, theirs = bytes.fromhex(x.config), bytes.fromhex(y.config)
    differ = {i for i, (p, q) in enumerate(zip(ours, theirs, strict=False)) if p != q} - read
    for name, kind, places in (
        (SETTINGS, Kind.PLACEMENT, differ & firmware),
        ("other config bytes", Kind.MODEL, differ - firmware),
    ):
        if places:
            texts = (
                " ".join(f"{i:02x}:{c[i]:02x}" for i in sorted(places)) for c in (ours, theirs)
            )
            yield from _one(address, name, kind, *texts)


def _windows(a: Machine, b: Machine) -> Iterator[Change]:
    """Devices in windows that no bus announces, and the addresses of cards among them."""
    ours, theirs = ({x.address: x for x in m.mmio} for m in (a, b))
    macs = [{n.address: n.mac for n in m.networks} for m in (a, b)]
    for address in sorted(ours.keys() | theirs.keys()):
        pair = ours.get(address), theirs.get(address)
        if None in pair:
            yield from _one(address, "", Kind.MODEL, *(x.kind if x else "" for x in pair))
            continue
        for fact, kind in (("kind", Kind.MODEL), ("size", Kind.MODEL), ("data", Kind.MODEL)):
            texts = (str(getattr(x, fact)) for x in pair)
            yield from _one(address, fact, kind, *texts)
        wires = (x.interrupt if x is not None else None for x in pair)
        yield from _one(address, "interrupt", Kind.PLACEMENT, *map(_wire, wires))
        yield from _one(address, "mac", Kind.UNIT, *(m.get(address, "") for m in macs))


def _pins(a: Machine, b: Machine) -> Iterator[Change]:
    """Where pins arrive, of the functions of which both files say it."""
    ours, theirs = ({x.address: x.interrupt for x in m.pins} for m in (a, b))
    for address in sorted(ours.keys() & theirs.keys()):
        pair = ours[address], theirs[address]
        yield from _one(address, "pin", Kind.PLACEMENT, *map(_wire, pair))


def _wire(wire: Wire | None) -> str:
    if wire is None:
        return ""
    return f"{wire.line}, {'edge' if wire.edge else 'level'}, {'low' if wire.low else 'high'}"


def _legacy(a: Machine, b: Machine) -> Iterator[Change]:
    ours, theirs = ({f"{x.kind}{x.index}": x.port for x in m.legacy} for m in (a, b))
    for name in sorted(ours.keys() | theirs.keys()):
        texts = (f"port {x[name]:#x}" if name in x else "" for x in (ours, theirs))
        for change in _one(name, "port", Kind.MODEL, *texts):
            whole = change.how != "changed"
            yield msgspec.structs.replace(change, fact="" if whole else "port")


def _tables(a: Machine, b: Machine) -> Iterator[Change]:
    def numbered(machine: Machine) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for table in machine.acpi:
            count = sum(n.partition("#")[0] == table.signature for n in found)
            name = f"{table.signature}#{count + 1}" if count else table.signature
            found[name] = bytes.fromhex(table.data)
        return found

    ours, theirs = numbered(a), numbered(b)
    for name in sorted(ours.keys() | theirs.keys()):
        x, y = ours.get(name), theirs.get(name)
        if x is None or y is None:
            sizes = ("" if t is None else f"{len(t)} bytes" for t in (x, y))
            yield from _one(name, "", Kind.MODEL, *sizes)
        elif x != y:
            differ = sum(p != q for p, q in zip(x, y, strict=False)) + abs(len(x) - len(y))
            texts = (f"{len(x)} bytes", f"{len(y)} bytes, {differ} differ")
            yield from _one(name, "bytes", Kind.MODEL, *texts)


def _macs(a: Machine, b: Machine) -> Iterator[Change]:
    """Of cards that both machines have, moved ones at their new address."""
    ours, theirs = ({n.address: n.mac for n in m.networks} for m in (a, b))
    present, there = ({f.address: f for f in m.functions} for m in (a, b))
    moved = _moved(present, there)
    for address in sorted(present):
        to = moved.get(address, address)
        if to in there:
            texts = (ours.get(address, ""), theirs.get(to, ""))
            yield from _one(to, "mac", Kind.UNIT, *texts)


def _learnt(a: Machine, b: Machine) -> Iterator[Change]:
    ours, theirs = (
        {(x.device, f"{x.pattern}.{x.name}"): x.value for x in m.learnt} for m in (a, b)
    )
    for key in sorted(ours.keys() | theirs.keys()):
        texts = (f"{x[key]:#x}" if key in x else "" for x in (ours, theirs))
        yield from _one(key[0], f"learnt {key[1]}", Kind.MODEL, *texts)


def _emulator(a: Machine, b: Machine) -> Iterator[Change]:
    texts = (
        "" if m.emulator is None else " ".join((m.emulator.target, *m.emulator.arguments))
        for m in (a, b)
    )
    yield from _one("QEMU", "started as", Kind.NOTE, *texts)
