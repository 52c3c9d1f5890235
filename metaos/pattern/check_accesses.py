"""Checks of what is read and written on the way through a device's rows and steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.check_places import ACCESS_KINDS, READABLE, WRITABLE
from metaos.pattern.pages import Page, Pages, Selected, selects, turned, unreachable
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import spell
from metaos.pattern.widths import Typer


@dataclass
class Accesses:
    """What is known at one access: the pages selected, whether a condition guards it, whether
    what is read is read for its own sake, and what was read already in this turn."""

    pattern: Pattern
    typer: Typer
    pages: Pages = field(default_factory=dict)
    guarded: bool = False
    unused: bool = False
    in_turn: bool = False
    popped: dict[str, Any] = field(default_factory=dict)

    def read(self, register: k.Reg, node: s.Expr) -> None:
        """A register's value is taken."""
        access, name = register.node.access, register.node.name
        at = self.typer.report.word(node.span, name)
        if access in ACCESS_KINDS and access not in READABLE:
            self.typer.say("E0212", f"'{name}' is {access}: it cannot be read", at)
        if (access == "rc" or register.node.stream) and self.in_turn:
            self.pop(register.node, node)
        self.paged(register.node, node)

    def pop(self, register: s.Register, node: s.Expr) -> None:
        """Reading clears, once a turn, or takes the next item: only when wanted."""
        name = register.name
        at = self.typer.report.word(node.span, name)
        what, does = ("a stream", "takes") if register.stream else ("rc", "clears")
        if not (self.guarded or (self.unused and not register.stream)):
            hint = f"say when: x = {name} when CONDITION else 0"
            hint += "" if register.stream else f"; or that it is for that: _x = {name}"
            text = f"'{name}' is {what}: reading {does} it, here always"
            self.typer.say("E0214", text, at, hint)
        elif name in self.popped and not register.stream:
            line = self.popped[name].span.line
            hint = "read it once and name what it was"
            text = f"'{name}' is rc and was read in line {line} already"
            self.typer.say("E0214", text, at, hint)
        self.popped.setdefault(name, node)

    def paged(self, register: s.Register, node: s.Expr) -> None:
        """The page a register lies on is selected."""
        text = unreachable(register, self.pages)
        if text and register.page is not None:
            at = self.typer.report.word(node.span, register.name)
            hint = "write {}.{} before it, in this line of rows".format(*register.page)
            self.typer.say("E0219", text, at, hint)

    def written(self, register: k.Reg, node: s.Expr, value: s.Expr, always: bool) -> None:
        """A whole register is written."""
        name = register.node.name
        self.writable(register, node)
        if isinstance(value, s.Record):
            self.typer.record(value, register.node.fields, name)
        else:
            self.typer.fits(value, register.node.bits, name)
        for part in register.node.fields:
            self.turned((name, part.name), selects(part, value), node, always)

    def writable(self, register: k.Reg, node: s.Expr) -> None:
        access, name = register.node.access, register.node.name
        if access in ACCESS_KINDS and access not in WRITABLE:
            at = self.typer.report.word(node.span, name)
            self.typer.say("E0213", f"'{name}' is {access}: it cannot be written", at)
        self.paged(register.node, node)

    def turned(self, page: Page, value: int | None, node: s.Expr, always: bool) -> None:
        """A field that may select a page becomes `value`, or stays where it was."""
        self.pages = turned(self.pages, page, Selected(value, node.span.line), always)

    def register(self, node: s.Expr, wanted: str) -> None:
        kind = self.typer.kind(node)
        if not isinstance(kind, k.Reg | k.Unknown):
            self.typer.say("E0206", f"{wanted}, given '{spell(node)}'", node.span)

    def write(self, step: s.Write) -> None:
        self.typer.condition(step.guard)
        self.typer.given(step.given)
        if not self.in_turn and step.guard is not None:
            text = "a row is written always, 'when' guards the steps of a turn"
            self.typer.say("E0256", text, step.guard.span, "what is known at build time: 'given'")
        target, value = step.target, step.value
        always = step.guard is None and step.given is None
        if isinstance(target, s.Slice):
            self.write_slice(target, value)
            return
        if isinstance(target, s.Index) and not self.in_turn and self.bit(target, value):
            return
        if isinstance(target, s.Member):
            of = self.typer.kind(target.of, use=False)
            if isinstance(of, k.Reg):
                self.write_field(target, of, value, always)
                return
        kind = self.typer.kind(target, use=False)
        match kind:
            case k.Reg():
                self.written(kind, target, value, always)
            case k.Var(node=state):
                self.typer.fits(value, state.bits, spell(target))
            case k.Element(layout=layout) if layout is not None:
                if isinstance(value, s.Record):
                    self.typer.record(value, layout.fields, layout.name)
                else:
                    hint = "an element is written whole: { field = value }"
                    self.typer.say("E0206", f"'{spell(value)}' is no element", value.span, hint)
            case k.Num() if isinstance(target, s.Member) and isinstance(value, s.Record):
                self.write_parts(target, value)
            case k.Num() if isinstance(target, s.Member):
                self.typer.fits(value, kind.bits, spell(target))
            case k.Unknown():
                if not isinstance(value, s.Record):
                    self.typer.kind(value)
            case _:
                self.unwritable(target)

    def write_parts(self, target: s.Member, value: s.Record) -> None:
        """A field of an element becomes what the fields inside it say."""
        of = self.typer.kind(target.of, use=False)
        layout = of.layout if isinstance(of, k.Element) else None
        whole = layout.field(target.name) if layout is not None else None
        if layout is not None and whole is not None:
            self.typer.record(value, layout.inside(whole), spell(target))
        else:
            self.typer.kind(value)

    def unwritable(self, target: s.Expr) -> None:
        hint = "a state, a register or an element of a table can be"
        self.typer.say("E0213", f"'{spell(target)}' cannot be written", target.span, hint)

    def write_field(self, target: s.Member, of: k.Reg, value: s.Expr, always: bool) -> None:
        """Read, change, write: all bits of the register are written."""
        access, name = of.node.access, of.node.name
        part = next((f for f in of.node.fields if f.name == target.name), None)
        if access in ACCESS_KINDS and access != "rw":
            hint = f"write all of it: {name} <- {{ {target.name} = ... }}"
            text = f"'{name}' is {access}: writing one field needs rw"
            self.typer.say("E0213", text, target.span, hint if access in WRITABLE else "")
        self.paged(of.node, target)
        if part is None:
            with_read, self.typer.read = self.typer.read, None
            self.typer.kind(target)
            self.typer.read = with_read
            return
        self.typer.fits(value, part.bits, spell(target))
        known = value.value if isinstance(value, s.Number) else None
        self.turned((name, part.name), known, target, always)

    def bit(self, target: s.Index, value: s.Expr) -> bool:
        """Whether a row keeps one bit of a register in one bit of a state."""
        of = self.typer.names.get(target.of.text) if isinstance(target.of, s.Name) else None
        if isinstance(of, k.Var):
            self.typer.kind(target)
            self.typer.fits(value, 1, spell(target))
        return isinstance(of, k.Var)

    def write_slice(self, target: s.Slice, value: s.Expr) -> None:
        of = self.typer.kind(target.of, use=False)
        if isinstance(of, k.Unknown):
            return
        if not isinstance(of, k.Var):
            self.unwritable(target)
            return
        high, low = self.typer.number(target.high), self.typer.number(target.low)
        bits = self.typer.slice_bits(target, of.node.bits, high, low)
        if isinstance(bits, k.Num):
            self.typer.fits(value, bits.bits, spell(target))
