"""Learn rows: what the discoverer is to do on the machine beyond looking at it.

Entering: rows; leaving: the table that `discover.asm` runs, 16 bytes a row.

    rows = (
        LearnRow(kind(Action.WRITE, Access.PORT8), 0x70, value=0x0D),
        LearnRow(kind(Action.KEEP, Access.PORT8), 0x71, id=1, device="isa", name="valid"),
    )
    encode(rows)
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from metaos.errors import MetaosError
from metaos.probe.lines import Dump
from metaos.probe.machine import Learnt, Origin

ROW_SIZE = 16
MOST_ROWS = 1600
"""What surely fits between the discoverer's code and 64 KiB."""

_ROW = struct.Struct("<IIIBBH")
_WORD = 0xFFFFFFFF


class Action(IntEnum):
    """What a row does; the constants are `ACTION_` in discover.asm."""

    WRITE = 1
    """place <- value"""
    MODIFY = 2
    """place <- (place & ~mask) | value"""
    KEEP = 3
    """print place & mask under the row's id"""
    WAIT = 4
    """until (place & mask) == value; after limit_ms, print what was read and stop"""


class Access(IntEnum):
    """Where a place is and how wide; the constants are `ACCESS_` in discover.asm.

    A place in configuration space is bus << 16 | device << 11 | function << 8 | offset.
    """

    PORT8 = 0
    PORT16 = 1
    PORT32 = 2
    CONFIG8 = 3
    CONFIG16 = 4
    CONFIG32 = 5
    MEMORY32 = 6
    MEMORY8 = 7
    MEMORY16 = 8


def kind(action: Action, access: Access) -> int:
    """The `kind` byte of a row."""
    return action << 4 | access


def config_place(address: str, offset: int) -> int:
    """The place of a byte in the configuration space of the function at `address`."""
    bus, rest = address.split(":")
    device, function = rest.split(".")
    return int(bus, 16) << 16 | int(device, 16) << 11 | int(function, 16) << 8 | offset


@dataclass(frozen=True, slots=True)
class LearnRow:
    """One row. Of a row that keeps, `device`, `pattern` and `name` say what is learnt."""

    kind: int
    place: int
    value: int = 0
    mask: int = _WORD
    id: int = 0
    limit_ms: int = 0
    device: str = ""
    pattern: str = ""
    name: str = ""


def encode(rows: Iterable[LearnRow]) -> bytes:
    """The table of `rows` without its end, a row of zeros, which discover.asm adds.

    Raises:
        MetaosError: a field does not fit, an id is kept twice, or there are too many.
    """
    table = list(rows)
    if len(table) > MOST_ROWS:
        raise MetaosError(f"{len(table)} learn rows; the discoverer takes at most {MOST_ROWS}")
    kept: set[int] = set()
    for index, row in enumerate(table):
        problem = _fault(row)
        if not problem and row.kind >> 4 == Action.KEEP:
            problem = f"id {row.id} is kept twice" if row.id in kept else ""
            kept.add(row.id)
        if problem:
            raise MetaosError(f"learn row {index} ({_whose(row)}): {problem}")
    return b"".join(
        _ROW.pack(row.place, row.value, row.mask, row.kind, row.id, row.limit_ms) for row in table
    )


def learnt(rows: Sequence[LearnRow], dump: Dump) -> tuple[Learnt, ...]:
    """What the rows that keep read on the machine, in their order.

    Raises:
        MetaosError: a row waited in vain, or a value is missing.
    """
    for line in dump.stuck:
        row = rows[line.row] if line.row < len(rows) else LearnRow(0, 0)
        raise MetaosError(
            f"learning from {_whose(row)}: after {row.limit_ms} ms"
            f" {Access(row.kind & 15).name.lower()} {row.place:#x} & {row.mask:#x}"
            f" is {line.value:#x}, not {row.value:#x}",
            hint="the device does not do what the pattern's learn rows expect",
        )
    values = {line.id: line.value for line in dump.learnt}
    keeps = [row for row in rows if row.kind >> 4 == Action.KEEP]
    lost = [row for row in keeps if row.id not in values]
    if lost:
        raise MetaosError(f"the discoverer did not print what {_whose(lost[0])} is to learn")
    return tuple(
        Learnt(
            device=row.device,
            pattern=row.pattern,
            name=row.name,
            value=values[row.id],
            origin=Origin.DISCOVERER,
        )
        for row in keeps
    )


def _fault(row: LearnRow) -> str:
    """What is wrong with the row's fields; empty if nothing is."""
    if row.kind >> 4 not in list(Action) or row.kind & 15 not in list(Access):
        return f"unknown kind {row.kind:#04x}"
    limits = {"place": _WORD, "value": _WORD, "mask": _WORD, "id": 0xFF, "limit_ms": 0xFFFF}
    for name, most in limits.items():
        value = getattr(row, name)
        if not 0 <= value <= most:
            return f"{name} {value:#x} is not from 0 to {most:#x}"
    access = Access(row.kind & 15)
    width = {"8": 1, "6": 2, "2": 4}[access.name[-1]]
    if access.name.startswith("PORT") and row.place > 0x10000 - width:
        return f"port {row.place:#x} is beyond 0xffff"
    if access.name.startswith("CONFIG") and row.place > 0xFFFFFF:
        return f"configuration place {row.place:#x} is beyond 0xffffff"
    if not access.name.startswith("PORT") and row.place % width:
        return f"place {row.place:#x} is not a multiple of {width}"
    return ""


def _whose(row: LearnRow) -> str:
    words = (row.device, row.pattern, row.name)
    return " ".join(word for word in words if word) or f"place {row.place:#x}"
