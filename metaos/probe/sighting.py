"""What one listing says of one PCI function: a `Sighting`, and several made one.

Entering: sightings of the same address, from one paste; leaving: the sum of what they say.
What nobody said is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from metaos.errors import Problem
from metaos.probe.machine import BarKind, Capability
from metaos.probe.paste import Row

ROM = 6
"""The index by which a `Bar` says that it is the expansion ROM."""


@dataclass(frozen=True, slots=True)
class Region:
    """A window as a listing shows it: `index` None where it does not say of which register.

    `address` is None where none is assigned, `kind` and `prefetchable` where the words are
    not known; `virtual` is one that the register does not say.
    """

    index: int | None
    kind: BarKind | None
    prefetchable: bool | None
    address: int | None
    size: int | None
    virtual: bool
    row: Row


@dataclass(frozen=True, slots=True)
class Sighting:
    """All that is said of the function at `address`; `row` is where it is named first.

    `prog_if` is the class code's last byte. `regions` is None in a listing without windows,
    `indexed` if its windows name their registers. `capabilities` is None where they are not
    listed, or not all could be read. `interrupt_pin` is 1 for pin A.
    """

    address: str
    row: Row
    name: str = ""
    ids: tuple[int, int] | None = None
    class_code: int | None = None
    prog_if: int | None = None
    revision: int | None = None
    subsystem: tuple[int, int] | None = None
    interrupt_pin: int | None = None
    header_type: int | None = None
    regions: tuple[Region, ...] | None = None
    indexed: bool = False
    capabilities: tuple[Capability, ...] | None = None
    config: bytes = b""
    dumped: tuple[Row, ...] = field(default=(), compare=False)


_COMPARED = {
    "ids": "ids",
    "class_code": "class",
    "revision": "revision",
    "subsystem": "subsystem",
}


def joined(first: Sighting, second: Sighting, source: str) -> tuple[Sighting, list[Problem]]:
    """Both sightings of one address as one, and where they contradict each other."""
    problems = []
    changes: dict[str, object] = {}
    for name in (f.name for f in fields(Sighting) if f.name not in ("address", "row")):
        ours, theirs = getattr(first, name), getattr(second, name)
        if name in _COMPARED and None not in (ours, theirs) and ours != theirs:
            problems.append(_contradiction(first, second, _COMPARED[name], source))
        if ours in (None, "", b"", False, ()):
            changes[name] = theirs
    longer = len(second.config) > len(first.config)
    if longer:
        changes |= {"config": second.config, "dumped": second.dumped}
    if second.indexed and not first.indexed:
        changes |= {"regions": second.regions, "indexed": True}
    return replace(first, **changes), problems  # type: ignore[arg-type]


def _contradiction(first: Sighting, second: Sighting, what: str, source: str) -> Problem:
    return Problem(
        "E0812",
        f"{second.address} has another {what} here than in line {first.row.number}",
        span=second.row.span(source),
        hint="the text must be of one machine",
        text=second.row.original,
    )
