"""A trace as text for a terminal: `text(trace)`; `groups` is shared with the HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from metaos.console import table
from metaos.trace.records import Arrived, Changed, RowDone, Step, Trace, Turn

_COLUMN = 86
_DUMP = 16
_EXECUTED = "executed: the image's machine code; no device is there"


@dataclass(frozen=True, slots=True)
class Group:
    """Instructions in a row that come from one line; `ir` are its ops, at its first group."""

    device: str
    where: str
    source: str
    derived: bool
    ir: tuple[str, ...]
    steps: tuple[Step, ...]


def text(trace: Trace) -> str:
    """The whole trace."""
    return "\n".join(_rows(trace) if trace.phase != "steady" else _turns(trace))


def headline(trace: Trace) -> str:
    """What it is a trace of, in a line."""
    if trace.phase != "steady":
        return f"{trace.image}: the rows of {trace.phase}"
    turns = "one turn" if len(trace.turns) == 1 else f"{len(trace.turns)} turns"
    return f"{trace.image}: {turns} of the steady phase, a frame for {trace.card} ({trace.pattern})"


def groups(trace: Trace, turn: Turn) -> Iterator[Group]:
    """The instructions of a turn by the line they come from, in the order of execution."""
    shown: set[tuple[str, str]] = set()  # device and line
    run: list[Step] = []
    for step in (*turn.steps, None):
        if run and (step is None or _line(step) != _line(run[0])):
            yield _group(trace, run, shown)
            run = []
        if step is not None:
            run.append(step)


def _line(step: Step) -> tuple[str, str, int, str]:
    return step.device, step.file, step.line, step.kind


def _group(trace: Trace, run: list[Step], shown: set[tuple[str, str]]) -> Group:
    first = run[0]
    where = f"{first.file}:{first.line}" if first.file else first.kind
    ops: tuple[str, ...] = ()
    if (first.device, where) not in shown:
        shown.add((first.device, where))
        lines = trace.programs.get(first.device, ())
        ops = tuple(op.text for op in lines if (op.file, op.line) == (first.file, first.line))
    source = trace.sources.get(where, "")
    return Group(first.device, where, source, not all(s.exact for s in run), ops, tuple(run))


def effects(step: Step) -> str:
    """What an instruction read, changed and wrote, in a line."""
    stored = {c.place for c in step.writes if c.before}
    parts = [f"{c.place} is {c.after}" for c in step.reads if c.place not in stored]
    parts += [
        f"{c.place} = {c.after}" if c.before != c.after else f"{c.place} stays {c.after}"
        for c in step.registers
    ]
    if step.flags is not None:
        parts.append(f"flags {step.flags or 'none'}")
    parts += [_write(c) for c in step.writes]
    return "; ".join(parts)


def _write(change: Changed) -> str:
    if change.before:
        return f"{change.place}: {change.before} -> {change.after}"
    return f"{change.place} <- {change.after}"


def arrival_lines(trace: Trace, arrival: Arrived) -> Iterator[str]:
    """Where a frame was put, what was set for it, and what became of it."""
    length, sources = len(trace.frame) // 2, trace.sources
    verdict = "answered" if arrival.answered else "not answered"
    yield f"turn {arrival.turn}: the frame lies at {arrival.place} ({arrival.address}); {verdict}"
    if arrival.assumed:
        yield "  set where the device would have set it, so that the turn finds the frame:"
    yield from (f"    {c.place} = {c.after}" for c in arrival.assumed)
    if arrival.length != length:
        yield f"  the turn takes it for {arrival.length} bytes"
    if arrival.closed:
        yield "  the turn does not offer the frame to services; this does not hold, and no value"
        yield "  that a device gives was found to change it:"
    yield from (f"    {place}  {sources.get(place, '')}".rstrip() for place in arrival.closed)
    if arrival.answer:
        yield f"  the answer, {len(arrival.answer) // 2} bytes:"
        yield from dump(arrival.answer)


def dump(frame: str) -> Iterator[str]:
    """Bytes given in hexadecimal, sixteen a line with their offsets."""
    data = bytes.fromhex(frame)
    for at in range(0, len(data), _DUMP):
        yield f"    {at:04x}  {data[at : at + _DUMP].hex(' ')}"


def _turns(trace: Trace) -> Iterator[str]:
    yield headline(trace)
    yield _EXECUTED
    yield f"frame: {trace.about}"
    yield from dump(trace.frame)
    if trace.assumed:
        yield "known before the first turn:"
        yield from (f"    {c.place} = {c.after}" for c in trace.assumed)
    for arrival, turn in zip(trace.arrivals, trace.turns, strict=True):
        yield ""
        yield from arrival_lines(trace, arrival)
        for group in groups(trace, turn):
            yield ""
            derived = " (derived)" if group.derived else ""
            yield f"{group.device}  {group.where}{derived}  {group.source}".strip()
            yield from (f"    ir  {op}" for op in group.ir)
            yield from (_instruction(step) for step in group.steps)
        yield ""
        yield f"turn {turn.number}: {len(turn.steps)} instructions"


def _instruction(step: Step) -> str:
    line = f"  {step.address}  {step.code:<30} {step.text}"
    return f"{line:<{_COLUMN}}  ; {effects(step)}".rstrip("; ").rstrip()


def _rows(trace: Trace) -> Iterator[str]:
    yield headline(trace)
    yield _EXECUTED
    yield from (f"    {c.place} = {c.after}" for c in trace.assumed)
    heads = ("row", "device", "line", "does", "place", "value", "mask", "found", "from", "")
    yield table(heads, [row_cells(row) for row in trace.rows]).rstrip("\n")
    yield trace.ends
    yield from (f"  {row.says}" for row in trace.rows if row.says)


def row_cells(row: RowDone) -> tuple[str, ...]:
    """A row of a start phase as the cells of a table."""
    return (
        str(row.number),
        row.device,
        f"{row.file}:{row.line}",
        row.kind,
        row.place,
        row.value,
        "" if row.mask == "0xffffffff" else row.mask,
        row.found,
        row.source,
        "passed" if row.passed else "NOT PASSED",
    )
