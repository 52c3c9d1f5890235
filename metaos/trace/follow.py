"""Execute a phase's code on a bench, a turn at a time, and say what each instruction did.

follower = Follower(image, bench, names, ports=bench.ports, ops=...)
turn = follower.turn(1)             # a records.Turn
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from metaos.errors import MetaosError
from metaos.ir.interpret import Cpuid, Ports
from metaos.ir.program import Program
from metaos.ir.text import steps as op_texts
from metaos.link.image import Image
from metaos.trace.bench import Bench
from metaos.trace.instructions import RULES
from metaos.trace.names import Names
from metaos.trace.processor import Effect, Processor, Touch
from metaos.trace.records import Changed, OpLine, Step, Turn
from metaos.verify import decode
from metaos.verify.decode import ledger, straight_lines

One = Callable[[Touch, int | None], Iterator[Changed]]

SHOWN = 4
"""A string instruction's units are shown singly up to this many."""
_BYTES_SHOWN = 24

Ops = Mapping[str, tuple[OpLine, ...]]
"""The ops of a phase by device, in order."""


def op_lines(programs: Sequence[Program]) -> dict[str, tuple[OpLine, ...]]:
    """Every op of some programs; a barrier makes no instruction and is left out."""
    found: dict[str, list[OpLine]] = {}
    for program in programs:
        for op, text in op_texts(program):
            if op.span is not None and op.kind != "barrier":
                one = OpLine(text=text, file=op.span.file, line=op.span.line, column=op.span.column)
                found.setdefault(program.device, []).append(one)
    return {device: tuple(ops) for device, ops in found.items()}


def _by_place(ops: Ops) -> dict[tuple[str, str, int, int], tuple[str, ...]]:
    """The ops' texts by device, file, line and column."""
    found: dict[tuple[str, str, int, int], list[str]] = {}
    for device, lines in ops.items():
        for op in lines:
            found.setdefault((device, op.file, op.line, op.column), []).append(op.text)
    return {place: tuple(texts) for place, texts in found.items()}


class _Watched:
    """Memory that notes what a store replaces; a device's window is not read for that."""

    def __init__(self, bench: Bench, names: Names) -> None:
        self._memory, self._names = bench.memory, names
        self.before: list[int | None] = []

    def read(self, address: int, width: int) -> int:
        return self._memory.read(address, width)

    def write(self, address: int, width: int, value: int) -> None:
        hidden = self._names.is_window(address) or self._names.shadowed(address, width)
        self.before.append(None if hidden else self._memory.read(address, width))
        self._memory.write(address, width, value)


def _no_cpuid(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
    raise MetaosError(f"CPUID leaf {leaf:#x} is asked for in a phase that asks nothing")


class Follower:
    """One phase of an image and the processor that executes it."""

    def __init__(
        self,
        image: Image,
        bench: Bench,
        names: Names,
        *,
        ports: Ports,
        cpuid: Cpuid = _no_cpuid,
        ops: Ops,
    ) -> None:
        self.phase = bench.atlas.phase
        self._line = next(line for line in straight_lines(image) if line.name == self.phase)
        self._book = ledger(image)
        self._names, self._answers = names, bench.answers
        self._ir = _by_place(ops)
        self._roots = {phase.root: phase.name for phase in image.manifest.phases}
        self._memory = _Watched(bench, names)
        stack = next((s for s in bench.atlas.symbols if s.name == "stack"), None)
        top = stack.linear + stack.size if stack is not None else 0
        self._processor = Processor(self._memory, ports, cpuid, RULES, stack=top)

    def turn(self, number: int, frame: range = range(0)) -> Turn:
        """One turn: from the phase's first instruction through its last. `frame`: its addresses.

        Raises:
            MetaosError: an instruction cannot be executed; its place is named.
        """
        self._answers.begin()
        self._names = replace(self._names, frame=frame)
        steps, leads = [], self.phase
        for step in self._line.steps:
            self._memory.before.clear()
            try:
                effect = self._processor.step(step)
            except MetaosError as error:
                raise MetaosError(
                    f"{self._line.place(step.offset)}: {error.message}", hint=error.hint
                ) from error
            if effect.root is not None:
                leads = self._roots.get(effect.root, f"root {effect.root:#x}")
            steps.append(self._record(step, effect))
        return Turn(number=number, phase=leads, steps=tuple(steps))

    def _record(self, step: decode.Step, effect: Effect) -> Step:
        entry = self._book.entry(self._line.file_offset(step.offset))
        device = entry.device if entry else ""
        file, line, column = (entry.file, entry.line, entry.column) if entry else ("", 0, 0)
        return Step(
            offset=step.offset,
            address=hex(self._line.phase.code_linear + step.offset),
            code=step.raw.hex(" "),
            text=step.text,
            device=device,
            kind=entry.kind if entry else "",
            file=file,
            line=line,
            column=column,
            exact=entry.exact if entry else False,
            ir=self._ir.get((device, file, line, column), ()),
            registers=tuple(
                Changed(place=name, before=hex(a), after=hex(b)) for name, a, b in effect.registers
            ),
            flags=effect.flags,
            reads=self._few(effect.reads, self._read),
            writes=self._few(effect.writes, self._written),
        )

    def _few(self, touches: tuple[Touch, ...], one: One) -> tuple[Changed, ...]:
        """Each access; of a block moved by one instruction its first place and its bytes."""
        found: list[Changed] = []
        befores = iter(self._memory.before)
        for space in ("port", "memory"):
            part = [t for t in touches if t.space == space]
            if len(part) > SHOWN:
                data = b"".join(t.value.to_bytes(t.bits // 8, "little") for t in part)
                more = "..." if len(data) > _BYTES_SHOWN else ""
                place = f"{self._place(part[0])}, {len(part)} times {part[0].bits} bits"
                after = data[:_BYTES_SHOWN].hex(" ") + more
                found.append(Changed(place=place, before="", after=after))
                continue
            for touch in part:
                found += one(touch, next(befores, None) if space == "memory" else None)
        return tuple(found)

    def _place(self, touch: Touch) -> str:
        if touch.space == "port":
            return self._names.port(touch.address)
        return self._names.place(touch.address, touch.bits)

    def _read(self, touch: Touch, _: int | None) -> Iterator[Changed]:
        value = hex(touch.value)
        if touch.space == "memory":
            value = self._names.value(touch.address, touch.bits, touch.value)
        yield Changed(place=self._place(touch), before="", after=value)

    def _written(self, touch: Touch, before: int | None) -> Iterator[Changed]:
        if touch.space == "port" or before is None:
            yield Changed(place=self._place(touch), before="", after=hex(touch.value))
            return
        for place, a, b in self._names.changed(touch.address, touch.bits, before, touch.value):
            yield Changed(place=place, before=a, after=b)
