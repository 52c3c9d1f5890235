"""Read what the discoverer printed: numbered lines with checksums, docs/discoverer.md.

Entering: the text, with whatever the firmware said before it; leaving: a `Dump`, one
record a line, or errors that name the damaged and the missing lines. A text that was kept by
a person, where lines may be lost, is `log.py`'s.

    parse(text).functions[0].address  ->  "00:00.0"
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from metaos.errors import MetaosError, Problem

FORMAT = 2
"""The version of the line format that this module reads."""

_FIRST = re.compile(r"0000 metaos-discoverer ")
_LINE = re.compile(r"(?P<body>(?P<number>[0-9a-f]{4}) (?P<tag>\S+)(?P<rest>[^*]*))\*(?P<crc>.*)")
_LAST = re.compile(rb"^[0-9a-f]{4} end [0-9a-f]{4}\*[0-9a-f]{4}\r?\n", re.MULTILINE)
_MOST_PROBLEMS = 10
_CONFIG_BYTES = 256
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class CpuidLine:
    """`cpuid LEAF SUBLEAF EAX EBX ECX EDX`."""

    leaf: int
    subleaf: int
    registers: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """`e820 BASE LENGTH KIND ATTRIBUTES`."""

    base: int
    size: int
    kind: int
    attributes: int


@dataclass(frozen=True, slots=True)
class PortLine:
    """`com INDEX PORT` or `lpt INDEX PORT`."""

    kind: str
    index: int
    port: int


@dataclass(frozen=True, slots=True)
class FunctionLines:
    """The `pci` lines of one function: its config bytes; its `bars` and its `rom` line.

    `sizing` is what each BAR, then the ROM's register read after all ones were written.
    """

    address: str
    config: bytes
    sizing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TableLines:
    """The `acpi` lines of one table."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LearnLine:
    """`learn ID VALUE`."""

    id: int
    value: int


@dataclass(frozen=True, slots=True)
class StuckLine:
    """`stuck ROW ID VALUE`: the row waited in vain and read `value` last."""

    row: int
    id: int
    value: int


@dataclass(frozen=True, slots=True)
class Dump:
    """All that the discoverer printed, in its order."""

    cpuid: tuple[CpuidLine, ...]
    memory: tuple[MemoryLine, ...]
    ports: tuple[PortLine, ...]
    functions: tuple[FunctionLines, ...]
    tables: tuple[TableLines, ...]
    learnt: tuple[LearnLine, ...]
    stuck: tuple[StuckLine, ...]


def finished(text: bytes) -> bool:
    """Whether the last line has come."""
    return _LAST.search(text) is not None


@dataclass(frozen=True, slots=True)
class Line:
    """An undamaged line."""

    number: int
    tag: str
    words: tuple[str, ...]


def parse(text: str, source: str = "the discoverer") -> Dump:
    """Read the discoverer's output; `source` names it in messages.

    Raises:
        MetaosError: no header, another version, cut off, or damaged or missing lines.
    """
    lines = [line for raw in text.splitlines() if (line := raw.strip())]
    start = next((i for i, line in enumerate(lines) if _FIRST.match(line)), None)
    if start is None:
        raise MetaosError(
            f"{source}: no line '0000 metaos-discoverer ...'",
            hint="what a machine prints that boots the discoverer is wanted",
        )
    whole, problems = _undamaged(lines[start:])
    if not problems:
        _check_version(whole[0], source)
        try:
            return dump(whole)
        except ValueError as error:
            problems = [_problem(str(error))]
    raise MetaosError(
        f"{source}: the description of the machine is damaged",
        hint="boot the discoverer again and keep all it prints",
        problems=problems[:_MOST_PROBLEMS],
    )


def _problem(message: str) -> Problem:
    return Problem("E0801", message)


def _check_version(first: Line, source: str) -> None:
    if first.words != (f"{FORMAT:02x}",):
        raise MetaosError(
            f"{source}: line format {' '.join(first.words)}, this metaos reads {FORMAT:02x}",
            hint="boot the discoverer that belongs to this metaos",
        )


def _undamaged(lines: Iterable[str]) -> tuple[list[Line], list[Problem]]:
    """The lines that are whole, up to the last; what is wrong with the others."""
    whole: list[Line] = []
    problems: list[Problem] = []
    wanted = 0
    for text in lines:
        line = _line(text)
        if isinstance(line, str):
            problems.append(_problem(f"line {wanted:04x} is damaged: {line}"))
            wanted += 1
            continue
        if line.number > wanted:
            which = f"{wanted:04x}" + (
                f" to {line.number - 1:04x}" if line.number - wanted > 1 else ""
            )
            problems.append(_problem(f"missing: {which}, before '{text[:40]}'"))
        elif line.number < wanted:
            problems.append(_problem(f"line {line.number:04x} comes after {wanted - 1:04x}"))
        wanted = line.number + 1
        whole.append(line)
        if line.tag == "end":
            if line.words != (f"{wanted:04x}",):
                said = " ".join(line.words)
                counted = f"line {line.number:04x} counts {said} lines, there are {wanted:04x}"
                problems.append(_problem(counted))
            return whole, problems
    problems.append(_problem(f"cut off after {wanted} lines: there is no 'end' line"))
    return whole, problems


def _line(text: str) -> Line | str:
    """The line, or what is wrong with it."""
    found = _LINE.fullmatch(text)
    if found is None:
        return f"'{text[:40]}' has not the form 'NNNN tag fields*CCCC'"
    crc = checksum(found["body"])
    if found["crc"] != crc:
        return f"checksum {found['crc'][:8]}, but its text has {crc}: '{text[:40]}'"
    return Line(int(found["number"], 16), found["tag"], tuple(found["rest"].split()))


def checksum(body: str) -> str:
    """CRC-16/CCITT-FALSE of what stands before a line's `*`, as the line has it."""
    return f"{binascii.crc_hqx(body.encode(), 0xFFFF):04x}"


def dump(lines: Sequence[Line]) -> Dump:
    """Read the fields of undamaged lines.

    Raises:
        ValueError: a line of a kind we do not know or with other fields.
    """
    for line in lines:
        if line.tag not in FIELDS:
            raise ValueError(f"line {line.number:04x}: unknown kind '{line.tag}'")
        if not FIELDS[line.tag].fullmatch(" ".join(line.words)):
            raise ValueError(f"line {line.number:04x}: bad fields of '{line.tag}'")

    def numbers(*tags: str) -> list[tuple[str, list[int]]]:
        return [(x.tag, [int(w, 16) for w in x.words]) for x in lines if x.tag in tags]

    config = _blocks((x.words[0], x) for x in lines if x.tag == "pci")
    sizing: dict[str, tuple[int, ...]] = {}
    for line in (x for x in lines if x.tag in ("bars", "rom")):
        values = tuple(int(word, 16) for word in line.words[1:])
        sizing[line.words[0]] = sizing.get(line.words[0], ()) + values
    tables = _blocks((int(x.words[0], 16), x) for x in lines if x.tag == "acpi")
    for address, data in config.items():
        if len(data) != _CONFIG_BYTES:
            raise ValueError(f"pci {address}: {len(data)} config bytes instead of {_CONFIG_BYTES}")
    return Dump(
        cpuid=tuple(
            CpuidLine(leaf, subleaf, (eax, ebx, ecx, edx))
            for _, (leaf, subleaf, eax, ebx, ecx, edx) in numbers("cpuid")
        ),
        memory=tuple(MemoryLine(*fields) for _, fields in numbers("e820")),
        ports=tuple(PortLine(tag, *fields) for tag, fields in numbers("com", "lpt")),
        functions=tuple(FunctionLines(a, data, sizing.get(a, ())) for a, data in config.items()),
        tables=tuple(TableLines(address, data) for address, data in tables.items()),
        learnt=tuple(LearnLine(*fields) for _, fields in numbers("learn")),
        stuck=tuple(StuckLine(*fields) for _, fields in numbers("stuck")),
    )


def _blocks(lines: Iterable[tuple[_Key, Line]]) -> dict[_Key, bytes]:
    """Join lines `KEY OFFSET BYTES` whose offsets go on from one another."""
    blocks: dict[_Key, bytes] = {}
    for key, line in lines:
        have = blocks.get(key, b"")
        if int(line.words[1], 16) != len(have):
            raise ValueError(f"line {line.number:04x}: offset {line.words[1]} after {len(have):x}")
        blocks[key] = have + bytes.fromhex(line.words[2])
    return blocks


def _fields(*digits: int) -> re.Pattern[str]:
    return re.compile(" ".join(f"[0-9a-f]{{{n}}}" for n in digits))


_ADDRESS = r"[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
_BYTES = "([0-9a-f]{2}){1,16}"
FIELDS = {
    "metaos-discoverer": _fields(2),
    "cpuid": _fields(8, 8, 8, 8, 8, 8),
    "e820": _fields(16, 16, 8, 8),
    "com": _fields(2, 4),
    "lpt": _fields(2, 4),
    "pci": re.compile(f"{_ADDRESS} [0-9a-f]{{2}} {_BYTES}"),
    "bars": re.compile(f"{_ADDRESS}( [0-9a-f]{{8}}){{1,6}}"),
    "rom": re.compile(f"{_ADDRESS} [0-9a-f]{{8}}"),
    "acpi": re.compile(f"[0-9a-f]{{8}} [0-9a-f]{{8}} {_BYTES}"),
    "learn": _fields(2, 8),
    "stuck": _fields(4, 2, 8),
    "end": _fields(4),
}
"""The fields of each kind of line, separated by single spaces."""
