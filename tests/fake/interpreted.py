"""Lowered programs at work in the IR interpreter, among the fake devices of a machine file.

    station = Interpreted(lowered, machine)
    station.until("steady")
    station.turn(frame)

It stands where loader and linker stand for an image: places get addresses and their
initial values, tables their relocations, and a phase follows the `next` place.
"""

from __future__ import annotations

from metaos.fake.load import load, placed
from metaos.ir.interpret import Memory, Ram, Region, run
from metaos.ir.program import Program
from metaos.link.parts import PHASES, shifted
from metaos.lower.lower import Lowered, guard
from metaos.probe.machine import Machine
from tests.fake.bus import MemoryBus
from tests.fake.fault import FaultError
from tests.fake.i8254x import Card
from tests.fake.world import World

WINDOWS, DATA = 0x10000000, 0x80000000
NEEDED_KIB = 4096
NEXT, MEMORY, MEMORY_NEEDED = "next", "memory_kib", "memory_needed_kib"
"""Names that loader, linker and generated code share (metaos/link/parts.py)."""
TEXT_MEMORY = 0xB8000


class Interpreted:
    """`lowered` on `machine`; `phase` is the phase whose turn is next."""

    def __init__(self, lowered: Lowered, machine: Machine, *, cable: bool = True) -> None:
        program, tables = guard(lowered, ())
        self.programs = (*lowered.programs, program)
        self.world = World(machine, _LateBus(self), cable=cable)
        starts = placed(lowered.places)
        regions: dict[str, tuple[int, Region]] = {
            p.name: (starts[p.name], Ram(p.size)) for p in lowered.places
        }
        self.screen = Ram(0x8000)
        for number, window in enumerate(lowered.windows):
            text = window.physical == TEXT_MEMORY
            region = self.screen if text else self.world.window(window.device, window.physical)
            regions[window.name] = (WINDOWS + (number << 21), region)
        data = (*lowered.data, *tables)
        regions |= {d.name: (DATA + (n << 16), Ram(d.data)) for n, d in enumerate(data)}
        self.roots = {phase: 0x100000 + 0x1000 * n for n, phase in enumerate(PHASES)}
        symbols = {f"root.{phase}": root for phase, root in self.roots.items()}
        numbers = {**starts, **lowered.sleep.numbers}
        symbols |= {shifted(n, b): value >> b for n, value in numbers.items() for b in range(1, 32)}
        known = {MEMORY_NEEDED: NEEDED_KIB, **lowered.sleep.numbers}
        self.memory = Memory(regions, symbols | known)
        load(self.memory, lowered.places, data)
        self.memory.write(self.memory.linear(NEXT), 64, self.roots["guard"])
        above = [r for r in machine.memory if r.kind == 1 and r.base == 1 << 20]
        self.memory.write(self.memory.linear(MEMORY), 32, above[0].size >> 10)
        self.turns: dict[str, int] = {}

    @property
    def card(self) -> Card:
        return self.world.card

    @property
    def phase(self) -> str:
        root = self.memory.read(self.memory.linear(NEXT), 64)
        for phase, known in self.roots.items():
            if root == known:
                return phase
        raise FaultError(f"the next root is {root:#x}, which is none")

    def of(self, phase: str) -> tuple[Program, ...]:
        """The programs of a phase, in the order of their code."""
        return tuple(p for p in self.programs if p.phase == phase)

    def step(self) -> None:
        """One turn of the phase that is next; the linker's own wipe goes on to steady."""
        phase = self.phase
        if phase == "wipe":
            self.memory.write(self.memory.linear(NEXT), 64, self.roots["steady"])
            return
        self.turns[phase] = self.turns.get(phase, 0) + 1
        for program in self.of(phase):
            run(program, self.memory, self.world.ports, self.world.cpuid())

    def until(self, phase: str, limit: int = 2000) -> None:
        """Step until a phase is next. Raises FaultError after `limit` steps."""
        for _ in range(limit):
            if self.phase == phase:
                return
            self.step()
        raise FaultError(f"in {self.phase} after {self.turns} turns")

    def turn(self, frame: bytes | None = None) -> list[bytes]:
        """A turn of the steady phase, `frame` having come before it: what was sent."""
        nic = self.world.nic
        before = len(nic.sent)
        if frame is not None:
            nic.deliver(frame)
        self.step()
        return nic.sent[before:]


class _LateBus:
    """The bus of a memory that is made after the devices on it."""

    def __init__(self, station: Interpreted) -> None:
        self._station = station

    def read(self, address: int, length: int) -> bytes:
        return MemoryBus(self._station.memory).read(address, length)

    def write(self, address: int, data: bytes) -> None:
        MemoryBus(self._station.memory).write(address, data)
