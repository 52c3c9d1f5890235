"""Law 2: nothing executes a conditional branch, an indirect jump, a call or a return.

A phase is decoded from its first byte to its last; every instruction but the last must be on
the list of those that neither transfer control nor change the machine's mode, and the last is
the five-byte `jmp rel32` to the first. Anything not on the list is refused, so a new
instruction has to be argued for here before an image can hold it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from capstone import x86

from metaos.link.manifest import Manifest
from metaos.verify.decode import Ledger, Line, Step
from metaos.verify.memory import Atlas
from metaos.verify.privileged import privileged, wrong
from metaos.verify.report import Transfers, Violation
from metaos.verify.semantics import CONDITIONS
from metaos.verify.walk import Walk

LAW = 2
JMP = 0xE9
JMP_LENGTH = 5

_MOVES = """mov movabs movzx movsx movsxd movbe lea xchg bswap cbw cwde cdqe cwd cdq cqo
    add adc sub sbb inc dec neg cmp mul imul div and or xor not test
    shl sal shr sar rol ror rcl rcr shld shrd bt bts btr btc bsf bsr popcnt lzcnt tzcnt
    andn bextr blsi blsmsk blsr bzhi mulx pdep pext rorx sarx shlx shrx adcx adox nop"""
STRINGS = [s + w for s in ("stos", "movs") for w in "bwdq"]
FENCES = ["mfence", "lfence", "sfence"]
ALLOWED = frozenset(
    [
        *_MOVES.split(),
        *STRINGS,
        *FENCES,
        *(f"{k}{c}" for k in ("cmov", "set") for c in CONDITIONS),
    ]
)
"""None of these is privileged: those that are have a table of their own (privileged.py)."""

_CONTROL = {
    x86.X86_GRP_JUMP,
    x86.X86_GRP_CALL,
    x86.X86_GRP_RET,
    x86.X86_GRP_INT,
    x86.X86_GRP_IRET,
    x86.X86_GRP_BRANCH_RELATIVE,
}
_REPEAT, _OPERAND_SIZE = 0xF3, 0x66


def check_flow(line: Line, book: Ledger) -> Iterator[Violation]:
    """Every instruction of one phase that control could leave the straight line by."""

    def broken(offset: int, message: str) -> Violation:
        return Violation(LAW, line.place(offset), message, book.span(line.file_offset(offset)))

    if line.undecoded >= 0:
        raw = line.code[line.undecoded : line.undecoded + 8].hex(" ")
        yield broken(line.undecoded, f"no instruction: {raw}")
    if not line.steps:
        return
    *body, last = line.steps
    for step in body:
        yield from (broken(step.offset, message) for message in _wrong(line.name, step))
    if line.undecoded < 0:
        yield from (broken(last.offset, message) for message in _wrong_end(line, last))


def _wrong(phase: str, step: Step) -> Iterator[str]:
    """What forbids this instruction anywhere but at the end."""
    if _CONTROL & set(step.insn.groups):
        yield f"control transfer: {step.text}"
        return
    if privileged(step):
        messages = [wrong(phase, step)]
    elif step.mnemonic in ALLOWED:
        messages = []
    else:
        messages = ["instruction not on the list"]
    messages += [_odd_prefix(step), _stack(step), _bit_string(step)]
    yield from (f"{message}: {step.text}" for message in messages if message)


def _odd_prefix(step: Step) -> str:
    """Segment overrides, LOCK, address size and REPNE have no place in this code."""
    first, segment, _, address = bytes(step.insn.prefix)
    string = step.mnemonic in STRINGS or step.mnemonic[:-1] in ("ins", "outs")
    if first and not (first == _REPEAT and string):
        return f"prefix {first:02x}"
    if segment or address:
        return f"prefix {segment or address:02x}"
    return ""


def _stack(step: Step) -> str:
    insn = step.insn
    written = {insn.reg_name(r) for r in insn.regs_access()[1]}
    return "changes the stack pointer" if written & {"rsp", "esp", "sp", "spl"} else ""


def _bit_string(step: Step) -> str:
    """`bt [m], r` reaches r / 8 bytes beyond its operand."""
    operands = step.insn.operands
    if step.mnemonic in ("bt", "bts", "btr", "btc") and operands[0].type == x86.X86_OP_MEM:
        return "" if operands[1].type == x86.X86_OP_IMM else "bit string in memory"
    return ""


def _wrong_end(line: Line, last: Step) -> Iterator[str]:
    raw = last.raw
    if len(raw) != JMP_LENGTH or raw[0] != JMP:
        yield f"the phase does not end in a five-byte jmp: {last.text}"
        return
    target = last.end + int.from_bytes(raw[1:], "little", signed=True)
    if target:
        yield f"the jmp goes to {line.phase.code_linear + target:#x}, not to the phase's first byte"


def loads_cr3(step: Step) -> bool:
    """Whether this is `mov cr3, register`."""
    operands: Any = step.insn.operands
    return (
        step.mnemonic == "mov"
        and len(operands) == 2
        and operands[0].type == x86.X86_OP_REG
        and operands[0].reg == x86.X86_REG_CR3
    )


def check_change(
    line: Line, walked: Walk, atlas: Atlas, manifest: Manifest, book: Ledger
) -> Iterator[Violation]:
    """CR3 is loaded in the linker's tail alone, and only with a listed root."""

    def broken(offset: int, message: str) -> Violation:
        return Violation(LAW, line.place(offset), message, book.span(line.file_offset(offset)))

    loads = [step for step in line.steps if loads_cr3(step)]
    if line.name == "steady":
        for step in loads:
            yield broken(step.offset, "the steady phase loads CR3")
    elif len(loads) != 1 or loads[0] is not line.steps[-2]:
        at = loads[0].offset if loads else 0
        yield broken(at, f"{len(loads)} loads of CR3, not one before the last jmp")
    for step in loads:
        entry = book.entry(line.file_offset(step.offset))
        if entry is None or entry.kind not in ("phase change", "wipe"):
            yield broken(step.offset, "CR3 is loaded outside the linker's phase change")
    listed = set(manifest.roots)
    for step, value in walked.roots:
        if not (value.exact and value.bases <= listed):
            text = f"CR3 may be loaded with {value}, which is no listed root"
            yield broken(step.offset, text)
    yield from _stores_to_next(line, walked, atlas, manifest, book)


def _stores_to_next(
    line: Line, walked: Walk, atlas: Atlas, manifest: Manifest, book: Ledger
) -> Iterator[Violation]:
    """What is stored to `next` is one of the listed roots, on every path."""
    listed = set(manifest.roots)
    for access in walked.accesses:
        if access.kind != "memory" or not access.write:
            continue
        for base in access.address.bases:
            located = atlas.find(base, 1)
            if located is None or located.shadow or located.symbol.name != manifest.next:
                continue
            whole = located.offset == 0 and access.size in (4, 8) and access.address.exact
            stored = access.stored
            if not (whole and access.count is None and stored.exact and stored.bases <= listed):
                offset = access.step.offset
                yield Violation(
                    LAW,
                    line.place(offset),
                    f"stores to {manifest.next} what may be no listed root: {access.step.text}",
                    book.span(line.file_offset(offset)),
                )


def check_divisions(line: Line, walked: Walk, book: Ledger) -> Iterator[Violation]:
    """No division faults: what it divides by is not 0, and the quotient fits."""
    for step in walked.faulting:
        text = f"divides by what may be 0, or more than fits: {step.text}"
        span = book.span(line.file_offset(step.offset))
        yield Violation(LAW, line.place(step.offset), text, span)


def transfers(lines: tuple[Line, ...]) -> Transfers:
    """Count the control transfers of all phases but the one `jmp` each ends in."""
    conditional = indirect = calls = 0
    for line in lines:
        for step in line.steps:
            groups = set(step.insn.groups)
            direct = x86.X86_GRP_BRANCH_RELATIVE in groups
            if x86.X86_GRP_CALL in groups:
                calls += 1
            elif step.mnemonic.startswith("loop") or (
                x86.X86_GRP_JUMP in groups and step.mnemonic != "jmp"
            ):
                conditional += 1
            elif not direct and groups & _CONTROL:
                indirect += 1
    return Transfers(conditional, indirect, calls)
