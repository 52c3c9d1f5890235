"""Gates of a turn, and the registers that it reads and writes under them.

Guards become gates (see `metaos.ir.program`): an access that must not happen goes to the
scratch instead. Ports have no scratch: there a string instruction moves one item or none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.link.parts import Datum, DatumLine
from metaos.lower.known import fail
from metaos.lower.plan import DevicePlan, RegisterPlan, TablePlan
from metaos.pattern import syntax as s
from metaos.told import facts_of


@dataclass(frozen=True, slots=True)
class Num:
    """A number of `bits` bits, kept in `op` times 2^`scale`."""

    op: Op
    bits: int
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Cond:
    """A condition: all of `tests` (1 bit each), and what `gate` already stands for."""

    tests: tuple[Op, ...]
    gate: Op | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a table, read field by field where it is used.

    `fresh`: as it is there, also where this turn has written it already.
    """

    table: TablePlan
    index: Num | int
    fresh: bool = False


Value = Num | Cond | Element | int


@dataclass(slots=True)
class Constants:
    """Numbers that guarded port writes send, in the order of the line: a datum of the phase."""

    symbol: str
    said: list[tuple[bytes, Span, tuple[str, ...]]] = field(default_factory=list)

    def address(self, builder: Builder, node: s.Expr, value: Op) -> Op:
        """Where a constant lies; the next one is behind it, so that one pointer serves both."""
        offset = sum(len(data) for data, _, _ in self.said)
        data = value.value.to_bytes(value.bits // 8, "little")
        self.said.append((data, node.span, facts_of(value.value)))
        return builder.address(self.symbol, offset)

    def data(self, device: str, phase: str) -> tuple[Datum, ...]:
        """The datum, if there is a constant."""
        lines, at = list[DatumLine](), 0
        for one, span, facts in self.said:
            lines.append(DatumLine(at, at + len(one), device, "constant", span, facts))
            at += len(one)
        whole = b"".join(one for one, _, _ in self.said)
        return (Datum(self.symbol, (phase,), whole, 1, (), tuple(lines)),) if whole else ()


class Text(Protocol):
    """What a console shows: a stream of characters of 8 bits.

    `symbol` is where characters are loaded from; no console writes there.
    """

    @property
    def symbol(self) -> str: ...

    def take(self, builder: Builder) -> tuple[Op, Op, Op]:
        """The next character, whether (1 bit) there is one, and how many came before it."""

    def advance(self, builder: Builder, taken: Op) -> None:
        """Go on by `taken` (1 bit) characters."""


class Accesses:
    """One device in one phase: its guards, and its registers."""

    def __init__(self, plan: DevicePlan, builder: Builder, text: Text | None) -> None:
        self.plan = plan
        self.b = builder
        self.text = text
        self.written: set[str] = set()
        self.constants = Constants(f"{plan.address}.{builder.phase}.constants")
        self.guard = Cond(())  # of the `when` block that is being lowered

    # -- gates

    def open(self) -> Op:
        return self.b.const(0, 64)

    def gate(self, cond: Cond) -> Op:
        """0 where the condition holds, else the way to the scratch."""
        gate = cond.gate if cond.gate is not None else self.open()
        for test in cond.tests:
            gate = self.b.gate(gate, test)
        return gate

    def truth(self, cond: Cond) -> Op:
        """The condition as one bit."""
        bits = list(cond.tests)
        if cond.gate is not None:
            bits.insert(0, self.b.eq(cond.gate, self.open()))
        if not bits:
            return self.b.const(1, 1)
        result = bits[0]
        for bit in bits[1:]:
            result = self.b.and_(result, bit)
        return result

    def both(self, a: Cond, b: Cond) -> Cond:
        if a.gate is not None and b.gate is not None and a.gate is not b.gate:
            return Cond((*a.tests, *b.tests, self.b.eq(b.gate, self.open())), a.gate)
        gate = a.gate if a.gate is not None else b.gate
        if a.gate is None and b.gate is not None:
            return Cond((*b.tests, *a.tests), gate)
        return Cond((*a.tests, *(t for t in b.tests if t not in a.tests)), gate)

    # -- registers

    def read_register(self, node: s.Expr, register: RegisterPlan, guard: Cond, default: int) -> Op:
        if register.space == "mmio":
            gate = self.gate(guard)
            whole = self.b.load(
                register.bits, register.symbol, register.number, (gate,), ordered=True
            )
            if not guard.tests and guard.gate is None:
                return whole
            return self.b.select(self.truth(guard), whole, self.b.const(default, register.bits))
        if register.space == "port":
            port = self.b.const(register.number, 16)
            if not guard.tests and guard.gate is None:
                return self.b.input(port, register.bits)
            latch = self.plan.symbol("port.latch")
            self.b.store(self.b.const(default, register.bits), latch)
            count = self.b.zext(self.truth(guard), 64)
            self.b.ins(port, count, self.b.address(latch), register.bits)
            return self.b.load(register.bits, latch)
        raise fail(node.span, "E0418", "config space is reached by rows, not in a turn")

    def write_register(self, node: s.Expr, register: RegisterPlan, value: Op, guard: Cond) -> None:
        if register.space == "mmio":
            gate = self.gate(guard)
            self.b.store(value, register.symbol, register.number, (gate,), ordered=True)
        elif register.space == "port":
            port = self.b.const(register.number, 16)
            if not guard.tests and guard.gate is None:
                self.b.output(port, value)
                return
            count = self.b.zext(self.truth(guard), 64)
            self.b.outs(port, count, self.memory_of(node, value), register.bits)
        else:
            raise fail(node.span, "E0418", "config space is reached by rows, not in a turn")

    def is_kept(self, symbol: str) -> bool:
        """Whether a state still holds what the turn began with."""
        names = [n.name for n in self.plan.states.values() if n.symbol == symbol and not n.count]
        return bool(names) and names[0] not in self.written

    def memory_of(self, node: s.Expr, value: Op) -> Op:
        """Where a value lies: where it was just loaded from, if nothing else writes there."""
        at = value.address if value.kind == "load" and not value.ordered else None
        shown = self.text.symbol if self.text is not None else None
        if at is not None and (at.symbol == shown or self.is_kept(at.symbol)):
            return self.b.address(at.symbol, at.offset, value.args)
        if value.kind == "const":
            return self.constants.address(self.b, node, value)
        latch = self.plan.symbol("port.latch")
        self.b.store(value, latch, 4)
        return self.b.address(latch, 4)
