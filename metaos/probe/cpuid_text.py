"""Read dumps of CPUID leaves, in the forms that tools print and people paste.

Entering: text, or the folder that a tool wrote with one file a processor; leaving: the leaves
of each logical processor, or problems with line and column. The forms:

    0x00000004 0x01: eax=0x1c004122 ebx=0x01c0003f ecx=0x0000003f edx=0x00000000   cpuid -r
    CPUID 00000004: 1C004122-01C0003F-0000003F-00000000 [SL 01]          AIDA64, InstLatx64
    5 4 0 1 0 => 1c004122 1c0003f 3f 0                               hwloc-gather-cpuid

In the last one the mask's bits say which of EAX, EBX, ECX and EDX count as inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metaos.errors import MetaosError, Problem
from metaos.probe.machine import CpuidLeaf
from metaos.probe.paste import MOST_BYTES, Row, read_text, refuse, rows

LOOKED_FOR = (
    'looked for lines such as "0x00000000 0x00: eax=0x00000016 ebx=..." (cpuid -r), '
    '"CPUID 00000000: 00000016-756E6547-..." (AIDA64, InstLatx64) and '
    '"1 0 0 0 0 => 16 756e6547 ..." (hwloc-gather-cpuid)'
)

_FLAGS = re.IGNORECASE | re.ASCII
_R = r"(?:0x)?([0-9a-f]{1,8})"
_NAMED = re.compile(
    r"\s*(?:CPUID\s+)?0x(?P<leaf>[0-9a-f]{1,8})(?:[ ,]+0x(?P<subleaf>[0-9a-f]{1,8}))?:?\s+"
    rf"eax\s?=\s?{_R},?\s+ebx\s?=\s?{_R},?\s+ecx\s?=\s?{_R},?\s+edx\s?=\s?{_R}(?![0-9a-z]).*",
    _FLAGS,
)
_NAMED_START = re.compile(
    r"\s*(?:CPUID\s+)?0x[0-9a-f]{1,8}(?:[ ,]+0x[0-9a-f]{1,8})?:?\s+eax\s?=", re.I
)
_DASHED = re.compile(
    r"\s*CPUID\s+(?P<leaf>[0-9a-f]{8})(?:h)?:?\s+"
    r"([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})(?![0-9a-z-])"
    r"(?:.*?\[SL (?P<subleaf>[0-9a-f]{1,8})\])?.*",
    _FLAGS,
)
_DASHED_START = re.compile(r"\s*CPUID\s+[0-9a-f]{8}h?:?\s+[0-9a-z]{1,8}-", _FLAGS)
_MASKED = re.compile(
    r"\s*(?P<mask>[0-9a-f]{1,2})((?: [0-9a-f]{1,8}){4}) => ([0-9a-f]{1,8}) ([0-9a-f]{1,8})"
    r" ([0-9a-f]{1,8}) ([0-9a-f]{1,8})\s*$",
    _FLAGS,
)
_MASKED_START = re.compile(r"\s*[0-9a-f]{1,2} [0-9a-f]{1,8} .*=>", _FLAGS)
_HEADING = re.compile(
    r"[\s\-\[(=]{0,80}(?:CPUID Registers\W{1,8})?(?:Logical )?CPU[ #]{0,4}(?P<number>\d{1,5})?"
    r"[\s\-\]):=]{0,80}$",
    _FLAGS,
)
_FILE = re.compile(r"pu(\d{1,5})")
_WRAPPED = 2
"""Rows after its first into which a line may have been broken."""
_NEEDED = (0, 1)
"""Leaves without which nothing can be told of a processor."""


@dataclass(slots=True)
class _Leaves:
    """The leaves of one logical processor as they are read; `number` None if none is said."""

    number: int | None
    row: Row
    source: str
    found: dict[tuple[int, int], CpuidLeaf] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dumped:
    """The leaves of the logical processor `number`, in leaf order."""

    number: int
    leaves: tuple[CpuidLeaf, ...]


def read_dump(path: Path) -> tuple[Dumped, ...]:
    """The processors in a file, in stdin ("-"), or in a folder with a file for each.

    Raises:
        MetaosError: it cannot be read, holds no leaves, or damaged ones.
    """
    if not path.is_dir():
        return dumped(read_text(path), str(path))
    files = {int(m[1]): p for p in path.iterdir() if (m := _FILE.fullmatch(p.name))}
    if not files:
        raise MetaosError(
            f"{path}: no file pu0, pu1, ... in this folder",
            hint="a folder is read as hwloc-gather-cpuid writes it: a file for each processor",
        )
    size = 0
    found: list[Dumped] = []
    for number, file in sorted(files.items()):
        text = read_text(file)
        size += len(text)
        if size > MOST_BYTES:
            raise MetaosError(f"{path}: more than {MOST_BYTES >> 20} MiB of dumps")
        found += (Dumped(number, one.leaves) for one in dumped(text, str(file)))
    if len(found) > len(files):
        return tuple(Dumped(i, one.leaves) for i, one in enumerate(found))
    return tuple(found)


def dumped(text: str, source: str = "cpuid") -> tuple[Dumped, ...]:
    """The processors that a text tells of, in its order. Raises as `read_dump`."""
    lines = rows(text, source)
    problems: list[Problem] = []
    processors = _processors(lines, source, problems)
    for processor in processors:
        for leaf in _NEEDED:
            if (leaf, 0) not in processor.found and not problems:
                problems.append(_incomplete(processor, leaf))
    if problems:
        raise refuse(source, "not a dump of CPUID leaves", problems)
    if not processors:
        row = next((row for row in lines if row.text), lines[0])
        what = f"none of {len(lines)} lines has the answer to a CPUID leaf"
        fault = Problem("E0821", what, span=row.span(source), text=row.original)
        raise refuse(source, "no CPUID leaves in it", [fault], LOOKED_FOR)
    numbers = [one.number for one in processors]
    counted = None in numbers or len(set(numbers)) < len(numbers)
    return tuple(
        Dumped(
            i if counted or one.number is None else one.number,
            tuple(one.found[key] for key in sorted(one.found)),
        )
        for i, one in enumerate(processors)
    )


def _processors(lines: Sequence[Row], source: str, problems: list[Problem]) -> list[_Leaves]:
    """A new one begins at a heading, and where leaf 0 comes again."""
    found: list[_Leaves] = []
    seen: dict[tuple[int, int], CpuidLeaf] = {}
    heading, fresh = None, True
    for row, answer in _answers(lines, source, problems):
        if isinstance(answer, _Heading):
            fresh, heading = True, answer.number
            continue
        again = answer.leaf == 0 and not answer.subleaf and (0, 0) in seen
        if fresh or again:
            found.append(_Leaves(heading, row, source))
            seen, fresh, heading = found[-1].found, False, None
        _add(found[-1], answer, row, problems)
    return found


@dataclass(frozen=True, slots=True)
class _Heading:
    """A line that begins another processor's leaves."""

    number: int | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """One line: `subleaf` is None where the line does not say."""

    leaf: int
    subleaf: int | None
    registers: tuple[int, int, int, int]


def _answers(
    lines: Sequence[Row], source: str, problems: list[Problem]
) -> Iterator[tuple[Row, _Answer | _Heading]]:
    for i, row in enumerate(lines):
        text = row.text
        if heading := _HEADING.match(text):
            yield row, _Heading(int(heading["number"]) if heading["number"] else None)
        elif _NAMED_START.match(text) or _DASHED_START.match(text) or _MASKED_START.match(text):
            answer = _answer(text, lines[i + 1 : i + 1 + _WRAPPED])
            if answer is None:
                problems.append(_damaged(row, source))
            else:
                yield row, answer


def _answer(text: str, following: Sequence[Row]) -> _Answer | None:
    """What a line says; rows that follow are taken in where it was broken."""
    for more in ("", *(row.text for row in following)):
        text = f"{text} {more.strip()}" if more else text
        if found := _NAMED.match(text):
            return _numbers(found["leaf"], found["subleaf"], found.groups()[2:])
        if found := _DASHED.match(text):
            return _numbers(found["leaf"], found["subleaf"], found.groups()[1:5])
        if found := _MASKED.match(text):
            leaf, _, subleaf, _ = found[2].split()
            inputs = int(found["mask"], 16)
            return _numbers(leaf, subleaf if inputs & 4 else "0", found.groups()[2:])
    return None


def _numbers(leaf: str, subleaf: str | None, registers: Sequence[str]) -> _Answer:
    eax, ebx, ecx, edx = (int(word, 16) for word in registers)
    number = None if subleaf is None else int(subleaf, 16)
    return _Answer(int(leaf, 16), number, (eax, ebx, ecx, edx))


def _add(processor: _Leaves, answer: _Answer, row: Row, problems: list[Problem]) -> None:
    """Keep an answer; where the lines of a leaf have no subleaf they are counted."""
    subleaf = answer.subleaf
    if subleaf is None:
        subleaf = sum(1 for leaf, _ in processor.found if leaf == answer.leaf)
    eax, ebx, ecx, edx = answer.registers
    new = CpuidLeaf(leaf=answer.leaf, subleaf=subleaf, eax=eax, ebx=ebx, ecx=ecx, edx=edx)
    old = processor.found.setdefault((answer.leaf, subleaf), new)
    if old != new:
        problems.append(
            Problem(
                "E0822",
                f"leaf {answer.leaf:#x} subleaf {subleaf} has another answer in a line before",
                span=row.span(processor.source),
                hint='a line "CPU 1:" or the like must begin another processor\'s leaves',
                text=row.original,
            )
        )


def _damaged(row: Row, source: str) -> Problem:
    """A line that begins as an answer and does not go on as one."""
    return Problem(
        "E0821",
        "expected a leaf and four registers in hexadecimal",
        span=row.span(source, _first_fault(row.text)),
        hint="copy the line anew",
        text=row.original,
    )


def _first_fault(text: str) -> int:
    """Where the first word stands that is no number as its form wants it, else the end."""
    digits = "[0-9a-f]{8}h?" if _DASHED_START.match(text) else "[0-9a-f]{1,8}"
    for found in re.finditer(r"[^\s\-=:,>]+", text):
        word = found[0].lower().removeprefix("0x")
        if word not in ("cpuid", "eax", "ebx", "ecx", "edx") and not re.fullmatch(digits, word):
            return found.start()
    return max(0, len(text) - 1)


def _incomplete(processor: _Leaves, leaf: int) -> Problem:
    return Problem(
        "E0821",
        f"the processor whose leaves begin here has no leaf {leaf}",
        span=processor.row.span(processor.source),
        hint="dump all leaves: cpuid -r",
        text=processor.row.original,
    )
