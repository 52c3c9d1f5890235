"""The start of a machine in instructions: stopped before every turn of every phase.

    parts = counted(machine, asked)
    parts[3].segment        # Segment(kind="init", device="00:03.0", rows=21, instructions=...)

QEMU's `-icount` counts every instruction that the machine executes, the firmware's too, and a
repeated string instruction once an iteration.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from metaos.boot.segments import ANSWER, FIRMWARE, LOADER, WAIT, Part, Position, Segment
from metaos.boot.watched import Asked, Watched
from metaos.link.loader import LOW
from metaos.link.manifest import AccountEntry
from metaos.verify.decode import Ledger, ledger, place_in, straight_lines

_PATIENCE = 64
"""Turns of one row that are stopped at; a longer wait is only looked at from outside."""
_LOOK_SECONDS = 0.002
_ASLEEP_SECONDS = 0.3
"""A turn takes microseconds: what has not come to the next one by then sleeps."""
_STEADY = "steady"


@dataclass(frozen=True, slots=True)
class _Turn:
    """Where a turn began, and what had been executed until then."""

    position: Position
    count: int
    exact: bool = True


def counted(machine: Watched, asked: Asked) -> tuple[Part, ...]:
    """Run the machine up to its first answer; every part of the way, with its instructions."""
    stub, phases = machine.stub, machine.image.manifest.phases
    stub.insert(LOW)
    stub.resume()
    while not (stub.stopped(machine.left("the boot sector")) and machine.loaded()):
        stub.resume()
    stub.remove(LOW)
    began = _count(machine)
    turns = list(_turns(machine))
    last = turns[-1].position
    parts = [
        Part(Segment(kind=FIRMWARE, instructions=began, exact=False), frozenset()),
        Part(Segment(kind=LOADER, instructions=turns[0].count - began, exact=False), frozenset()),
        *_grouped(machine, turns),
    ]
    done = _count(machine)
    turn = Segment(kind=phases[last[0]].name, turns=1, instructions=done - turns[-1].count)
    parts.append(Part(turn, frozenset((last,))))
    question = machine.question(asked)
    if question is not None:
        stub.resume()
        machine.answer(*question)
        spent = _count(machine) - done
        segment = Segment(kind=ANSWER, instructions=spent, exact=False)
        parts.append(Part(segment, frozenset()))
    return tuple(parts)


def _count(machine: Watched) -> int:
    """The instructions executed since reset."""
    return int(machine.vm.command("query-replay")["icount"])


def _turns(machine: Watched) -> Iterator[_Turn]:
    """Every turn up to the first of steady, which is over when this ends."""
    stub, phases = machine.stub, machine.image.manifest.phases
    for phase in phases:
        stub.insert(phase.code_linear)
    before, repeated, waited = (-1, 0), 0, False
    while True:
        if not waited:
            stub.resume()
            if not stub.stopped(machine.left("its steady phase")):
                continue
        waited = False
        position = machine.position()
        if not _begins(machine, position):
            continue
        repeated = repeated + 1 if position == before else 0
        before = position
        yield _Turn(position, _count(machine), repeated < _PATIENCE)
        if phases[position[0]].name == _STEADY:
            break
        if repeated >= _PATIENCE:
            _wait(machine, position)
            waited = True
    stub.resume()
    while stub.stopped(_ASLEEP_SECONDS):
        if _begins(machine, before):
            break
        stub.resume()
    else:
        stub.interrupt()
    for phase in phases:
        stub.remove(phase.code_linear)


def _begins(machine: Watched, position: Position) -> bool:
    """Whether it stands at its phase's first instruction: another phase's may be inside it."""
    phases = machine.image.manifest.phases
    here = machine.stub.instruction_pointer()
    return position[0] >= 0 and here == phases[position[0]].code_linear


def _wait(machine: Watched, position: Position) -> None:
    """Let a row wait without stops until it is over.

    The machine then stands somewhere behind it, at the latest where the next phase begins: what
    it did until there counts as the wait's. A phase that begins where one of this one's
    instructions does is not stopped at: that would be in every turn.
    """
    phase = machine.image.manifest.phases[position[0]]
    (line,) = (x for x in straight_lines(machine.image) if x.name == phase.name)
    own = {phase.code_linear + step.offset for step in line.steps}
    inside = sorted(own & {x.code_linear for x in machine.image.manifest.phases})
    for address in inside:
        machine.stub.remove(address)
    machine.stub.resume()
    while machine.position() == position:
        machine.left("the end of a wait")
        time.sleep(_LOOK_SECONDS)
    machine.stub.interrupt()
    for address in inside:
        machine.stub.insert(address)


def _grouped(machine: Watched, turns: list[_Turn]) -> Iterator[Part]:
    """The start phases' turns, joined by device; a row of several turns is a wait by itself."""
    phases, book = machine.image.manifest.phases, ledger(machine.image)
    rows = [
        (position, list(pairs))
        for position, pairs in groupby(pairwise(turns), key=lambda pair: pair[0].position)
    ]
    found = [(phases[p[0]].name, _row(machine, book, p), p, pairs) for p, pairs in rows]

    def group(item: tuple[str, AccountEntry | None, Position, list[tuple[_Turn, _Turn]]]) -> object:
        kind, row, position, pairs = item
        return (kind, row.device if row else "", position if len(pairs) > 1 else None)

    for _, items in groupby(found, key=group):
        together = list(items)
        kind, row, _, first = together[0]
        waited = len(first) > 1
        pairs = [pair for _, _, _, some in together for pair in some]
        segment = Segment(
            kind=WAIT if waited else kind,
            device=row.device if row else "",
            file=row.file if row and waited else "",
            line=row.line if row and waited else 0,
            rows=len(together) if row else 0,
            turns=len(pairs),
            instructions=sum(after.count - turn.count for turn, after in pairs),
            exact=all(turn.exact for turn, _ in pairs),
        )
        yield Part(segment, frozenset(position for _, _, position, _ in together))


def _row(machine: Watched, book: Ledger, position: Position) -> AccountEntry | None:
    """What the account says of the row at a position; None for a phase without rows."""
    manifest = machine.image.manifest
    name = f"rows.{manifest.phases[position[0]].name}"
    table = next((s for s in manifest.symbols if s.name == name), None)
    return None if table is None else book.entry(place_in(table.file, position[1]))
