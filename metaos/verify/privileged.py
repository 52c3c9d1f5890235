"""Law 2: which privileged and system instructions a phase may have, as one table.

An instruction is known by its form: the mnemonic, for string instructions without their width,
and for a `mov` to or from a control, debug or segment register the operands too: "mov cr3, reg",
"mov reg, cs". A form that is not in the table is allowed in no phase.

    wrong("steady", step)        # "cpuid is not for the steady phase", or ""

Source: Intel SDM vol. 3A, 5.9 "Privileged Instructions"; vol. 1, 18.3 for the ports.
"""

from __future__ import annotations

from typing import Any

from capstone import x86

from metaos.verify.decode import Step

_WITH_PORTS = ("guard", "init", "steady", "report")
PRIVILEGED: dict[str, tuple[str, ...]] = {
    "in": _WITH_PORTS,
    "out": _WITH_PORTS,
    "ins": _WITH_PORTS,
    "outs": _WITH_PORTS,
    "cpuid": ("guard",),
    "rdtsc": ("init", "steady", "report"),
    "mov cr3, reg": ("guard", "init", "wipe", "report"),
    "sti": ("steady",),
    "hlt": ("steady",),
}
"""The phases that may have each form. Where a phase may have it is the concern of others:
ports are looked up by law 3, `mov cr3` stands once and last, `sti; hlt` right before the last `jmp`
(flow.py)."""

_STRINGS = ("ins", "outs")
_SYSTEM = range(x86.X86_REG_CR0, x86.X86_REG_DR15 + 1)
_SEGMENTS = frozenset(
    (
        x86.X86_REG_CS,
        x86.X86_REG_DS,
        x86.X86_REG_ES,
        x86.X86_REG_FS,
        x86.X86_REG_GS,
        x86.X86_REG_SS,
    )
)


def form(step: Step) -> str:
    """How the table would name an instruction."""
    name = step.mnemonic
    if name[:-1] in _STRINGS and name[-1] in "bwd":
        return name[:-1]
    named = [_system_register(step, operand) for operand in step.insn.operands]
    if any(named):
        return f"{name} {', '.join(one or 'reg' for one in named)}"
    return name


def _system_register(step: Step, operand: Any) -> str:
    """The name of a control, debug or segment register; empty for any other operand."""
    if operand.type != x86.X86_OP_REG:
        return ""
    if operand.reg not in _SYSTEM and operand.reg not in _SEGMENTS:
        return ""
    return str(step.insn.reg_name(operand.reg))


def wrong(phase: str, step: Step) -> str:
    """What forbids a privileged form in this phase; empty if the table allows it there."""
    name = form(step)
    phases = PRIVILEGED.get(name)
    if phases is None:
        return f"'{name}' is no privileged instruction that an image may have"
    if phase not in phases:
        return f"'{name}' is for {' and '.join(phases)}, not for {phase}"
    return ""


def privileged(step: Step) -> bool:
    """Whether the table has the say of an instruction: it is there, or names such a register."""
    name = form(step)
    return name in PRIVILEGED or name != step.mnemonic
