"""Execute the instructions that images are made of, one by one, on numbers.

    processor = Processor(memory, ports, cpuid, RULES, stack=0x201100)
    effect = processor.step(step)       # a verify.decode.Step
    effect.writes                       # (Touch("memory", 0x200000, 8, 16),)

What is executed is capstone's decoding of the image's own bytes. An instruction without a
rule here is an error that names it, never a guess; so is a condition on a flag that the
processor leaves undefined. Source: Intel SDM vol. 2, the page of each instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from capstone import x86

from metaos.errors import MetaosError
from metaos.ir.evaluate import ones
from metaos.ir.interpret import Cpuid, Ports
from metaos.verify.decode import Step
from metaos.verify.registers import REGISTERS

MODULUS = 1 << 64
_FLAGS = "CZSO"


class Space(Protocol):
    """Linear memory: `width` is in bits."""

    def read(self, address: int, width: int) -> int: ...

    def write(self, address: int, width: int, value: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Touch:
    """One access: `space` is "memory" or "port", `value` what was read or written."""

    space: str
    address: int
    bits: int
    value: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What one instruction did. `registers`: those written, with before and after; `flags`: those
    that are set after it, None if it writes none; `root` is what CR3 was loaded with, or None."""

    registers: tuple[tuple[str, int, int], ...]
    reads: tuple[Touch, ...]
    writes: tuple[Touch, ...]
    flags: str | None
    root: int | None


Rule = Callable[["Processor", Any], None]
"""What an instruction does, given its operands; the first is the destination."""


@dataclass
class Processor:
    """General registers and flags; a flag that is None is undefined.

    Registers begin as 0 but for the stack pointer: no turn may depend on what they hold.
    """

    memory: Space
    ports: Ports
    cpuid: Cpuid
    rules: Mapping[str, Rule]
    stack: int = 0
    flags: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(_FLAGS))

    def __post_init__(self) -> None:
        self.registers = dict.fromkeys(sorted({whole for whole, _, _ in REGISTERS.values()}), 0)
        self.registers["rsp"] = self.stack
        self._reads: list[Touch] = []
        self._writes: list[Touch] = []
        self._put: dict[str, None] = {}
        self._root: int | None = None
        self._flagged = False
        self._insn: Any = None

    def step(self, step: Step) -> Effect:
        """Execute one instruction.

        Raises:
            MetaosError: nothing is mapped where it reads or writes, or it cannot be executed here.
        """
        self._reads, self._writes, self._put, self._root = [], [], {}, None
        self._insn = step.insn
        self._flagged = False
        before = dict(self.registers)
        rule = self.rules.get(step.mnemonic)
        if rule is None:
            raise MetaosError(
                f"trace has no rule for the instruction '{step.text}'",
                hint="metaos/trace/instructions.py has those that images were seen to have",
            )
        rule(self, step.insn.operands)
        written = [(n, before[n], self.registers[n]) for n in self._put]
        shown = "".join(name for name in _FLAGS if self.flags[name])
        return Effect(
            tuple(written),
            tuple(self._reads),
            tuple(self._writes),
            shown if self._flagged else None,
            self._root,
        )

    # Operands

    def read(self, operand: Any) -> int:
        """A register, constant or memory operand; constants as wide as they are written."""
        if operand.type == x86.X86_OP_IMM:
            return int(operand.imm) % MODULUS
        if operand.type == x86.X86_OP_REG:
            return self.register(self.name(operand))
        return self.load(self.address(operand), operand.size * 8)

    def write(self, operand: Any, value: int) -> None:
        """Put `value` in a register, as the processor does, or in memory."""
        if operand.type == x86.X86_OP_REG:
            self.put(self.name(operand), value)
        else:
            self.store(self.address(operand), operand.size * 8, value)

    def name(self, operand: Any) -> str:
        return str(self._insn.reg_name(operand.reg))

    def register(self, name: str) -> int:
        whole, bits, low = REGISTERS[name]
        return self.registers[whole] >> low & ones(bits)

    def put(self, name: str, value: int) -> None:
        """32 bits clear the upper half; 8 and 16 leave the rest."""
        whole, bits, low = REGISTERS[name]
        self._put[whole] = None
        if bits >= 32:
            self.registers[whole] = value & ones(bits)
            return
        mask = ones(bits) << low
        self.registers[whole] = self.registers[whole] & ~mask | value << low & mask

    def address(self, operand: Any) -> int:
        """The linear address of a memory operand."""
        memory, insn = operand.mem, self._insn
        total = int(memory.disp)
        if memory.base == x86.X86_REG_RIP:
            total += insn.address + insn.size
        elif memory.base:
            total += self.register(insn.reg_name(memory.base))
        if memory.index:
            total += self.register(insn.reg_name(memory.index)) * memory.scale
        return total % MODULUS

    def load(self, address: int, bits: int) -> int:
        value = self.memory.read(address, bits) & ones(bits)
        self._reads.append(Touch("memory", address, bits, value))
        return value

    def store(self, address: int, bits: int, value: int) -> None:
        self.memory.write(address, bits, value & ones(bits))
        self._writes.append(Touch("memory", address, bits, value & ones(bits)))

    def port_in(self, port: int, bits: int) -> int:
        value = self.ports.read(port, bits) & ones(bits)
        self._reads.append(Touch("port", port, bits, value))
        return value

    def port_out(self, port: int, bits: int, value: int) -> None:
        self.ports.write(port, bits, value & ones(bits))
        self._writes.append(Touch("port", port, bits, value & ones(bits)))

    # Flags

    def set_flags(self, **flags: int | None) -> None:
        self._flagged = True
        self.flags.update(flags)

    def result(self, value: int, bits: int, carry: int | None, overflow: int | None) -> None:
        """Zero and sign of a result, with the carry and overflow that the instruction says."""
        self.set_flags(Z=int(value == 0), S=value >> (bits - 1) & 1, C=carry, O=overflow)

    def flag(self, name: str) -> int:
        value = self.flags[name]
        if value is None:
            text = f"{self._insn.mnemonic} {self._insn.op_str}"
            raise MetaosError(f"'{text}' depends on a flag that is undefined there")
        return value

    def holds(self, condition: str) -> bool:
        """Source: Intel SDM vol. 1, appendix B "EFLAGS Condition Codes"."""
        condition, opposite = CONDITIONS[condition]
        match condition:
            case "o":
                met = self.flag("O")
            case "b":
                met = self.flag("C")
            case "e":
                met = self.flag("Z")
            case "be":
                met = self.flag("C") or self.flag("Z")
            case "s":
                met = self.flag("S")
            case "l":
                met = self.flag("S") != self.flag("O")
            case _:
                met = self.flag("Z") or self.flag("S") != self.flag("O")
        return bool(met) != opposite

    def root(self, value: int) -> None:
        self._root = value

    @property
    def repeats(self) -> bool:
        return str(self._insn.mnemonic).startswith("rep ")


_NAMES = {
    "o": "o", "b": "b c nae", "e": "e z", "be": "be na", "s": "s", "l": "l nge", "le": "le ng",
}  # fmt: skip
_OPPOSITES = {
    "o": "no", "b": "ae nb nc", "e": "ne nz", "be": "a nbe", "s": "ns", "l": "ge nl", "le": "g nle",
}  # fmt: skip
CONDITIONS = {
    name: (condition, opposite)
    for table, opposite in ((_NAMES, False), (_OPPOSITES, True))
    for condition, names in table.items()
    for name in names.split()
}
