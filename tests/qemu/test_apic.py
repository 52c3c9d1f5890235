"""The local APIC is the one that was probed, and what it was not told of does no harm."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from metaos.probe.cite import cite
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from tests.model.reference import answer
from tests.qemu.booted import IP, MAC, TARGET, booted
from tests.qemu.conftest import MACHINES, Make
from tests.qemu.questions import echo

pytestmark = pytest.mark.qemu

LEFT_ON = """
source sdm = "Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A"

device left_on : general
  match pci vendor 0x8086 device 0x7113
  fact vector : window = memory(0xFEE0_0320, 0x10)
  fact counter : window = memory(0xFEE0_0380, 0x80)

  registers event at vector mmio 32 bits
    0x00 LVT_TIMER rw  @sdm 10.5.1
  registers timer at counter mmio 32 bits
    0x00 INITIAL_COUNT rw  @sdm 10.5.4
    0x60 DIVIDE        rw  @sdm 10.5.4

  sequence init
    DIVIDE        <- 0b1011
    LVT_TIMER     <- 0x2_00{vector:02X}  # again and again
    INITIAL_COUNT <- 1_000_000
"""


def of_processor(number: int) -> Machine:
    """A pc whose machine file is another processor's."""
    machine = read_machine(MACHINES / "pc-e1000.json")
    leaves = tuple(
        msgspec.structs.replace(x, ebx=int(x.ebx) & 0xFF_FFFF | number << 24) if x.leaf == 1 else x
        for x in machine.cpu.leaves
    )
    cpu = msgspec.structs.replace(machine.cpu, leaves=leaves)
    return cite(msgspec.structs.replace(machine, cpu=cpu))


def test_another_processor_is_refused(make: Make) -> None:
    path, _ = make(of_processor(5))
    with booted(path, TARGET) as machine:
        said = machine.wait_for("another processor, or its local APIC is not here")
    assert "found 00000000" in said


@pytest.mark.parametrize("vector", [0x27, 0x2F, 0x31, 0xBF])
def test_an_interrupt_of_nobodys_is_a_turn(vector: int, make: Make, tmp_path: Path) -> None:
    """As if firmware had left its timer on; or a line that falls in time: the 8259s' last ones."""
    (tmp_path / "left_on.pattern").write_text(LEFT_ON.format(vector=vector))
    path, _ = make(read_machine(MACHINES / "pc-e1000.json"), patterns=[tmp_path])
    with booted(path, TARGET) as machine:
        machine.wait_for("MetaOS")
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert machine.ask(echo(MAC, IP)) == answer(echo(MAC, IP), MAC, IP)
        machine.read_all()
        assert "exception" not in machine.said


def test_a_vector_without_a_gate_is_reported(make: Make, tmp_path: Path) -> None:
    """And so the timer of these tests does tick."""
    (tmp_path / "left_on.pattern").write_text(LEFT_ON.format(vector=0xC0))
    path, _ = make(read_machine(MACHINES / "pc-e1000.json"), patterns=[tmp_path])
    with booted(path, TARGET) as machine:
        machine.wait_for("exception 0d")
