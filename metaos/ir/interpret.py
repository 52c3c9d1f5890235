"""Run a `Program` one turn over fake memory, ports and devices.

    memory = Memory({"00:03.0.head": (0x200000, Ram(1)), "00:03.0.regs": (0x3F000000, card)})
    run(program, memory, ports=uart, cpuid=leaves)

Memory is a list of regions at linear addresses. `SHADOW` above every region lies its
scratch twin, where gated accesses go: it holds whatever was stored there last, and
addresses 2 MiB apart share it, as in the image. Everything else is a fault.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from metaos.errors import MetaosError, Problem
from metaos.ir.evaluate import evaluate, ones
from metaos.ir.program import ABSOLUTE, SHADOW, Op, Program

SCRATCH = 2 << 20
"""Bytes of scratch that all shadows share."""

Cpuid = Callable[[int, int], tuple[int, int, int, int]]
"""Leaf and subleaf to EAX, EBX, ECX, EDX."""


Counter = Callable[[], int]
"""The processor's time stamp counter, each time it is looked at."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What executes a program, as far as a program can ask it."""

    cpuid: Cpuid | None = None
    counter: Counter | None = None


NO_PROCESSOR = Processor()


class Region(Protocol):
    """What answers at some addresses: `width` is in bits, `offset` in bytes."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, width: int) -> int: ...

    def write(self, offset: int, width: int, value: int) -> None: ...


class Ports(Protocol):
    """What answers at port numbers: `width` is in bits."""

    def read(self, port: int, width: int) -> int: ...

    def write(self, port: int, width: int, value: int) -> None: ...


class Ram:
    """A region of plain little-endian memory; `data` is open to devices."""

    def __init__(self, content: int | bytes, *, writable: bool = True) -> None:
        self.data = bytearray(content)
        self.writable = writable

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, width: int) -> int:
        return int.from_bytes(self.data[offset : offset + width // 8], "little")

    def write(self, offset: int, width: int, value: int) -> None:
        if not self.writable:
            raise MetaosError(f"store of {width} bits to read-only memory at +{offset:#x}")
        self.data[offset : offset + width // 8] = value.to_bytes(width // 8, "little")


class Memory:
    """Regions at linear addresses, by name; `symbols` adds names without a region.

    Raises MetaosError where two regions overlap.
    """

    def __init__(
        self, regions: Mapping[str, tuple[int, Region]], symbols: Mapping[str, int] | None = None
    ) -> None:
        self._names = {ABSOLUTE: 0} | {name: start for name, (start, _) in regions.items()}
        self._names |= dict(symbols or {})
        self._regions = sorted(regions.values(), key=lambda pair: pair[0])
        self._starts = [start for start, _ in self._regions]
        self._scratch = Ram(SCRATCH + 8)
        for (a, region), (b, _) in zip(self._regions, self._regions[1:], strict=False):
            if a + region.size > b:
                raise MetaosError(f"regions overlap: {a:#x} + {region.size:#x} > {b:#x}")

    def linear(self, symbol: str) -> int:
        """Where `symbol` lies. Raises MetaosError for a name nobody placed."""
        try:
            return self._names[symbol]
        except KeyError:
            raise MetaosError(f"no place is called '{symbol}'") from None

    def read(self, address: int, width: int) -> int:
        """What `width` bits at a linear address hold. Raises MetaosError outside of regions."""
        region, offset = self._find(address, width)
        return region.read(offset, width)

    def write(self, address: int, width: int, value: int) -> None:
        """Put `width` bits at a linear address. Raises MetaosError outside of regions."""
        region, offset = self._find(address, width)
        region.write(offset, width, value)

    def lock(self, start: int) -> None:
        """The RAM that begins at an address is read-only from now on."""
        region, _ = self._find(start, 8)
        assert isinstance(region, Ram)
        region.writable = False

    def _find(self, address: int, width: int) -> tuple[Region, int]:
        found = self._at(address, width)
        if found is not None:
            return found
        if self._at(address - SHADOW, width) is not None:
            return self._scratch, address % SCRATCH
        raise MetaosError(f"access of {width} bits at {address:#x}, where nothing is")

    def _at(self, address: int, width: int) -> tuple[Region, int] | None:
        number = bisect_right(self._starts, address) - 1
        if number < 0:
            return None
        start, region = self._regions[number]
        fits = address + width // 8 <= start + region.size
        return (region, address - start) if fits else None


def run(
    program: Program,
    memory: Memory,
    ports: Ports | None = None,
    cpuid: Cpuid | None = None,
    counter: Counter | None = None,
) -> dict[Op, int]:
    """Execute one turn of `program`, in order; give every op's result.

    Raises MetaosError for an access where nothing is, a shift of variable amount that
    reaches the width, a division by 0, a port access without `ports`, and a `cpuid` or `rdtsc`
    without a processor.
    """
    return _Turn(memory, ports, cpuid, counter).run(program)


class _Turn:
    """The values of one turn so far, and what its ops act on."""

    def __init__(
        self, memory: Memory, ports: Ports | None, cpuid: Cpuid | None, counter: Counter | None
    ) -> None:
        self.memory = memory
        self._ports = ports
        self._cpuid = cpuid
        self._counter = counter
        self.values: dict[Op, int] = {}

    def run(self, program: Program) -> dict[Op, int]:
        for op in program.ops:
            action = _ACTIONS.get(op.kind)
            try:
                result = action(self, op) if action is not None else self.arithmetic(op)
            except MetaosError as error:
                if not error.problems and op.span is not None:
                    error.problems = (Problem("E0281", error.message, op.span),)
                raise
            if op.bits:
                self.values[op] = result
        return self.values

    @property
    def ports(self) -> Ports:
        if self._ports is None:
            raise MetaosError("a port access, but there are no ports")
        return self._ports

    def arithmetic(self, op: Op) -> int:
        values = [self.values[a] for a in op.args]
        if op.kind in ("shl", "lshr") and values[1] >= op.bits:
            raise MetaosError(f"{op.kind} of {op.bits} bits by {values[1]}")
        return evaluate(op.kind, op.bits, values, op.args[-1].bits)

    def place(self, op: Op, indices: tuple[Op, ...]) -> int:
        assert op.address is not None, "the checker demands an address"
        start = self.memory.linear(op.address.symbol) + op.address.offset
        return (start + sum(self.values[i] for i in indices)) & ones(64)

    def load(self, op: Op) -> int:
        return self.memory.read(self.place(op, op.args), op.bits)

    def store(self, op: Op) -> int:
        value = op.args[0]
        self.memory.write(self.place(op, op.args[1:]), value.bits, self.values[value])
        return 0

    def input(self, op: Op) -> int:
        return self.ports.read(self.values[op.args[0]], op.bits) & ones(op.bits)

    def output(self, op: Op) -> int:
        port, value = op.args
        self.ports.write(self.values[port], value.bits, self.values[value])
        return 0

    def input_string(self, op: Op) -> int:
        port, count, address = (self.values[a] for a in op.args)
        for i in range(count):
            value = self.ports.read(port, op.value) & ones(op.value)
            self.memory.write(address + i * op.value // 8, op.value, value)
        return 0

    def output_string(self, op: Op) -> int:
        port, count, address = (self.values[a] for a in op.args)
        for i in range(count):
            value = self.memory.read(address + i * op.value // 8, op.value)
            self.ports.write(port, op.value, value)
        return 0

    def identify(self, op: Op) -> int:
        if self._cpuid is None:
            raise MetaosError("a cpuid, but there is no processor")
        leaf, subleaf = (self.values[a] for a in op.args)
        return self._cpuid(leaf, subleaf)[op.value] & ones(32)

    def count(self, op: Op) -> int:
        if self._counter is None:
            raise MetaosError("a look at the time stamp counter, but there is no processor")
        return self._counter() & ones(64)

    def copy(self, op: Op) -> int:
        to, source, count = (self.values[a] for a in op.args)
        for i in range(count):
            self.memory.write(to + 8 * i, 64, self.memory.read(source + 8 * i, 64))
        return 0

    def fill(self, op: Op) -> int:
        address, count = (self.values[a] for a in op.args)
        for i in range(count):
            self.memory.write(address + 8 * i, 64, 0)
        return 0


_ACTIONS: dict[str, Callable[[_Turn, Op], int]] = {
    "const": lambda turn, op: op.value,
    "address": lambda turn, op: turn.place(op, op.args),
    "load": _Turn.load,
    "store": _Turn.store,
    "in": _Turn.input,
    "out": _Turn.output,
    "ins": _Turn.input_string,
    "outs": _Turn.output_string,
    "cpuid": _Turn.identify,
    "rdtsc": _Turn.count,
    "copy": _Turn.copy,
    "fill": _Turn.fill,
    "fence": lambda turn, op: 0,
    "barrier": lambda turn, op: 0,
}
