"""ACPI tables out of the text that `acpidump` prints: `parse_acpidump(text, source)`.

Entering: the text of ACPICA's or pmtools' acpidump, with whatever stands around it:

    APIC @ 0x000000007FFE2239
        0000: 41 50 49 43 78 00 00 00 03 ED 42 4F 43 48 53 20  APICx.....BOCHS

Leaving: a `Machine` of which only the tables are known. A table that is damaged is not taken;
`unknown` says where and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from metaos.errors import MetaosError, Problem, Span
from metaos.probe.acpi import HEADER, RSDP
from metaos.probe.acpi import wrong as wrong_with
from metaos.probe.dumped import rows
from metaos.probe.machine import SCHEMA, AcpiTable, Cpu, Machine, Origin, Unknown

MOST_TABLE_BYTES = 4 << 20
"""A table that says that it has more is damaged: the largest known have some 600 KiB."""

_HEAD = re.compile(r"[>\s]*(?P<name>[A-Z][A-Z0-9_!#$ ]{1,7}?) +@ +(0x)?(?P<at>[0-9A-Fa-f]{1,16})")
_ROW = re.compile(
    r"[>\s]*(?P<offset>[0-9A-Fa-f]{4,8}):(?P<bytes>(?:[ -][0-9A-Fa-f]{2}){1,16})(?=\s\s|\s?$)"
)
_NEARLY = re.compile(r"[>\s]*[0-9A-Fa-f]{4,8}:\s")
_MOST_PROBLEMS = 10
_NOT_IN_IT = "acpidump prints ACPI tables only"


@dataclass(slots=True)
class _Table:
    """A table being read: where its head stands, its bytes, and the first thing wrong."""

    name: str
    address: int
    row: int
    data: bytearray = field(default_factory=bytearray)
    wrong: Problem | None = None


def parse_acpidump(text: str, source: str) -> tuple[Machine, tuple[Problem, ...]]:
    """The machine, and what is wrong with tables that were not taken; `source` is the file.

    Raises:
        MetaosError: no table of it is whole.
    """
    tables: list[AcpiTable] = []
    problems: list[Problem] = []
    lost: dict[str, Unknown] = {}
    for table in _tables(text, source):
        problem = table.wrong or _faulty(table, source)
        if problem is None:
            tables.append(_whole(table))
            continue
        problems.append(problem)
        what = f"acpi {table.name.strip()}"
        reason = f"{problem.span}: {problem.message}" if problem.span else problem.message
        lost.setdefault(what, Unknown(what=what, reason=reason, origin=Origin.ACPIDUMP))
    if not tables:
        if not problems:
            span = Span(source, 1, 1, 1)
            problems.append(Problem("E0804", "no table 'NAME @ 0x...' in this text", span))
        raise MetaosError(
            f"{source}: no ACPI table can be read",
            hint="what 'acpidump' prints is wanted, as text",
            problems=problems[:_MOST_PROBLEMS],
        )
    return _machine(tables, lost), tuple(problems)


def _tables(text: str, source: str) -> Iterator[_Table]:
    """Every table that has a head, in order, with the bytes up to what breaks it off."""
    table: _Table | None = None
    for number, row in rows(text):
        if head := _HEAD.fullmatch(row):
            if table is not None:
                yield table
            table = _Table(head["name"], int(head["at"], 16), number)
        elif table is not None and table.wrong is None:
            _take(table, number, row, source)
    if table is not None:
        yield table


def _take(table: _Table, number: int, row: str, source: str) -> None:
    """Add a row's bytes to the table, or note what is wrong with the row."""
    found = _ROW.match(row)
    if found is None:
        nearly = _NEARLY.match(row)
        if nearly is not None and not _complete(table):
            start, end = nearly.end() + 1, len(row) + 1
            what = f"table {table.name}: expected up to 16 bytes of two hexadecimal digits"
            table.wrong = Problem("E0804", what, Span(source, number, start, max(end, start + 1)))
        return
    if _complete(table):
        return
    offset = int(found["offset"], 16)
    if offset != len(table.data):
        column = found.start("offset") + 1
        table.wrong = Problem(
            "E0804",
            f"table {table.name}: offset {offset:#x}, expected {len(table.data):#x}",
            Span(source, number, column, column + len(found["offset"])),
        )
        return
    table.data += bytes.fromhex(found["bytes"].replace("-", " "))
    if len(table.data) >= 8 and _length(table) > MOST_TABLE_BYTES:
        column = found.start("bytes") + 2
        what = f"table {table.name}: its length field says {_length(table)} bytes"
        table.wrong = Problem("E0804", what, Span(source, number, column, len(row) + 1))


def _complete(table: _Table) -> bool:
    return len(table.data) >= HEADER and len(table.data) >= _length(table)


def _length(table: _Table) -> int:
    if table.data.startswith(RSDP.encode()):
        return HEADER if len(table.data) > 15 and table.data[15] >= 2 else 20
    return int.from_bytes(table.data[4:8], "little")


def _faulty(table: _Table, source: str) -> Problem | None:
    """What is wrong with the bytes as a table, said at its head."""
    data = bytes(table.data)
    fault = next(wrong_with(_signature(data), data), None)
    if fault is None and len(data) > _length(table):
        text = f"its length field says {_length(table)}, and there are {len(data)} bytes"
    elif fault is not None:
        text = f"at {fault.offset:#x}: {fault.text}"
    else:
        return None
    span = Span(source, table.row, 1, 1 + len(table.name))
    return Problem("E0804", f"table {table.name}: {text}", span)


def _signature(data: bytes) -> str:
    return RSDP if data.startswith(RSDP.encode()) else data[:4].decode("latin-1")


def _whole(table: _Table) -> AcpiTable:
    return AcpiTable(
        signature=_signature(bytes(table.data)),
        address=table.address,
        data=table.data.hex(),
        origin=Origin.ACPIDUMP,
    )


def _machine(tables: list[AcpiTable], lost: dict[str, Unknown]) -> Machine:
    others = ("cpuid leaves", "memory map", "pci functions", "legacy ports")
    return Machine(
        schema=SCHEMA,
        cpu=Cpu(vendor="", brand="", leaves=(), origin=Origin.ACPIDUMP),
        memory=(),
        functions=(),
        legacy=(),
        acpi=tuple(tables),
        networks=(),
        learnt=(),
        unknown=(
            *(Unknown(what=x, reason=_NOT_IN_IT, origin=Origin.ACPIDUMP) for x in others),
            *lost.values(),
        ),
    )
