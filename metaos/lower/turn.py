"""A pattern's `turn` to ops: `Turn(plan, builder, frames, text).lower()`.

Reads see the values a turn began with; `s'` reads a state anew.
"""

from __future__ import annotations

from typing import Protocol, cast

from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.accesses import Cond, Element, Num, Text, Value
from metaos.lower.clock import BEGUN, EVERY, Ticks, due
from metaos.lower.known import fail
from metaos.lower.plan import DevicePlan, RegisterPlan, StatePlan, TablePlan, Waker
from metaos.lower.values import Frame, Values
from metaos.pattern import syntax as s
from metaos.pattern.spell import walk

WANTED = "wanted"
"""What a card's turn calls that a service has something to say."""


class Splice(Protocol):
    """The services that a device carries."""

    @property
    def speaks(self) -> bool:
        """Whether one of them says something unasked."""

    def __call__(self, builder: Builder, frame: Frame) -> tuple[Op, Op]:
        """A frame to the gate of its answer and the answer's length (16 bits)."""

    def wants(self, builder: Builder) -> Op:
        """Whether one of them wants to, as one bit."""

    def speak(self, builder: Builder, frame: Frame) -> tuple[Op, Op]:
        """Room for a frame, to the gate of one that is said and its length (32 bits)."""


class Turn(Values):
    """Lowers the steps of one turn."""

    def __init__(
        self,
        plan: DevicePlan,
        builder: Builder,
        frames: Splice | None,
        text: Text | None,
        ticks: Ticks | None = None,
        waker: Waker | None = None,
    ) -> None:
        super().__init__(plan, builder, text)
        self.frames = frames
        self.waker = waker
        self.ticks = ticks
        self.periods = 0
        self.offered: s.Offer | None = None

    def lower(self) -> None:
        """Lower the pattern's turn, if it has one."""
        turn = self.plan.pattern.one(s.Turn)
        if turn is not None:
            if any(isinstance(x, s.Name) and x.text == WANTED for x in walk(turn)):
                self.names[WANTED] = self.wanted()
            self.steps(turn.steps, Cond(()))

    def wanted(self) -> Value:
        """Whether a service has something to say."""
        if self.frames is None or not self.frames.speaks:
            return 0
        return Num(self.frames.wants(self.b), 1)

    def steps(self, steps: tuple[s.Step, ...], guard: Cond) -> None:
        outer, self.guard = self.guard, guard
        for step in steps:
            with self.b.at(step.span):
                self.step(step, guard)
        self.guard = outer

    def step(self, step: s.Step, guard: Cond) -> None:
        match step:
            case s.Let():
                self.let(step, guard)
            case s.Write(given=given) if given is not None and not self.end(given):
                pass
            case s.Write(target=target, value=value, guard=own):
                self.write(target, value, self.both(guard, self.condition(own)))
            case s.Swap(left=left, right=right, guard=own):
                self.swap(left, right, self.both(guard, self.condition(own)))
            case s.When(guard=own, body=body):
                self.steps(body, self.both(guard, self.condition(own)))
            case s.Every():
                self.every(step, guard)
            case s.Offer():
                self.offer(step, guard)
            case s.Grant():
                self.grant(step, guard)
            case s.Take(character=character, some=some):
                if self.text is not None:
                    char, more, at = self.text.take(self.b)
                    self.names[character] = Num(char, 8)
                    self.names[some] = Cond((more,))
                    self.names[step.position or "position"] = Num(at, 8)
            case s.Advance(guard=own):
                taken = self.truth(self.both(guard, self.condition(own)))
                if self.text is not None:
                    self.text.advance(self.b, taken)
            case s.Given(condition=condition, body=body):
                if self.end(condition):
                    self.steps(cast(tuple[s.Step, ...], body), guard)
            case s.Wake(guard=own):
                self.wake(self.both(guard, self.condition(own)))
            case s.Move():
                self.move(step, self.both(guard, self.condition(step.guard)))
            case s.Order():
                self.b.fence()

    def every(self, step: s.Every, guard: Cond) -> None:
        """What is due waits for the guard around it; what is late is done once."""
        if self.ticks is None:
            raise fail(step.span, "E0467", "no clock on this machine tells the time")
        if self.ticks.of(step.period) >= BEGUN:
            raise fail(step.span, "E0469", "the clock does not count as far as that")
        symbol = self.plan.symbol(f"{EVERY}{self.periods}")
        self.periods += 1
        time = due(self.b, self.ticks, symbol, step.period)
        own = self.both(guard, Cond((time.holds,)))
        time.again(self.b, self.gate(own))
        self.steps(step.body, own)

    def let(self, step: s.Let, guard: Cond) -> None:
        if step.guard is None:
            self.names[step.name] = self.value(step.value)
            return
        own = self.both(guard, self.condition(step.guard))
        default = self.value(step.default) if step.default is not None else 0
        node, field = step.value, None
        if isinstance(node, s.Member) and isinstance(node.of, s.Name):
            field = self.field_of(node.of, node.name)
            node = node.of
        register = self.plan.registers.get(node.text) if isinstance(node, s.Name) else None
        if register is None or not isinstance(default, int):
            raise fail(step.span, "E0419", "a guarded read reads a register or one of its fields")
        shift = field.low if field is not None else 0
        whole = self.read_register(node, register, own, default << shift)
        if field is None:
            self.names[step.name] = Num(whole, register.bits)
        else:
            bits = self.b.slice(whole, field.high, field.low)
            self.names[step.name] = Num(bits, field.bits)

    def write(self, target: s.Expr, node: s.Expr, guard: Cond) -> None:
        match target:
            case s.Name(text=text) if text in self.plan.states:
                self.write_state(self.plan.states[text], node, guard)
            case s.Name(text=text) if text in self.plan.registers:
                register = self.plan.registers[text]
                value = self.register_value(register, node)
                self.write_register(target, register, value, guard)
            case s.Index(of=s.Name(text=text), index=index) if text in self.plan.tables:
                self.write_element(self.plan.tables[text], index, node, guard)
            case s.Index(of=s.Name(text=text), index=index) if text in self.plan.states:
                state = self.plan.states[text]
                value = self.stored(state, self.value(node))
                offset, ops = self.index(self.value(index), state.stride)
                self.read_state(state, ops, offset)
                self.b.store(value, state.symbol, offset, (*ops, self.gate(guard)))
            case s.Member(of=s.Index(of=s.Name(text=text), index=index), name=name) if (
                text in self.plan.tables
            ):
                self.write_field(self.plan.tables[text], index, name, node, guard)
            case _:
                raise fail(target.span, "E0420", "a turn writes states, tables and registers")

    def write_state(self, state: StatePlan, node: s.Expr, guard: Cond) -> None:
        self.read_state(state, ())  # who reads it later in the turn reads the old value
        self.renewed.pop((f"{state.symbol}+0", None), None)
        gate = self.gate(guard)
        amount = self.counts(state, node)
        self.written.add(state.name)
        if amount is not None:
            old = self.b.load(state.storage, state.symbol, 0, (gate,))
            amount_op = self.b.const(amount << state.scale, state.storage)
            self.b.store(self.b.add(old, amount_op), state.symbol, 0, (gate,))
            return
        value = self.stored(state, self.value(node))
        self.b.store(value, state.symbol, 0, (gate,))

    def counts(self, state: StatePlan, node: s.Expr) -> int | None:
        """k for `state <- state + k` of a state that wraps by itself: added in place."""
        match node:
            case s.Binary(operator="+", left=s.Name(text=text), right=s.Number(value=amount)):
                taken = (state.name, amount) in self.sums or text in self.written
                return amount if text == state.name and state.wraps and not taken else None
        return None

    def register_value(self, register: RegisterPlan, node: s.Expr) -> Op:
        if not isinstance(node, s.Record):
            return self.plain(self.value(node), register.bits)
        return self.record(register.node.fields, node, register.bits, 0)

    def record(self, fields: tuple[s.Field, ...], node: s.Record, bits: int, base: int) -> Op:
        """The `bits` bits from bit `base` of a record."""
        word = self.b.const(0, bits)
        by_name = {f.name: f for f in fields}
        for part in node.fields:
            field = by_name.get(part.name)
            if field is None:
                raise fail(part.span, "E0414", f"no field '{part.name}'")
            if field.high < base or base + bits <= field.low:
                continue
            value: Value = 1 if part.value is None else self.value(part.value)
            if isinstance(value, Num) and not value.scale and value.bits <= field.bits:
                op = value.op
            else:
                op = self.plain(value, field.bits)
            if field.low < base:  # it began in the word before
                op = self.b.lshr(op, self.b.const(base - field.low, op.bits))
            op = self.b.resize(op, bits)
            op = self.b.shl(op, self.b.const(max(0, field.low - base), bits))
            word = self.b.or_(word, op)
        return word

    def write_element(self, table: TablePlan, index: s.Expr, node: s.Expr, guard: Cond) -> None:
        if not isinstance(node, s.Record) or table.layout is None:
            raise fail(node.span, "E0421", "an element is written whole: { field = value, ... }")
        where = self.value(index)
        if isinstance(where, Num | int):
            self.bounded(table, where, index)
        offset, ops = self.at(table, where)
        gate = self.gate(guard)
        unit = min(64, 8 * (table.stride & -table.stride))
        words = [
            self.record(table.layout.fields, node, unit, base)
            for base in range(0, table.stride * 8, unit)
        ]
        for number, word in enumerate(words):
            at = offset + number * unit // 8
            self.b.store(word, table.symbol, at, (*ops, gate), ordered=True)
        self.written.add(table.name)

    def write_field(
        self, table: TablePlan, index: s.Expr, name: str, node: s.Expr, guard: Cond
    ) -> None:
        """A field of whole bytes is stored alone; the others keep their values."""
        field = table.layout.field(name) if table.layout is not None else None
        if field is None or field.low % 8 or field.bits not in (8, 16, 32, 64):
            raise fail(node.span, "E0424", f"'{name}' is no field of 1, 2, 4 or 8 whole bytes")
        where = self.value(index)
        if isinstance(where, Num | int):
            self.bounded(table, where, index)
        offset, ops = self.at(table, where)
        if isinstance(node, s.Record):
            assert table.layout is not None
            value = self.record(table.layout.inside(field), node, field.bits, field.low)
        else:
            value = self.plain(self.value(node), field.bits)
        gate = self.gate(guard)
        at = offset + field.low // 8
        self.b.store(value, table.symbol, at, (*ops, gate), ordered=True)
        self.written.add(table.name)

    def swap(self, left: s.Expr, right: s.Expr, guard: Cond) -> None:
        gate = self.gate(guard)
        places = []
        for node in (left, right):
            state = (
                self.plan.states.get(node.of.text)
                if isinstance(node, s.Index) and isinstance(node.of, s.Name)
                else None
            )
            if state is None or not isinstance(node, s.Index):
                raise fail(node.span, "E0422", "'swap' takes two elements of state arrays")
            value = self.value(node)
            offset, ops = self.index(self.value(node.index), state.stride)
            places.append((state, offset, ops, value))
        for (state, offset, ops, _), (_, _, _, value) in zip(places, places[::-1], strict=True):
            self.b.store(self.stored(state, value), state.symbol, offset, (*ops, gate))

    def wake(self, guard: Cond) -> None:
        """Interrupt this processor, in a phase that sleeps."""
        if self.waker is not None:
            at, value = (
                self.waker.register,
                self.b.const(self.waker.value, self.waker.register.bits),
            )
            self.b.store(value, at.symbol, at.number, (self.gate(guard),), ordered=True)

    def move(self, step: s.Move, guard: Cond) -> None:
        """A string instruction of as many items as the count says, none where the guard fails."""
        register = self.plan.registers.get(_name_of(step.register))
        element = self.value(step.element)
        if register is None or register.space != "port" or not isinstance(element, Element):
            raise fail(step.span, "E0426", "a block moves between a port and a table's element")
        offset, ops = self.at(element.table, element.index)
        count = self.plain(self.value(step.count), 64)
        if guard.tests or guard.gate is not None:
            count = self.b.select(self.truth(guard), count, self.b.const(0, 64))
        string = self.b.ins if step.inward else self.b.outs
        address = self.b.address(element.table.symbol, offset, ops)
        string(self.b.const(register.number, 16), count, address, register.bits)

    def offer(self, step: s.Offer, guard: Cond) -> None:
        element = self.value(step.frame)
        if not isinstance(element, Element):
            raise fail(step.frame.span, "E0423", "a frame lies at a table's element")
        assert self.frames is not None
        length = self.plain(self.value(step.length), 32)
        offset, ops = self.at(element.table, element.index)
        gate = self.gate(self.both(guard, self.condition(step.guard)))
        skip = self.end(step.skip) if step.skip is not None else 0
        base = self.b.address(element.table.symbol, offset + skip, ops)
        frame = Frame(base, length, gate, step.least)
        answered, answer_length = self.frames(self.b, frame)
        self.offered = step
        self.names[step.answered] = Cond((), answered)
        self.names[step.answer_length] = Num(answer_length, 16)

    def grant(self, step: s.Grant, guard: Cond) -> None:
        """Where nothing is answered, what a service has to say goes out in its place."""
        if self.frames is None or not self.frames.speaks:
            self.names[step.said] = 0
            return
        assert self.offered is not None
        names = self.offered.answered, self.offered.answer_length
        answered, length = self.names[names[0]], self.names[names[1]]
        element = self.value(step.frame)
        if not isinstance(element, Element) or not isinstance(answered, Cond):
            raise fail(step.frame.span, "E0423", "a frame lies at a table's element")
        assert answered.gate is not None
        silent = self.b.ne(answered.gate, self.open())
        free = self.both(guard, self.condition(step.guard))
        gate = self.gate(self.both(free, Cond((silent,))))
        skip = self.end(step.skip) if step.skip is not None else 0
        offset, ops = self.at(element.table, element.index)
        base = self.b.address(element.table.symbol, offset + skip, ops)
        said, said_length = self.frames.speak(self.b, Frame(base, self.b.const(0, 32), gate))
        self.names[step.said] = Cond((), said)
        self.names[names[0]] = Cond((), self.b.gate_any(answered.gate, said))
        test = self.b.eq(said, self.open())
        both = self.b.select(test, self.b.resize(said_length, 32), self.plain(length, 32))
        self.names[names[1]] = Num(both, 16)
        self.b.barrier()  # what is wanted now, not what was
        self.wake(Cond((self.frames.wants(self.b),)))  # until it has been said


def _name_of(node: s.Expr) -> str:
    return node.text if isinstance(node, s.Name) else ""
