"""One phase of an image on a bench: its memory as the loader leaves it, and what devices answer.

    bench = bench_of(image, "steady")
    bench.memory.read(0x200000, 8)
    bench.answers.fixed["memory", 0x3F000008] = Bits(2, 2)

There are no devices: a register, in memory or among the ports, reads 0 but for the bits that
`answers` gives. What is written to one is shown in the trace and goes nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from metaos.errors import MetaosError
from metaos.ir.evaluate import ones
from metaos.ir.interpret import Memory, Ram, Region
from metaos.link.image import Image
from metaos.verify.memory import Atlas, atlas_of
from metaos.verify.tables import loaded_memory

_PAGE = 4096

Register = tuple[str, int]
"""Space ("memory" or "port") and address of a device's register."""


@dataclass(frozen=True, slots=True)
class Bits:
    """The bits of a number that `mask` names have the value that `value` has there."""

    value: int
    mask: int

    def over(self, number: int) -> int:
        return number & ~self.mask | self.value & self.mask

    def and_then(self, later: Bits) -> Bits:
        """Both; where they differ the later one."""
        return Bits(later.over(self.value & self.mask), self.mask | later.mask)


NO_BITS = Bits(0, 0)


@dataclass
class Answers:
    """What devices answer: `nth` to one read of a turn (its number, from 0), `fixed` to all."""

    fixed: dict[Register, Bits] = field(default_factory=dict)
    nth: dict[tuple[Register, int], Bits] = field(default_factory=dict)
    reads: Counter[Register] = field(default_factory=Counter)

    def read(self, register: Register, width: int) -> int:
        """Answer the next read of a turn."""
        number = self.reads[register]
        self.reads[register] += 1
        value = self.nth.get((register, number), NO_BITS).over(0)
        return self.fixed.get(register, NO_BITS).over(value) & ones(width)

    def begin(self) -> None:
        """A turn begins: reads count from 0 again."""
        self.reads.clear()

    def copy(self) -> Answers:
        return Answers(dict(self.fixed), dict(self.nth))


@dataclass(frozen=True, slots=True)
class Window:
    """A device's memory: `base` is its linear address."""

    base: int
    size: int
    answers: Answers

    def read(self, offset: int, width: int) -> int:
        return self.answers.read(("memory", self.base + offset), width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Nobody is there to take it."""


@dataclass(frozen=True, slots=True)
class PortSpace:
    """All ports of the machine."""

    answers: Answers

    def read(self, port: int, width: int) -> int:
        return self.answers.read(("port", port), width)

    def write(self, port: int, width: int, value: int) -> None:
        """Nobody is there to take it."""


@dataclass(frozen=True)
class Bench:
    """What a phase's code acts on. `ram` are the bytes of places by symbol, open to all."""

    atlas: Atlas
    memory: Memory
    ports: PortSpace
    answers: Answers
    ram: Mapping[str, Ram]
    symbols: Mapping[str, int]

    def poke(self, address: int, data: bytes) -> None:
        """Put bytes at a linear address of RAM."""
        for number, byte in enumerate(data):
            self.memory.write(address + number, 8, byte)

    def peek(self, address: int, length: int) -> bytes:
        """The bytes at a linear address of RAM."""
        return bytes(self.memory.read(address + i, 8) for i in range(length))

    def copy(self) -> Bench:
        """The same again, with RAM and answers of its own."""
        return _bench(self.atlas, {n: bytes(r.data) for n, r in self.ram.items()}, self.symbols,
                      self.answers.copy())  # fmt: skip


def bench_of(image: Image, phase: str) -> Bench:
    """A phase with memory as the loader leaves it.

    Raises:
        MetaosError: the image's own lists cannot be followed.
    """
    loaded, wrong = loaded_memory(image)
    if wrong:
        raise MetaosError(f"the image is damaged: {wrong}", hint="metaos audit IMAGE")
    atlas = atlas_of(image, phase)
    content = {
        s.name: _loaded(loaded, s.physical, s.size) for s in atlas.symbols if s.kind == "place"
    }
    symbols = {s.name: s.linear for s in image.manifest.symbols}
    return _bench(atlas, content, symbols, Answers())


def _bench(
    atlas: Atlas, content: Mapping[str, bytes], symbols: Mapping[str, int], answers: Answers
) -> Bench:
    ram = {name: Ram(data) for name, data in content.items()}
    regions: dict[str, tuple[int, Region]] = {}
    for symbol in atlas.symbols:
        region: Region
        if symbol.kind == "place":
            region = ram[symbol.name]
        elif symbol.kind == "window":
            region = Window(symbol.linear, symbol.size, answers)
        else:
            region = Ram(atlas.data[symbol.name], writable=False)
        regions[symbol.name] = (symbol.linear, region)
    return Bench(atlas, Memory(regions, symbols), PortSpace(answers), answers, ram, symbols)


def _loaded(memory: Mapping[int, bytes], physical: int, size: int) -> bytes:
    first = physical // _PAGE * _PAGE
    held = b"".join(memory.get(at, bytes(_PAGE)) for at in range(first, physical + size, _PAGE))
    return held[physical - first : physical - first + size]
