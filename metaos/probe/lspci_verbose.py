"""The lines that `lspci -v` and `-vv` print under a function: windows, capabilities and so on.

Entering: a `Sighting` of its header, and the rows after it; leaving: the sighting with more.
Windows are found by their form, whatever the language: an address, then words in parentheses
or brackets, a size after "=".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from metaos.errors import Problem
from metaos.probe.machine import BarKind, Capability
from metaos.probe.paste import Row
from metaos.probe.sighting import ROM, Region, Sighting

_WINDOW = re.compile(
    r"\s*(?:[^\W\d_]+ (?P<index>[0-5]) ?: *)?(?:\[[^\]\d=]{1,20}\] *){0,2}"
    r"(?P<what>[^\d\[(<:=\s][^\d\[(<:=]{1,39}?) +(?P<at>[0-9a-f]{4,16}|<[^<>]{1,40}>)"
    r"(?P<rest> *[(\[].*)?$",
    re.IGNORECASE,
)
_SIZE = re.compile(r"\[[^\[\]=]{1,20}=(?P<number>[0-9]{1,6})(?P<unit>[KMGTP]?)\]")
_WIDTH = re.compile(r"\([^()]*\b(?:(?P<bits>32|64)|low-1M)\b[^()]*\)", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}
_BOARD = re.compile(
    r"\s*[^\W\d_]+: (?!\[)(?:.*\[(?P<v>[0-9a-f]{4}):(?P<d>[0-9a-f]{4})\]"
    r"|(?P<v2>[0-9a-f]{4}):(?P<d2>[0-9a-f]{4}))(?: \(rev [0-9a-f]{2}\))?$",
    re.IGNORECASE,
)
_NAMED_BOARD = re.compile(r"\s*Subsystem: \S", re.IGNORECASE)
_PIN = re.compile(r"\s*[^\W\d_]+: pin (?P<pin>[A-D])\b", re.IGNORECASE)
_VERBOSE = re.compile(r"\s*(Flags|Control|Status|Latency|Capabilities): ", re.IGNORECASE)
_IN_ENGLISH = re.compile(r"\s*(Flags|Control): ", re.IGNORECASE)
_VERY_VERBOSE = re.compile(r"\s*Control: ", re.IGNORECASE)
_BUSES = re.compile(r"\s*[^\W\d_]+: primary=", re.IGNORECASE)
_CAPABILITY = re.compile(
    r"\s*Capabilities: \[(?P<offset>[0-9a-f]{2,3})(?: v\d+)?\] (?P<name>.*)", re.I
)
_DENIED = re.compile(r"\s*Capabilities: <", re.IGNORECASE)
_CAPABILITIES = (
    ("Power Management", 1), ("AGP3", 0x0E), ("AGP", 2), ("Vital Product Data", 3),
    ("Slot", 4), ("MSI-X", 0x11), ("MSI", 5), ("CompactPCI hot-swap", 6), ("PCI-X", 7),
    ("HyperTransport", 8), ("Vendor Specific", 9), ("Debug port", 0x0A),
    ("CompactPCI central", 0x0B), ("Hot-plug capable", 0x0C), ("Subsystem", 0x0D),
    ("Secure device", 0x0F), ("Express", 0x10), ("SATA HBA", 0x12),
    ("PCI Advanced Features", 0x13), ("Enhanced Allocation", 0x14),
)  # fmt: skip
"""lspci's words for capability ids. Source: PCI Code and ID Assignment 1.11 §2."""
_FIRST_EXTENDED = 0x100


def add(seen: Sighting, body: Sequence[Row], source: str) -> tuple[Sighting, list[Problem]]:
    """What the lines say more, and what of it cannot be."""
    regions, problems = _regions(body, source)
    texts = [row.text for row in body]
    indexed = any(region.index is not None for region in regions)
    verbose = bool(regions) or any(_VERBOSE.match(text) or _BUSES.match(text) for text in texts)
    if not verbose:
        return replace(seen, subsystem=_subsystem(texts) or seen.subsystem), problems
    english = any(_IN_ENGLISH.match(text) for text in texts)
    very = any(_VERY_VERBOSE.match(text) for text in texts)
    subsystem = _subsystem(texts)
    if subsystem is None and english and not any(_NAMED_BOARD.match(text) for text in texts):
        subsystem = 0, 0
    pin = next((m["pin"].upper() for text in texts if (m := _PIN.match(text))), None)
    return replace(
        seen,
        prog_if=seen.prog_if or 0,
        subsystem=seen.subsystem or subsystem,
        interrupt_pin=" ABCD".index(pin) if pin else (0 if very else None),
        header_type=_header_type(seen, texts),
        regions=tuple(regions),
        indexed=indexed or very,
        capabilities=_capabilities(texts) if english else None,
    ), problems


def _regions(body: Sequence[Row], source: str) -> tuple[list[Region], list[Problem]]:
    found: list[Region] = []
    problems: list[Problem] = []
    for i, row in enumerate(body):
        text = row.text
        following = body[i + 1].text.strip() if i + 1 < len(body) else ""
        if text.count("(") > text.count(")") or following.startswith("[size="):
            text += " " + following
        match = _WINDOW.match(text)
        if match is None:
            continue
        size, width = _SIZE.search(text), _WIDTH.search(text)
        english = match["what"].lower()
        if size is None and width is None and english not in ("i/o ports at", "memory at"):
            continue
        region = _region(match, size, width, row)
        if region.size is not None and (region.size == 0 or region.size & region.size - 1):
            problems.append(
                Problem(
                    "E0814",
                    f"a window of {region.size:#x} bytes; a size is a power of two",
                    span=row.span(source),
                    text=row.original,
                )
            )
        found.append(region)
    return found, problems


def _region(
    match: re.Match[str], size: re.Match[str] | None, width: re.Match[str] | None, row: Row
) -> Region:
    what = match["what"].lower()
    rom = what.startswith("expansion rom")
    if width is not None:
        kind: BarKind | None = BarKind.MEM64 if width["bits"] == "64" else BarKind.MEM32
    elif rom:
        kind = BarKind.MEM32
    else:
        kind = BarKind.IO if match["index"] or what == "i/o ports at" else None
    words = width[0].lower() if width else ""
    prefetchable: bool | None = False
    if width is not None:
        prefetchable = "non-prefetchable" not in words if "prefetchable" in words else None
    bits = int(size["number"]) << _UNITS[size["unit"].upper()] if size else None
    return Region(
        index=ROM if rom else (int(match["index"]) if match["index"] else None),
        kind=kind,
        prefetchable=prefetchable,
        address=None if match["at"].startswith("<") else int(match["at"], 16),
        size=bits,
        virtual="[virtual]" in match[0].lower(),
        row=row,
    )


def _subsystem(texts: Sequence[str]) -> tuple[int, int] | None:
    found = next((m for text in texts if (m := _BOARD.match(text))), None)
    for text, after in itertools.pairwise(texts):  # wrapped
        if found is None and _NAMED_BOARD.match(text) and ": " not in after:
            found = _BOARD.match(f"{text} {after.strip()}")
    if found is None:
        return None
    return int(found["v"] or found["v2"], 16), int(found["d"] or found["d2"], 16)


def _header_type(seen: Sighting, texts: Sequence[str]) -> int:
    """The layout only; Source: PCI Local Bus Specification 3.0 §6.2.1, class codes appendix D."""
    if seen.class_code == 0x0607:
        return 2
    return int(seen.class_code == 0x0604 or any(_BUSES.match(text) for text in texts))


def _capabilities(texts: Sequence[str]) -> tuple[Capability, ...] | None:
    """The list; None where it was not allowed to read it, or an entry's name is not known."""
    if any(_DENIED.match(text) for text in texts):
        return None
    found = []
    for text in texts:
        match = _CAPABILITY.match(text)
        if match is None or int(match["offset"], 16) >= _FIRST_EXTENDED:
            continue
        name = match["name"].lower()
        id_ = next((n for word, n in _CAPABILITIES if name.startswith(word.lower())), None)
        if id_ is None:
            return None
        found.append(Capability(id=id_, offset=int(match["offset"], 16)))
    return tuple(found)
