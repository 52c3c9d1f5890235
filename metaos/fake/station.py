"""A lowered rule at work among fakes, in the IR interpreter: `Station(lowered, fakes)`.

    station = Station(lowered, {"00:01.0": fake})
    station.start()                  # guard, init: "" or the row that fails
    station.turn()

With a `sleeper` the processor sleeps between two turns until it is woken; `waker` is the register
by which it interrupts itself. The station stands where loader and linker stand for an image: places
get addresses and their first values, rows their relocations, and a phase follows the place `next`.
"""

from __future__ import annotations

from typing import Protocol

from metaos.errors import MetaosError, Problem, Span
from metaos.fake.device import FakeDevice
from metaos.fake.emulate import Emulator
from metaos.fake.load import load, placed
from metaos.fake.numbers import Misuse
from metaos.fake.seen import Seen
from metaos.fake.sleeper import Sleeper
from metaos.ir.interpret import NO_PROCESSOR, Memory, Ports, Processor, Ram, Region, run
from metaos.ir.program import Program
from metaos.link.parts import PHASES, shifted
from metaos.lower.lower import Lowered, guard
from metaos.lower.stepper import CURSOR, NEXT
from metaos.lower.work import MEMORY, MEMORY_NEEDED
from metaos.probe.cpu import answer

WINDOWS, DATA = 0x1000_0000, 0x0800_0000
"""Linear addresses. All lie below 2^30, where their shadows begin."""
_NEEDED_KIB = 4096
MAX_TURNS = 20_000
"""Turns that the start may take: a wait of seconds, by the clock's fake."""


class Engine(Protocol):
    """What executes a phase's programs: the interpreter, or unicorn over emitted code."""

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...

    def run(self, program: Program) -> None: ...


class Interpreter:
    """Executes programs op by op. `seen` gathers which lines did something."""

    def __init__(
        self, memory: Memory, ports: Ports, seen: Seen, processor: Processor = NO_PROCESSOR
    ) -> None:
        self._memory, self._ports, self._seen = memory, ports, seen
        self._processor = processor

    def read(self, address: int, length: int) -> bytes:
        whole = length & ~7
        words = [self._memory.read(address + i, 64) for i in range(0, whole, 8)]
        rest = [self._memory.read(address + i, 8) for i in range(whole, length)]
        return b"".join(w.to_bytes(8, "little") for w in words) + bytes(rest)

    def write(self, address: int, data: bytes) -> None:
        whole = len(data) & ~7
        for i in range(0, whole, 8):
            self._memory.write(address + i, 64, int.from_bytes(data[i : i + 8], "little"))
        for i in range(whole, len(data)):
            self._memory.write(address + i, 8, data[i])

    def run(self, program: Program) -> None:
        asked = self._processor
        values = run(program, self._memory, self._ports, asked.cpuid, asked.counter)
        self._seen.note(program, values, self._memory.linear)


class Station:
    """`lowered` among `fakes`, which are made by the places of their devices."""

    def __init__(self, lowered: Lowered, seen: Seen, *, emulated: bool = False) -> None:
        self.lowered, self.seen = lowered, seen
        program, tables = guard(lowered, ())
        self.programs = (*lowered.programs, program)
        self.data = (*lowered.data, *tables)
        self.fakes: dict[str, FakeDevice] = {}
        self.sleeper: Sleeper | None = None
        self.waker: tuple[str, int] | None = None
        self._counted = 0
        self.starts = placed(lowered.places)
        regions: dict[str, tuple[int, Region]] = {
            p.name: (self.starts[p.name], Ram(p.size)) for p in lowered.places
        }
        at = WINDOWS
        for window in lowered.windows:
            regions[window.name] = at, _Window(self, window.device, window.name, window.size)
            at += (window.size + 0xFFFF) & ~0xFFFF
        regions |= {d.name: (DATA + (n << 16), Ram(d.data)) for n, d in enumerate(self.data)}
        self.roots = {phase: 0x100000 + 0x1000 * n for n, phase in enumerate(PHASES)}
        symbols = {f"root.{phase}": root for phase, root in self.roots.items()}
        numbers = {**self.starts, **lowered.sleep.numbers}
        symbols |= {shifted(n, b): at >> b for n, at in numbers.items() for b in range(1, 33)}
        self.memory = Memory(
            regions, symbols | dict(lowered.sleep.numbers) | {MEMORY_NEEDED: _NEEDED_KIB}
        )
        processor = Processor(self._cpuid, lambda: self._counted)
        self.engine: Engine = Interpreter(self.memory, _Ports(self), seen, processor)
        load(self.memory, lowered.places, self.data)
        self.memory.write(self.memory.linear(NEXT), 64, self.roots["guard"])
        self.memory.write(self.memory.linear(MEMORY), 32, _NEEDED_KIB)
        if emulated:
            self.engine = Emulator(self.memory, regions, _Ports(self), processor)

    # ---- the driver's RAM, as a device sees it

    def read(self, address: int, length: int) -> bytes:
        self._in_ram(address, length)
        return self.engine.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        self._in_ram(address, len(data))
        self.engine.write(address, data)

    def _in_ram(self, address: int, length: int) -> None:
        for place in self.lowered.places:
            start = self.starts[place.name]
            if start <= address and address + length <= start + place.size:
                return
        raise Misuse(f"the device reaches for {length} bytes at {address:#x}: no place is there")

    # ---- running

    @property
    def phase(self) -> str:
        root = int.from_bytes(self.engine.read(self.starts[NEXT], 8), "little")
        return next(phase for phase, known in self.roots.items() if known == root)

    def start(self) -> Span | None:
        """Run to the first turn of steady; the line of the row that fails, if one does."""
        for _ in range(MAX_TURNS):
            phase = self.phase
            if phase in ("wipe", "steady"):
                self.engine.write(self.starts[NEXT], self.roots["steady"].to_bytes(8, "little"))
                if self.sleeper is not None:
                    self.turn()
                return None
            if phase == "report":
                return self.seen.last
            number = self._row(phase)
            self.seen.row(number)
            self._run(phase, number)
        raise MetaosError(f"the start takes more than {MAX_TURNS} turns: {self.seen.last}")

    def _row(self, phase: str) -> Span | None:
        """The line of the row that a start phase is at."""
        datum = next((d for d in self.data if d.name == f"rows.{phase}"), None)
        at = int.from_bytes(self.engine.read(self.starts[CURSOR], 4), "little")
        lines = datum.lines if datum is not None else ()
        found = next((line.span for line in lines if line.start <= at < line.end), None)
        rows = self.lowered.init_rows if phase == "init" else self.lowered.console_rows
        return found or (rows[0].span if rows else None)

    def turn(self) -> bool:
        """One turn of the steady phase; False where the processor sleeps."""
        if self.sleeper is not None:
            if not self.sleeper.awake:
                return False
            self.sleeper.begin()
        self._run("steady", None)
        return True

    def written(self, symbol: str, offset: int) -> None:
        """A window was written: by this the processor may interrupt itself."""
        if self.sleeper is not None and (symbol, offset) == self.waker:
            self.sleeper.wake()

    def _cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return answer(self.lowered.bindings.machine.cpu, leaf, subleaf)

    def _run(self, phase: str, row: Span | None) -> None:
        # The processor's time stamp counter goes on from turn to turn.
        self._counted += sum(fake.pace for fake in self.fakes.values())
        for program in self.programs:
            if program.phase != phase:
                continue
            try:
                self.engine.run(program)
            except Misuse as error:
                at = row or (error.problems[0].span if error.problems else None)
                error.problems = (Problem("E0281", error.message, at),)
                raise

    # ---- what a test looks at

    def place(self, symbol: str, offset: int, length: int) -> int:
        """The number that `length` bytes of a place make."""
        return int.from_bytes(self.engine.read(self.starts[symbol] + offset, length), "little")


class _Window:
    """A device's memory: registers where it declares some, else plain memory."""

    def __init__(self, station: Station, device: str, symbol: str, size: int) -> None:
        self._station, self._device, self._symbol = station, device, symbol
        self.size = size
        self._plain = Ram(size)

    @property
    def _fake(self) -> FakeDevice:
        return self._station.fakes[self._device]

    def _is_table(self, offset: int, width: int) -> bool:
        tables = self._fake.plan.tables.values()
        return any(
            t.symbol == self._symbol
            and t.offset <= offset
            and offset + width // 8 <= t.offset + t.count * t.stride
            for t in tables
        )

    def read(self, offset: int, width: int) -> int:
        found = self._fake.read(self._symbol, offset, width)
        if found is None and not self._is_table(offset, width):
            raise Misuse(f"read of {width} bits at {offset:#06x}: no register is there")
        return found if found is not None else self._plain.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        if self._fake.write(self._symbol, offset, width, value):
            self._station.written(self._symbol, offset)
            return
        if not self._is_table(offset, width):
            raise Misuse(f"write of {value:#x} at {offset:#06x}: no register is there")
        self._plain.write(offset, width, value)


class _Ports:
    """The ports of all fakes."""

    def __init__(self, station: Station) -> None:
        self._station = station

    def read(self, port: int, width: int) -> int:
        for fake in self._station.fakes.values():
            found = fake.read("", port, width)
            if found is not None:
                return found
        raise Misuse(f"read of {width} bits at port {port:#x}: no register is there")

    def write(self, port: int, width: int, value: int) -> None:
        fakes = self._station.fakes.values()
        if not any(fake.write("", port, width, value) for fake in fakes):
            raise Misuse(f"write of {value:#x} at port {port:#x}: no register is there")
