"""Law 2, the ground it stands on: code is read-only, all else no-execute, little is mapped.

The manifest's mappings are what the linker says the page tables will hold; they are checked here
against the phases, and tables.py checks the tables themselves against them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from metaos.ir.program import SHADOW
from metaos.link.layout import CODE_END, DATA_LINEAR
from metaos.link.manifest import Gates, Manifest, Mapping, PhaseMap, Symbol
from metaos.verify.report import Violation

LAW = 2
_PAGE = 4096


def check_pages(manifest: Manifest) -> tuple[Violation, ...]:
    """Every mapping that a phase should not have, and every one that it lacks."""
    return tuple(
        Violation(LAW, f"page tables of {phase.name}", message)
        for phase in manifest.phases
        for message in _phase(phase, manifest)
    )


def _phase(phase: PhaseMap, manifest: Manifest) -> Iterator[str]:
    own = sorted((m for m in manifest.mappings if phase.name in m.phases), key=lambda m: m.linear)
    for a, b in pairwise(own):
        if a.linear + a.size > b.linear:
            yield f"{b.linear:#x} is mapped twice"
    yield from _code(phase, manifest.gates, [m for m in own if m.executable])
    for one in own:
        if one.executable and one.writable:
            yield f"{one.linear:#x} is writable and executable"
        if DATA_LINEAR <= one.linear < CODE_END and one.writable:
            yield f"{one.linear:#x} in the code region is writable"
    yield from _symbols(phase, manifest, own)


def _code(phase: PhaseMap, gates: Gates, executable: list[Mapping]) -> Iterator[str]:
    """Exactly the phase's own code pages and the trap's are executable, and at their place."""
    first = phase.code_linear // _PAGE * _PAGE
    wanted = {first + _PAGE * i: page for i, page in enumerate(phase.code_pages)}
    wanted[gates.linear] = gates.physical
    for one in executable:
        for step in range(0, min(one.size, CODE_END), one.page):
            linear = one.linear + step
            if one.page != _PAGE or wanted.pop(linear, None) != one.physical + step:
                yield f"{linear:#x} is executable and no code page of the phase"
                return
    yield from (f"the code page at {linear:#x} is not mapped" for linear in sorted(wanted))


def _symbols(phase: PhaseMap, manifest: Manifest, own: list[Mapping]) -> Iterator[str]:
    """What the code may name is mapped, where it should be, with its shadow."""
    pages = {w.name: w.pages for w in manifest.windows if phase.name in w.phases}
    for symbol in manifest.symbols:
        if phase.name not in symbol.phases or symbol.kind not in ("place", "window", "datum"):
            continue
        stretches = [(0, symbol.size)]
        if symbol.kind == "window":
            ends = ((page, page + _PAGE) for page in pages.get(symbol.name, ()))
            stretches = [(page, min(end, symbol.size)) for page, end in ends]
        for start, end in stretches:
            message = _stretch(symbol, start, end, own)
            if message:
                yield f"{symbol.name} at {message}"
                break


def _stretch(symbol: Symbol, start: int, end: int, own: list[Mapping]) -> str:
    """What is wrong with the mapping of bytes `start` to `end` of a symbol; empty if nothing."""
    while start < end:
        linear = symbol.linear + start
        here = _at(own, linear)
        if here is None or here.shadow:
            return f"{linear:#x} is not mapped"
        if here.physical + linear - here.linear != symbol.physical + start:
            return f"{linear:#x} is mapped to another place"
        if symbol.kind == "datum" and here.writable:
            return f"{linear:#x} is writable"
        twin = _at(own, linear + SHADOW)
        if symbol.kind != "datum" and twin is not None and not twin.shadow:
            return f"{linear:#x} has a shadow that is no scratch"
        start = here.linear + here.size - symbol.linear
    return ""


def _at(mappings: list[Mapping], linear: int) -> Mapping | None:
    return next((m for m in mappings if m.linear <= linear < m.linear + m.size), None)
