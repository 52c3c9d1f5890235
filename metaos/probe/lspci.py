"""Read what `lspci` prints, as people paste it: `-n`, `-nn`, `-m`, `-vmm`, `-v`, `-vv`, `-x` to
`-xxxx`, alone or together, one after another, with other text around.

Entering: the text; leaving: a `Sighting` of each function, or problems with line and column.

    sightings("00:1f.0 ISA bridge [0601]: Intel LPC [8086:2918] (rev 02)")[0].ids

Source: lspci(8), pciutils 3.x. Sections: "Machine readable output", "Display options".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from metaos.errors import Problem
from metaos.probe import lspci_dump, lspci_verbose
from metaos.probe.machine import address_order
from metaos.probe.paste import Row, refuse, rows
from metaos.probe.sighting import Sighting, joined

_HEX4 = "[0-9a-f]{4}"
_PLACE = r"(?:(?P<domain>[0-9a-f]{4,8}):)?(?P<function>[0-9a-f]{2}:[01][0-9a-f]\.[0-7])"
_PATH = r"(?:(?:[0-9a-f]{4,8}:)?(?:[0-9a-f]{2}:)?[01][0-9a-f]\.[0-7]/)*"
_HEADER = re.compile(
    rf"\s*(?:IOMMU Group \S+\s+)?(?P<path>{_PATH}){_PLACE}[ \t]+(?P<rest>\S.*)", re.IGNORECASE
)
_SHORT_PATH = re.compile(rf"\s*(?:[0-9a-f]{{2}}:)?{_PATH}[01][0-9a-f]\.[0-7] \S", re.IGNORECASE)
_SLOT = re.compile(rf"\s*(?:Slot|Device):\s*{_PLACE}\s*$", re.IGNORECASE)
_CLASS = rf"\[(?P<class>{_HEX4})\]"
_IDS = rf"(?P<vendor>{_HEX4}):(?P<device>{_HEX4})"
_NUMBERS = re.compile(rf"(?:Class )?(?P<class>{_HEX4}): {_IDS}(?P<tail>$| .*)", re.IGNORECASE)
_BOTH = re.compile(
    rf"[^\[\]]{{1,80}}(?:\[{_HEX4}\] )?{_CLASS}: (?P<name>.*?) ?\[{_IDS}\](?P<tail>.*)",
    re.IGNORECASE,
)
_NAMES = re.compile(
    rf"(?=[^:]*[^\W\d_])[^\W_][^:\"]{{1,80}}?(?: {_CLASS})?: (?P<name>\S.*?)"
    r"(?P<tail>(?: \((?:rev|prog-if).*)?)$",
    re.IGNORECASE,
)
_MORE_NAME = re.compile(r"[^\s:][^:]{0,80}\((?:rev|prog-if) [0-9a-f]{2}", re.IGNORECASE)
_REVISION = re.compile(r"\(rev ([0-9a-f]{2})\)", re.IGNORECASE)
_PROG_IF = re.compile(r"\(prog-if ([0-9a-f]{2})\b", re.IGNORECASE)
_OPEN_TAIL = re.compile(r"\((rev|prog-if)[^)]*$")
_MORE_TAIL = re.compile(r"\s*\((rev|prog-if) ")
_QUOTED = re.compile(r'\s*(?:"((?:\\.|[^"\\])*)"|-([rp])([0-9a-f]{2})(?=\s|$))', re.IGNORECASE)
_IN_BRACKETS = re.compile(rf"(.*?) ?\[({_HEX4})\]$", re.IGNORECASE)
_KEY = re.compile(r"\s*(Class|Vendor|Device|SVendor|SDevice|Rev|ProgIf):\s+(\S.*)", re.IGNORECASE)
_TREE = re.compile(r"\s*(?:-\[|[|+\\ ]+-)[0-9a-f]{2,4}[:.\]-]", re.IGNORECASE)
_MOST_JOINED = 4
LOOKED_FOR = (
    'looked for lines such as "00:1f.0 ISA bridge [0601]: ... [1234:5678]", "Slot: 00:1f.0", '
    'and under them rows such as "00: 34 12 78 56 ..."'
)


@dataclass(frozen=True, slots=True)
class _Block:
    """The rows that tell of one function: its header `first`, and the `rows` to the next one.

    `start` is where in the header the address has ended; a `record` is of lspci -vmm.
    """

    address: str
    first: Row
    start: int
    record: bool
    rows: tuple[Row, ...]


def sightings(text: str, source: str = "lspci") -> tuple[Sighting, ...]:
    """Every function that the text tells of, in address order.

    Raises:
        MetaosError: nothing in it is lspci's, or what is contradicts itself or is damaged.
    """
    lines = rows(text, source)
    problems: list[Problem] = []
    found: dict[str, Sighting] = {}
    for block in _blocks(lines, source, problems):
        seen = _sighting(block, source, problems)
        if seen is None:
            continue
        if seen.address in found:
            seen, contradictions = joined(found[seen.address], seen, source)
            problems += contradictions
        found[seen.address] = seen
    if problems:
        raise refuse(source, "not what lspci prints", problems)
    if not found:
        raise refuse(source, "no lspci output in it", [_nothing(lines, source)], LOOKED_FOR)
    return tuple(found[address] for address in sorted(found, key=address_order))


def _blocks(lines: Sequence[Row], source: str, problems: list[Problem]) -> Iterator[_Block]:
    starts = [(i, found) for i, row in enumerate(lines) if (found := _start(row))]
    end = starts[0][0] if starts else len(lines)
    problems += lspci_dump.orphans(lines[:end], source)
    ends = [i for i, _ in starts[1:]] + [len(lines)]
    for (i, found), stop in zip(starts, ends, strict=False):
        record = "rest" not in found.groupdict()
        yield _Block(
            _address(found),
            lines[i],
            len(lines[i].text) if record else found.start("rest"),
            record,
            tuple(lines[i + 1 : stop]),
        )


def _start(row: Row) -> re.Match[str] | None:
    """The match if `row` begins what is said of a function."""
    found = _SLOT.match(row.text)
    if found is None and (found := _HEADER.match(row.text)) is not None:
        rest = found["rest"]
        if not (rest.startswith('"') or _NUMBERS.match(rest) or _NAMES.match(rest)):
            return None
    return found


def _address(found: re.Match[str]) -> str:
    number = int(found["domain"] or "0", 16)
    return (f"{number:04x}:" if number else "") + found["function"].lower()


def _sighting(block: _Block, source: str, problems: list[Problem]) -> Sighting | None:
    """What a block says; None if its first line is damaged."""
    if block.record:
        seen: Sighting | None = _record(block)
        body = block.rows
    elif block.first.text[block.start] == '"':
        text, used = _together(block, lambda text: text.count('"') % 2 == 0)
        seen = _quoted(block, text, source, problems)
        body = block.rows[used:]
    else:
        seen, used = _headed(block)
        body = block.rows[used:]
    if seen is None:
        return None
    seen, faults = lspci_verbose.add(seen, body, source)
    problems += faults
    config, dumped, faults = lspci_dump.read(block.address, body, source)
    problems += faults
    return replace(seen, config=config, dumped=dumped)


def _together(block: _Block, whole: Callable[[str], object]) -> tuple[str, int]:
    """The header with as many of the rows after it as make it whole, and how many."""
    text = block.first.text[block.start :]
    joined_text = text
    for used, row in enumerate((None, *block.rows[:_MOST_JOINED])):
        if row is not None:
            if not row.text or lspci_dump.is_row(row.text):
                break
            joined_text += " " + row.text.strip()
        if whole(joined_text):
            return joined_text, used
    return text, 0


def _headed(block: _Block) -> tuple[Sighting, int]:
    """A line of `lspci`, `-n` or `-nn`, and how many rows it was wrapped into."""
    text, used = _together(block, lambda text: _NUMBERS.match(text) or _BOTH.match(text))
    found = _NUMBERS.match(text) or _BOTH.match(text) or _NAMES.match(text)
    assert found is not None
    groups = found.groupdict()
    ids = None
    if groups.get("vendor"):
        ids = int(groups["vendor"], 16), int(groups["device"], 16)
    elif block.rows and not groups["tail"] and _MORE_NAME.match(block.rows[0].text):
        groups["tail"], used = " " + block.rows[0].text, 1
    tail, more = _tail(groups["tail"] or "", block.rows[used:])
    revision, prog_if = _REVISION.search(tail), _PROG_IF.search(tail)
    seen = Sighting(
        address=block.address,
        row=block.first,
        name=groups.get("name") or "",
        ids=ids,
        class_code=int(groups["class"], 16) if groups.get("class") else None,
        prog_if=int(prog_if[1], 16) if prog_if else None,
        revision=int(revision[1], 16) if revision else (None if "(rev" in tail else 0),
    )
    return seen, used + more


def _tail(tail: str, following: Sequence[Row]) -> tuple[str, int]:
    """The revision and programming interface, where the line was wrapped within or before."""
    used = 0
    for row in following[:2]:
        if not (_OPEN_TAIL.search(tail) or _MORE_TAIL.match(row.text)):
            break
        tail += " " + row.text.strip()
        used += 1
    return tail, used


def _quoted(block: _Block, text: str, source: str, problems: list[Problem]) -> Sighting | None:
    """A line of `lspci -m` or `-mm`."""
    pieces: list[re.Match[str]] = []
    while piece := _QUOTED.match(text, pieces[-1].end() if pieces else 0):
        pieces.append(piece)
    words = [piece[1] for piece in pieces if piece[1] is not None]
    flags = {piece[2].lower(): int(piece[3], 16) for piece in pieces if piece[2]}
    if len(words) < 3:
        span = block.first.span(source, block.start)
        problems.append(
            Problem(
                "E0811",
                f'expected "class" "vendor" "device", got {len(words)} words in quotes',
                span=span,
                text=block.first.original,
            )
        )
        return None
    vendor, device = _value(words[1]), _value(words[2])
    more = [_value(word) for word in words[3:5]]
    subsystem = (more[0][1], more[1][1]) if len(more) == 2 else (None, None)
    return Sighting(
        address=block.address,
        row=block.first,
        name=f"{vendor[0]} {device[0]}".strip(),
        ids=_pair(vendor[1], device[1]),
        class_code=_value(words[0])[1],
        prog_if=flags.get("p", 0),
        revision=flags.get("r", 0),
        subsystem=(0, 0) if words[3:5] in (["", ""], []) else _pair(*subsystem),
    )


def _record(block: _Block) -> Sighting:
    """The lines `Class: ...` to `ProgIf: ...` of `lspci -vmm`."""
    said: dict[str, str] = {}
    for row in block.rows:
        if not row.text and said:
            break
        if found := _KEY.match(row.text):
            said.setdefault(found[1].lower(), found[2].strip())
    vendor, device = _value(said.get("vendor", "")), _value(said.get("device", ""))
    subsystem = _pair(_value(said.get("svendor", ""))[1], _value(said.get("sdevice", ""))[1])
    return Sighting(
        address=block.address,
        row=block.first,
        name=f"{vendor[0]} {device[0]}".strip(),
        ids=_pair(vendor[1], device[1]),
        class_code=_value(said.get("class", ""))[1],
        prog_if=_byte(said.get("progif")) if "class" in said else None,
        revision=_byte(said.get("rev")) if "class" in said else None,
        subsystem=subsystem if "svendor" in said else ((0, 0) if "class" in said else None),
    )


def _value(text: str) -> tuple[str, int | None]:
    """Name and number of "Intel Corporation [8086]", "8086" or "Intel Corporation"."""
    if re.fullmatch(_HEX4, text, re.IGNORECASE):
        return "", int(text, 16)
    found = _IN_BRACKETS.fullmatch(text)
    return (found[1], int(found[2], 16)) if found else (text, None)


def _byte(text: str | None) -> int | None:
    """lspci leaves out a byte that is 0."""
    if text is None:
        return 0
    return int(text, 16) if re.fullmatch("[0-9a-f]{2}", text, re.IGNORECASE) else None


def _pair(a: int | None, b: int | None) -> tuple[int, int] | None:
    return None if a is None or b is None else (a, b)


def _nothing(lines: Sequence[Row], source: str) -> Problem:
    """What is in a text that has no function in it."""
    row = next((row for row in lines if row.text), lines[0])
    hint = "run lspci -nnvvxxx as root on the machine and save what it prints"
    what = f"none of {len(lines)} lines names a PCI function"
    for line in lines:
        if _SHORT_PATH.match(line.text) and "/" in line.text:
            row, what = line, "a path without bus numbers, as lspci -P prints it"
            hint = "run lspci -nn without -P"
            break
        if _TREE.match(line.text):
            row, what = line, "a tree, as lspci -t prints it, has no ids"
            hint = "run lspci -nn without -t"
            break
        if re.match(r"\s*(CPUID [0-9A-F]{8}|0x[0-9a-f]{8} 0x[0-9a-f]{2}: eax=)", line.text):
            row, what, hint = line, "this is a CPUID dump", "metaos probe cpuid reads it"
            break
    return Problem("E0811", what, span=row.span(source), hint=hint, text=row.original)
