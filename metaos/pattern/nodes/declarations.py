"""Lark's tree of what stands in a device, and of devices, to nodes."""

from __future__ import annotations

from typing import Any

from lark import Token, v_args

from metaos.pattern import syntax as s
from metaos.pattern.nodes.located import NANOSECONDS, LocatedNodes, flat


@v_args(meta=True)
class DeclarationNodes(LocatedNodes):
    """Matches, facts, sequences, turns; devices and classes."""

    def source(self, meta: Any, c: list[Any]) -> s.SourceName:
        return s.SourceName(str(c[0]), c[1][1:-1], self.span(meta))

    def match_key(self, meta: Any, c: list[Any]) -> tuple[str, int]:
        return str(c[0]), self.value(c[1])

    def match_pci(self, meta: Any, c: list[Any]) -> s.Match:
        *keys, where = c
        return s.Match("pci", "", tuple(keys), where, self.span(meta))

    def match(self, meta: Any, c: list[Any]) -> s.Match:
        kind, name, entry, where = c
        number = self.value(entry) if entry is not None else None
        return s.Match(str(kind), str(name), (), where, self.span(meta), number)

    def fact(self, meta: Any, c: list[Any]) -> s.Fact:
        return s.Fact(str(c[0]), str(c[1]), c[2], self.span(meta))

    def learn(self, meta: Any, c: list[Any]) -> s.Learn:
        return s.Learn(tuple(c), self.span(meta))

    def demand(self, meta: Any, c: list[Any]) -> s.Demand:
        return s.Demand(c[0], c[1][1:-1], self.span(meta))

    def part(self, meta: Any, c: list[Any]) -> s.Part:
        name, *rest = [x for x in c if x is not None]
        parameters = tuple(str(x) for x in rest if isinstance(x, Token))
        items = flat([x for x in rest if not isinstance(x, Token)])
        return s.Part(str(name), parameters, items, self.span(meta))

    def use(self, meta: Any, c: list[Any]) -> s.Use:
        name, part, *arguments = [x for x in c if x is not None]
        return s.Use(str(name), str(part), tuple(arguments), self.span(meta))

    def sequence(self, meta: Any, c: list[Any]) -> s.Sequence:
        return s.Sequence(str(c[0]), tuple(c[1:]), self.span(meta))

    def turn(self, meta: Any, c: list[Any]) -> s.Turn:
        return s.Turn(tuple(c), self.span(meta))

    def clock(self, meta: Any, c: list[Any]) -> s.Clock:
        register, bits, down, hertz, rank = c
        number = self.value(rank) if rank is not None else 0
        return s.Clock(
            register, self.value(bits), self.value(hertz), self.span(meta), down is not None,
            None, number,
        )  # fmt: skip

    def clock_of(self, meta: Any, c: list[Any]) -> s.Clock:
        register, bits, down, period, rank = c
        number = self.value(rank) if rank is not None else 0
        return s.Clock(
            register, self.value(bits), 0, self.span(meta), down is not None, period, number
        )

    def measured(self, meta: Any, c: list[Any]) -> s.Measured:
        count, unit, message = c
        return s.Measured(self.value(count) * NANOSECONDS[unit], message[1:-1], self.span(meta))

    def access(self, meta: Any, c: list[Any]) -> s.Access:
        return s.Access(c[0], c[1], self.value(c[2]), self.span(meta))

    def interrupt(self, meta: Any, c: list[Any]) -> s.Interrupt:
        return s.Interrupt(str(c[0]), None, self.span(meta))

    def interrupt_line(self, meta: Any, c: list[Any]) -> s.Interrupt:
        return s.Interrupt("line", c[0], self.span(meta))

    def waker(self, meta: Any, c: list[Any]) -> s.Waker:
        return s.Waker(c[0], c[1], self.span(meta))

    def alarm(self, meta: Any, c: list[Any]) -> s.Alarm:
        return s.Alarm(c[0], c[1], c[2], self.span(meta))

    def lines(self, meta: Any, c: list[Any]) -> s.Lines:
        return s.Lines(c[0], c[1], self.span(meta))

    def guard(self, meta: Any, c: list[Any]) -> s.Guard:
        return s.Guard(str(c[0]), tuple(c[1:]), self.span(meta))

    def class_(self, meta: Any, c: list[Any]) -> s.ClassDef:
        (name, at), over, *items = c
        return s.ClassDef(name, flat(items), at, over[0] if over is not None else "")

    def device(self, meta: Any, c: list[Any]) -> s.Device:
        (name, at), (parent, _), *items = c
        kind = "family" if self._text.line(meta.line).startswith("family") else "device"
        return s.Device(name, parent, kind, flat(items), at, kind == "family")

    def member(self, meta: Any, c: list[Any]) -> s.Device:
        (name, at), (parent, _), *items = c
        return s.Device(name, parent, "member", flat(items), at)

    def branch(self, meta: Any, c: list[Any]) -> s.Device:
        (name, at), (parent, _), *items = c
        return s.Device(name, parent, "member", flat(items), at, abstract=True)

    def overlay(self, meta: Any, c: list[Any]) -> s.Device:
        (name, at), (parent, _), *items = c
        return s.Device(name, parent, "overlay", flat(items), at)

    def because(self, meta: Any, c: list[Any]) -> s.Because:
        return s.Because(c[0][1:-1], c[1], self.span(meta))

    def unproved(self, meta: Any, c: list[Any]) -> s.Unproved:
        return s.Unproved(c[0][1:-1], self.span(meta))
