"""Law 3: a device that is removed takes its bytes along, and no others.

    left_over(whole, rest, "00:05.0")     # () where the law holds

Enter the stages of two images, of a machine with a device and of the same machine without.
Leaves every object of `rest` that is not in `whole`, or not as it is there, and every object of
`whole` that went though it is not the device's. Objects are programs' code, rows, texts, data,
places, windows and ports, compared where relocations do not write. docs/laws.md says
what else follows the number of things there are, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from metaos.emit.code import Code
from metaos.link.parts import Datum
from metaos.lower.attach import silent
from metaos.lower.clock import NOW
from metaos.lower.row import FULL, Row
from metaos.lower.stepper import PLATFORM
from metaos.lower.text import DIGITS, TEXTS
from metaos.match.diff import code_without_relocations
from metaos.match.serves import Made, device_of
from metaos.pattern import syntax as s

STEPPERS = ("guard", "init")
"""The platform's code in these phases does the rows; it is made for them, and for no device."""
ROWS = "rows."
FEATURE, APART, BELOW_WINDOWS = "cpuid", "config.unlike", "mem32.unlike"
"""Rows that ask for a CPU feature; that a function decodes nothing of a window; that RAM ends
before the lowest window."""


def left_over(whole: Made, rest: Made, device: str) -> tuple[str, ...]:
    """What removing `device` did besides taking away what is its own."""
    return (
        *_named(rest, device),
        *_rows(whole, rest, device),
        *_texts(whole, rest),
        *_objects(whole, rest, device),
    )


def _named(rest: Made, device: str) -> Iterator[str]:
    """Where the image without the device still speaks of it."""
    manifest = rest.image.manifest
    for symbol in manifest.symbols:
        if symbol.device == device or symbol.name.startswith(f"{device}."):
            yield f"symbol {symbol.name} is left"
    owners = {one.address for one in manifest.provenance.devices}
    owners |= {window.device for window in manifest.windows}
    owners |= {port.device for port in manifest.provenance.ports}
    if device in owners:
        yield f"the manifest still names {device}"
    if manifest.provenance.config is not None and device in manifest.provenance.config.functions:
        yield f"{device} is still in configuration space"
    for entry in rest.image.account:
        if entry.device == device:
            yield f"bytes {entry.start:#x} to {entry.end:#x} are still accounted to {device}"


# Rows and texts


def _rows(whole: Made, rest: Made, device: str) -> Iterator[str]:
    """The rows of all others are the same, in the same order."""
    gone = set(_timers(whole, rest)) - {b.device.address for b in rest.lowered.bindings.bindings}
    but = _alone_now(whole, rest) | {device}
    for phase, of in (("guard", _guard_rows), ("init", _init_rows)):
        before, after = ([_row(made, row) for row in of(made, but)] for made in (whole, rest))
        for row in before:
            if row.row.device in gone:
                continue
            if after and row == after[0]:
                after.pop(0)
            elif phase == "init" and _silenced(whole, rest, row.row):
                continue
            elif phase == "guard" and _goes_along(whole, row.row, device):
                if row.row.kind == BELOW_WINDOWS and after[0].row.kind == BELOW_WINDOWS:
                    after.pop(0)  # RAM has to end before the window that is the lowest now
            else:
                yield f"a row of {phase} is gone that is not {device}'s: {row.text}"
                break
        else:
            yield from (f"a row of {phase} is new: {row.text}" for row in after)
    yield from _rows_left(rest, device)


def _rows_left(rest: Made, device: str) -> Iterator[str]:
    """Of the device, guard may ask what it asks of every free slot: whether it is still free."""
    config = rest.image.manifest.provenance.config
    there = config.functions if config is not None else ()
    asked = {
        (row.kind, row.value, row.mask)
        for row in rest.guard
        if device_of(row) not in (*there, device, row.device)
    }
    for row in (*rest.guard, *rest.lowered.init_rows):
        about = device_of(row) == device and (row.kind, row.value, row.mask) not in asked
        if row.device == device or about:
            yield f"a row about {device} is left: {_row(rest, row).text}"


def _guard_rows(made: Made, but: frozenset[str]) -> Iterator[Row]:
    return (row for row in made.guard if but.isdisjoint((device_of(row), row.device)))


def _init_rows(made: Made, but: frozenset[str]) -> Iterator[Row]:
    return (row for row in made.lowered.init_rows if but.isdisjoint((device_of(row), row.device)))


def _goes_along(whole: Made, row: Row, device: str) -> bool:
    """Whether guard asks this for the device's sake: a feature, or room for its windows."""
    if row.kind.startswith(FEATURE):
        return True
    functions = (f for f in whole.lowered.bindings.machine.functions if f.address == device)
    windows = [bar.address for function in functions for bar in function.bars]
    if row.kind == BELOW_WINDOWS:
        return bool(windows)
    halves = {half & row.mask for address in windows for half in (address & FULL, address >> 32)}
    return row.kind == APART and row.value.value in halves


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, its `site` left out, with the text that it named if it can fail."""

    row: Row
    said: bytes

    @property
    def text(self) -> str:
        return f"{self.row.kind} {self.row.value.value:#x} {self.said.decode()}".rstrip()


def _row(made: Made, row: Row) -> _Row:
    fails = bool(row.mask or row.limit)
    return _Row(replace(row, site=0), _said(made, row.site) if fails else b"")


def _said(made: Made, site: int) -> bytes:
    """A report's text with each digit as what it shows, not as its number."""
    texts = made.lowered.texts
    end = texts.data.index(0, site) if site < len(texts.data) else site
    said = bytearray()
    for byte in texts.data[site:end]:
        said += repr(texts.digits[byte & 0x7F]).encode() if byte & 0x80 else bytes([byte])
    return bytes(said)


def _texts(whole: Made, rest: Made) -> Iterator[str]:
    """The report says nothing that it did not say."""
    before = {_said(whole, said.start) for said in whole.lowered.texts.said}
    for said in rest.lowered.texts.said:
        text = _said(rest, said.start)
        if text not in before:
            yield f"the report's text {text!r} is new"


# Code, data, places, windows, ports


@dataclass(frozen=True, slots=True)
class _Object:
    """Something of an image: whose it is, and what has to stay as it is."""

    device: str
    content: object


Objects = Mapping[str, _Object]


def _objects(whole: Made, rest: Made, device: str) -> Iterator[str]:
    alone = _alone_now(whole, rest)
    for what, of in _KINDS:
        before, after = of(whole), of(rest)
        for name in after:
            if after[name].device == device:
                yield f"{what} {name} is left"
            elif after[name].device in alone:
                continue
            elif name not in before:
                yield f"{what} {name} is new"
            elif after[name] != before[name]:
                yield f"{what} {name} is another"
        for name in before:
            whose = (device, *_served(whole, rest))
            if name in after or before[name].device in whose:
                continue
            if what == "place" and _only_about(whole, rest, name, device):
                continue
            yield f"{what} {name} is gone, which is {before[name].device}'s"


def _alone_now(whole: Made, rest: Made) -> frozenset[str]:
    """Who wakes the processor itself, now that it alone has an edge's line: it did without."""
    before, after = whole.lowered.sleep, rest.lowered.sleep
    return after.wakers - before.wakers if before.halt else frozenset()


def _served(whole: Made, rest: Made) -> tuple[str, ...]:
    """Whose objects may go too, since they are there for others: the time if nobody asks for it,

    the report and the banner if no console is left to show them.
    """
    shows = any(c.phase == "report" and c.device != PLATFORM for c in rest.codes)
    return (*_timers(whole, rest), *(() if shows else (PLATFORM,)))


def _timers(whole: Made, rest: Made) -> Iterator[str]:
    """What told the time, and what woke the machine for it, if nobody asks for it any more."""
    if any(place.name == NOW for place in rest.lowered.places):
        return
    yield from (place.device for place in whole.lowered.places if place.name == NOW)
    bound = whole.lowered.bindings.bindings
    yield from (b.device.address for b in bound if b.pattern.one(s.Alarm) is not None)


def _only_about(whole: Made, rest: Made, place: str, device: str) -> bool:
    """Whether nothing but rows that go along refers to a place: a state of the rule for
    configuration space, through which they write to functions."""
    rows = (*whole.guard, *whole.lowered.init_rows)
    users = [r for r in rows if place in (r.place.symbol, r.value.symbol)]
    code = {r.symbol for c in whole.codes for r in c.relocations if c.phase not in STEPPERS}
    goes = [device_of(r) == device or _silenced(whole, rest, r) for r in users]
    return place not in code and bool(users) and all(goes)


def _silenced(whole: Made, rest: Made, row: Row) -> bool:
    """Whether a row has a function hold no line that only the device made one of the image's."""
    before, after = (silent(m.lowered.bindings, m.lowered.sleep) for m in (whole, rest))
    gone = {f.address for f in before} - {f.address for f in after}
    return device_of(row) in gone


def _codes(made: Made) -> Objects:
    return {
        f"{code.device} {code.phase}": _Object(code.device, _code(code))
        for code in made.codes
        if not (code.device == PLATFORM and code.phase in STEPPERS) and code.text
    }


def _code(code: Code) -> tuple[object, ...]:
    return code_without_relocations(code), code.relocations, code.lines


def _data(made: Made) -> Objects:
    found = {}
    for datum in made.lowered.data:
        if datum.name.startswith(ROWS) or datum.name in (TEXTS, DIGITS):
            continue  # compared row by row, text by text
        owner = datum.lines[0].device if datum.lines else ""
        found[datum.name] = _Object(owner, _datum(datum))
    return found


def _datum(datum: Datum) -> tuple[object, ...]:
    return datum.phases, datum.data, datum.align, datum.relocations, datum.lines


def _places(made: Made) -> Objects:
    return {place.name: _Object(place.device, place) for place in made.lowered.places}


def _windows(made: Made) -> Objects:
    return {window.name: _Object(window.device, window) for window in made.lowered.windows}


def _ports(made: Made) -> Objects:
    return {port.name: _Object(port.device, port) for port in made.lowered.ports}


_KINDS: tuple[tuple[str, Callable[[Made], Objects]], ...] = (
    ("code", _codes),
    ("datum", _data),
    ("place", _places),
    ("window", _windows),
    ("ports", _ports),
)
