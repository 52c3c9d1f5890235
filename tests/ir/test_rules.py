"""The rules in the IR interpreter: do they drive the devices as their manuals say?"""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos import resources
from metaos.ir.check import check
from metaos.lower.lower import Lowered, lower
from metaos.match.bind import bind
from metaos.pattern.patterns import load
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from tests.fake import i8254x
from tests.fake.interpreted import Interpreted
from tests.model.frames import frames
from tests.model.reference import answer
from tests.systems import POLLED

MACHINES = Path(__file__).parent.parent / "data" / "machines"
IP = bytes([10, 0, 2, 15])


@pytest.fixture(scope="module", params=["pc-e1000", "pc-bare"])
def machine(request: pytest.FixtureRequest) -> Machine:
    return read_machine(MACHINES / f"{request.param}.json")


@pytest.fixture(scope="module")
def lowered(machine: Machine) -> Lowered:
    return lower(bind(machine, load([resources.PATTERNS]), POLLED))


@pytest.fixture
def station(lowered: Lowered, machine: Machine) -> Interpreted:
    made = Interpreted(lowered, machine)
    made.until("steady")
    return made


def test_every_program_is_well_formed(station: Interpreted) -> None:
    for program in station.programs:
        check(program)


def test_the_card_is_set_up_as_the_manual_says(station: Interpreted) -> None:
    """Source: 317453-006EN §14.3 to 14.5."""
    card, registers = station.card, station.card.registers
    assert card.receiving
    wanted = i8254x.RCTL_EN | i8254x.RCTL_BAM | i8254x.RCTL_SECRC
    assert registers[i8254x.RCTL] & wanted == wanted
    assert registers[i8254x.TCTL] & 0xFF8 == i8254x.TCTL_PSP | 15 << 4
    assert registers[i8254x.TIPG] & 0x3FF == 10
    assert (card.mask, card.free) == (0, 15)
    buffers = card.ring_buffers()
    assert len(set(buffers)) == len(buffers) == 32


def test_frames_are_answered_as_the_reference_says(station: Interpreted) -> None:
    print("seed 6, 400 frames")
    answered = 0
    for frame in frames(6, 400, station.card.mac, IP):
        wanted = answer(frame, station.card.mac, IP)
        assert station.turn(frame) == ([] if wanted is None else [wanted]), frame.hex()
        answered += wanted is not None
    assert answered > 100
    assert station.card.free == 15


def test_an_idle_turn_touches_no_device(station: Interpreted) -> None:
    for _ in range(300):
        station.turn()
    before = (station.card.reads, station.card.writes, len(station.world.ports.log))
    for _ in range(20):
        assert station.turn() == []
    assert (station.card.reads, station.card.writes, len(station.world.ports.log)) == before


def test_a_link_that_stays_down_is_reported(lowered: Lowered, machine: Machine) -> None:
    station = Interpreted(lowered, machine, cable=False)
    station.world.timer.step = 40_000
    station.until("report", limit=5000)
    assert station.phase == "report"
    for _ in range(300):
        station.step()
    if machine.legacy:
        assert b"no link" in station.world.uart.output
