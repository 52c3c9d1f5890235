"""Checks of what a device does: its sequences and guards row by row, its turn step by step.

    Flow(pattern, typer).run()

The line is straight, so which page a register's field selects is known at each access.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.check_accesses import Accesses
from metaos.pattern.check_moves import move
from metaos.pattern.check_texts import message
from metaos.pattern.pages import Pages, merged
from metaos.pattern.repeats import iteration
from metaos.pattern.spell import spell, walk

INIT = "init"


@dataclass
class Flow(Accesses):
    """One way through a device's rows and steps."""

    lets: dict[str, s.Step] = field(default_factory=dict)
    offered: bool = False

    def run(self) -> None:
        """Check sequences, guards and the turn; the turn begins as `init` ends."""
        self.typer.read = self.read
        after_init: Pages = {}
        for learn in self.pattern.of(s.Learn):
            self.start({})
            for row in learn.rows:
                self.learn(row)
        parts: list[s.Sequence | s.Guard] = [*self.pattern.of(s.Sequence)]
        for part in [*parts, *self.pattern.of(s.Guard)]:
            self.start({})
            self.rows(part.rows)
            if isinstance(part, s.Sequence) and part.name == INIT:
                after_init = self.pages
        for clock in self.pattern.of(s.Clock):
            self.register(clock.register, "a clock counts in a register")
            self.typer.built(clock.period)
        for waker in self.pattern.of(s.Waker):
            kind = self.typer.kind(waker.register, use=False)
            self.register(waker.register, "the processor is woken by a register")
            if isinstance(kind, k.Reg):
                self.written(kind, waker.register, waker.value, True)
        for alarm in self.pattern.of(s.Alarm):
            self.alarm(alarm)
        for interrupt in self.pattern.of(s.Interrupt):
            if interrupt.line is not None:
                self.typer.built(interrupt.line)
        for lines in self.pattern.of(s.Lines):
            self.typer.built(lines.first)
            self.typer.built(lines.count)
        for access in self.pattern.of(s.Access):
            self.register(access.select, "config space is selected by a register")
            self.register(access.data, "config space is read through a register")
        turn = self.pattern.one(s.Turn)
        if turn is not None:
            self.turn(turn, after_init)

    def alarm(self, alarm: s.Alarm) -> None:
        """A register is written in every turn; what it and the clock have counted has 32 bits."""
        kind = self.typer.kind(alarm.register, use=False)
        self.register(alarm.register, "an alarm is set by a register")
        if isinstance(kind, k.Reg):
            self.writable(kind, alarm.register)
        for number in (alarm.counted, alarm.passed):
            self.typer.fits(number, 32, spell(alarm.register))

    def start(self, pages: Pages) -> None:
        self.pages, self.guarded, self.popped = pages, False, {}
        self.offered = False

    def turn(self, turn: s.Turn, begin: Pages) -> None:
        """The turn again and again: it begins as init ends, and as it ends itself."""
        self.in_turn = True
        names, used = dict(self.typer.names), set(self.typer.used)
        with self.typer.report.muted():
            self.start(begin)
            self.steps(turn.steps)
        end = self.pages
        self.typer.names, self.typer.used, self.lets = names, used, {}
        self.typer.later = {name: step.span for step in walk(turn.steps) for name in _named(step)}
        self.start(merged(begin, end))
        self.steps(turn.steps)
        for name, step in self.lets.items():
            if name not in self.typer.used and not name.startswith("_"):
                at = self.typer.report.word(step.span, name)
                hint = f"a read for its own sake is called _{name}"
                self.typer.say("E0226", f"'{name}' is never used", at, hint)

    # ---- rows

    def rows(self, rows: tuple[s.Row, ...]) -> None:
        for row in rows:
            match row:
                case s.Write():
                    self.write(row)
                case s.Await() | s.Expect():
                    self.test(row)
                case s.Touch():
                    self.touch(row)
                case s.Pause():
                    self.pause(row)
                case s.Each():
                    self.each(row)
                case s.Repeat():
                    self.repeat(row)
                case s.Given(condition=condition):
                    self.given(condition, row, self.rows)

    def pause(self, row: s.Pause) -> None:
        self.typer.given(row.given)
        self.typer.built(row.nanoseconds)
        kind = self.typer.kind(row.kept, use=False) if row.kept is not None else k.UNKNOWN
        is_state = isinstance(kind, k.Var) and kind.node.bits == 32 and not kind.node.count
        if row.kept is not None and not is_state and kind is not k.UNKNOWN:
            text = f"a pause is kept in a state of 32 bits, given '{spell(row.kept)}'"
            self.typer.say("E0206", text, row.kept.span)

    def each(self, row: s.Each) -> None:
        members = k.LISTS.get(row.name)
        if members is None:
            hint = self.typer.report.near(row.name, k.LISTS)
            at = self.typer.report.word(row.span, row.name)
            self.typer.say("E0253", f"no list '{row.name}' to go through", at, hint)
        before = self.typer.names.get(row.name)
        self.typer.names[row.name] = members if members is not None else k.UNKNOWN
        pages = self.pages
        self.rows(row.body)
        self.pages = merged(pages, self.pages)
        del self.typer.names[row.name]
        if before is not None:
            self.typer.names[row.name] = before

    def repeat(self, row: s.Repeat) -> None:
        """The first round and the last: an index is a constant there, and at its ends."""
        if row.name in self.typer.names:
            at = self.typer.report.word(row.span, row.name)
            self.typer.say("E0210", f"'{row.name}' is named already, by the device", at)
            return
        found = self.typer.report.count
        for number in (row.first, row.last):
            if self.typer.report.count == found:  # else it is said of another number already
                self.rows(iteration(row, number))

    def test(self, row: s.Await | s.Expect) -> None:
        """A row waits for a register or its field to be a number."""
        self.typer.given(row.given)
        condition = row.condition
        self.typer.condition(condition)
        place = condition.left if isinstance(condition, s.Binary) else condition
        if isinstance(place, s.Binary) and place.operator == "&":
            self.typer.built(place.right)
            place = place.left
        if not (self.is_register(place) or self.is_field(place)):
            what = "waits for" if isinstance(row, s.Await) else "tests"
            self.typer.say(
                "E0220", f"a row {what} a register, given '{spell(place)}'", place.span,
                "write REGISTER == value or REGISTER.FIELD == value",
            )  # fmt: skip
        elif not isinstance(condition, s.Binary) or condition.operator not in ("==", "!="):
            text = f"a row tests 'register == value' or '!=', given '{spell(condition)}'"
            self.typer.say("E0220", text, condition.span)
        message(self.typer.report, row.message, row.span)

    def touch(self, row: s.Touch) -> None:
        self.typer.condition(row.given)
        kind = self.typer.kind(row.register)
        if isinstance(kind, k.Reg):
            self.read(kind, row.register)
        else:
            self.register(row.register, "a row reads a register")

    def is_field(self, node: s.Expr) -> bool:
        """A field of a table's element, chosen when the image is built."""
        match node:
            case s.Member(of=s.Index(of=s.Name(text=text))):
                kind = self.typer.names.get(text)
                return isinstance(kind, k.Array) and isinstance(kind.of, k.Element)
        return False

    def is_register(self, node: s.Expr) -> bool:
        """A register, its field or its bits; an unknown name was reported already."""
        while isinstance(node, s.Member | s.Index | s.Slice):
            node = node.of
        kind = self.typer.names.get(node.text) if isinstance(node, s.Name) else None
        return isinstance(kind, k.Reg | k.Unknown) or (
            isinstance(kind, k.Array) and isinstance(kind.of, k.Reg)
        )

    def learn(self, row: s.Keep | s.Write) -> None:
        if isinstance(row, s.Write):
            self.write(row)
            return
        if not self.is_register(row.value):
            text = f"a learn row keeps a register, given '{spell(row.value)}'"
            self.typer.say("E0220", text, row.value.span)
            return
        found = self.typer.number(row.value)
        if found is not None and row.default >> found.bits:
            text = f"{row.default:#x} does not fit the {found.bits} bits of '{row.name}'"
            self.typer.say("E0203", text, row.span)

    # ---- steps

    def steps(self, steps: tuple[Any, ...]) -> None:
        for step in steps:
            match step:
                case s.Let():
                    self.let(step)
                case s.Write():
                    self.write(step)
                case s.Swap():
                    self.swap(step)
                case s.When(guard=guard):
                    self.typer.condition(guard)
                    self.guards(step.body)
                case s.Every():
                    self.every(step)
                case s.Given(condition=condition):
                    self.given(condition, step, self.steps)
                case s.Wake(guard=guard):
                    self.typer.condition(guard)
                case s.Offer():
                    self.offer(step)
                case s.Grant():
                    self.grant(step)
                case s.Move():
                    self.move(step)
                case s.Take(character=character, some=some, position=position):
                    self.name(character, k.number(8), step)
                    self.name(some, k.BIT, step)
                    if position:
                        self.name(position, k.number(8), step)
                case s.Advance(guard=guard):
                    self.typer.condition(guard)
                case s.Keep():
                    hint = f"write {step.name} = ..."
                    self.typer.say("E0255", "':=' keeps what 'learn' found", step.span, hint)

    def given(self, condition: s.Expr, block: s.Given, inside: Callable[[Any], None]) -> None:
        """Rows or steps that are in the image, or not; what never is need not make sense."""
        self.typer.given(condition)
        if self.never(condition):
            return
        pages = self.pages
        inside(block.body)
        self.pages = merged(pages, self.pages)

    def never(self, condition: s.Expr) -> bool:
        """A fact of this rule that is written down as 0: a member says what it does without."""
        facts = self.pattern.named(s.Fact)
        fact = facts.get(condition.text) if isinstance(condition, s.Name) else None
        return fact is not None and isinstance(fact.value, s.Number) and fact.value.value == 0

    def name(self, name: str, kind: k.Kind, step: s.Step) -> None:
        """A step gives a name, once a turn, to nothing that has one."""
        known = self.typer.names.get(name)
        if known is not None and known is not k.UNKNOWN:
            at = self.typer.report.word(step.span, name)
            first = self.lets.get(name)
            where = f"in line {first.span.line}" if first is not None else "by the device"
            self.typer.say("E0210", f"'{name}' is named already, {where}", at)
        self.typer.names[name] = kind
        if isinstance(step, s.Let):
            self.lets[name] = step

    def let(self, step: s.Let) -> None:
        self.typer.condition(step.guard)
        outer, self.guarded = self.guarded, self.guarded or step.guard is not None
        self.unused = step.name.startswith("_")
        kind = self.typer.kind(step.value)
        if not isinstance(kind, k.Element) or step.guard is not None:
            kind = self.typer.value(kind, step.value) or k.UNKNOWN
        self.guarded, self.unused = outer, False
        if step.default is not None and isinstance(kind, k.Num):
            self.typer.fits(step.default, kind.bits, step.name)
        self.name(step.name, kind, step)

    def every(self, step: s.Every) -> None:
        if not step.period:
            hint = "leave 'every' out: a turn is made again and again"
            self.typer.say("E0227", "no time passes in 0", step.span, hint)
        self.guards(step.body)

    def guards(self, body: tuple[s.Step, ...]) -> None:
        """Steps that happen or not, all of them."""
        pages, outer = self.pages, self.guarded
        self.guarded = True
        self.steps(body)
        self.guarded = outer
        self.pages = merged(pages, self.pages)

    def swap(self, step: s.Swap) -> None:
        self.typer.condition(step.guard)
        sides = [(node, self.typer.kind(node)) for node in (step.left, step.right)]
        for node, kind in sides:
            if not isinstance(kind, k.Var | k.Unknown):
                hint = "two elements of arrays of states can be"
                self.typer.say("E0206", f"'{spell(node)}' cannot be swapped", node.span, hint)
        bits = {kind.node.bits for _, kind in sides if isinstance(kind, k.Var)}
        if len(bits) > 1:
            text = f"{min(bits)} and {max(bits)} bits cannot change places"
            self.typer.say("E0203", text, step.span)

    def move(self, step: s.Move) -> None:
        self.typer.condition(step.guard)
        port = move(self.typer, step)
        if port is None:
            return
        if step.inward:
            outer, self.guarded = self.guarded, True  # by its count
            self.read(port, step.register)
            self.guarded = outer
        else:
            self.writable(port, step.register)

    def frame_at(self, step: s.Offer | s.Grant) -> None:
        self.typer.condition(step.guard)
        kind = self.typer.kind(step.frame)
        if not isinstance(kind, k.Element | k.Unknown):
            hint = "a frame lies at an element of a table of bytes: buf[...]"
            self.typer.say(
                "E0206", f"no frame lies at '{spell(step.frame)}'", step.frame.span, hint
            )
        self.typer.built(step.skip)

    def grant(self, step: s.Grant) -> None:
        if not self.offered:
            text = "'grant' stands behind the 'offer' whose turn it takes"
            self.typer.say("E0241", text, self.typer.report.word(step.span, "grant"))
        self.frame_at(step)
        self.name(step.said, k.BIT, step)

    def offer(self, step: s.Offer) -> None:
        self.frame_at(step)
        self.offered = True
        self.typer.fits(step.length, 16, "length")
        self.name(step.answered, k.BIT, step)
        self.name(step.answer_length, k.number(16), step)


def _named(step: object) -> tuple[str, ...]:
    match step:
        case s.Let(name=name):
            return (name,)
        case s.Offer(answered=answered, answer_length=length):
            return answered, length
        case s.Grant(said=said):
            return (said,)
        case s.Take(character=character, some=some, position=position):
            return (character, some, position) if position else (character, some)
    return ()
