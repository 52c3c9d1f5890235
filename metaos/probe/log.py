"""Find the discoverer's lines in a text that a person kept: `read_log(text, source) -> Log`.

Such a text is a serial log of minicom, screen or picocom, or was typed from photographs of the
screen: with CR LF, a terminal's escapes, timestamps before each row, rows that a narrow terminal
wrapped, other output around it, lines that come twice, lines that are damaged or missing. A line
counts if its checksum is right; where it stands does not matter.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from metaos.errors import MetaosError, Problem, Span
from metaos.probe.dumped import rows
from metaos.probe.lines import FIELDS, FORMAT, Line, checksum

_START = re.compile(
    rf"(?<![0-9a-z])(?P<number>[0-9a-foilsz|!]{{4}}) +(?P<tag>{'|'.join(FIELDS)}) +(?=\S)"
)
_WHOLE = re.compile(r"(?P<fields>[^*]{1,100})\* ?(?P<crc>[0-9a-foilsz|!]{4})(?![0-9a-z])")
_MISTYPED = str.maketrans("oil|!sz", "0111152")
"""Letters that are no hexadecimal digits, and what they were read for."""
_WRAPPED_ROWS = 3
"""A line has at most 76 characters: more rows than these are no wrapped line."""
_LONGEST = 128
_FLICKERING = ("pci",)
"""What may differ between two runs on one machine: status bits, counters."""


@dataclass(frozen=True, slots=True)
class Found:
    """An undamaged line and the row of the text where it begins."""

    line: Line
    row: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """What begins as a line and is none; `span` is where, `why` what was expected."""

    number: int
    span: Span
    why: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines `first` to `last` are not there; `row` of the text has the line after them.

    Where the end is missing `last` is -1 and `row` has the last line there is.
    """

    first: int
    last: int
    row: int


@dataclass(frozen=True, slots=True)
class Log:
    """The lines by number, in order, and what is missing between them.

    `damaged` are those of which no undamaged copy is there, by number, in order.
    """

    source: str
    lines: Mapping[int, Line]
    gaps: tuple[Gap, ...]
    damaged: Mapping[int, Damaged]
    problems: tuple[Problem, ...]

    def gap_after(self, number: int) -> Gap | None:
        """The first gap after a line; None if nothing is missing after it."""
        at = bisect.bisect_right(self.gaps, number, key=lambda gap: gap.first)
        return self.gaps[at] if at < len(self.gaps) else None

    def told(self, gap: Gap) -> str:
        """What is said of a gap, with the place of its first damaged line."""
        numbers = [*self.damaged]
        at = bisect.bisect_left(numbers, gap.first)
        if at < len(numbers) and (numbers[at] <= gap.last or gap.last < 0):
            bad = self.damaged[numbers[at]]
            return f"{bad.span}: line {bad.number:04x} is damaged: {bad.why}"
        place = f"{self.source}:{gap.row}:1"
        if gap.last < 0:
            return f"{place}: the text is cut off after line {gap.first - 1:04x}"
        which = f"line {gap.first:04x} is"
        if gap.first < gap.last:
            which = f"lines {gap.first:04x} to {gap.last:04x} are"
        return f"{place}: {which} missing before this"


def read_log(text: str, source: str) -> Log:
    """Every line that is whole, of the machine of which the text has the most.

    Raises:
        MetaosError: there is no whole line, or they are of another format.
    """
    runs: list[dict[int, Found]] = [{}]
    damaged: list[Damaged] = []
    for thing in _things(list(rows(text)), source):
        if isinstance(thing, Damaged):
            damaged.append(thing)
        else:
            _add(runs, thing)
    found, problems = _joined(runs, source)
    if not found:
        raise _nothing(damaged, source)
    _check_version(found, source)
    lost = {x.number: x for x in reversed(damaged) if x.number not in found}
    lines = {number: found[number].line for number in sorted(found)}
    log = Log(source, lines, tuple(_gaps(found)), {n: lost[n] for n in sorted(lost)}, ())
    return replace(log, problems=(*problems, *_losses(log)))


def _things(all_rows: Sequence[tuple[int, str]], source: str) -> Iterator[Found | Damaged]:
    """Every line and every beginning of one, in order."""
    for index, (number, row) in enumerate(all_rows):
        low = row.lower()
        starts = [*_START.finditer(low)]
        ends = [*(start.start() for start in starts[1:]), len(low)]
        for start, end in zip(starts, ends, strict=False):
            segment = low[start.start() : end]
            last = end == len(low)
            span = Span(source, number, start.start() + 1, max(end, start.start() + 1) + 1)
            thing = _line_in(segment, _following(all_rows, index) if last else ())
            if isinstance(thing, Line):
                yield Found(thing, number)
            else:
                yield Damaged(int(start["number"].translate(_MISTYPED), 16), span, thing)


def _following(all_rows: Sequence[tuple[int, str]], index: int) -> tuple[str, ...]:
    """The rows after one that can be the rest of it: up to one that begins a line."""
    rest: list[str] = []
    for _, row in all_rows[index + 1 : index + 1 + _WRAPPED_ROWS]:
        low = row.lower()
        if _START.search(low):
            break
        rest.append(low.strip())
    return tuple(rest)


def _line_in(segment: str, rest: tuple[str, ...]) -> Line | str:
    """The line that begins in `segment`, which a terminal may have wrapped into `rest`; or what
    is wrong with it."""
    texts = [segment]
    why = ""
    for more in ("", *rest):
        if more:
            texts = [text + space + more for text in texts for space in ("", " ")]
        for text in texts:
            result = _line(text[:_LONGEST])
            if isinstance(result, Line):
                return result
            why = why or result
    return why


def _line(text: str) -> Line | str:
    """The line that `text` begins with, or what is wrong with it."""
    start = _START.match(text)
    whole = _WHOLE.match(text, start.end()) if start else None
    if start is None or whole is None:
        return "it does not end in '*' and a checksum of four digits"
    tag = start["tag"]
    words = whole["fields"].split()
    crc = whole["crc"].translate(_MISTYPED)
    number = start["number"].translate(_MISTYPED)
    for repair in (False, True):
        said = [word.translate(_MISTYPED) for word in words] if repair else words
        body = " ".join((number, tag, *said))
        if checksum(body) == crc:
            if not FIELDS[tag].fullmatch(" ".join(said)):
                return f"the fields are not those of '{tag}'"
            return Line(int(number, 16), tag, tuple(said))
    return f"its checksum is {crc}, but its text has {checksum(' '.join((number, tag, *words)))}"


def _add(runs: list[dict[int, Found]], new: Found) -> None:
    """Put a line into the run that it belongs to; a second header or another text begins one."""
    run = runs[-1]
    known = run.get(new.line.number)
    again = new.line.number == 0 and 0 in run and any(run)
    if again or (known is not None and known.line != new.line):
        runs.append({new.line.number: new})
    elif known is None:
        run[new.line.number] = new


def _joined(
    runs: Sequence[dict[int, Found]], source: str
) -> tuple[dict[int, Found], list[Problem]]:
    """The fullest run, its gaps filled from others that say the same of the same machine."""
    best = max(range(len(runs)), key=lambda i: (len(runs[i]), i))
    whole = dict(runs[best])
    problems: list[Problem] = []
    for run in (run for i, run in enumerate(runs) if i != best and run):
        other = next((n for n in run if n in whole and _contradicts(run[n], whole[n])), None)
        if other is None and any(n in whole for n in run):
            whole = {**run, **whole}
        elif other is not None:
            row = run[other].row
            problems.append(
                Problem(
                    "E0805",
                    f"line {other:04x} is not the one in row {whole[other].row}: another "
                    "machine, or another format; the lines of this part are not used",
                    Span(source, row, 1, 1),
                )
            )
    return whole, problems


def _contradicts(a: Found, b: Found) -> bool:
    """Whether two lines of one number are not of one machine."""
    if a.line.tag != b.line.tag:
        return True
    if a.line.tag in _FLICKERING:
        return a.line.words[:2] != b.line.words[:2]
    return a.line != b.line


def _check_version(found: Mapping[int, Found], source: str) -> None:
    header = found.get(0)
    if header is not None and header.line.words != (f"{FORMAT:02x}",):
        raise MetaosError(
            f"{source}:{header.row}: line format {' '.join(header.line.words)}, "
            f"this metaos reads {FORMAT:02x}",
            hint="boot the discoverer that belongs to this metaos: "
            "metaos probe discover --write discover.img",
        )


def _gaps(found: Mapping[int, Found]) -> Iterator[Gap]:
    wanted, row = 0, 1
    for number in sorted(found):
        row = found[number].row
        if number > wanted:
            yield Gap(wanted, number - 1, row)
        wanted = number + 1
        if found[number].line.tag == "end":
            return
    yield Gap(wanted, -1, row)


def _losses(log: Log) -> Iterator[Problem]:
    """What is damaged, and what is not there at all."""
    for number, bad in log.damaged.items():
        yield Problem("E0805", f"line {number:04x} is damaged: {bad.why}", bad.span)
    for gap in log.gaps:
        span = Span(log.source, gap.row, 1, 1)
        if gap.last < 0:
            what = f"cut off after line {gap.first - 1:04x}: there is no 'end' line"
            yield Problem("E0805", what, span)
            continue
        left = [n for n in range(gap.first, gap.last + 1) if n not in log.damaged]
        if left:
            what = f"missing: {left[0]:04x}" + (f" to {left[-1]:04x}" if left[1:] else "")
            yield Problem("E0805", what, span)


def _nothing(damaged: Sequence[Damaged], source: str) -> MetaosError:
    problems = [
        Problem("E0805", f"line {x.number:04x} is damaged: {x.why}", x.span) for x in damaged[:10]
    ]
    if not problems:
        span = Span(source, 1, 1, 1)
        problems = [Problem("E0805", "no line 'NNNN tag fields*CCCC' in this text", span)]
    return MetaosError(
        f"{source}: no whole line of the discoverer",
        hint="what a machine prints that boots it is wanted: "
        "metaos probe discover --write discover.img",
        problems=problems,
    )
