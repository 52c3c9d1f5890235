"""`emit(program, features) -> Code`: through LLVM to bytes, relocations and pattern lines."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from io import BytesIO
from typing import Any

import llvmlite.binding as llvm
from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from metaos.emit.code import Code, Relocation
from metaos.emit.lines import lines
from metaos.emit.llvm import module
from metaos.emit.target import BASELINE, TRIPLE
from metaos.errors import MetaosError
from metaos.ir.program import Program

RELOCATIONS = {1: "64", 2: "PC32", 4: "PLT32", 10: "32", 11: "32S"}
"""ELF x86-64 relocation types the linker applies. Source: System V ABI AMD64 §4.4.1."""


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    # Selects must stay selects, and invented instructions must not borrow a line.
    llvm.set_option("metaos", "-x86-cmov-converter=0")
    llvm.set_option("metaos", "-use-unknown-locations=Enable")
    return llvm.Target.from_triple(TRIPLE)


@cache
def _machine(features: tuple[str, ...]) -> Any:
    wanted = ",".join((*BASELINE, *(f"+{f}" for f in features)))
    return _target().create_target_machine(
        cpu="x86-64", features=wanted, opt=2, reloc="static", codemodel="small"
    )


def llvm_version() -> str:
    """LLVM's version, for the manifest."""
    return ".".join(map(str, llvm.llvm_version_info))


def emit(program: Program, features: tuple[str, ...]) -> Code:
    """Machine code of one program; `features` are LLVM's names of what the CPU has."""
    if not program.ops:
        return Code(program.device, program.phase, b"", (), ())
    text = module(program)
    machine = _machine(features)
    try:
        parsed = llvm.parse_assembly(text)
        parsed.verify()
    except RuntimeError as error:
        raise MetaosError(
            f"LLVM refuses the code of {program.device}, phase {program.phase}: {error}",
            hint="this is a defect of MetaOS; please report it with the pattern",
        ) from error
    return _read(program, bytes(machine.emit_object(parsed)))


def mnemonics(texts: Iterable[bytes]) -> frozenset[str]:
    """The names of all instructions in finished code."""
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    return frozenset(name for text in texts for _, _, name, _ in decoder.disasm_lite(text, 0))


def spills(text: bytes) -> bool:
    """Whether finished code keeps values in memory upwards of the stack pointer.

    LLVM does where it runs out of registers; a turn has no prologue that would make room.
    """
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    return any("[rsp" in operands for _, _, _, operands in decoder.disasm_lite(text, 0))


def _read(program: Program, data: bytes) -> Code:
    elf = ELFFile(BytesIO(data))
    section = elf.get_section_by_name(".text")
    if section is None:
        raise MetaosError(f"LLVM made no code for {program.device}, phase {program.phase}")
    for other in elf.iter_sections():
        loaded = other["sh_flags"] & SH_FLAGS.SHF_ALLOC and other["sh_size"]
        if loaded and other.name not in (".text", ".eh_frame"):
            raise MetaosError(
                f"LLVM put {other['sh_size']} bytes of {program.device}, phase "
                f"{program.phase} into section {other.name}: nothing but code is expected"
            )
    text = section.data()
    relocations = _relocations(program, elf)
    found = lines(program, text, relocations, elf)
    return Code(program.device, program.phase, text, relocations, found)


def _relocations(program: Program, elf: ELFFile) -> tuple[Relocation, ...]:
    table = elf.get_section_by_name(".rela.text")
    if not isinstance(table, RelocationSection):
        return ()
    symbols: Any = elf.get_section(table["sh_link"])
    found = []
    for entry in table.iter_relocations():
        kind = RELOCATIONS.get(entry["r_info_type"])
        name = symbols.get_symbol(entry["r_info_sym"]).name
        if kind is None:
            raise MetaosError(
                f"{program.device}, phase {program.phase}: LLVM asks for relocation type "
                f"{entry['r_info_type']} of '{name}', which the linker does not know"
            )
        found.append(Relocation(entry["r_offset"], kind, name, entry["r_addend"]))
    return tuple(sorted(found, key=lambda r: r.offset))
