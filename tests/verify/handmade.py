"""A small image written by hand for the tests of the laws, and how to seal a changed one again.

It has what a real one has, in little: a guard that reads rows and leaves by CR3, a steady phase
with a gated device write, an indexed table and a gated port, read-only data, and mappings.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import msgspec
from keystone import KS_ARCH_X86, KS_MODE_64, Ks

from metaos.link.image import SECTOR, Image, pack_image
from metaos.link.manifest import (
    AccountEntry,
    FileRange,
    Manifest,
    Mapping,
    PhaseMap,
    PortRange,
    Provenance,
    Served,
    Symbol,
    WindowMap,
)
from metaos.verify.decode import straight_lines

CODE_END = 0x80200000
SHADOW = 1 << 30
RAM, WINDOW, ROWS = 0x200000, 0x10000000, 0x80000000
CARD, UART = "00:03.0", "com.0"
ROOTS = {"guard": 0x100000, "steady": 0x104000}
TABLE, HEAD, NEXT, CURSOR, BYTES = RAM, RAM + 0x100, RAM + 0x108, RAM + 0x110, RAM + 0x118
STRIDE, MEMORY, PORT = 12, 1, 2
ROW_LIST = ((WINDOW, 1, MEMORY), (0x3F8, 0x41, PORT), (WINDOW + 0x3818, 2, MEMORY))
ROW_DATA = b"".join(struct.pack("<III", *row) for row in ROW_LIST)

GUARD = f"""
    mov eax, dword ptr [{CURSOR:#x}]
    mov ebx, {ROWS:#x}
    mov r9d, dword ptr [rbx + rax]
    mov edx, dword ptr [rbx + rax + 4]
    mov esi, dword ptr [rbx + rax + 8]
    mov edi, 0
    mov r8d, {SHADOW:#x}
    test esi, {MEMORY}
    cmove edi, r8d
    mov dword ptr [r9 + rdi], edx
    mov dword ptr [{BYTES:#x}], edx
    xor ecx, ecx
    test esi, {PORT}
    setne cl
    mov edx, r9d
    mov esi, {BYTES:#x}
    rep outsb dx, byte ptr [rsi]
    add eax, {STRIDE}
    mov esi, {ROOTS["guard"]:#x}
    mov edi, {ROOTS["steady"]:#x}
    xor r10d, r10d
    cmp eax, {len(ROW_DATA)}
    cmove eax, r10d
    cmove esi, edi
    mov dword ptr [{CURSOR:#x}], eax
    mov qword ptr [{NEXT:#x}], rsi
"""
STEADY = f"""
    movzx eax, byte ptr [{HEAD:#x}]
    xor ecx, ecx
    mov edx, {SHADOW:#x}
    test byte ptr [rax + {TABLE + 12:#x}], 1
    cmove ecx, edx
    mov dword ptr [rcx + {WINDOW + 0x3818:#x}], eax
    mov byte ptr [rax + rcx + {TABLE + 12:#x}], 0
    add byte ptr [rcx + {HEAD:#x}], 16
    test ecx, ecx
    sete cl
    movzx ecx, cl
    mov edx, 0x3f8
    mov esi, {BYTES:#x}
    rep outsb dx, byte ptr [rsi]
"""


SHARED = {"next": "next", "cursor": "rows.cursor"}


def assemble(text: str, address: int = 0) -> bytes:
    """Intel syntax, one instruction a line, to bytes."""
    code, _ = Ks(KS_ARCH_X86, KS_MODE_64).asm(text, address, as_bytes=True)
    return bytes(code)


def placed(text: str, after: int) -> bytes:
    """Assemble where it will stand: `after` bytes before the end of the code region."""
    length = len(assemble(text, CODE_END - 0x1000)) if text else 0
    return assemble(text, CODE_END - after - length) if text else b""


@dataclass(frozen=True)
class Piece:
    """Bytes of the loaded part and their account."""

    data: bytes
    kind: str
    device: str = ""
    phase: str = ""


def closed(body: bytes) -> bytes:
    """`body` and the backward jmp to its first byte."""
    return body + b"\xe9" + struct.pack("<i", -len(body) - 5)


def change() -> bytes:
    """The linker's tail without its jmp: load CR3 from `next`."""
    return placed(f"mov rax, qword ptr [{NEXT:#x}]\nmov cr3, rax", 5)


def handmade(
    guard: str = GUARD,
    steady: str = STEADY,
    *,
    steady_bytes: bytes | None = None,
    guard_tail: bytes | None = None,
    features: tuple[str, ...] = (),
) -> Image:
    """Link the two phases by hand. `steady_bytes` and `guard_tail` replace the assembled ones."""
    tail = change() if guard_tail is None else guard_tail
    body = placed(guard, len(tail) + 5)
    jmp = closed(body + tail)[len(body) + len(tail) :]
    turn = placed(steady, 5) if steady_bytes is None else steady_bytes
    pieces = [
        Piece(b"\xfa" * 500, "loader"),
        Piece(body, "code", CARD, "guard"),
        Piece(tail + jmp, "phase change", "", "guard"),
        Piece(closed(turn)[:-5], "code", CARD, "steady"),
        Piece(closed(turn)[-5:], "phase change", "", "steady"),
        Piece(ROW_DATA, "row", CARD, "guard"),
    ]
    account: list[AccountEntry] = []
    at = 0
    for piece in pieces:
        if not piece.data:
            continue
        sourced = piece.kind in ("code", "row", "loader")
        account.append(
            AccountEntry(
                start=at,
                end=at + len(piece.data),
                kind=piece.kind,
                device=piece.device,
                file="net/card.pattern" if sourced else "",
                line=7 if sourced else 0,
                column=3 if sourced else 0,
                phase=piece.phase,
                facts=("functions.00:03.0.device",) if piece.kind == "row" else (),
            )
        )
        at += len(piece.data)
    loaded = b"".join(piece.data for piece in pieces)
    sectors = -(-len(loaded) // SECTOR)
    account.append(AccountEntry(start=at, end=sectors * SECTOR, kind="padding"))
    starts = {"guard": 500, "steady": 500 + len(body) + len(tail) + 5}
    lengths = {"guard": len(body) + len(tail) + 5, "steady": len(turn) + 5}
    manifest = _manifest(len(loaded), sectors, starts, lengths, features)
    return pack_image(loaded.ljust(sectors * SECTOR, b"\0"), manifest, account)


def _manifest(
    length: int,
    sectors: int,
    starts: dict[str, int],
    lengths: dict[str, int],
    features: tuple[str, ...],
) -> Manifest:
    phases = tuple(
        PhaseMap(
            name=name,
            root=ROOTS[name],
            code_linear=CODE_END - lengths[name],
            code_length=lengths[name],
            code_pages=(0x110000 + 0x1000 * i,),
            code_file=(FileRange(start=starts[name], end=starts[name] + lengths[name]),),
        )
        for i, name in enumerate(("guard", "steady"))
    )
    both = ("guard", "steady")
    rows_at = starts["steady"] + lengths["steady"]
    places = {"rx": (TABLE, 0x100), "head": (HEAD, 1), "next": (NEXT, 8), "cursor": (CURSOR, 4)}
    places["bytes"] = (BYTES, 8)
    symbols = [
        Symbol(
            name=SHARED.get(name, f"{CARD}.{name}"),
            kind="place",
            linear=at,
            physical=at,
            size=size,
            device="" if name in SHARED else CARD,
            phases=both,
        )
        for name, (at, size) in places.items()
    ]
    symbols += [
        Symbol(
            name=f"{CARD}.csr",
            kind="window",
            linear=WINDOW,
            physical=0xFEB00000,
            size=0x20000,
            device=CARD,
            phases=both,
        ),
        Symbol(
            name="rows.guard",
            kind="datum",
            linear=ROWS,
            physical=0x120000,
            size=len(ROW_DATA),
            device=CARD,
            phases=("guard",),
            file=(FileRange(start=rows_at, end=rows_at + len(ROW_DATA)),),
        ),
    ]
    return Manifest(
        schema=1,
        loaded_bytes=length,
        loaded_sectors=sectors,
        loader=FileRange(start=0, end=500),
        entry=CODE_END - lengths["guard"],
        next="next",
        memory_needed_kib=2048,
        deposits={},
        roots=tuple(ROOTS.values()),
        phases=phases,
        symbols=tuple(symbols),
        windows=(
            WindowMap(
                name=f"{CARD}.csr",
                device=CARD,
                linear=WINDOW,
                physical=0xFEB00000,
                size=0x20000,
                pages=(0, 0x3000),
                phases=both,
                cached=False,
            ),
        ),
        mappings=_mappings(phases),
        provenance=Provenance(
            devices=(
                Served(address=CARD, pattern="net/card", offers=True),
                Served(address=UART, pattern="console/uart"),
            ),
            ports=(PortRange(name="uart", base=0x3F8, length=8, device=UART, phases=both),),
            cpu_features=features,
        ),
    )


def _mappings(phases: tuple[PhaseMap, ...]) -> tuple[Mapping, ...]:
    def one(linear: int, physical: int, page: int, flags: str, only: tuple[str, ...]) -> Mapping:
        return Mapping(
            linear=linear,
            physical=physical,
            size=page,
            page=page,
            writable="w" in flags,
            executable="x" in flags,
            cached="u" not in flags,
            shadow="s" in flags,
            phases=only,
        )

    big, small, both = 2 << 20, 4096, ("guard", "steady")
    return (
        one(RAM, RAM, big, "w", both),
        one(WINDOW, 0xFEB00000, small, "wu", both),
        one(WINDOW + 0x3000, 0xFEB03000, small, "wu", both),
        one(RAM + SHADOW, 0x400000, big, "ws", both),
        one(SHADOW, 0x400000, big, "ws", both),
        one(WINDOW + SHADOW, 0x400000, big, "ws", both),
        one(ROWS, 0x120000, small, "", ("guard",)),
        *(one(CODE_END - small, p.code_pages[0], small, "x", (p.name,)) for p in phases),
    )


def reseal(
    image: Image,
    *,
    loaded: bytes | None = None,
    manifest: Manifest | None = None,
    account: tuple[AccountEntry, ...] | None = None,
) -> Image:
    """The image with a part replaced and every length and hash made right again."""
    return pack_image(
        image.loaded if loaded is None else loaded,
        image.manifest if manifest is None else manifest,
        image.account if account is None else account,
    )


def patch(image: Image, phase: str, offset: int, code: bytes) -> Image:
    """The image with other bytes at `offset` of a phase's code, sealed again."""
    at = image.manifest.phase(phase).code_file[0].start + offset
    loaded = bytearray(image.loaded)
    loaded[at : at + len(code)] = code
    return reseal(image, loaded=bytes(loaded))


def offset_of(image: Image, phase: str, text: str) -> int:
    """Where the first instruction that reads `text` stands in a phase."""
    line = next(one for one in straight_lines(image) if one.name == phase)
    return next(step.offset for step in line.steps if text in step.text)


def with_manifest(image: Image, **fields: Any) -> Image:
    """The image with other manifest fields, sealed again."""
    return reseal(image, manifest=msgspec.structs.replace(image.manifest, **fields))
