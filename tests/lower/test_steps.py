"""What the steps of a turn mean, seen in the IR they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos import resources
from metaos.errors import MetaosError
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import Program
from metaos.lower.lower import lower
from metaos.match.bind import bind
from metaos.match.system import read_system
from metaos.pattern.patterns import load
from metaos.probe.store import read_machine

MACHINE = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"
HEAD = """source m = "A manual"

device probe_me : interrupts
  match acpi WAET
  registers ports at 0x70 port 8 bits
    0 INDEX rw  @m 1
    1 DATA  rw  @m 2
  state n, seen : u8 = 0

  turn
"""


def program_of(tmp_path: Path, steps: str) -> Program:
    """The steady program of a device whose turn has these steps."""
    text = HEAD + "".join(f"    {line}\n" for line in steps.splitlines())
    (tmp_path / "probe_me.pattern").write_text(text)
    patterns = load([resources.PATTERNS, tmp_path])
    lowered = lower(bind(read_machine(MACHINE), patterns, read_system(None)))
    (found,) = [p for p in lowered.programs if (p.device, p.phase) == ("WAET", "steady")]
    return found


class Ports:
    """Port 0x71 reads 7; every access is remembered."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.writes: list[tuple[int, int]] = []

    def read(self, port: int, width: int) -> int:
        self.reads.append(port)
        return 7

    def write(self, port: int, width: int, value: int) -> None:
        self.writes.append((port, value))


def turn(program: Program, n: int) -> tuple[Ports, int, int]:
    """Run one turn from `n`; the ports, and `n` and `seen` after it."""
    cells = {name: Ram(8) for name in ("WAET.n", "WAET.seen", "WAET.port.latch")}
    cells["WAET.n"].write(0, 8, n)
    places = {name: (0x1000 * (i + 1), ram) for i, (name, ram) in enumerate(cells.items())}
    ports = Ports()
    run(program, Memory(places), ports)
    return ports, cells["WAET.n"].read(0, 8), cells["WAET.seen"].read(0, 8)


def test_a_turn_of_any_class_is_lowered(tmp_path: Path) -> None:
    ports, n, _ = turn(program_of(tmp_path, "INDEX <- n\nn <- n + 1"), 5)
    assert ports.writes == [(0x70, 5)]
    assert n == 6


def test_a_state_reads_as_the_turn_began(tmp_path: Path) -> None:
    program = program_of(tmp_path, "n <- n + 3\nINDEX <- n\nseen <- n'")
    ports, n, seen = turn(program, 10)
    assert ports.writes == [(0x70, 10)]
    assert (n, seen) == (13, 13)


@pytest.mark.parametrize(("n", "reads"), [(1, [0x71]), (0, [])])
def test_when_guards_the_reads_in_its_block(tmp_path: Path, n: int, reads: list[int]) -> None:
    program = program_of(tmp_path, "when n == 1\n  x = DATA\n  seen <- x")
    ports, _, seen = turn(program, n)
    assert ports.reads == reads
    assert seen == (7 if n else 0)


def test_a_field_of_a_register_is_not_written_alone(tmp_path: Path) -> None:
    text = HEAD.replace("1 DATA  rw  @m 2", "1 DATA  rw  @m 2\n      0 BIT")
    (tmp_path / "probe_me.pattern").write_text(text + "    DATA.BIT <- 1\n")
    patterns = load([resources.PATTERNS, tmp_path])
    with pytest.raises(MetaosError) as raised:
        lower(bind(read_machine(MACHINE), patterns, read_system(None)))
    (problem,) = raised.value.problems
    assert (problem.code, problem.span and problem.span.line) == ("E0420", 12)
