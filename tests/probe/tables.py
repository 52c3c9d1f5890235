"""ACPI tables made by hand, and the text that acpidump makes of tables."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from metaos.probe.machine import AcpiTable, Origin


def table(signature: str, body: bytes, revision: int = 1, address: int = 0x7FFE000) -> AcpiTable:
    """A whole table: a header with length and checksum, then `body`."""
    head = struct.pack(
        "<4sIBB6s8sI4sI",
        *(signature.encode(), 36 + len(body), revision, 0),
        *(b"METAOS", b"TESTTABL", 1, b"TEST", 1),
    )
    data = bytearray(head + body)
    data[9] = -sum(data) & 0xFF
    return stored(signature, bytes(data), address)


def stored(signature: str, data: bytes, address: int = 0x7FFE000) -> AcpiTable:
    return AcpiTable(
        signature=signature, address=address, data=data.hex(), origin=Origin.DISCOVERER
    )


def register(space: int, address: int, bits: int = 32) -> bytes:
    """A generic address structure."""
    return struct.pack("<BBBBQ", space, bits, 0, 0, address)


def madt() -> AcpiTable:
    """Two processors and one that is off, an x2APIC, two I/O APICs, an override, NMIs."""
    entries = b"".join(
        (
            bytes((0, 8, 0, 0)) + struct.pack("<I", 1),
            bytes((0, 8, 1, 2)) + struct.pack("<I", 1),
            bytes((0, 8, 2, 4)) + struct.pack("<I", 2),
            bytes((9, 16, 0, 0)) + struct.pack("<III", 0x100, 1, 3),
            bytes((1, 12, 8, 0)) + struct.pack("<II", 0xFEC00000, 0),
            bytes((1, 12, 9, 0)) + struct.pack("<II", 0xFEC01000, 24),
            bytes((2, 10, 0, 9)) + struct.pack("<IH", 9, 0xD),
            bytes((4, 6, 0xFF)) + struct.pack("<HB", 5, 1),
            bytes((3, 8)) + struct.pack("<HI", 0, 30),
            bytes((0x7F, 4, 0, 0)),
            bytes((5, 12, 0, 0)) + struct.pack("<Q", 0x1_FEE0_0000),
        )
    )
    return table("APIC", struct.pack("<II", 0xFEE00000, 1) + entries, 3)


def mcfg(*entries: tuple[int, int, int, int]) -> AcpiTable:
    """Base, segment, first and last bus of each."""
    rows = (struct.pack("<QHBBI", *entry, 0) for entry in entries)
    return table("MCFG", bytes(8) + b"".join(rows))


def hpet() -> AcpiTable:
    return table(
        "HPET", struct.pack("<I", 0x8086A201) + register(0, 0xFED00000, 64) + b"\0\x80\0\0"
    )


def spcr(address: int = 0x3F8, function: tuple[int, int, int] | None = None) -> AcpiTable:
    body = bytes((0, 0, 0, 0)) + register(1, address, 8)
    body += struct.pack("<BBIBBBBBB", 3, 4, 4, 7, 0, 1, 0, 3, 0)
    ids = (0x1234, 0x8086) if function else (0xFFFF, 0xFFFF)
    body += struct.pack("<HHBBBIBI", *ids, *(function or (0, 0, 0)), 0, 0, 0)
    return table("SPCR", body, 2)


def srat(revision: int = 3) -> AcpiTable:
    """Two nodes with a processor and memory each; a third entry of each kind is off."""
    entries = b"".join(
        (
            struct.pack("<BBBBIB3sI", 0, 16, 0, 0, 1, 0, bytes(3), 0),
            struct.pack("<BBBBIB3sI", 0, 16, 1, 2, 1, 0, b"\1\0\0", 0),
            struct.pack("<BBBBIB3sI", 0, 16, 7, 9, 0, 0, bytes(3), 0),
            struct.pack("<BBHIIIII", 2, 24, 0, 0x101, 0x100, 1, 0, 0),
            struct.pack("<BBIHQQIIQ", 1, 40, 0, 0, 0, 1 << 30, 0, 1, 0),
            struct.pack("<BBIHQQIIQ", 1, 40, 0x101, 0, 1 << 32, 1 << 30, 0, 3, 0),
            struct.pack("<BBIHQQIIQ", 1, 40, 7, 0, 1 << 34, 1 << 30, 0, 0, 0),
        )
    )
    return table("SRAT", bytes((1, 0, 0, 0)) + bytes(8) + entries, revision)


def fadt(length: int = 244) -> AcpiTable:
    """A FADT with the old fields and, if it is long enough, the extended ones."""
    body = bytearray(length - 36)

    def put(offset: int, data: bytes) -> None:
        if offset + len(data) <= length:
            body[offset - 36 : offset - 36 + len(data)] = data

    put(40, struct.pack("<I", 0x7FFD000))
    put(46, struct.pack("<H", 9))
    put(76, struct.pack("<I", 0x608))
    put(109, struct.pack("<H", 3))
    put(112, struct.pack("<I", 0x500))
    put(116, register(1, 0xCF9, 8))
    put(128, b"\x0f")
    put(140, struct.pack("<Q", 0x1_0000_0000))
    put(208, register(1, 0x1808))
    return table("FACP", bytes(body), 5)


def acpidump(tables: Iterable[AcpiTable]) -> str:
    """What ACPICA's acpidump prints of `tables`."""
    lines: list[str] = []
    for one in tables:
        data = bytes.fromhex(one.data)
        lines.append(f"{one.signature.strip()} @ 0x{one.address:016X}")
        for at in range(0, len(data), 16):
            row = data[at : at + 16]
            shown = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in row)
            lines.append(f"    {at:04X}: {' '.join(f'{b:02X}' for b in row):<47}  {shown}")
        lines.append("")
    return "\n".join(lines) + "\n"
