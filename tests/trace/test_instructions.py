"""Every instruction rule against unicorn: the same registers, memory and flags."""

from __future__ import annotations

import random
from typing import Any

import pytest
from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from keystone import KS_ARCH_X86, KS_MODE_64, Ks
from unicorn import UC_MODE_64
from unicorn import x86_const as x86

from metaos.errors import MetaosError
from metaos.ir.interpret import Memory, Ram
from metaos.trace.bench import Answers, PortSpace
from metaos.trace.instructions import RULES
from metaos.trace.processor import CONDITIONS, Processor
from metaos.verify.decode import Step
from tests.image.engine import engine

pytestmark = pytest.mark.long

CODE, DATA, SIZE = 0x100000, 0x200000, 0x1000
NAMES = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{i}" for i in range(8, 16))]
NUMBERS = {name: getattr(x86, f"UC_X86_REG_{name.upper()}") for name in NAMES}
FLAGS = {"C": 0, "Z": 6, "S": 7, "O": 11}
EDGES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
EDGES += [1 << 63, (1 << 63) - 1, (1 << 64) - 1]

TWO = ["add", "sub", "adc", "sbb", "cmp", "test", "and", "or", "xor"]
ONE = ["not", "neg", "inc", "dec"]
BITS = ["bt", "bts", "btr", "btc"]
SHIFTS = ["shl", "shr", "sar", "rol", "ror"]
PLACE = f"[{DATA + 64}]"
PARTS = (("qword", "rax", "rbx"), ("dword", "eax", "ebx"), ("word", "ax", "bx"))
BYTES = ("byte", "al", "bl")
LINES = [
    *(f"{op} {a}, {b}" for op in TWO for _, a, b in (*PARTS, BYTES)),
    *(f"{op} {w} ptr [rsi], {b}" for op in TWO for w, _, b in (*PARTS, BYTES)),
    *(f"{op} {w} ptr [rsi + 8], -5" for op in TWO for w, _, _ in (*PARTS, BYTES)),
    *(f"{op} {a}" for op in ONE for _, a, _ in (*PARTS, BYTES)),
    *(f"{op} {a}, {n}" for op in SHIFTS for _, a, _ in (*PARTS, BYTES) for n in (1, 7, "cl")),
    *(f"imul {a}, {b}" for _, a, b in PARTS),
    *(f"imul {a}, {b}, -77" for _, a, b in PARTS),
    *(f"{op} {b}" for op in ("mul", "imul") for _, _, b in PARTS),
    *(f"div {b}" for b in ("rcx", "ecx", "cx")),
    *(f"{op} {a}, 5" for op in BITS for _, a, _ in PARTS),
    *(f"{op} {a}, {b}" for op in BITS for _, a, b in PARTS),
    *(f"cmov{c} {a}, {b}" for c in CONDITIONS for _, a, b in PARTS),
    *(f"set{c} {r}" for c in CONDITIONS for r in ("al", "byte ptr [rsi]")),
    *(f"{op} {a}, {b}" for op in ("movzx", "movsx") for a, b in (("rax", "bl"), ("eax", "bx"))),
    *(f"{op} ax, bl" for op in ("movzx", "movsx")),
    "movsxd rax, ebx", "mov rax, rbx", "mov eax, ebx", "mov ax, bx", "mov al, bh", "mov ah, bl",
    "mov qword ptr [rsi], rax", "mov eax, dword ptr [rsi + 4]", "mov byte ptr [rsi + 3], bl",
    "movabs rax, 0x1122334455667788", "lea rax, [rsi + 4*rbx + 9]", "lea eax, [ebx + ecx]",
    "bswap rax", "bswap ebx", "xchg rax, rbx", "xchg al, bl", "xchg dword ptr [rsi], eax",
    "cbw", "cwde", "cdqe", "movbe eax, dword ptr [rsi]", "andn eax, ebx, ecx",
    "shlx rax, rbx, rcx", "shrx eax, ebx, ecx", "sarx rax, rbx, rcx", "rorx eax, ebx, 7",
    "stosd", "rep stosq", "rep movsb", "lodsw", "movsq", "nop", "mfence", "sti", "hlt",
]  # fmt: skip


def decoded(line: str) -> Step:
    code, _ = Ks(KS_ARCH_X86, KS_MODE_64).asm(line, CODE, as_bytes=True)
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    decoder.detail = True
    insn = next(decoder.disasm(bytes(code), CODE))
    assert insn.size == len(code), line
    return Step(0, bytes(code), insn)


def begin(line: str, random_: random.Random) -> tuple[dict[str, int], dict[str, int]]:
    """Registers and flags to start from; pointers and a count that stay inside."""
    values = {
        name: random_.choice([random_.choice(EDGES), random_.getrandbits(64)]) for name in NAMES
    }
    values |= {"rsi": DATA + 64, "rdi": DATA + 512}
    if line.startswith("div"):  # the quotient fits
        values |= {"rcx": values["rcx"] | 0x8000_0000_8000_8001, "rdx": values["rdx"] & 0x7FFF}
    if line.startswith("rep"):
        values["rcx"] = random_.randrange(8)
    return values, {name: random_.randrange(2) for name in FLAGS}


@pytest.fixture(scope="module")
def machine() -> Any:
    """A processor with all of the instructions, and memory for code and data."""
    made: Any = engine(UC_MODE_64)
    made.ctl_set_cpu_model(x86.UC_CPU_X86_HASWELL)
    made.mem_map(CODE, SIZE)
    made.mem_map(DATA, SIZE)
    return made


@pytest.mark.parametrize("line", LINES)
def test_an_instruction_does_what_unicorn_does(line: str, machine: Any) -> None:
    step = decoded(line)
    machine.mem_write(CODE, step.raw)
    machine.ctl_flush_tb()
    random_ = random.Random(line)
    for _ in range(8):
        values, flags = begin(line, random_)
        content = random_.randbytes(SIZE)
        ram = Ram(content)
        machine.mem_write(DATA, content)
        for name, value in values.items():
            machine.reg_write(NUMBERS[name], value)
        word = 2 | sum(value << FLAGS[name] for name, value in flags.items())
        machine.reg_write(x86.UC_X86_REG_EFLAGS, word)
        machine.emu_start(CODE, CODE + len(step.raw))
        memory, ports = Memory({"ram": (DATA, ram)}), PortSpace(Answers())
        mine = Processor(memory, ports, lambda a, b: (0, 0, 0, 0), RULES)
        mine.registers.update(values)
        mine.set_flags(**flags)
        mine.step(step)
        theirs = {name: machine.reg_read(number) for name, number in NUMBERS.items()}
        assert {name: mine.registers[name] for name in NAMES} == theirs
        assert bytes(ram.data) == bytes(machine.mem_read(DATA, SIZE))
        word = machine.reg_read(x86.UC_X86_REG_EFLAGS)
        for name, bit in FLAGS.items():
            assert mine.flags[name] in (None, word >> bit & 1), f"{line}: flag {name}"


def test_every_rule_was_tried() -> None:
    tried = {decoded(line).mnemonic for line in LINES}
    same = {"sal", "jmp", "lfence", "sfence", "in", "out", "cpuid", "rdtsc"}  # ports: test_trace.py
    strings = {name for name in RULES if name[:-1] in ("ins", "outs", "movs", "stos", "lods")}
    conditions = {name for name in RULES if name.startswith(("cmov", "set"))}
    assert set(RULES) - tried - same - strings - conditions == set()


def test_an_instruction_without_a_rule_is_named() -> None:
    processor = Processor(Memory({}), PortSpace(Answers()), lambda a, b: (0, 0, 0, 0), RULES)
    with pytest.raises(MetaosError, match="no rule for the instruction 'popcnt eax, ebx'"):
        processor.step(decoded("popcnt eax, ebx"))


def test_a_division_that_faults_is_no_answer_and_the_counter_stands() -> None:
    processor = Processor(Memory({}), PortSpace(Answers()), lambda a, b: (0, 0, 0, 0), RULES)
    processor.registers |= {"rax": 6, "rdx": 7}
    with pytest.raises(MetaosError, match="is divided by 0x0, which faults"):
        processor.step(decoded("div rcx"))
    processor.registers["rcx"] = 7  # a quotient of 2^64
    with pytest.raises(MetaosError, match="which faults"):
        processor.step(decoded("div rcx"))
    processor.step(decoded("rdtsc"))
    assert (processor.registers["rax"], processor.registers["rdx"]) == (0, 0)


def test_an_undefined_flag_is_no_answer() -> None:
    processor = Processor(Memory({}), PortSpace(Answers()), lambda a, b: (0, 0, 0, 0), RULES)
    processor.registers["rax"] = 3
    processor.step(decoded("imul eax, ebx"))
    with pytest.raises(MetaosError, match="'sete al' depends on a flag that is undefined"):
        processor.step(decoded("sete al"))
