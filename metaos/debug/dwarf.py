"""Debugging sections in DWARF 4: `sections(known, roots) -> {".debug_info": bytes, ...}`.

A compilation unit for each device, named by its address: one function, its lines, its variables.
Addresses are final, so there are no relocations.

Source of the format: DWARF Debugging Information Format, version 4: section 7 (encodings), 6.2
(line numbers), 6.4 (call frames), 5.7 (fields of bits).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metaos.debug.symbols import Array, Number, PhaseSymbols, Record, Row, Type, Unit

# Tags, attributes and forms: DWARF 4, figures 18, 20 and 21.
_ARRAY, _MEMBER, _UNIT, _STRUCTURE, _RANGE = 0x01, 0x0D, 0x11, 0x13, 0x21
_BASE, _FUNCTION, _VARIABLE = 0x24, 0x2E, 0x34
_LOCATION, _NAME, _BYTE_SIZE, _BIT_SIZE, _STMT_LIST = 0x02, 0x03, 0x0B, 0x0D, 0x10
_LOW, _HIGH, _LANGUAGE, _COMP_DIR, _PRODUCER = 0x11, 0x12, 0x13, 0x1B, 0x25
_COUNT, _MEMBER_PLACE, _ENCODING, _TYPE = 0x37, 0x38, 0x3E, 0x49
_STRIDE, _RANGES, _ENDIANITY, _BIT_OFFSET = 0x51, 0x55, 0x65, 0x6B
_ADDR, _DATA8, _STRING, _DATA1, _UDATA = 0x01, 0x07, 0x08, 0x0B, 0x0F
_REF4, _OFFSET, _EXPRESSION = 0x13, 0x17, 0x18
_UNSIGNED, _BIG, _C99, _OP_ADDR = 7, 1, 0x0C, 0x03

_NAMED = (_NAME, _STRING)
_HEAD = ((_PRODUCER, _STRING), (_LANGUAGE, _DATA1), _NAMED, (_COMP_DIR, _STRING))
_CODE = ((_STMT_LIST, _OFFSET), (_LOW, _ADDR), (_RANGES, _OFFSET))
_NUMBER = (_NAMED, (_ENCODING, _DATA1), (_BYTE_SIZE, _DATA1))
_CUT = ((_BIT_SIZE, _UDATA), (_BIT_OFFSET, _UDATA))
_ENTRIES: dict[str, tuple[int, bool, tuple[tuple[int, int], ...]]] = {
    "unit with code": (_UNIT, True, (*_HEAD, *_CODE)),
    "unit": (_UNIT, True, _HEAD),
    "function": (_FUNCTION, False, (_NAMED, (_LOW, _ADDR), (_HIGH, _DATA8))),
    "function in parts": (_FUNCTION, False, (_NAMED, (_RANGES, _OFFSET))),
    "variable": (_VARIABLE, False, (_NAMED, (_TYPE, _REF4), (_LOCATION, _EXPRESSION))),
    "number": (_BASE, False, _NUMBER),
    "number of bits": (_BASE, False, (*_NUMBER, *_CUT)),
    "number in wire order": (_BASE, False, (*_NUMBER, (_ENDIANITY, _DATA1))),
    "record": (_STRUCTURE, True, (_NAMED, (_BYTE_SIZE, _UDATA))),
    "member": (_MEMBER, False, (_NAMED, (_TYPE, _REF4), (_MEMBER_PLACE, _UDATA))),
    "member of bits": (_MEMBER, False, (_NAMED, (_TYPE, _REF4), *_CUT)),
    "array": (_ARRAY, True, ((_TYPE, _REF4), (_STRIDE, _UDATA))),
    "count": (_RANGE, False, ((_COUNT, _UDATA),)),
}
"""The kinds of entries: tag, whether others may be inside, attributes with their forms."""
_NUMBERS = {name: bytes((number,)) for number, name in enumerate(_ENTRIES, 1)}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the pattern files lie: the folder of most, and of the others each file's own."""

    folder: Path
    others: Mapping[str, Path]


def sections(known: PhaseSymbols, sources: Sources) -> dict[str, bytes]:
    """All debugging sections of one phase."""
    info, lines, ranges = bytearray(), bytearray(), bytearray()
    for unit in known.units:
        places = (len(lines), len(ranges))
        info += _unit(unit, str(sources.folder), places)
        if unit.rows:
            lines += _line_program(unit, sources)
            ranges += _ranges(unit)
    return {
        ".debug_abbrev": _abbreviations(),
        ".debug_info": bytes(info),
        ".debug_line": bytes(lines),
        ".debug_ranges": bytes(ranges),
        ".debug_frame": _frames(known.phase.code_linear, known.phase.code_length),
    }


def uleb(value: int) -> bytes:
    """An unsigned number in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def sleb(value: int) -> bytes:
    """The same, signed."""
    out = bytearray()
    while not -64 <= value < 64:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value & 0x7F))


def _text(word: str) -> bytes:
    return word.encode() + b"\0"


def _abbreviations() -> bytes:
    out = bytearray()
    for name, (tag, children, attributes) in _ENTRIES.items():
        out += _NUMBERS[name] + uleb(tag) + bytes((children,))
        out += b"".join(uleb(a) + uleb(f) for a, f in (*attributes, (0, 0)))
    return bytes((*out, 0))


def _ranges(unit: Unit) -> bytes:
    pairs = [struct.pack("<QQ", low, high) for low, high in (*unit.ranges, (0, 0))]
    return b"".join(pairs)


class _Info:
    """The entries of one unit; `types` are those written so far, by what they are."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.types: dict[Type, int] = {}

    def type(self, kind: Type) -> int:
        """The offset of a type's entry in the unit, written where it was not yet."""
        if kind not in self.types:
            if isinstance(kind, Array):
                self._array(kind)
            elif isinstance(kind, Record):
                self._record(kind)
            else:
                self._number(kind)
        return self.types[kind]

    def _begin(self, kind: Type, entry: str) -> None:
        self.types[kind] = len(self.out)
        self.out += _NUMBERS[entry]

    def _number(self, kind: Number) -> None:
        whole = (kind.bits, kind.low) == (8 * kind.size, 0)
        order = "number in wire order" if kind.big else "number"
        self._begin(kind, order if whole else "number of bits")
        self.out += _text(f"u{kind.bits}{'be' if kind.big else ''}")
        self.out += bytes((_UNSIGNED, kind.size))
        if not whole:
            self.out += uleb(kind.bits) + uleb(kind.low)
        elif kind.big:
            self.out.append(_BIG)

    def _array(self, kind: Array) -> None:
        of = self.type(kind.of)
        self._begin(kind, "array")
        self.out += struct.pack("<I", of) + uleb(kind.stride)
        self.out += _NUMBERS["count"] + uleb(kind.count) + b"\0"

    def _record(self, kind: Record) -> None:
        members = [(member, self.type(member.type)) for member in kind.members]
        self._begin(kind, "record")
        self.out += _text(kind.name) + uleb(kind.size)
        for member, of in members:
            whole = isinstance(member.type, Array) or member.bits == member.type.bits
            self.out += _NUMBERS["member" if whole else "member of bits"]
            self.out += _text(member.name) + struct.pack("<I", of)
            self.out += uleb(member.low // 8) if whole else uleb(member.bits) + uleb(member.low)
        self.out.append(0)

    def variable(self, name: str, kind: Type, address: int) -> None:
        of = self.type(kind)
        self.out += _NUMBERS["variable"] + _text(name) + struct.pack("<I", of)
        place = bytes((_OP_ADDR,)) + struct.pack("<Q", address)
        self.out += uleb(len(place)) + place


def _unit(unit: Unit, folder: str, places: tuple[int, int]) -> bytes:
    """A compilation unit; `places` are where its lines and ranges will be."""
    info = _Info()
    info.out += bytes(4) + struct.pack("<HIB", 4, 0, 8)  # its length, version, abbreviations, width
    info.out += _NUMBERS["unit with code" if unit.rows else "unit"]
    info.out += _text("metaos") + bytes((_C99,)) + _text(unit.device) + _text(folder)
    if unit.rows:
        info.out += struct.pack("<IQI", places[0], 0, places[1])
        ranges = unit.ranges
        name = _text(unit.pattern)
        if len(ranges) == 1:
            (low, high) = ranges[0]
            info.out += _NUMBERS["function"] + name + struct.pack("<QQ", low, high - low)
        else:
            info.out += _NUMBERS["function in parts"] + name + struct.pack("<I", places[1])
    for one in unit.variables:
        info.variable(one.name, one.type, one.address)
    info.out.append(0)
    info.out[:4] = struct.pack("<I", len(info.out) - 4)
    return bytes(info.out)


def _line_program(unit: Unit, sources: Sources) -> bytes:
    """The unit's lines. What is not exact is no place to stop at; what has no file is line 0."""
    names = list(dict.fromkeys(row.file for row in unit.rows if row.file))
    folders = list(dict.fromkeys(str(sources.others[n]) for n in names if n in sources.others))
    head = bytes((1, 1, 1, 251, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
    head += b"".join(_text(folder) for folder in folders) + b"\0"
    for name in names:
        other = sources.others.get(name)
        folder = folders.index(str(other)) + 1 if other is not None else 0
        head += _text(name) + uleb(folder) + b"\0\0"
    head += b"\0"
    body = struct.pack("<HI", 4, len(head)) + head + _sequences(unit.rows, names)
    return struct.pack("<I", len(body)) + body


def _sequences(rows: Iterable[Row], names: list[str]) -> bytes:
    """Standard opcodes alone: DWARF 4, 6.2.5.2; 6.2.5.3 for the address and the end."""
    out, at, line, stop = bytearray(), -1, 1, True
    for row in rows:
        if row.low != at:
            if at >= 0:
                out += b"\0\x01\x01"
            out += b"\0\x09\x02" + struct.pack("<Q", row.low)
            line, stop = 1, True
        number = row.line if row.file else 0
        if (row.exact and bool(row.file)) != stop:
            stop = not stop
            out.append(6)
        if row.file:
            out += b"\x04" + uleb(names.index(row.file) + 1)
        out += b"\x03" + sleb(number - line) + b"\x05" + uleb(row.column) + b"\x01"
        line, at = number, row.high
        out += b"\x02" + uleb(row.high - row.low)
    return bytes(out + b"\0\x01\x01") if at >= 0 else b""


def _frames(low: int, length: int) -> bytes:
    """One frame and nobody who called it: the stack pointer stands, the return address is none."""
    rsp, rip = 7, 16  # System V ABI, AMD64 supplement, figure 3.36
    common = struct.pack("<IB", 0xFFFFFFFF, 4) + b"\0\x08\0" + b"\x01" + sleb(-8) + uleb(rip)
    common += b"\x0c" + uleb(rsp) + b"\0" + b"\x07" + uleb(rip)
    common += bytes(-(len(common) + 4) % 8)
    entry = struct.pack("<IQQ", 0, low, length)
    entry += bytes(-(len(entry) + 4) % 8)
    return b"".join(struct.pack("<I", len(part)) + part for part in (common, entry))
