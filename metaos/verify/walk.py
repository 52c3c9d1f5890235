"""Follow one straight line with `Value`s in place of numbers: every access it can make.

    walk(line, atlas, roots, next_place).accesses[0]
    # Access(step 3, "memory", address {0x200000, 0x40200000} + 16 * [0, 255], 4 bytes, write)

There are no branches, so one pass sees every path. Loads from read-only data yield the
bytes themselves (with an unknown index: that column of every row); loads from `next` yield
the listed roots, because every store to it is held against that list (flow.py). What
the processor leaves undefined, and every instruction without a rule here, yields anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from math import gcd
from typing import Any

from capstone import x86

from metaos.ir.program import SHADOW
from metaos.verify.decode import Line, Step
from metaos.verify.flags import Flags
from metaos.verify.memory import Atlas
from metaos.verify.registers import REGISTERS, Registers
from metaos.verify.semantics import FOLLOWED, RULES
from metaos.verify.values import ANY, LIMIT, Value, join, known, narrow, plus, times, unknown

ROW = 16
"""Bytes of a row. A row cursor that is kept times 16 shows no step: it is taken to be one."""

STRINGS = {"stos": "w", "movs": "rw", "ins": "w", "outs": "r", "lods": "r"}
"""String instructions and what they do to memory; the last letter of a mnemonic is the width."""

_READ_WRITE = 3
_WIDTH = {"b": 1, "w": 2, "d": 4, "q": 8}


@dataclass(frozen=True, slots=True)
class Access:
    """One memory or port access of a step. Sizes in bytes.

    `address` is the linear address, or the port; `size` one unit's width; `count` how many
    units a repeated string instruction makes (None: exactly one); `stored` what is written
    where the address is no shadow. `selected`, of a port: what configuration space was last
    told to select.
    """

    step: Step
    kind: str
    address: Value
    size: int
    read: bool
    write: bool
    count: Value | None = None
    stored: Value = ANY
    selected: Value = ANY


@dataclass(frozen=True, slots=True)
class Walk:
    """All accesses in order, and what each `mov cr3` can load. `rows`: 0 if it reads none.

    `at` are, for each access, the cursors of the rows that make it; empty without rows.
    `remembered` are the places of which a word was used that this turn had stored there, `faulting`
    divisions of which it is not known that they divide by something, and that the quotient fits.
    """

    accesses: tuple[Access, ...]
    roots: tuple[tuple[Step, Value], ...]
    rows: int = 0
    at: tuple[tuple[int, ...], ...] = ()
    remembered: frozenset[str] = frozenset()
    faulting: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """What each element of a place can hold; `size` of one in bytes."""

    size: int
    value: Value


@dataclass(frozen=True)
class Ground:
    """What every walk stands on: the listed roots, the place `next`, what places can hold.

    `select` is the port that selects what of configuration space is accessed, -1 for none. `told`
    are places that devices know of: what they hold may change between two instructions.
    """

    roots: tuple[int, ...]
    next_place: int
    cells: Mapping[str, Cell] = field(default_factory=dict)
    select: int = -1
    told: frozenset[str] = frozenset()

    def with_cells(self, cells: Mapping[str, Cell]) -> Ground:
        return replace(self, cells=cells)


Words = dict[tuple[int, int], Value]
"""What memory is known to hold in this turn, by linear address and size."""


def walk(line: Line, atlas: Atlas, ground: Ground, words: Words | None = None) -> Walk:
    """Follow `line` once, from its first instruction to its last; `words` hold at its start."""
    walker = Walker(atlas, ground, words)
    for step in line.steps:
        walker.take(step)
    remembered = frozenset(walker.remembered)
    found, roots = tuple(walker.accesses), tuple(walker.roots)
    return Walk(found, roots, remembered=remembered, faulting=tuple(walker.faulting))


class Walker:
    """The state of one walk; semantics.py holds what each instruction does to it."""

    def __init__(self, atlas: Atlas, ground: Ground, words: Words | None = None) -> None:
        self.registers = Registers()
        self.accesses: list[Access] = []
        self.roots: list[tuple[Step, Value]] = []
        self.flags: Flags | None = None
        self.remembered: set[str] = set()
        self.faulting: list[Step] = []
        self._selected = ANY
        self._atlas = atlas
        self._ground = ground
        self._words: Words = dict(words or {})
        self._step: Step
        self._gated = False
        stack = next((s for s in atlas.symbols if s.name == "stack"), None)
        if stack is not None:
            self.registers.write("rsp", known(stack.linear + stack.size))

    def take(self, step: Step) -> None:
        """Apply one instruction."""
        self._step = step
        name, insn = step.mnemonic, step.insn
        string = name[:-1] in STRINGS and name[-1] in _WIDTH
        if not string and name not in FOLLOWED:
            self.flags = None
        if string:
            self._string(name, insn)
        elif name in ("in", "out"):
            self._port(name, insn)
        elif name == "mov" and insn.operands[0].type == x86.X86_OP_REG and self._is_cr3(insn):
            self.roots.append((step, self.read(insn.operands[1])))
        elif name in RULES:
            RULES[name](self, insn.operands)
        else:
            self._unknown(insn)
        if self._gated:
            self._gated, self.flags = False, None

    # Operands

    def name(self, operand: Any) -> str:
        """The general register that an operand is; empty for any other operand."""
        if operand.type != x86.X86_OP_REG:
            return ""
        name = str(self._step.insn.reg_name(operand.reg))
        return name if name in REGISTERS else ""

    def read(self, operand: Any) -> Value:
        """The value of a register, constant or memory operand, zero-extended."""
        if operand.type == x86.X86_OP_IMM:
            return narrow(known(operand.imm), operand.size * 8)
        if operand.type == x86.X86_OP_REG:
            name = self.name(operand)
            return self.registers.read(name) if name else ANY
        address = self.address(operand)
        self.accesses.append(
            Access(self._step, "memory", address, operand.size, read=True, write=False)
        )
        if operand.access == _READ_WRITE and self._step.mnemonic != "xchg":
            real = self._unshadowed(address)
            self._gated = real != address
            address = real
        return self._load(address, operand.size)

    def write(self, operand: Any, value: Value) -> None:
        """Put `value` in a register or memory operand."""
        if operand.type == x86.X86_OP_REG:
            name = self.name(operand)
            if name:
                self.registers.write(name, value)
            return
        address = self.address(operand)
        value = narrow(value, operand.size * 8)
        self._touch(address, operand.size, value)
        self._store(address, operand.size, value)

    def _touch(self, address: Value, size: int, value: Value) -> None:
        """Note a write; joined with this step's read of the same place, if it made one."""
        last = self.accesses[-1] if self.accesses else None
        if last and last.step is self._step and last.address == address and not last.write:
            self.accesses.pop()
            read = True
        else:
            read = False
        self.accesses.append(
            Access(self._step, "memory", address, size, read=read, write=True, stored=value)
        )

    def _unshadowed(self, address: Value) -> Value:
        """The address without its shadows, for an operand that is read to be written again.

        What is written to a shadow is nobody's concern, so `Access.stored` is what the real place
        gets; the flags, which the shadow's content reaches too, are dropped by `take`.
        """
        found = {base: self._atlas.find(base, 1) for base in address.bases}
        real = frozenset(base for base, located in found.items() if located and not located.shadow)
        return Value(real, address.high, address.step) if real else address

    def address(self, operand: Any) -> Value:
        """The linear address of a memory operand, modulo 2^64."""
        memory, insn = operand.mem, self._step.insn
        total = known(memory.disp)
        if memory.base == x86.X86_REG_RIP:
            return plus(total, known(insn.address + insn.size))
        if memory.base:
            total = plus(total, self._index(memory.base))
        if memory.index:
            total = plus(total, times(self._index(memory.index), memory.scale))
        return total

    def _index(self, register: int) -> Value:
        name = self._step.insn.reg_name(register)
        return self.registers.read(name) if name in REGISTERS else ANY

    def divide(self, divisor: Value, high: Value) -> None:
        """Note a division that may fault: by 0, or of a number whose upper half is not 0."""
        if divisor.holds(0) or high != known(0):
            self.faulting.append(self._step)

    # Memory

    def _load(self, address: Value, size: int) -> Value:
        if address.exact and len(address.bases) == 1:
            (linear,) = address.bases
            for whole in (8, 4, 2, 1):
                if whole >= size and (linear, whole) in self._words:
                    self.remembered.add(self._private(linear, size))
                    return narrow(self._words[linear, whole], size * 8)
            if linear == self._ground.next_place and size in (4, 8):
                return narrow(known(*self._ground.roots), size * 8)
        listed = self._constants(address, size)
        return self._settled(address, size) if listed is None else listed

    def _settled(self, address: Value, size: int) -> Value:
        """What the places at these addresses can hold, if they are ones that are followed."""
        names = set[str]()
        for linear in address.bases:
            located = self._atlas.find(linear, size)
            if located is None or located.shadow or located.offset % size:
                return unknown(size * 8)
            names.add(located.symbol.name)
        cells = [self._ground.cells.get(name) for name in sorted(names)]
        followed = [x.value for x in cells if x is not None and x.size == size]
        if len(followed) < len(cells) or not cells or (address.high and address.step % size):
            return unknown(size * 8)
        return reduce(join, followed)

    def _constants(self, address: Value, size: int) -> Value | None:
        """What read-only data holds at any of these addresses; None if not all is such data."""
        found: set[int] = set()
        for linear in address.bases:
            located = self._atlas.find(linear, size)
            if located is None or located.symbol.kind != "datum":
                return None
            data = self._atlas.data[located.symbol.name]
            step = gcd(address.step, ROW) if address.step % ROW == 0 else ROW
            last = min(located.offset + address.high, len(data) - size)
            offsets = range(located.offset, last + 1, step)
            if len(offsets) > 16 * LIMIT:
                return None
            found.update(int.from_bytes(data[at : at + size], "little") for at in offsets)
        return known(*found) if len(found) <= 16 * LIMIT else None

    def _store(self, address: Value, size: int, value: Value) -> None:
        if address.exact and len(address.bases) == 1:
            (linear,) = address.bases
            self._forget(linear, linear + size)
            if self._private(linear, size):
                self._words[linear, size] = value
            return
        for linear in address.bases:
            located = self._atlas.find(linear, 1)
            if located is None:  # two gates' sum leads to where nothing is: it would fault
                if address.high >= SHADOW or self._atlas.mapped(linear):
                    self._words.clear()
            elif not located.shadow:
                start = located.symbol.linear
                self._forget(start, start + located.symbol.size)

    def _private(self, linear: int, size: int) -> str:
        """The place that holds all of this, if no device knows of it; else empty."""
        located = self._atlas.find(linear, size)
        if located is None or located.shadow or located.symbol.kind != "place":
            return ""
        name = located.symbol.name
        return "" if name in self._ground.told else name

    def _forget(self, start: int, end: int) -> None:
        for at, size in [key for key in self._words if key[0] < end and start < sum(key)]:
            del self._words[at, size]

    # Instructions that are no arithmetic

    def _is_cr3(self, insn: Any) -> bool:
        return bool(insn.operands[0].reg == x86.X86_REG_CR3)

    def _string(self, name: str, insn: Any) -> None:
        """Source: Intel SDM vol. 2, "REP/REPE/REPZ/REPNE/REPNZ", direction flag clear."""
        size, kind = _WIDTH[name[-1]], name[:-1]
        repeated = insn.mnemonic.startswith("rep ")
        count = self.registers.read("rcx") if repeated else None
        if kind in ("ins", "outs"):
            port = self.registers.read("dx")
            reads, writes, now = kind == "ins", kind == "outs", self._selected
            sent = self._load(self.registers.read("rsi"), size) if writes else ANY
            self.accesses.append(
                Access(self._step, "port", port, size, reads, writes, count, sent, now)
            )
            if writes and count != known(0):
                self._select(port, ANY)
        for letter, register in (("r", "rsi"), ("w", "rdi")):
            if letter not in STRINGS[kind]:
                continue
            address = self.registers.read(register)
            sent = narrow(self.registers.read("rax"), 8 * size) if kind == "stos" else ANY
            read, write = letter == "r", letter == "w"
            self.accesses.append(
                Access(self._step, "memory", address, size, read, write, count, sent)
            )
            if letter == "w":
                reach = size if count is None else size * max(count.top, 1)
                for base in address.bases:
                    self._forget(base, base + address.high + reach)
            moved = known(size) if count is None else times(count, size)
            self.registers.write(register, plus(address, moved))
        if kind == "lods":
            self.registers.forget("rax")
        if repeated:
            self.registers.clear("rcx")

    def _port(self, name: str, insn: Any) -> None:
        number, data = insn.operands if name == "out" else reversed(insn.operands)
        port, size, now = self.read(number), data.size, self._selected
        if name == "in":
            self.accesses.append(Access(self._step, "port", port, size, True, False, selected=now))
            self.write(data, unknown(size * 8))
            return
        sent = self.read(data)
        self.accesses.append(
            Access(self._step, "port", port, size, False, True, stored=sent, selected=now)
        )
        self._select(port, sent if size == 4 else ANY)

    def _select(self, port: Value, sent: Value) -> None:
        """Note what a port is told that may be the one that selects of configuration space."""
        if port == known(self._ground.select):
            self._selected = sent
        elif any(port.holds(self._ground.select + byte) for byte in range(4)):
            self._selected = ANY

    def _unknown(self, insn: Any) -> None:
        """Note the accesses, then forget whatever the instruction writes."""
        for operand in insn.operands:
            if operand.type != x86.X86_OP_MEM:
                continue
            if operand.access & 1 or not operand.access:
                self.read(operand)
            if operand.access & 2 or not operand.access:
                self.write(operand, ANY)
        for register in insn.regs_access()[1]:
            self.registers.forget(insn.reg_name(register))
