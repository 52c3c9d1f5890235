"""From an image to its straight lines: every phase's bytes, decoded from first to last.

    lines = straight_lines(image)
    lines[0].steps[0].text      # "mov eax, dword ptr [0x200000]"
    lines[0].place(0)           # "guard+0x0 (linear 0x5fff5c, file 0x2a4)"

Enters an `Image` whose form is sound (form.py); leaves `Line`s, and nothing is lost: where the
decoder stops, `Line.undecoded` says where.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from metaos.errors import Span
from metaos.link.image import Image
from metaos.link.manifest import AccountEntry, FileRange, PhaseMap


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: its offset in the phase and what capstone says of it."""

    offset: int
    raw: bytes
    insn: Any

    @property
    def end(self) -> int:
        return self.offset + len(self.raw)

    @property
    def mnemonic(self) -> str:
        """Without prefixes: "stosq" for "rep stosq"."""
        return str(self.insn.mnemonic).split(" ")[-1]

    @property
    def text(self) -> str:
        return f"{self.insn.mnemonic} {self.insn.op_str}".rstrip()


@dataclass(frozen=True, slots=True)
class Line:
    """A phase's code. `undecoded` is the offset at which decoding stopped, -1 if it did not."""

    phase: PhaseMap
    code: bytes
    steps: tuple[Step, ...]
    undecoded: int

    @property
    def name(self) -> str:
        return self.phase.name

    def file_offset(self, offset: int) -> int:
        """Where the byte at `offset` of the phase lies in the image file."""
        return place_in(self.phase.code_file, offset)

    def place(self, offset: int) -> str:
        """`offset` of the phase as a person looks for it."""
        linear = self.phase.code_linear + offset
        return f"{self.name}+{offset:#x} (linear {linear:#x}, file {self.file_offset(offset):#x})"


def place_in(ranges: tuple[FileRange, ...], offset: int) -> int:
    """The file offset of byte `offset` of the concatenated ranges; the last one's end if past."""
    for part in ranges:
        if offset < part.end - part.start:
            return part.start + offset
        offset -= part.end - part.start
    return ranges[-1].end if ranges else 0


def concatenated(data: bytes, ranges: tuple[FileRange, ...]) -> bytes:
    """The bytes of the file at `ranges`, one after the other."""
    return b"".join(data[part.start : part.end] for part in ranges)


def straight_lines(image: Image) -> tuple[Line, ...]:
    """Decode every phase, in the manifest's order."""
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    decoder.detail = True
    lines = []
    for phase in image.manifest.phases:
        code = concatenated(image.data, phase.code_file)
        steps = tuple(
            Step(insn.address - phase.code_linear, bytes(insn.bytes), insn)
            for insn in decoder.disasm(code, phase.code_linear)
        )
        reached = steps[-1].end if steps else 0
        lines.append(Line(phase, code, steps, -1 if reached == len(code) else reached))
    return tuple(lines)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account, ready to be asked who a byte of the file belongs to."""

    entries: tuple[AccountEntry, ...]
    starts: tuple[int, ...]

    def entry(self, offset: int) -> AccountEntry | None:
        """The entry that covers byte `offset` of the file; None if there is none."""
        at = bisect_right(self.starts, offset) - 1
        if at < 0 or offset >= self.entries[at].end:
            return None
        return self.entries[at]

    def between(self, start: int, end: int) -> tuple[AccountEntry, ...]:
        """The entries that cover bytes `start` to `end` (exclusive) of the file."""
        first = max(bisect_right(self.starts, start) - 1, 0)
        found = self.entries[first : bisect_left(self.starts, end)]
        return tuple(entry for entry in found if entry.end > start)

    def span(self, offset: int) -> Span | None:
        """The source line of byte `offset` of the file, if the account names one."""
        entry = self.entry(offset)
        if entry is None or not entry.file:
            return None
        return Span(entry.file, entry.line, entry.column, entry.column + 1)


def ledger(image: Image) -> Ledger:
    """Index the account by file offset."""
    entries = tuple(sorted(image.account, key=lambda entry: entry.start))
    return Ledger(entries, tuple(entry.start for entry in entries))
