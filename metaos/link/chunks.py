"""Final bytes and whose they are: code with its tail, and data, relocated and accounted.

A `Chunk` is a stretch of bytes with its physical address and its account, whose entries
count from the chunk's first byte until the chunk has a place in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from msgspec.structs import replace

from metaos.emit.code import Code, Line, Relocation
from metaos.errors import Problem, Span
from metaos.link.gates import IDTR, Entries, system_bytes, trap_code
from metaos.link.layout import PhaseCode, PlacedDatum
from metaos.link.manifest import AccountEntry, Gates
from metaos.link.parts import DatumLine
from metaos.link.phases import tail
from metaos.link.symbols import Origin, SymbolTable, relocated
from metaos.told import facts_of

GATES = "descriptor tables"
"""What the chunk of the gates' page is called; no datum can be called so."""
_L = TypeVar("_L", Line, DatumLine)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes for `physical`; `account` covers them all, in order, from 0."""

    name: str
    physical: int
    data: bytes
    account: tuple[AccountEntry, ...]


PHASE_NAME = "phase "
"""How the names of chunks of code begin; no datum can be called so."""


def phase_name(phase: str) -> str:
    """What the chunk of a phase's code is called."""
    return f"{PHASE_NAME}{phase}"


def phase_chunk(
    place: PhaseCode,
    codes: Sequence[Code],
    wipe: bytes,
    symbols: SymbolTable,
    next_place: int,
    sleeps: bool,
) -> tuple[Chunk, tuple[Problem, ...]]:
    """One phase: the codes end to end, then `wipe`'s own code (or none), then the tail."""
    data = b""
    entries: list[AccountEntry] = []
    problems: list[Problem] = []
    for code in codes:
        origin = Origin(f"{code.device} in {code.phase}", code.phase, _finder(code.lines))
        linear = place.linear + len(data)
        final, wrong = relocated(code.text, code.relocations, linear, symbols, origin)
        entries += _shifted(_code_account(code, symbols), len(data))
        problems += wrong
        data += final
    end = tail(place.name, sleeps, next_place, place.length)
    for kind, part, note in (
        ("wipe", wipe, "clears what ran before, then names steady's root in next"),
        ("phase change", end, "loads CR3 from next where phases change, and jumps back"),
    ):
        if part:
            start = len(data)
            data += part
            own = AccountEntry(start=start, end=len(data), kind=kind, phase=place.name, note=note)
            entries.append(replace(own, facts=facts_of(next_place)))
    assert len(data) == place.length
    return Chunk(phase_name(place.name), place.physical, data, tuple(entries)), tuple(problems)


def gates_chunk(gates: Gates, to: Entries) -> Chunk:
    """The page of descriptor tables, up to where fills make the rest."""
    data, trap = system_bytes(gates, to), len(trap_code(gates, to))
    facts = facts_of(to.fault, to.next_place, to.stack_end)
    own = AccountEntry(start=0, end=trap, kind="trap", facts=facts, note="exceptions to report")
    between = AccountEntry(start=trap, end=IDTR, kind="padding", note="to the table's place")
    tables = AccountEntry(
        start=IDTR,
        end=len(data),
        kind="descriptor",
        facts=facts_of(to.stack_end),
        note="where GDT and IDT are, the TSS, its descriptor",
    )
    return Chunk(
        GATES, gates.physical, data, tuple(e for e in (own, between, tables) if e.start < e.end)
    )


def datum_chunk(placed: PlacedDatum, symbols: SymbolTable) -> tuple[Chunk, tuple[Problem, ...]]:
    """One datum's bytes."""
    datum = placed.datum
    origin = Origin(f"the datum '{datum.name}'", "", _finder(datum.lines))
    data, problems = relocated(datum.data, datum.relocations, placed.linear, symbols, origin)
    phase = datum.phases[0] if len(datum.phases) == 1 else ""
    entries = []
    for start, end, line in _covered(datum.lines, len(data)):
        entry = AccountEntry(start=start, end=end, kind="constant", phase=phase, exact=False)
        if line is not None:
            entry = replace(
                _sourced(entry, line.span),
                kind=line.kind,
                device=line.device,
                exact=True,
                facts=_facts(line.facts, datum.relocations, start, end, symbols),
                because=line.because,
                symbols=_named(datum.relocations, start, end),
            )
        entries.append(entry)
    return Chunk(datum.name, placed.physical, data, tuple(entries)), problems


def _code_account(code: Code, symbols: SymbolTable) -> Iterator[AccountEntry]:
    """Bytes that no line claims go to the line before them, or to the first, as inferred."""
    near = min(code.lines, key=lambda line: line.start, default=None)
    for start, end, line in _covered(code.lines, len(code.text)):
        near = line or near
        entry = AccountEntry(
            start=start,
            end=end,
            kind="code",
            device=code.device,
            phase=code.phase,
            exact=line is not None and line.exact,
            facts=_facts(line.facts if line else (), code.relocations, start, end, symbols),
            because=line.because if line else (),
            symbols=_named(code.relocations, start, end),
        )
        yield _sourced(entry, near.span) if near is not None else entry


def _sourced(entry: AccountEntry, span: Span) -> AccountEntry:
    return replace(entry, file=span.file, line=span.line, column=span.column)


def _named(relocations: Iterable[Relocation], start: int, end: int) -> tuple[str, ...]:
    """The symbols that relocations within bytes `start` to `end` refer to."""
    return tuple(sorted({r.symbol for r in relocations if start <= r.offset < end}))


def _facts(
    own: Iterable[str],
    relocations: Iterable[Relocation],
    start: int,
    end: int,
    symbols: SymbolTable,
) -> tuple[str, ...]:
    """The facts of bytes `start` to `end`: their own, and of the addresses put into them."""
    named = (symbols[name].linear for name in _named(relocations, start, end) if name in symbols)
    return tuple(dict.fromkeys((*own, *facts_of(*named))))


def _covered(lines: Iterable[_L], length: int) -> Iterator[tuple[int, int, _L | None]]:
    """Stretches from 0 to `length` without gap or overlap; None where no line has a say."""
    at = 0
    for line in sorted(lines, key=lambda line: line.start):
        if line.start > at:
            yield at, min(line.start, length), None
        start, end = max(at, line.start), min(line.end, length)
        if start < end:
            yield start, end, line
            at = end
    if at < length:
        yield at, length, None


def _finder(lines: Sequence[Line] | Sequence[DatumLine]) -> Callable[[int], Span | None]:
    """Find the source of a byte: for messages."""

    def span_at(offset: int) -> Span | None:
        return next((line.span for line in lines if line.start <= offset < line.end), None)

    return span_at


def _shifted(entries: Iterable[AccountEntry], by: int) -> Iterator[AccountEntry]:
    return (replace(e, start=e.start + by, end=e.end + by) for e in entries)
