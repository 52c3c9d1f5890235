"""The rows of guard and init, done by the image's own code, and what report says of one that fails.

Configuration space, CPUID and the size of memory answer as the machine file has them. Every other
register answers what its row wants, unless a person has set it: no device is there.

    done, ends = Rows(made, image).done("init", {})
    done[3].passed, done[3].source      # True, "assumed"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metaos.emit.features import REGISTERS
from metaos.ir.evaluate import ones
from metaos.link.image import Image
from metaos.lower.loops import COUNT, WORD
from metaos.lower.lower import unit_facts
from metaos.lower.row import FULL, Row
from metaos.lower.stepper import CURSOR, ConfigAccess, stepped
from metaos.lower.text import FAULT, FAULT_SIZE, FAULT_WORDS, REPORT, TEXT_SIZE
from metaos.lower.work import MEMORY
from metaos.match.config_space import ConfigSpace
from metaos.match.serves import Made, high_memory, words
from metaos.probe.cpu import answer
from metaos.trace.bench import NO_BITS, Bench, Bits, PortSpace, Register, bench_of
from metaos.trace.follow import Follower
from metaos.trace.names import names_of
from metaos.trace.records import RowDone

_TRIES = 2
"""Turns that a row is given: nothing that a device answers changes."""
_MOST_ROWS = 1 << 16
"""More than any image does, with those of loops each time."""
_KIB = 1024
TESTS = ("test", "unlike")


@dataclass
class Ports:
    """The machine's ports, of which two reach configuration space."""

    ports: PortSpace
    config: ConfigSpace
    access: ConfigAccess | None
    pins: Mapping[Register, Bits]
    selected: int = 0

    def read(self, port: int, width: int) -> int:
        if self.access is not None and port == self.access.data:
            place = self.selected & ~self.access.enable
            pin = self.pins.get(("config", place & ~3), NO_BITS)
            return pin.over(self.config.read(place)) & ones(width)
        return self.ports.read(port, width)

    def write(self, port: int, width: int, value: int) -> None:
        if self.access is not None and port == self.access.select:
            self.selected = value
        elif self.access is not None and port == self.access.data:
            self.config.write(self.selected & ~self.access.enable, value)
        else:
            self.ports.write(port, width, value)


class Rows:
    """The start phases of one image."""

    def __init__(self, made: Made, image: Image) -> None:
        self._made, self._image = made, image
        self._machine = made.lowered.bindings.machine
        self.names = names_of(made.lowered, image, bench_of(image, "init"))

    def done(self, phase: str, pins: Mapping[Register, Bits]) -> tuple[tuple[RowDone, ...], str]:
        """Each row of a phase and how the phase ends; for report, what leads to it."""
        if phase != "report":
            rows, ends, _ = self._phase(phase, pins)
            return rows, ends
        for earlier in ("guard", "init"):
            rows, ends, fault = self._phase(earlier, pins)
            if fault:
                return (rows[-1],), self._reported(fault)
        return (), (
            "every row of guard and init passes here, so that report never begins; "
            "--set PLACE=VALUE makes one fail"
        )

    def _phase(
        self, phase: str, pins: Mapping[Register, Bits]
    ) -> tuple[tuple[RowDone, ...], str, bytes]:
        """The rows done, how the phase ends, and the fault's words if it ends in report."""
        bench = bench_of(self._image, phase)
        if MEMORY in bench.ram:
            bench.ram[MEMORY].write(0, 32, high_memory(self._machine) // _KIB)
        follower = self._follower(bench, pins)
        named = self._made.guard if phase == "guard" else self._made.lowered.init_rows
        rows, done = stepped(named), list[RowDone]()
        stride = self._image.manifest.symbol(f"rows.{phase}").size // len(rows) or 1
        for _ in range(_MOST_ROWS):  # a loop's rows come again
            number = self._cursor(bench) // stride + 1
            row = rows[number - 1]
            source = self._answer(row, bench, pins)
            for _ in range(_TRIES):
                before = self._cursor(bench)
                turn = follower.turn(number)
                leads = turn.phase
                moved = self._cursor(bench) != before
                passed = leads not in (phase, "report") or moved
                if passed or leads == "report":
                    break
            if all(d.number != number for d in done):
                done.append(self._record(row, number, source, passed, bench, len(turn.steps)))
            if leads == "report":
                return tuple(done), f"row {number} does not pass: report", self._fault(bench)
            if not passed:
                ends = f"row {number} waits: nothing that a device answers changes here, and the "
                ends += f"clock stands; on the machine {row.limit / 1e9:g} s would pass until "
                return tuple(done), ends + "report", self._fault(bench)
            if leads != phase:
                return tuple(done), f"every row passes: {leads}", b""
        return tuple(done), "the rows end and the phase does not", b""

    def _follower(self, bench: Bench, pins: Mapping[Register, Bits]) -> Follower:
        space = ConfigSpace(self._machine)
        ports = Ports(bench.ports, space, self._made.lowered.config, pins)
        names = names_of(self._made.lowered, self._image, bench)
        return Follower(self._image, bench, names, ports=ports, cpuid=self._cpuid, ops={})

    def _cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return answer(self._machine.cpu, leaf, subleaf)

    # What a row finds

    def _answer(self, row: Row, bench: Bench, pins: Mapping[Register, Bits]) -> str:
        """Have the row's register answer, and say from where."""
        space, _, action = row.kind.partition(".")
        if action in ("write", "flip", "put"):
            return ""
        if space == "config":
            pinned = ("config", row.place.value & ~3) in pins
            return "--set" if pinned else "machine file"
        if space.startswith("cpuid") or row.place.symbol == MEMORY:
            return "machine file"
        register = self._register(row, bench)
        located = bench.atlas.find(register[1], 1) if register[0] == "memory" else None
        if located is not None and located.symbol.kind == "place":
            return self._completed(row, register[1], bench)
        wanted, source = Bits(row.value.value, row.mask), "assumed"
        if action == "bit":
            wanted, source = self._bit(row, bench)
        elif action not in TESTS:
            wanted, source = self._kept(row)
        pin = pins.get(register, NO_BITS)
        bench.answers.fixed[register] = wanted.and_then(pin)
        return "--set" if pin.mask & (row.mask or FULL) else source

    def _completed(self, row: Row, at: int, bench: Bench) -> str:
        """Have a device write into RAM what a row waits for."""
        if not row.limit:
            return ""
        held = bench.memory.read(at, 32)
        bench.poke(at, (held & ~row.mask | row.value.value & row.mask).to_bytes(4, "little"))
        return "assumed"

    def _kept(self, row: Row) -> tuple[Bits, str]:
        """What a row keeps in a state: its part of a unit fact that the machine file has."""
        for plan in self._made.lowered.plans:
            facts = unit_facts(self._machine, plan.address)
            for state in plan.states.values():
                if state.symbol == row.value.symbol and state.node.unit in facts:
                    value = facts[state.node.unit] >> 8 * row.value.value
                    return Bits(value & FULL, FULL), "machine file"
        return Bits(0, FULL), "assumed"

    def _bit(self, row: Row, bench: Bench) -> tuple[Bits, str]:
        """The bit that a row keeps in this round of a loop."""
        held, source = self._kept(row)
        rounds = bench.memory.read(bench.symbols[COUNT], 32) if COUNT in bench.symbols else 0
        one = held.value >> (row.aside + rounds) % WORD & 1
        return Bits(row.bits * one, row.bits), source

    def _register(self, row: Row, bench: Bench) -> Register:
        at = row.place.value + (bench.symbols[row.place.symbol] if row.place.symbol else 0)
        return ("port" if row.kind.startswith("port") else "memory"), at

    # What is shown

    def _record(
        self, row: Row, number: int, source: str, passed: bool, bench: Bench, instructions: int
    ) -> RowDone:
        action = row.kind.partition(".")[2]
        tested = action not in ("write", "flip", "put")
        found = self._word(bench, "found")
        value = bench.symbols.get(row.value.symbol, 0) + row.value.value
        if row.place.symbol == MEMORY and not value:
            value = self._image.manifest.memory_needed_kib
        return RowDone(
            number=number,
            device=row.device,
            kind=row.kind,
            place=self._place(row, bench),
            value=self._value(row, bench, value),
            mask=hex(row.mask) if action in TESTS else "",
            found=hex(found) if tested else "",
            source=source,
            passed=passed,
            limit_ms=row.limit / 1e6,
            says="" if passed else words(self._made, row, value, found),
            file=row.span.file,
            line=row.span.line,
            column=row.span.column,
            instructions=instructions,
        )

    def _place(self, row: Row, bench: Bench) -> str:
        space = row.kind.partition(".")[0]
        place = row.place.value
        if space == "config":
            number = place >> 8
            device = f"{number >> 8:02x}:{number >> 3 & 31:02x}.{number & 7}"
            return f"{device}.config[{place & 0xFF:#04x}]"
        if space.startswith("cpuid"):
            return f"CPUID {place:#x} {REGISTERS[int(space[5:])]}"
        kind, at = self._register(row, bench)
        return self.names.port(at) if kind == "port" else self.names.place(at, 8)

    def _value(self, row: Row, bench: Bench, value: int) -> str:
        """What is written or wanted; where it is kept, by name."""
        action = row.kind.partition(".")[2]
        if row.value.symbol and row.value.symbol in bench.symbols and action not in TESTS:
            if action.startswith(("keep", "put", "bit")):
                return self.names.place(value, 8)
            behind = f" + {row.value.value}" if row.value.value else ""
            return f"&{row.value.symbol}{behind} = {value:#x}"
        return hex(value)

    def _word(self, bench: Bench, word: str) -> int:
        return bench.memory.read(bench.symbols[FAULT] + FAULT_WORDS[word], 32)

    def _cursor(self, bench: Bench) -> int:
        return bench.memory.read(bench.symbols[CURSOR], 32)

    # The report

    def _fault(self, bench: Bench) -> bytes:
        return bench.peek(bench.symbols[FAULT], FAULT_SIZE)

    def _reported(self, fault: bytes) -> str:
        """What report's code makes of a fault, run until its text is complete."""
        bench = bench_of(self._image, "report")
        if REPORT not in bench.symbols:
            return "report parks the machine: no console is there to show anything"
        bench.poke(bench.symbols[FAULT], fault)
        follower = self._follower(bench, {})
        turns = 0
        for turns in range(1, TEXT_SIZE + 1):
            follower.turn(turns)
            said = bytes(bench.ram[REPORT].data[:turns])
            if said[-1:] == b"\0":
                break
        text = said.rstrip(b"\0").decode("latin-1").strip()
        return f"report has its text after {turns} turns: {text}"
