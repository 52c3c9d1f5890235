"""What a card costs an image: what is measured, and how accesses are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cards import (
    CARDS,
    a_frame,
    accesses,
    guarded_port_accesses,
    machines,
    measure,
)
from benchmarks.harness import Counter, Counters, booted
from metaos.boot.target import targets
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from metaos.verify.audit import audit
from tests.systems import POLLED

RECORDED = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"


def looked(turns: int, **steady: int) -> Counters:
    """A look at the counters when the steady phase has had so many turns."""
    names = ("instructions", "branches", "reads", "writes", "port_reads", "port_writes")
    counter = Counter(turns=turns, **{name: steady.get(name, 0) for name in names})
    return Counters(turns, 0, 0, {"steady": counter})


def recorded() -> Machine:
    return read_machine(RECORDED)


def test_every_target_and_every_card_is_a_row() -> None:
    assert {target for _, target, _ in machines()} == {*targets(), "none"}
    named = [arguments[-1] for _, target, arguments in machines() if target == "none"]
    assert named == list(CARDS)
    assert len({title for title, _, _ in machines()}) == len(machines())


def test_accesses_are_those_between_two_looks() -> None:
    before = looked(10, reads=5, writes=7)
    after = looked(30, reads=6, writes=47)
    assert accesses(before, after, (0, 0)) == (1, 40)


def test_a_shut_port_access_is_executed_and_is_none() -> None:
    """Two INS and one OUTS a turn, one executed time each more for every access."""
    before = looked(100, port_reads=200, port_writes=100)
    after = looked(150, port_reads=300 + 4, port_writes=150 + 9)
    assert accesses(before, after, (2, 1)) == (4, 9)
    assert accesses(before, after, (0, 0)) == (104, 59)


def test_a_frame_costs_its_turn_and_what_it_makes_others_do() -> None:
    """Of 100 turns 90 are idle, with 5 instructions and a read each."""
    counts = (90 * 5 + 10 * 25, 90 + 10 * 3, 10 * 2)
    assert a_frame(counts, (5.0, 1.0, 0.0), 100, 10) == (25.0, 3.0, 2.0)
    assert a_frame((0, 0, 0), (0.0, 0.0, 0.0), 0, 0) == (0.0, 0.0, 0.0)


@pytest.mark.qemu
def test_a_row_agrees_with_the_audit(tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    write_image(build(recorded(), system=read_system()), path)
    report, row = audit(path), measure("pc", recorded(), 300)
    answered, idle = report.device_accesses.answered, report.device_accesses.idle
    # What the audit counts is what a turn can do at most; a frame may take a second turn.
    assert row.asked.reads <= 2 * answered.reads
    assert answered.writes - 1 <= row.asked.writes <= 2 * answered.writes
    assert row.asked.idle_reads <= idle.reads and row.asked.idle_writes <= idle.writes
    # An interrupt enters at the first instruction: the jmp behind hlt is left out.
    turn = report.loop_instructions - 1
    assert turn <= row.asked.instructions < 2 * turn
    assert row.turn < report.loop_instructions and row.driver_content < row.content
    assert (row.branches, row.asked.branches, row.asked.lost) == (0, 0, 0)


@pytest.mark.qemu
def test_a_banner_is_a_read_and_a_write_of_ports_a_character(tmp_path: Path) -> None:
    """The UART is read while there is something to say, and was found ready each time."""
    path = tmp_path / "x.img"
    image = build(recorded(), system=POLLED)
    write_image(image, path)
    with booted(path, plugin=True, accesses=True) as machine:
        machine.wake(60)
        machine.drain()
        end = machine.counters()
    steady = end.owners["steady"]
    reads, writes = accesses(looked(0), end, guarded_port_accesses(image))
    assert guarded_port_accesses(image) == (1, 1)
    assert reads == len("MetaOS 10.0.2.15\n") and steady.reads == 0
    assert writes - steady.writes == reads
    assert steady.writes > 0, "the card's, of the answers that the machine gave"
