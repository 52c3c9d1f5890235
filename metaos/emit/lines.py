"""Which pattern line, and which facts, each instruction of a program comes from.

    lines(program, text, relocations, elf)      # one `Line` an instruction

LLVM's line table names the op of most instructions by its discriminator (`metaos.emit.llvm`).
Those that it made up by itself take the op that uses what they make: def-use over the straight
line. They are inferred, not exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from capstone.x86 import X86_OP_IMM, X86_OP_MEM
from elftools.elf.elffile import ELFFile

from metaos.emit.code import Line, Relocation
from metaos.emit.target import used_features
from metaos.ir.program import Op, Program
from metaos.told import facts_of
from metaos.verify.registers import REGISTERS


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: the registers that it reads and writes, and the numbers in its bytes.

    `op` is the number of the op that LLVM says it is for, 0 for one that it made up. Numbers
    are unsigned, 64 bits.
    """

    start: int
    end: int
    op: int
    reads: frozenset[str]
    writes: frozenset[str]
    numbers: frozenset[int]
    mnemonic: str = ""


def lines(
    program: Program, text: bytes, relocations: Sequence[Relocation], elf: ELFFile
) -> tuple[Line, ...]:
    """The line of every instruction of `text`, in order."""
    steps = tuple(_steps(text, relocations, _rows(elf)))
    owners = [step.op or user(steps, n) for n, step in enumerate(steps)]
    behind = _Behind(program, frozenset(owners))
    last = next((program.ops[n - 1].span for n in owners if n), None)
    found = []
    for step, owner in zip(steps, owners, strict=True):
        op = program.ops[owner - 1] if owner else None
        last = op.span if op is not None and op.span is not None else last
        if last is not None:
            facts = behind.facts(op, step.numbers) if op is not None else ()
            needs = used_features(frozenset((step.mnemonic,)))
            because = tuple(dict.fromkeys(feature.fact for feature in needs))
            found.append(Line(step.start, step.end, last, bool(step.op), facts, because))
    return tuple(found)


def user(steps: Sequence[Step], number: int) -> int:
    """The op of the next instruction that reads what this one writes; failing that, of the last
    one that wrote what this one reads. 0 if neither is anybody's."""
    made = steps[number].writes
    for step in steps[number + 1 :]:
        if made & step.reads and step.op:
            return step.op
        made -= step.writes - step.reads
    wanted = steps[number].reads
    for step in reversed(steps[:number]):
        if wanted & step.writes and step.op:
            return step.op
    return 0


def _rows(elf: ELFFile) -> dict[int, int]:
    """The number of the op at each address where a row of the line table starts; 0 for none."""
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=True)
    rows: dict[int, int] = {}
    for unit in dwarf.iter_CUs():
        table = dwarf.line_program_for_CU(unit)
        for entry in table.get_entries() if table is not None else ():
            state = entry.state
            if state is not None and not state.end_sequence:
                rows[state.address] = state.discriminator if state.line else 0
    return rows


@cache
def _decoder() -> Any:
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    decoder.detail = True
    return decoder


def _steps(text: bytes, relocations: Sequence[Relocation], rows: dict[int, int]) -> Iterator[Step]:
    op = 0
    for insn in _decoder().disasm(text, 0):
        op = rows.get(insn.address, op)
        end = insn.address + insn.size
        reads, writes = insn.regs_access()
        yield Step(
            insn.address,
            end,
            op,
            _families(insn, reads),
            _families(insn, writes),
            frozenset(n % (1 << 64) for n in _numbers(insn, end, relocations)),
            insn.mnemonic,
        )


def _families(insn: Any, registers: Sequence[int]) -> frozenset[str]:
    """The whole general registers that these are parts of."""
    names = (insn.reg_name(one) for one in registers)
    return frozenset(REGISTERS[name][0] for name in names if name in REGISTERS)


def _numbers(insn: Any, end: int, relocations: Sequence[Relocation]) -> Iterator[int]:
    """The immediate, the displacement, and what relocations will add."""
    for operand in insn.operands:
        if operand.type == X86_OP_IMM:
            yield operand.imm % (1 << 8 * operand.size)
        elif operand.type == X86_OP_MEM and operand.mem.disp:
            yield operand.mem.disp
    for one in relocations:
        if insn.address <= one.offset < end:
            yield one.addend + (end - one.offset if one.kind.startswith("P") else 0)


class _Behind:
    """The facts behind the numbers in an instruction: of its op, and of ops folded into it."""

    def __init__(self, program: Program, present: frozenset[int]) -> None:
        self._present = frozenset(program.ops[n - 1] for n in present if n)

    def facts(self, op: Op, numbers: frozenset[int]) -> tuple[str, ...]:
        """The facts of those numbers of the op that the instruction holds."""
        held = (n for n in self._reach(op) if numbers & _spellings(n))
        return facts_of(*held) if numbers else ()

    def _reach(self, op: Op) -> Iterator[int]:
        """The numbers of an op, and of the arguments that no instruction is made for."""
        yield op.value
        if op.address is not None:
            yield op.address.offset
        for one in op.args:
            if one not in self._present:
                yield from self._reach(one)


def _spellings(number: int) -> frozenset[int]:
    """How an instruction may say a number: as it is, negated, or cut to its operand's width."""
    both = (number, -number)
    return frozenset(n % (1 << bits) for n in both for bits in (8, 16, 32, 64))
