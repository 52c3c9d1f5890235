"""The linker: `Parts` enter, a finished `Image` leaves.

    image = link(parts, Provenance(devices=..., tools=...))
    write_image(image, Path("build/pc.img"))

Where things lie is made in plan.py, what they are in chunks.py and fills.py; here they become
the loaded part of the file: loader, lists, packed pieces.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from msgspec.structs import replace

from metaos.errors import MetaosError, Problem
from metaos.link.chunks import (
    GATES,
    PHASE_NAME,
    Chunk,
    datum_chunk,
    gates_chunk,
    phase_chunk,
    phase_name,
)
from metaos.link.fills import Listed, make_fills
from metaos.link.gates import CODE, GDT, IDTR, TASK
from metaos.link.image import SECTOR, Image, pack_image
from metaos.link.layout import SLOT, STACK
from metaos.link.lists import FILLS_END, PIECE_LENGTH, PIECES_END, Piece, pack_fill, pack_piece
from metaos.link.loader import FIXED, LISTS, Loader, assemble_loader
from metaos.link.manifest import (
    SCHEMA,
    AccountEntry,
    FileRange,
    Manifest,
    PhaseMap,
    Provenance,
    Symbol,
    WindowMap,
)
from metaos.link.parts import Parts
from metaos.link.phases import HANDOVER, wipe_code
from metaos.link.plan import Plan, gates_of, make_plan
from metaos.link.tables import ACCESSED, BIG, DIRTY, PRESENT, WRITABLE
from metaos.resources import BOOTLOADER
from metaos.told import facts_of

DEPOSITS = ("memory_kib",)
"""What the loader finds out by BIOS calls."""
MOST_SECTORS = 127
"""What one extended read transfers on every BIOS (Phoenix EDD 3.0, the packet's block count)."""
_BLOCK = 128
"""Bytes that one round of the loader's zeroing loop stores."""
CLOSE = 32
"""Chunks no farther apart are one piece: a list entry takes 8 bytes."""
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Content:
    """What follows the loader in the file: lists and packed pieces, with their account.

    Offsets are the file's; `found` are the file ranges of the chunks by name; `packed` is
    the file offset of the first piece.
    """

    data: bytes
    account: tuple[AccountEntry, ...]
    found: dict[str, FileRange]
    packed: int


def link(
    parts: Parts,
    provenance: Provenance | None = None,
    bootloader: Path = BOOTLOADER / "boot.asm",
) -> Image:
    """Place everything, apply the relocations, assemble the loader and pack the image.

    The same parts, provenance and tools give the same bytes.

    Raises:
        MetaosError: the machine's RAM is too small; a relocation or an initial value names
            nothing or does not fit (each a problem with device and source line); nasm is
            missing or fails; the image is longer than one disk read can load.
    """
    _check_deposits(parts)
    _check_trap(parts)
    low_end = LISTS
    for _ in range(_ROUNDS):
        plan = make_plan(parts, low_end)
        content = _content(parts, plan)
        end = _low(FIXED + len(content.data))
        if end <= low_end:
            break
        low_end = end
    else:
        raise MetaosError("the linker found no stable length of the image")
    loader = assemble_loader(bootloader, _defines(parts, plan, content))
    return _image(parts, plan, content, loader, provenance or Provenance())


def _check_deposits(parts: Parts) -> None:
    places = {place.name: place for place in parts.places}
    for name in parts.deposits:
        if name not in DEPOSITS:
            raise MetaosError(
                f"the loader cannot deposit '{name}'", hint=f"known: {', '.join(DEPOSITS)}"
            )
        if name not in places or places[name].size < 4:
            raise MetaosError(f"no 4-byte place '{name}' takes what the loader deposits")


def _check_trap(parts: Parts) -> None:
    sizes = {place.name: place.size for place in parts.places}
    trap = parts.trap
    if max(trap.place, trap.wanted, trap.found, trap.site) + 4 > sizes.get(trap.fault, 0):
        raise MetaosError(f"no place '{trap.fault}' takes what an exception leaves")


def _low(offset: int) -> int:
    """The physical address at which the loader finds byte `offset` of the file."""
    return offset + LISTS - FIXED


def _content(parts: Parts, plan: Plan) -> Content:
    """Lists and pieces with final bytes. Raises MetaosError with every problem found."""
    fills, problems = make_fills(parts, plan)
    chunks = [gates_chunk(*gates_of(parts, plan))]
    next_place = plan.symbols[parts.next].linear
    wipe = wipe_code(plan.wiped, next_place, plan.symbols["root.steady"].physical)
    for place in plan.layout.codes:
        codes = [code for code in parts.codes if code.phase == place.name]
        own = wipe if place.name == "wipe" else b""
        chunk, wrong = phase_chunk(
            place, codes, own, plan.symbols, next_place, bool(parts.interrupts)
        )
        chunks.append(chunk)
        problems += wrong
    for placed in plan.layout.data:
        chunk, wrong = datum_chunk(placed, plan.symbols)
        chunks.append(chunk)
        problems += wrong
    if problems:
        raise MetaosError(f"the image cannot be linked: {_count(problems)}", problems=problems)
    return _packed(chunks, fills)


def _count(problems: Iterable[Problem]) -> str:
    number = len(tuple(problems))
    return f"{number} problem{'s' if number > 1 else ''}"


def _packed(chunks: Iterable[Chunk], fills: Iterable[Listed]) -> Content:
    """Lay lists and pieces end to end, from the file offset `FIXED`."""
    pieces = _pieces(sorted(chunks, key=lambda chunk: chunk.physical))
    data = bytearray()
    account: list[AccountEntry] = []
    found: dict[str, FileRange] = {}

    def add(part: bytes, entries: Iterable[AccountEntry]) -> None:
        at = FIXED + len(data)
        account.extend(replace(e, start=e.start + at, end=e.end + at) for e in entries)
        data.extend(part)

    for piece, members in pieces:
        add(pack_piece(piece), [_piece_entry(piece, members)])
    add(PIECES_END, [_listed(len(PIECES_END), "the end of the pieces")])
    for fill, entry_of_fill in fills:
        add(pack_fill(fill), [entry_of_fill])
    add(FILLS_END, [_listed(len(FILLS_END), "the end of the fills")])
    packed = FIXED + len(data)
    for piece, members in pieces:
        at = FIXED + len(data)
        for chunk in members:
            start = at + chunk.physical - piece.destination
            found[chunk.name] = FileRange(start=start, end=start + len(chunk.data))
        add(piece.data, _piece_account(piece, members))
    return Content(bytes(data), tuple(account), found, packed)


def _listed(length: int, note: str) -> AccountEntry:
    return AccountEntry(start=0, end=length, kind="list", note=note)


def _piece_entry(piece: Piece, members: Iterable[Chunk]) -> AccountEntry:
    """The account of a piece's list entry: what it puts in place."""
    names = [chunk.name for chunk in members]
    entry = _listed(PIECE_LENGTH, f"copies {', '.join(names)}")
    symbols = tuple(n for n in names if n != GATES and not n.startswith(PHASE_NAME))
    return replace(entry, facts=facts_of(piece.destination), symbols=symbols)


def _padding(start: int, end: int, note: str) -> AccountEntry:
    return AccountEntry(start=start, end=end, kind="padding", note=note)


def _pieces(chunks: list[Chunk]) -> list[tuple[Piece, list[Chunk]]]:
    """Join chunks that lie close together; begin and end at multiples of 4."""
    groups: list[list[Chunk]] = []
    for chunk in chunks:
        if groups and chunk.physical - _end(groups[-1][-1]) <= CLOSE:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    pieces = []
    for members in groups:
        start, end = members[0].physical // 4 * 4, -(-_end(members[-1]) // 4) * 4
        data = bytearray(end - start)
        for chunk in members:
            data[chunk.physical - start : _end(chunk) - start] = chunk.data
        pieces.append((Piece(start, bytes(data)), members))
    return pieces


def _end(chunk: Chunk) -> int:
    return chunk.physical + len(chunk.data)


def _piece_account(piece: Piece, members: Iterable[Chunk]) -> list[AccountEntry]:
    """The members' entries, moved into the piece, and padding between them."""
    entries, at = [], 0
    for chunk in members:
        shift = chunk.physical - piece.destination
        if shift > at:
            entries.append(_padding(at, shift, f"to where {chunk.name} begins in RAM"))
        entries += (replace(e, start=e.start + shift, end=e.end + shift) for e in chunk.account)
        at = shift + len(chunk.data)
    if at < len(piece.data):
        entries.append(_padding(at, len(piece.data), "to a whole word, as the loader copies"))
    return entries


def _defines(parts: Parts, plan: Plan, content: Content) -> dict[str, int]:
    """The numbers that boot.asm wants; its first lines say what they are."""
    layout = plan.layout
    sectors = _sectors(FIXED + len(content.data))
    if sectors - 1 > MOST_SECTORS:
        raise MetaosError(
            f"the image loads {sectors} sectors, one disk read gives the loader {MOST_SECTORS}",
            hint="the generated code or its tables are too large",
        )
    stack = plan.symbols[STACK]
    slot = plan.symbols[parts.next].physical // SLOT
    entries = {f"ENTRY_{i}": 0 for i in (1, 4, 5, 6)}
    entries[f"ENTRY_{slot}"] = slot * SLOT | PRESENT | WRITABLE | ACCESSED | DIRTY | BIG
    defines = {
        "SECTORS": sectors - 1,
        "ZERO": plan.tables.base,
        "BLOCKS": -(-(layout.zero_end - plan.tables.base) // _BLOCK),
        "PACKED": _low(content.packed),
        "STACK": stack.linear + stack.size,
        "HANDOVER": HANDOVER,
        "GUARD_PT": plan.tables.code_tables["guard"],
        "GDTR": layout.frames + GDT,
        "IDTR": layout.frames + IDTR,
        "CODE": CODE,
        "TASK": TASK,
        **entries,
    }
    if "memory_kib" in parts.deposits:
        defines["DEPOSIT"] = plan.symbols["memory_kib"].physical
    return defines


def _sectors(length: int) -> int:
    return -(-length // SECTOR)


def _image(
    parts: Parts, plan: Plan, content: Content, loader: Loader, provenance: Provenance
) -> Image:
    """Put the file together: loader, content, padding to the sector's end."""
    loaded = loader.data + content.data
    sectors = _sectors(len(loaded))
    account = [*loader.account, *content.account]
    if len(loaded) < sectors * SECTOR:
        account.append(_padding(len(loaded), sectors * SECTOR, "to the end of the sector"))
    tools = {
        **provenance.tools,
        "nasm": loader.nasm,
        "keystone-engine": version("keystone-engine"),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    manifest = _manifest(parts, plan, content, len(loaded), replace(provenance, tools=tools))
    return pack_image(loaded.ljust(sectors * SECTOR, b"\0"), manifest, account)


def _manifest(
    parts: Parts, plan: Plan, content: Content, length: int, provenance: Provenance
) -> Manifest:
    layout, roots = plan.layout, plan.tables.roots
    gates, _ = gates_of(parts, plan)
    phases = tuple(
        PhaseMap(
            name=code.name,
            root=roots[code.name],
            code_linear=code.linear,
            code_length=code.length,
            code_pages=tuple(range(code.frames, code.frames + code.pages * 4096, 4096)),
            code_file=(content.found[phase_name(code.name)],),
        )
        for code in sorted(layout.codes, key=lambda code: layout.phases.index(code.name))
    )
    windows = tuple(
        WindowMap(
            name=placed.window.name,
            device=placed.window.device,
            linear=placed.linear,
            physical=placed.window.physical,
            size=placed.window.size,
            pages=placed.window.pages,
            phases=plan.symbols[placed.window.name].phases,
            cached=placed.window.cached,
        )
        for placed in layout.windows
    )
    return Manifest(
        schema=SCHEMA,
        loaded_bytes=length,
        loaded_sectors=_sectors(length),
        loader=FileRange(start=0, end=FIXED),
        entry=next(phase.code_linear for phase in phases if phase.name == "guard"),
        next=parts.next,
        memory_needed_kib=layout.memory_needed_kib,
        deposits={name: plan.symbols[name].physical for name in sorted(parts.deposits)},
        roots=tuple(roots[phase] for phase in layout.phases),
        phases=phases,
        symbols=tuple(_with_file(symbol, content) for symbol in plan.symbols.values()),
        windows=windows,
        mappings=plan.mappings,
        gates=replace(gates, file=content.found[GATES]),
        provenance=provenance,
    )


def _with_file(symbol: Symbol, content: Content) -> Symbol:
    """A datum's symbol with the file range of its bytes."""
    if symbol.kind != "datum":
        return symbol
    return replace(symbol, file=(content.found[symbol.name],))
