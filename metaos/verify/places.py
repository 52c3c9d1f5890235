"""Law 3: every memory and port operand resolves to a declared place of a present device.

An operand's address is a set of bases plus an index (values.py). Each base has to lie in a place,
window or datum that the phase maps, or in its shadow. A base that lies in none is let
through only if it is a declared one moved by whole shadow distances to where nothing is mapped:
that is what adding two gates yields on a path that both are open or closed, and such
an access would fault before it touched anything.

How far an index reaches is proved from the bytes, with what the image's own state can hold
(state.py): for everything that is written, for what a string instruction touches, and for reads
of RAM and windows. A read of read-only data whose bound the bytes do not show is only counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from metaos.ir.program import SHADOW
from metaos.link.manifest import Manifest, PortRange
from metaos.verify.decode import Ledger, Line
from metaos.verify.memory import Atlas, Located
from metaos.verify.report import Violation
from metaos.verify.values import MODULUS, known
from metaos.verify.walk import Access, Walk

LAW = 3
NEVER = known(0)
_TURNS = tuple(turn for turn in range(-8, 9) if turn)
"""One for each of the services that side by side answer a frame, and some."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """An access and what it can reach; `gated` if it may reach a shadow or nothing instead.

    `bounded` is None for an address without an index. `hits` and `ports` are what it reaches,
    shadows left out; `rows` the cursors of the rows that make it, if rows do.
    """

    access: Access
    gated: bool
    bounded: bool | None = None
    hits: tuple[Located, ...] = ()
    ports: tuple[PortRange, ...] = ()
    rows: tuple[int, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """Who owns what it reaches."""
        owners = {h.symbol.device for h in self.hits} | {p.device for p in self.ports}
        return tuple(sorted(owners))

    @property
    def device_memory(self) -> bool:
        """Whether it can reach a device: a window or a port."""
        return self.access.kind == "port" or any(h.symbol.kind == "window" for h in self.hits)


def resolve(
    line: Line, walked: Walk, atlas: Atlas, manifest: Manifest, book: Ledger
) -> tuple[tuple[Resolved, ...], tuple[Violation, ...]]:
    """Look up every access of a phase; what cannot be looked up is a violation."""
    ports = tuple(p for p in manifest.provenance.ports if line.name in p.phases)
    resolved: list[Resolved] = []
    violations: list[Violation] = []
    for number, access in enumerate(walked.accesses):
        offset = access.step.offset
        if access.kind == "port":
            one, messages = _port(access, ports)
        else:
            one, messages = _memory(access, atlas)
        resolved.append(replace(one, rows=walked.at[number] if walked.at else ()))
        span = book.span(line.file_offset(offset))
        violations += [
            Violation(LAW, line.place(offset), f"{access.step.text}: {message}", span)
            for message in messages
        ]
    return tuple(resolved), tuple(violations)


def _memory(access: Access, atlas: Atlas) -> tuple[Resolved, list[str]]:
    size = access.size
    found = {base: atlas.find(base, size) for base in access.address.bases}
    hits = [located for located in found.values() if located]
    messages = list(_undeclared(access, found, atlas))
    if access.write and any(h.symbol.kind == "datum" for h in hits):
        messages.append("writes to read-only data")
    bounded = None if access.address.exact and access.count is None else _bounded(access, hits)
    if access.count not in (None, NEVER) and not bounded:
        messages.append("a repeated string instruction may leave its place")
    elif access.write and bounded is False and hits:
        messages.append("its index may leave the place it is written to")
    elif bounded is False and any(h.symbol.kind != "datum" for h in hits):
        messages.append("its index may leave the place it is read from")
    real = [h for h in hits if not h.shadow]
    gated = len(found) > len(real) or _may_skip(access)
    return Resolved(access, gated, bounded, hits=tuple(real)), messages


def _undeclared(access: Access, found: dict[int, Located | None], atlas: Atlas) -> Iterator[str]:
    """Name the addresses that no symbol declares and that something could be mapped at."""
    if access.count == NEVER:
        return
    names = {located.symbol.name for located in found.values() if located}
    for base in sorted(base for base, located in found.items() if located is None):
        if not names and access.address.bases == {0}:
            yield "its address cannot be told from the bytes"
        elif atlas.scratch(base, access.size):
            continue
        elif atlas.mapped(base) or not _moved(base, access.size, names, atlas):
            yield f"touches {base:#x}, which nothing declares in this phase"


def _moved(base: int, size: int, names: set[str], atlas: Atlas) -> bool:
    """Whether `base` is an address of one of these symbols, moved by whole shadow distances."""
    for turn in _TURNS:
        located = atlas.find((base + turn * SHADOW) % MODULUS, size)
        if located and not located.shadow and located.symbol.name in names:
            return True
    return False


def _bounded(access: Access, hits: list[Located]) -> bool:
    """Whether the whole reach of the access lies in its symbols (a shadow has room for all)."""
    units = 1 if access.count is None else access.count.top
    reach = access.address.high + access.size * max(units, 1)
    return all(h.shadow or h.offset + reach <= h.symbol.size for h in hits)


def _may_skip(access: Access) -> bool:
    """Whether a string instruction may run zero times."""
    return access.count is not None and 0 in access.count.bases


def _port(access: Access, ports: tuple[PortRange, ...]) -> tuple[Resolved, list[str]]:
    """Port accesses have no shadow: a guarded one repeats zero times."""
    messages: list[str] = []
    owners: list[PortRange] = []
    if access.count == NEVER:
        return Resolved(access, gated=True), messages
    if not access.address.exact:
        messages.append("its port cannot be told from the bytes")
    else:
        for port in sorted(access.address.bases):
            owner = _owner(port, access.size, ports)
            if owner is None:
                messages.append(f"touches port {port:#x}, which nothing declares in this phase")
            else:
                owners.append(owner)
    return Resolved(access, _may_skip(access), ports=tuple(owners)), messages


def _owner(port: int, size: int, ports: tuple[PortRange, ...]) -> PortRange | None:
    for one in ports:
        if one.base <= port and port + size <= one.base + one.length:
            return one
    return None
