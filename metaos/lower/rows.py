"""Sequences and guards to rows: what a stepper reads, one row a turn (`metaos.lower.row`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from metaos.errors import Span
from metaos.link.parts import shifted
from metaos.lower.known import fail
from metaos.lower.loops import joined
from metaos.lower.plan import DevicePlan, RegisterPlan, TablePlan, Waker
from metaos.lower.row import FULL, PAUSE, SPARE, TIMED, Cell, Row
from metaos.lower.text import Texts
from metaos.match.facts import number
from metaos.pattern import syntax as s
from metaos.pattern.repeats import iterations
from metaos.pattern.spell import dotted
from metaos.told import facts_of

ROW_TESTS = {"==": "test", "!=": "unlike"}
"""What `await` and `expect` compare by, and the kind of row that does it."""
NUMBERS = ("lines.masked", "lines.level")
"""What the linker knows, since it depends on several devices; a register takes bits of it."""
HALVES = (16, 32)
"""By how many bits an address is shifted where a device takes it in two parts."""


@dataclass(frozen=True, slots=True)
class Part:
    """`bits` bits of a state, stored as `stored`; `known` is their value where it is folded."""

    place: Cell
    bits: int
    stored: int
    known: int | None


def config_address(address: str) -> int:
    """bus << 16 | device << 11 | function << 8 of "00:03.0".

    Source: PCI Local Bus Specification 3.0 §3.2.2.3.2.
    """
    bus, device, function = int(address[:2], 16), int(address[3:5], 16), int(address[6:], 16)
    return bus << 16 | device << 11 | function << 8


@dataclass(slots=True)
class RowLowering:
    """Lowers the rows of one device. `names` are build-time numbers such as `bar.size`."""

    plan: DevicePlan
    texts: Texts
    names: Mapping[str, int]
    lists: Mapping[str, tuple[Mapping[str, int], ...]]
    config: int | None
    facts: tuple[str, ...] = ()

    def lower(self, rows: tuple[s.Row, ...]) -> list[Row]:
        result: list[Row] = []
        for row in rows:
            match row:
                case s.Each(name=name, body=body):
                    for member in self.lists.get(name, ()):
                        inner = {f"{name}.{k}": v for k, v in member.items()}
                        # Which members there are is decided by the facts that they are made of.
                        because = facts_of(*member.values())
                        result += self._with({**self.names, **inner}, because).lower(body)
                case s.Repeat():
                    result += joined([self.lower(body) for body in iterations(row)], row.span)
                case s.Given(condition=condition, body=body):
                    if self._given(condition):
                        result += self.lower(cast(tuple[s.Row, ...], body))
                case s.Write() if self._given(row.given):
                    result += self._write(row)
                case s.Touch(register=register) if self._given(row.given):
                    result.append(self._touch(register, row.span))
                case s.Pause() if self._given(row.given):
                    result.append(self._pause(row))
                case s.Await() if self._given(row.given):
                    result.append(self._test(row, row.within))
                case s.Expect() if self._given(row.given):
                    result.append(self._test(row, 0))
        return result

    def _pause(self, row: s.Pause) -> Row:
        limit, kept = self._number(row.nanoseconds), None
        if row.kept is not None:
            kept = self._part(row.kept)
            if kept is None or kept.bits != 32 or kept.known is not None:
                raise fail(row.kept.span, "E0464", "how long a pause was is kept in 32 bits")
        kind, value = (TIMED, kept.place) if kept is not None else (PAUSE, Cell(0))
        return self._row(kind, Cell(0, SPARE), value, row.span, limit=limit)

    def _with(self, names: Mapping[str, int], because: tuple[str, ...]) -> RowLowering:
        return RowLowering(
            self.plan,
            self.texts,
            names,
            self.lists,
            self.config,
            tuple(dict.fromkeys((*self.facts, *because))),
        )

    def _given(self, given: s.Expr | None) -> bool:
        return given is None or bool(self._number(given))

    def _number(self, node: s.Expr) -> int:
        return number(node, self.plan.device, {**self.plan.facts.values, **self.names})

    def _register(self, node: s.Expr) -> tuple[RegisterPlan, Cell, str]:
        """A register's plan, place and space; a field of a table in RAM is as good as one."""
        field = self._table_field(node)
        if field is not None:
            return field, Cell(field.number, field.symbol), f"mem{field.bits}"
        index, name = 0, node
        if isinstance(node, s.Index):
            index, name = self._number(node.index), node.of
        register = self.plan.registers.get(name.text) if isinstance(name, s.Name) else None
        if register is None:
            raise fail(node.span, "E0460", "a row's place is a register")
        if index >= register.node.count:
            raise fail(node.span, "E0461", f"'{register.node.name}' has {register.node.count}")
        at = register.number + index * register.bits // 8
        if register.space == "mmio":
            return register, Cell(at, register.symbol), f"mem{register.bits}"
        if register.space == "config":
            if self.config is None:
                raise fail(node.span, "E0463", "only PCI functions have config space")
            return register, Cell(self.config + at), "config"
        return register, Cell(at), f"port{register.bits}"

    def _table_field(self, node: s.Expr) -> RegisterPlan | None:
        """A field of 8, 16 or 32 whole bits of a table's element, as a register in memory."""
        match node:
            case s.Member(of=s.Index(of=s.Name(text=text), index=index), name=name) if (
                text in self.plan.tables
            ):
                pass
            case _:
                return None
        table, at = self.plan.tables[text], self._number(index)
        field = table.layout.field(name) if table.layout is not None else None
        if field is None or field.low % 8 or field.bits not in (8, 16, 32):
            raise fail(node.span, "E0424", f"'{name}' is no field of 1, 2 or 4 whole bytes")
        if not 0 <= at < table.count:
            raise fail(index.span, "E0461", f"'{text}' has {table.count}")
        offset = table.offset + at * table.stride + field.low // 8
        register = s.Register(
            offset, name, 1, "rw", None, None, (), table.node.span, field.bits, False
        )
        facts = (f"{self.plan.device.kind}.{self.plan.address}",)
        return RegisterPlan("mmio", table.symbol, offset, field.bits, register, facts)

    def waker(self, waker: s.Waker) -> Waker:
        """The register in memory that interrupts the processor, and what is written to it."""
        register, _, space = self._register(waker.register)
        if not space.startswith("mem"):
            raise fail(waker.span, "E0474", "the processor is woken by a register in memory")
        return Waker(register, self._value(register, waker.value).value)

    def read_place(self, node: s.Expr) -> tuple[str, Cell]:
        """The space and the place of a register that a `learn` row reads."""
        _, place, space = self._register(node)
        return space, place

    def _row(
        self,
        kind: str,
        place: Cell,
        value: Cell,
        span: Span,
        *,
        mask: int = 0,
        limit: int = 0,
        site: int = 0,
        facts: tuple[str, ...] = (),
    ) -> Row:
        where = (*self.facts, *facts)
        return Row(kind, place, value, mask, limit, site, self.plan.address, span, where)

    def _write(self, row: s.Write) -> list[Row]:
        bit = self._bit(row)
        if bit is not None:
            return [bit]
        kept = self._part(row.target)
        field = self._table_field(row.target)
        if field is not None and self._reads_register(row.value):
            place = Cell(field.number, field.symbol)
            kept = Part(place, field.bits, field.bits, None)
        if kept is not None:
            return [self._keep(row, kept)]
        register, place, space = self._register(row.target)
        given = self._part(row.value)
        facts = self._facts(register, row.value, row.given)
        if field is not None and given is not None and given.known is None:
            return [self._copy(row, given, place, register.bits)]
        if given is None or given.known is not None:
            value = Cell(given.known or 0) if given else self._value(register, row.value)
            return [self._row(f"{space}.write", place, value, row.span, facts=facts)]
        if given.bits != register.bits:
            text = f"{given.bits} bits of a state are no {register.bits} bits of a register"
            raise fail(row.value.span, "E0464", text, "name as many bits as the register has")
        return [self._row(f"{space}.put", place, given.place, row.span, facts=facts)]

    def _copy(self, row: s.Write, given: Part, to: Cell, bits: int) -> Row:
        """Bits of a state are read and kept in a table in RAM."""
        if given.bits != bits:
            text = f"{given.bits} bits of a state are no {bits} bits of a field"
            raise fail(row.value.span, "E0464", text, "name as many bits as the field has")
        action = "keep" if bits == 32 else f"keep{bits}"
        return self._row(f"mem{bits}.{action}", given.place, to, row.span)

    def _bit(self, row: s.Write) -> Row | None:
        """One bit of a register becomes one bit of a state; None for any other row."""
        match row.target:
            case s.Index(of=s.Name(text=text), index=index) if text in self.plan.states:
                state, number = self.plan.states[text], self._number(index)
            case _:
                return None
        known = self.plan.folded.get(text)
        if known is not None:
            return self._unit_test(row, known >> number & 1)
        node = row.value.of if isinstance(row.value, s.Member) else row.value
        register, place, space = self._register(node)
        field = self._field(register, row.value)
        fits = 0 <= number < state.bits and not state.count and not state.scale
        if field is None or field.bits != 1 or not fits or state.storage < 16:
            text = "one bit of a register is kept in one bit of a state of 16 bits or more"
            raise fail(row.span, "E0464", text)
        return replace(
            self._row(
                f"{space}.bit", place, Cell(number // 16 * 2, state.symbol), row.span,
                facts=self._facts(register, row.given),
            ),
            aside=number % 16,
            bits=1 << field.low,
        )  # fmt: skip

    def _reads_register(self, node: s.Expr) -> bool:
        of = node.of if isinstance(node, s.Member | s.Index) else node
        return isinstance(of, s.Name) and of.text in self.plan.registers

    def _keep(self, row: s.Write, kept: Part) -> Row:
        """A register, or its lowest field, is read into bits of a state."""
        node = row.value.of if isinstance(row.value, s.Member) else row.value
        register, place, space = self._register(node)
        if kept.known is not None:
            return self._unit_test(row, kept.known)
        field = self._field(register, row.value)
        if (field is not None and field.low) or kept.bits > register.bits:
            text = "a row keeps bits from bit 0 on, and no more than the register has"
            raise fail(row.value.span, "E0464", text)
        facts = self._facts(register, row.given)
        action = "keep" if kept.stored == 32 else f"keep{kept.stored}"
        return self._row(f"{space}.{action}", place, kept.place, row.span, facts=facts)

    def _facts(self, register: RegisterPlan, *nodes: s.Expr | None) -> tuple[str, ...]:
        """What a row depends on: where its register lies, and its expressions."""
        behind = (f for node in nodes for f in self.plan.facts.behind(node))
        return tuple(dict.fromkeys((*register.facts, *behind)))

    def _field(self, register: RegisterPlan, node: s.Expr) -> s.Field | None:
        name = node.name if isinstance(node, s.Member) else ""
        return next((f for f in register.node.fields if f.name == name), None)

    def _part(self, node: s.Expr) -> Part | None:
        """A state, or whole bytes of one; None for anything else."""
        of = node.of if isinstance(node, s.Slice) else node
        state = self.plan.states.get(of.text) if isinstance(of, s.Name) else None
        if state is None or state.count:
            return None
        low, bits = 0, state.bits
        if isinstance(node, s.Slice):
            low = self._number(node.low)
            bits = self._number(node.high) - low + 1
        last = low + bits == state.bits and low + 32 <= state.storage  # what is above is nobody's
        stored = 32 if bits <= 32 and last and low % 32 == 0 else bits
        if low % 8 or stored not in (8, 16, 32) or state.scale:
            text = "a row reads and writes a state by 8, 16 or 32 bits from a whole byte on"
            raise fail(node.span, "E0464", text)
        known = self.plan.folded.get(state.name)
        if known is not None:
            known = known >> low & (1 << bits) - 1
        return Part(Cell(low // 8, state.symbol), bits, stored, known)

    def _touch(self, node: s.Expr, span: Span) -> Row:
        """A read whose value does not matter: a test that passes always."""
        register, place, space = self._register(node)
        return self._row(f"{space}.test", place, Cell(0), span, facts=register.facts)

    def _unit_test(self, row: s.Write, value: int) -> Row:
        """Instead of reading what this unit has: see that it is the unit the image is for."""
        wanted = s.Number(value & self._readable(row.value), row.span)
        condition = s.Binary("==", row.value, wanted, row.span)
        text = "the image is for another unit"
        return self._test(s.Expect(condition, text, row.given, row.span), 0)

    def _readable(self, node: s.Expr) -> int:
        """All ones in the width of a register or of one of its fields."""
        register, _, _ = self._register(node.of if isinstance(node, s.Member) else node)
        field = self._field(register, node)
        return (1 << (field.bits if field is not None else register.bits)) - 1

    def _value(self, register: RegisterPlan, node: s.Expr) -> Cell:
        match node:
            case s.Reference(of=s.Name(text=text)) if text in self.plan.tables:
                table = self.plan.tables[text]
                return Cell(table.offset, table.symbol)
            case s.Binary(operator=">>", left=s.Reference(of=s.Name(text=text)), right=by) if (
                text in self.plan.tables
            ):
                return self._shifted(self.plan.tables[text], self._number(by), node.span)
            case s.Record(fields=parts):
                fields = {f.name: f for f in register.node.fields}
                word = 0
                for part in parts:
                    if part.name not in fields:
                        raise fail(part.span, "E0414", f"no field '{part.name}'")
                    value = 1 if part.value is None else self._number(part.value)
                    word |= value << fields[part.name].low
                return Cell(word & FULL)
            case s.Slice(of=of, low=low) if dotted(of) in NUMBERS:
                first = self._number(low)
                return Cell(0, shifted(dotted(of), first) if first else dotted(of))
        return Cell(self._number(node) & ((1 << register.bits) - 1))

    def _shifted(self, table: TablePlan, shift: int, span: Span) -> Cell:
        """The high bits of where a table starts; the low ones are 0, or told besides."""
        aligned = shift in HALVES or table.node.align % (1 << shift) == 0
        if not 0 < shift < 64 or not aligned or table.offset or table.window:
            text = "a place is told by halves, or without bits that are 0 by its align"
            raise fail(span, "E0462", text)
        return Cell(0, shifted(table.symbol, shift))

    def _test(self, row: s.Await | s.Expect, limit: int) -> Row:
        condition, span = row.condition, row.span
        if not isinstance(condition, s.Binary) or condition.operator not in ROW_TESTS:
            raise fail(condition.span, "E0465", "a row tests 'register == value'")
        left: s.Expr = condition.left
        field, kept = None, FULL
        match left:
            case s.Binary(operator="&", left=of, right=cut):
                left, kept = of, self._number(cut) & FULL
        if isinstance(left, s.Member) and self._table_field(left) is None:
            register, place, space = self._register(left.of)
            field = next((f for f in register.node.fields if f.name == left.name), None)
            if field is None:
                raise fail(left.span, "E0414", f"no field '{left.name}'")
        else:
            register, place, space = self._register(left)
        low, bits = (field.low, field.bits) if field else (0, register.bits)
        mask = ((1 << bits) - 1) << low & kept << low
        value = self._number(condition.right) << low & mask
        site = self.texts.add(self._titled(row.message), {}, self.plan.address, span)
        facts = self._facts(register, condition.right, row.given)
        return self._row(
            f"{space}.{ROW_TESTS[condition.operator]}",
            place,
            Cell(value),
            span,
            mask=mask,
            limit=limit,
            site=site,
            facts=facts,
        )

    def _titled(self, message: str) -> str:
        """A message that shows nothing by itself gets the device and what was read.

        Which line of which pattern it is from, the image's account says (`metaos why`).
        """
        return message if "{" in message else f"{self.plan.address}: {message}, found {{found:x8}}"
