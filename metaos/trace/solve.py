"""Work back from what an op should give to what a device would have to have written.

values = Values(program, bench)                 # one run: the result of every op
Solver(values, settable, pinned).reach(op, 1)   # [Given(memory 0x20026c, 8 bits, 1)] or None
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from metaos.ir.evaluate import evaluate, ones, swap_bytes
from metaos.ir.interpret import run
from metaos.ir.program import Op, Program
from metaos.trace.bench import NO_BITS, Bench, Bits, Register


@dataclass(frozen=True, slots=True)
class Given:
    """Bits that a device would have set: at a RAM address, or in the `number`th read of a
    register in a turn (-1: a RAM address)."""

    place: Register
    number: int
    width: int
    bits: Bits


class Values:
    """The results of one run; an op that nothing used, and so was left out, is worked out."""

    def __init__(self, program: Program, bench: Bench) -> None:
        scene = bench.copy()
        scene.answers.begin()
        self._before = bench.copy()
        self.atlas = bench.atlas
        self.program = program
        self.found: dict[Op, int] = run(program, scene.memory, scene.ports)

    def __getitem__(self, op: Op) -> int:
        if op not in self.found:
            if op.kind == "load":
                self.found[op] = self._before.memory.read(self.address(op), op.bits)
            elif op.kind == "address":
                self.found[op] = self.address(op)
            elif op.kind == "const":
                self.found[op] = op.value
            else:
                args = [self[a] for a in op.args]
                self.found[op] = evaluate(op.kind, op.bits, args, op.args[-1].bits)
        return self.found[op]

    def address(self, op: Op) -> int:
        """Where an op's access goes."""
        assert op.address is not None
        indices = op.args[1:] if op.kind == "store" else op.args
        start = self._before.memory.linear(op.address.symbol) + op.address.offset
        return (start + sum(self[i] for i in indices)) & ones(64)

    def reads(self) -> Iterator[tuple[Op, Register, int, int]]:
        """Each op that reads a port: the port, the number of its first read, how many."""
        counts: dict[Register, int] = {}
        for op in self.program.ops:
            if op.kind not in ("in", "ins"):
                continue
            port = ("port", self[op.args[0]])
            count = self[op.args[1]] if op.kind == "ins" else 1
            yield op, port, counts.get(port, 0), count
            counts[port] = counts.get(port, 0) + count


class Solver:
    """Work back from an op's wanted result to what a device has to give."""

    def __init__(
        self,
        values: Values,
        settable: Callable[[int, int], bool],
        pinned: Mapping[Register, Bits],
    ) -> None:
        self.values = values
        self._settable = settable
        self._pinned = pinned

    def reach(self, op: Op, wanted: int) -> list[Given] | None:
        """What makes `op` give `wanted`: nothing more if it does; None if no way is seen."""
        if not 0 <= wanted <= ones(op.bits):
            return None
        if self.values[op] == wanted:
            return []
        match op.kind:
            case "load":
                return self._load(op, wanted)
            case "in":
                return self._port(op, wanted)
            case "zext":
                return self.reach(op.args[0], wanted)
            case "trunc":
                return self.reach(op.args[0], self.values[op.args[0]] & ~ones(op.bits) | wanted)
            case "bswap":
                return self.reach(op.args[0], swap_bytes(wanted, op.bits))
            case "select":
                return self._select(op, wanted)
            case "eq" | "ne" | "ult" | "ule":
                return self._compare(op, wanted)
        return self._arithmetic(op, wanted)

    def _first(self, *ways: tuple[Op, int]) -> list[Given] | None:
        for op, wanted in ways:
            found = self.reach(op, wanted)
            if found is not None:
                return found
        return None

    def _all(self, *ways: tuple[Op, int]) -> list[Given] | None:
        parts = [self.reach(op, wanted) for op, wanted in ways]
        if any(part is None for part in parts):
            return None
        return [one for part in parts if part is not None for one in part]

    def _select(self, op: Op, wanted: int) -> list[Given] | None:
        condition, yes, no = op.args
        order = ((1, yes), (0, no)) if self.values[condition] else ((0, no), (1, yes))
        for holds, arm in order:
            found = self._all((arm, wanted), (condition, holds))
            if found is not None:
                return found
        return None

    def _compare(self, op: Op, wanted: int) -> list[Given] | None:
        """The nearest number that makes a comparison come out as wanted."""
        (a, b), top = op.args, ones(op.args[0].bits)
        va, vb = self.values[a], self.values[b]
        if op.kind in ("eq", "ne"):
            if (op.kind == "eq") == bool(wanted):
                return self._first((a, vb), (b, va))
            return self._first((a, vb + 1 & top), (b, va + 1 & top))
        less = 1 if op.kind == "ult" else 0
        if wanted:  # a < b or a <= b
            return self._first((a, vb - less), (b, va + less))
        return self._first((a, vb + 1 - less), (b, va - 1 + less))

    def _arithmetic(self, op: Op, wanted: int) -> list[Given] | None:
        if len(op.args) != 2:
            return None
        (a, b), top = op.args, ones(op.bits)
        va, vb = self.values[a], self.values[b]
        match op.kind:
            case "add":
                return self._first((a, wanted - vb & top), (b, wanted - va & top))
            case "sub":
                return self._first((a, wanted + vb & top), (b, va - wanted & top))
            case "xor":
                return self._first((a, wanted ^ vb), (b, wanted ^ va))
            case "and" if op.bits == 1:
                return self._all((a, 1), (b, 1)) if wanted else self._first((a, 0), (b, 0))
            case "or" if op.bits == 1:
                return self._first((a, 1), (b, 1)) if wanted else self._all((a, 0), (b, 0))
            case "and" if not wanted & ~vb:
                return self.reach(a, va & ~vb | wanted)
            case "or" if wanted & vb == vb:
                return self.reach(a, va & vb | wanted & ~vb)
            case "shl" if not wanted & ones(vb):
                return self.reach(a, wanted >> vb | va & ~(top >> vb))
            case "lshr":
                return self.reach(a, wanted << vb | va & ones(vb))
            case "mul" if vb and wanted % vb == 0:
                return self.reach(a, wanted // vb)
        return None

    def _load(self, op: Op, wanted: int) -> list[Given] | None:
        address = self.values.address(op)
        changed = wanted ^ self.values[op]
        source = self._written_before(op, address)
        if source is not None:
            return self._brought(source, op, wanted)
        place = ("memory", address)
        located = self.values.atlas.find(address, op.bits // 8)
        if located is not None and not located.shadow and located.symbol.kind == "window":
            return self._given(place, 0, op.bits, wanted, changed)
        if self._settable(address, op.bits // 8):
            return self._given(place, -1, op.bits, wanted, changed)
        return None

    def _written_before(self, load: Op, address: int) -> Op | None:
        """The last op before a load that writes where it reads, or would if it were not gated."""
        found = None
        for op in self.values.program.ops:
            if op is load:
                break
            if op.kind == "ins":
                count = max(self.values[op.args[1]], 1)
                start = self.values[op.args[2]]
                if start <= address < start + count * op.value // 8:
                    found = op
            elif op.kind == "store" and self.values.address(op) == address:
                found = op if found is None or found.kind != "ins" else found
        return found

    def _brought(self, source: Op, load: Op, wanted: int) -> list[Given] | None:
        """What a load finds was put there in this turn: change that."""
        if source.kind == "store":
            value = source.args[0]
            return self.reach(value, wanted) if value.bits == load.bits else None
        if not self.values[source.args[1]]:
            return self.reach(source.args[1], 1)
        offset = self.values.address(load) - self.values[source.args[2]]
        for op, port, first, _ in self.values.reads():
            if op is source:
                number, low = first + 8 * offset // op.value, 8 * offset % op.value
                if low + load.bits > op.value:
                    return None
                changed = wanted ^ self.values[load]
                return self._given(port, number, op.value, wanted << low, changed << low)
        return None

    def _port(self, op: Op, wanted: int) -> list[Given] | None:
        for one, port, first, _ in self.values.reads():
            if one is op:
                return self._given(port, first, op.bits, wanted, wanted ^ self.values[op])
        return None

    def _given(
        self, place: Register, number: int, width: int, value: int, changed: int
    ) -> list[Given] | None:
        """Bits to set, unless a person has said what they are."""
        pinned = self._pinned.get(place, NO_BITS).mask
        if number < 0:
            for at in range(width // 8):
                byte = self._pinned.get(("memory", place[1] + at), NO_BITS).mask
                pinned |= (byte & 0xFF) << 8 * at
        if changed & pinned:
            return None
        return [Given(place, number, width, Bits(value & changed, changed))]
