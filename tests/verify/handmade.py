"""A small image for the tests of the laws, really linked, and how to seal a changed one again.

It has what a real one has, in little: a guard that reads rows and leaves by CR3, a steady phase
with a gated device write, an indexed table and a gated port, read-only data, page tables.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import msgspec
from keystone import KS_ARCH_X86, KS_MODE_64, Ks

from metaos.emit.code import Code, Line
from metaos.errors import Span
from metaos.link.image import Image, pack_image
from metaos.link.layout import CODE_END
from metaos.link.link import link
from metaos.link.manifest import AccountEntry, ConfigSpace, Manifest, PortRange, Provenance, Served
from metaos.link.parts import PHASES, Datum, DatumLine, Parts, Place, Trap, Window
from metaos.link.phases import CHANGE_LENGTH, JMP_LENGTH
from metaos.lower.stepper import PLATFORM
from metaos.verify.decode import straight_lines

SHADOW = 1 << 30
CARD, UART, BUS = "00:03.0", "com.0", "pci"
OTHER = "00:04.0"
"""A function that is there and that nothing drives."""
SPAN = Span("net/card.pattern", 7, 3, 9)
FACT = "functions.00:03.0.device"
STRIDE, MEMORY, PORT = 12, 1, 2
ROWS_LENGTH = 3 * STRIDE
PAGES = (0, 0x3000)

PLACES = (
    ("next", 8),
    ("rows.cursor", 4),
    ("rx", 256),
    ("head", 8),
    ("bytes", 8),
    ("com.0.latch", 64),
    ("fault", 16),
)


def assemble(text: str, address: int = 0) -> bytes:
    """Intel syntax, one instruction a line, to bytes."""
    if not text.strip():
        return b""
    code, _ = Ks(KS_ARCH_X86, KS_MODE_64).asm(text, address, as_bytes=True)
    return bytes(code)


def placed(text: str, after: int) -> bytes:
    """Assemble where it will stand: `after` bytes before the end of the code region."""
    length = len(assemble(text, CODE_END - 0x1000))
    return assemble(text, CODE_END - after - length)


def _code(device: str, phase: str, text: bytes) -> Code:
    return Code(device, phase, text, (), (Line(0, len(text), SPAN, True),))


def _full(name: str) -> str:
    return name if "." in name or name == "next" else f"{CARD}.{name}"


def _owner(name: str) -> str:
    if name in ("next", "rows.cursor"):
        return PLATFORM
    return UART if name.startswith(UART) else CARD


@cache
def linked(
    guard: bytes, steady: bytes, rows: bytes, features: tuple[str, ...], uart: int = 0
) -> Image:
    """Link the code of two phases (without their ends) and the rows.

    The last `uart` bytes of steady are the UART's.
    """
    own = len(steady) - uart
    turns = [_code(CARD, "steady", steady[:own]), _code(UART, "steady", steady[own:])]
    places = tuple(Place(_full(n), _owner(n), size, 8, True, (), SPAN) for n, size in PLACES)
    row_lines = tuple(
        DatumLine(at, at + STRIDE, CARD, "row", SPAN, (FACT,)) for at in range(0, len(rows), STRIDE)
    )
    both = ("guard", "steady")
    provenance = Provenance(
        devices=(
            Served(address=PLATFORM, pattern="generated"),
            Served(address=CARD, pattern="net/card", offers=True),
            Served(address=UART, pattern="console/uart"),
            Served(address=BUS, pattern="platform/bus"),
        ),
        ports=(
            PortRange(name="card", base=0x3F8, length=8, device=CARD, phases=both),
            PortRange(name="uart", base=0x2F8, length=8, device=UART, phases=both),
            PortRange(name="select", base=0xCF8, length=4, device=BUS, phases=both),
            PortRange(name="data", base=0xCFC, length=4, device=BUS, phases=both),
        ),
        config=ConfigSpace(select=0xCF8, data=0xCFC, enable=1 << 31, functions=(CARD, OTHER)),
        lent={"select": (PLATFORM, CARD), "data": (PLATFORM, CARD)},
        cpu_features=features,
        facts={FACT: "0x100e"},
    )
    parts = Parts(
        codes=(_code(PLATFORM, "guard", guard), *(turn for turn in turns if turn.text)),
        places=places,
        windows=(Window(f"{CARD}.csr", CARD, 0xFEB00000, 0x20000, PAGES, PHASES, SPAN),),
        data=(Datum("rows.guard", ("guard",), rows, 16, (), row_lines),),
        next="next",
        memory=((0, 0x9FC00), (0x100000, 47 << 20)),
        trap=Trap(_full("fault"), 0, 4, 8, 12),
    )
    return link(parts, provenance)


_SYMBOLS = {s.name: s.linear for s in linked(b"\x90", b"\x90", bytes(36), ()).manifest.symbols}
NEXT, CURSOR, ROWS = _SYMBOLS["next"], _SYMBOLS["rows.cursor"], _SYMBOLS["rows.guard"]
TABLE, HEAD, BYTES = (_SYMBOLS[f"{CARD}.{name}"] for name in ("rx", "head", "bytes"))
WINDOW = _SYMBOLS[f"{CARD}.csr"]
LATCH = _SYMBOLS[f"{UART}.latch"]
ROOTS = {phase: _SYMBOLS[f"root.{phase}"] for phase in ("guard", "wipe", "steady")}
ROW_LIST = ((WINDOW, TABLE, MEMORY), (0x3F8, 0x41, PORT), (WINDOW + 0x3818, 2, MEMORY))
ROW_DATA = b"".join(struct.pack("<III", *row) for row in ROW_LIST)

GUARD = f"""
    mov eax, dword ptr [{CURSOR:#x}]
    mov ebx, {ROWS:#x}
    mov r9d, dword ptr [rbx + rax]
    mov edx, dword ptr [rbx + rax + 4]
    mov esi, dword ptr [rbx + rax + 8]
    mov edi, r9d
    mov r8d, {TABLE + SHADOW:#x}
    test esi, {MEMORY}
    cmove edi, r8d
    mov dword ptr [rdi], edx
    mov dword ptr [{BYTES:#x}], edx
    xor ecx, ecx
    test esi, {PORT}
    setne cl
    mov edx, r9d
    mov esi, {BYTES:#x}
    rep outsb dx, byte ptr [rsi]
    add eax, {STRIDE}
    mov esi, {ROOTS["guard"]:#x}
    mov edi, {ROOTS["wipe"]:#x}
    xor r10d, r10d
    cmp eax, {ROWS_LENGTH}
    cmove eax, r10d
    cmove esi, edi
    mov dword ptr [{CURSOR:#x}], eax
    mov qword ptr [{NEXT:#x}], rsi
"""
CARD_STEADY = f"""
    movzx eax, byte ptr [{HEAD:#x}]
    xor ecx, ecx
    mov edx, {SHADOW:#x}
    test byte ptr [rax + {TABLE + 12:#x}], 1
    cmove ecx, edx
    mov dword ptr [rcx + {WINDOW + 0x3818:#x}], eax
    mov byte ptr [rax + rcx + {TABLE + 12:#x}], 0
    add byte ptr [rcx + {HEAD:#x}], 16
"""
UART_STEADY = f"""
    test ecx, ecx
    sete cl
    movzx ecx, cl
    mov edx, 0x2f8
    mov esi, {LATCH:#x}
    rep outsb dx, byte ptr [rsi]
"""
STEADY = CARD_STEADY + UART_STEADY
STEADY_TURN, GUARD_TURN = 15, 30


def handmade(
    guard: str = GUARD,
    steady: str = STEADY,
    *,
    guard_bytes: bytes | None = None,
    steady_bytes: bytes | None = None,
    features: tuple[str, ...] = (),
) -> Image:
    """Assemble and link the two phases; `*_bytes` replace what would be assembled.

    A steady turn that ends in `UART_STEADY` has that part from the UART, all else is the card's.
    """
    first = placed(guard, CHANGE_LENGTH) if guard_bytes is None else guard_bytes
    turn = placed(steady, JMP_LENGTH) if steady_bytes is None else steady_bytes
    last = len(assemble(UART_STEADY)) if steady.endswith(UART_STEADY) else 0
    return linked(first, turn, ROW_DATA, features, 0 if steady_bytes is not None else last)


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
    """The image with other bytes at `offset` of a phase's code, sealed again.

    A negative offset counts from the phase's end.
    """
    part = image.manifest.phase(phase).code_file[0]
    return overwrite(image, (part.end if offset < 0 else part.start) + offset, code)


def overwrite(image: Image, at: int, new: bytes) -> Image:
    """The image with other loaded bytes from file offset `at`, sealed again."""
    loaded = image.loaded[:at] + new + image.loaded[at + len(new) :]
    return reseal(image, loaded=loaded)


def offset_of(image: Image, phase: str, text: str) -> int:
    """Where the first instruction that reads `text` stands in a phase."""
    line = next(one for one in straight_lines(image) if one.name == phase)
    return next(step.offset for step in line.steps if text in step.text)


def with_manifest(image: Image, **fields: Any) -> Image:
    """The image with other manifest fields, sealed again."""
    return reseal(image, manifest=msgspec.structs.replace(image.manifest, **fields))
