"""Small hand-made `Parts`, each phase a few instructions that leave traces in RAM.

guard counts its turns and goes to init, init goes to wipe, wipe (the linker's) to steady, and
steady counts its turns; `trace` keeps what each phase saw, for tests that read RAM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from metaos.emit.code import Code, Line, Relocation
from metaos.errors import Span
from metaos.link.manifest import Provenance, Served
from metaos.link.parts import PHASES, Datum, DatumLine, Fill, Parts, Place, Trap, Window

CARD = "00:03.0"
SPAN = Span("net/card.pattern", 7, 3, 9)
RAM_48M = ((0, 0x9FC00), (0x100000, (48 << 20) - 0x120000))
ROW_DATA = bytes(range(1, 49))
TEXT_DATA = b"stopped\0"


@dataclass
class Assembly:
    """Bytes with relocations, instruction by instruction."""

    text: bytes = b""
    relocations: tuple[Relocation, ...] = ()

    def add(self, raw: bytes, *fields: tuple[int, str, str, int]) -> Assembly:
        """Append `raw`; `fields` are (offset in raw, kind, symbol, addend)."""
        at = len(self.text)
        moved = tuple(Relocation(at + o, kind, name, addend) for o, kind, name, addend in fields)
        return Assembly(self.text + raw, self.relocations + moved)

    def store(self, place: str, root: str) -> Assembly:
        """mov dword [place], root"""
        raw = b"\xc7\x04\x25" + bytes(8)
        return self.add(raw, (3, "32S", place, 0), (7, "32", root, 0))

    def count(self, place: str, offset: int = 0) -> Assembly:
        """inc dword [place + offset], once by RIP and so by PC32"""
        return self.add(b"\xff\x05" + bytes(4), (2, "PC32", place, offset - 4))

    def copy(self, place: str, offset: int, source: str) -> Assembly:
        """mov rax, source (64 bits); mov eax, [rax]; mov [place + offset], eax"""
        raw = b"\x48\xb8" + bytes(8) + b"\x8b\x00" + b"\x89\x04\x25" + bytes(4)
        return self.add(raw, (2, "64", source, 0), (15, "32S", place, offset))

    def keep_rsp(self, place: str, offset: int) -> Assembly:
        """mov [place + offset], rsp"""
        return self.add(b"\x48\x89\x24\x25" + bytes(4), (4, "32S", place, offset))

    def code(self, phase: str, device: str = CARD) -> Code:
        half = len(self.text) // 2
        lines = (
            Line(0, half, SPAN, True),
            Line(half, len(self.text), replace(SPAN, line=8), False),
        )
        return Code(device, phase, self.text, self.relocations, lines)


def place(name: str, size: int, **fields: object) -> Place:
    """A zeroed place of the card, 8-aligned, unless `fields` say otherwise."""
    base = Place(name, CARD, size, 8, True, (), SPAN)
    return replace(base, **fields)  # type: ignore[arg-type]


def datum(name: str, phases: tuple[str, ...], data: bytes) -> Datum:
    line = DatumLine(0, len(data), CARD, "row", SPAN, ("functions.00:03.0.device",))
    return Datum(name, phases, data, 16, (), (line,))


PLACES = (
    place("next", 8),
    place("memory_kib", 4),
    place("trace", 64),
    place("fault", 16),
    place("ring", 256, fills=(Fill(0, 16, 16, 0, 2048, "buffers"), Fill(8, 16, 16, 0xA0, 1))),
    place("buffers", 32 * 2048, zero=False, align=16),
)
TRAP = Trap("fault", 0, 4, 8, 12, 1, 2)
WINDOWS = (
    Window("csr", CARD, 0xFEBC0000, 0x20000, (0, 0x3000, 0x5000), ("init", "steady"), SPAN),
    Window("screen", "vga", 0xB8000, 0x8000, (0,), ("init", "steady", "report"), SPAN),
)
DATA = (
    datum("rows.guard", ("guard",), ROW_DATA),
    datum("rows.init", ("init",), ROW_DATA[:32]),
    datum("text", ("report",), TEXT_DATA),
)


def codes() -> tuple[Code, ...]:
    guard = Assembly().count("trace").keep_rsp("trace", 16).copy("trace", 24, "rows.guard")
    init = Assembly().count("trace", 4).copy("trace", 28, "rows.init").copy("trace", 40, "csr")
    steady = Assembly().count("trace", 8).copy("trace", 32, "buffers")
    report = Assembly().count("trace", 12).copy("trace", 36, "text")
    return (
        guard.store("next", "root.init").code("guard"),
        init.store("next", "root.wipe").code("init"),
        steady.code("steady"),
        report.code("report"),
    )


def parts(**fields: object) -> Parts:
    """Five phases, places, windows and data, for a machine of 48 MiB."""
    base = Parts(codes(), PLACES, WINDOWS, DATA, "next", RAM_48M, TRAP, ("memory_kib",))
    return replace(base, **fields)  # type: ignore[arg-type]


PROVENANCE = Provenance(
    devices=(
        Served(address=CARD, pattern="net/card"),
        Served(address="vga", pattern="console/text"),
    ),
    tools={"metaos": "test"},
)
ALL = PHASES
