"""Law 2: each phase has the privileged instructions of the table, and no other."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from metaos.link.image import Image
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.store import read_machine
from metaos.verify.decode import Line, Step, ledger, straight_lines
from metaos.verify.flow import ALLOWED, check_flow
from metaos.verify.privileged import PRIVILEGED, form

MACHINE = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"
PHASES = ("guard", "init", "wipe", "steady", "report")

SYSTEM = {
    "lgdt": "0f0110", "lidt": "0f0118", "sgdt": "0f0100", "sidt": "0f0108", "lldt": "0f00d0",
    "ltr": "0f00d8", "str": "0f00c8", "sldt": "0f00c0", "lmsw": "0f01f0", "smsw": "0f01e0",
    "clts": "0f06", "invlpg": "0f0138", "invd": "0f08", "wbinvd": "0f09", "hlt": "f4",
    "cli": "fa", "sti": "fb", "rdmsr": "0f32", "wrmsr": "0f30", "rdpmc": "0f33", "rdtsc": "0f31",
    "rdtscp": "0f01f9", "xsetbv": "0f01d1", "xgetbv": "0f01d0", "monitor": "0f01c8",
    "mwait": "0f01c9", "swapgs": "0f01f8", "stac": "0f01cb", "clac": "0f01ca", "rsm": "0faa",
    "vmcall": "0f01c1", "vmmcall": "0f01d9", "vmlaunch": "0f01c2", "skinit": "0f01de",
    "pushfq": "9c", "popfq": "9d", "rdfsbase": "f3480faec0", "wrgsbase": "f3480faed8",
    "invpcid": "660f388200", "lar": "0f02c0", "verr": "0f00e0", "fxrstor": "0fae08",
    "xrstor": "0fae28", "clflush": "0fae38", "prefetchw": "0f0d08", "ud2": "0f0b",
    "mov to cr0": "0f22c0", "mov to cr4": "0f22e0", "mov to cr8": "440f22c0",
    "mov from cr0": "0f20c0", "mov from cr2": "0f20d0", "mov from cr3": "0f20d8",
    "mov to dr7": "0f23f8", "mov from dr6": "0f21f0", "mov to ss": "8ed0", "mov from cs": "8cc8",
    "mov to ds from memory": "8e18",
}  # fmt: skip
"""Those of SDM vol. 3A 5.9, and what else reads or changes the machine's own state, in bytes.
Where the table lets a phase have one of them, that phase is left out."""

ALLOWED_SOMEWHERE = {
    "in": "ec", "out": "ee", "ins": "6c", "outs": "6f", "cpuid": "0fa2", "rdtsc": "0f31",
    "mov cr3, reg": "0f22d8",
}  # fmt: skip


@cache
def image() -> Image:
    return build(read_machine(MACHINE), system=read_system())


def step_of(raw: str, linear: int) -> Step:
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    decoder.detail = True
    (insn,) = decoder.disasm(bytes.fromhex(raw), linear)
    return Step(0, bytes(insn.bytes), insn)


def messages(phase: str, raw: str) -> list[str]:
    """What is said of a phase whose first instruction is this one."""
    (line,) = (x for x in straight_lines(image()) if x.name == phase)
    first = step_of(raw, line.phase.code_linear)
    changed: Line = replace(line, steps=(first, *line.steps[1:]))
    return [v.message for v in check_flow(changed, ledger(image()))]


def test_the_image_itself_keeps_to_the_table() -> None:
    for line in straight_lines(image()):
        assert list(check_flow(line, ledger(image()))) == []


@pytest.mark.parametrize("phase", PHASES)
def test_every_other_system_instruction_is_refused_in_every_phase(phase: str) -> None:
    for name, raw in SYSTEM.items():
        if phase in PRIVILEGED.get(form(step_of(raw, 0)), ()):
            continue
        assert messages(phase, raw), f"{name} in {phase}"


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", sorted(ALLOWED_SOMEWHERE))
def test_what_the_table_has_is_allowed_in_its_phases_only(name: str, phase: str) -> None:
    raw = ALLOWED_SOMEWHERE[name]
    assert form(step_of(raw, 0)) == name
    refused = any("not for " + phase in m for m in messages(phase, raw))
    assert refused == (phase not in PRIVILEGED[name])


def test_the_table_and_the_list_of_plain_instructions_have_nothing_in_common() -> None:
    assert not ALLOWED & set(PRIVILEGED)
    assert all(set(phases) <= set(PHASES) for phases in PRIVILEGED.values())
