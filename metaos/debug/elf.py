"""A phase's symbols as an ELF file that a debugger reads: `elf(known, sources) -> bytes`.

It is for reading only and loads nothing: sections, names and DWARF, with final addresses.

Source of the format: System V ABI, chapters 4 and 5, and its AMD64 supplement.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from metaos.debug.dwarf import Sources, sections
from metaos.debug.symbols import PhaseSymbols, Variable

_EXECUTABLE, _X86_64 = 2, 62
_PROGBITS, _SYMTAB, _STRTAB, _NOBITS = 1, 2, 3, 8
_WRITE, _ALLOC, _EXEC = 1, 2, 4
_OBJECT, _FUNC, _GLOBAL = 1, 2, 1
_HEADER, _SECTION, _SYMBOL = struct.Struct("<16sHHIQQQIHHHHHH"), 64, 24
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class _Section:
    """`data` None: it has an address and a size, and no bytes in the file."""

    name: str
    kind: int
    flags: int
    address: int
    size: int
    data: bytes | None
    link: int = 0
    info: int = 0
    each: int = 0


def elf(known: PhaseSymbols, sources: Sources) -> bytes:
    """The whole file."""
    phase = known.phase
    code = _Section(
        ".text", _PROGBITS, _ALLOC | _EXEC, phase.code_linear, len(known.code), known.code
    )
    memory = [code, *_memory(known)]
    debug = [
        _Section(name, _PROGBITS, 0, 0, len(data), data)
        for name, data in sections(known, sources).items()
    ]
    table, names = _symbols(known, memory)
    at = 1 + len(memory) + len(debug)
    symbols = _Section(".symtab", _SYMTAB, 0, 0, len(table), table, at + 1, 1, _SYMBOL)
    strings = _Section(".strtab", _STRTAB, 0, 0, len(names), names)
    return _file([*memory, *debug, symbols, strings], phase.code_linear)


def _memory(known: PhaseSymbols) -> Iterator[_Section]:
    """What the names lie in, a section for each run of pages: a debugger asks for the section."""
    places = [one for unit in known.units for one in unit.variables]
    pages = sorted(
        {
            page
            for one in (*places, *known.named)
            for page in range(one.address // _PAGE, (one.address + one.size - 1) // _PAGE + 1)
        }
        - {known.phase.code_linear // _PAGE}
    )
    runs: list[list[int]] = []
    for page in pages:
        if runs and runs[-1][1] == page:
            runs[-1][1] += 1
        else:
            runs.append([page, page + 1])
    for low, high in runs:
        base, size = low * _PAGE, (high - low) * _PAGE
        yield _Section(f".at_{base:x}", _NOBITS, _ALLOC | _WRITE, base, size, None)


def _symbols(known: PhaseSymbols, memory: list[_Section]) -> tuple[bytes, bytes]:
    """The symbol table and its names: devices' code, places, read-only data and rows."""
    table, names = bytearray(_SYMBOL), bytearray(1)

    def add(name: str, kind: int, address: int, size: int) -> None:
        section = next(
            n for n, x in enumerate(memory, 1) if x.address <= address < x.address + x.size
        )
        info = _GLOBAL << 4 | kind
        table.extend(struct.pack("<IBBHQQ", len(names), info, 0, section, address, size))
        names.extend(name.encode() + b"\0")

    for unit in known.units:
        for low, high in unit.ranges:
            add(f"{unit.device}.{known.phase.name}", _FUNC, low, high - low)
    for one in _largest_first(known):
        add(one.symbol, _OBJECT, one.address, one.size)
    return bytes(table), bytes(names)


def _largest_first(known: PhaseSymbols) -> Iterable[Variable]:
    """Every name of data; what lies inside another comes after it."""
    places = [one for unit in known.units for one in unit.variables]
    return sorted((*places, *known.named), key=lambda x: (x.address, -x.size))


def _file(parts: list[_Section], entry: int) -> bytes:
    """Header, the sections' bytes, and the sections' headers."""
    names = b"\0" + b"".join(f"{part.name}\0".encode() for part in parts) + b".shstrtab\0"
    parts = [*parts, _Section(".shstrtab", _STRTAB, 0, 0, len(names), names)]
    body, headers, name = bytearray(_HEADER.size), bytearray(_SECTION), 1
    for part in parts:
        body.extend(bytes(-len(body) % 16))
        headers += struct.pack(
            "<IIQQQQIIQQ",
            *(name, part.kind, part.flags, part.address, len(body), part.size),
            *(part.link, part.info, 1, part.each),
        )
        body += part.data or b""
        name += len(part.name) + 1
    body.extend(bytes(-len(body) % 16))
    magic = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    body[: _HEADER.size] = _HEADER.pack(
        *(magic, _EXECUTABLE, _X86_64, 1, entry, 0, len(body), 0),
        *(_HEADER.size, 0, 0, _SECTION, len(parts) + 1, len(parts)),
    )
    return bytes(body + headers)
