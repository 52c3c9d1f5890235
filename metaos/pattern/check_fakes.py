"""Checks of `fake` blocks and of devices' examples: what they speak of is there, and fits.

    fakes(pattern, report)

A device sees registers, facts, its own numbers, and tables in the driver's RAM; the driver's
states and tables are seen by `then` alone.
"""

from __future__ import annotations

from typing import cast

from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.names import names_of
from metaos.pattern.patterns import Pattern
from metaos.pattern.report import Report
from metaos.pattern.spell import spell, walk
from metaos.pattern.widths import Typer

_PLACES = "cpuid.edx[LEAF], acpi.u32[N], entry.u32[N], legacy.port or bar[N]"


def fakes(pattern: Pattern, report: Report) -> None:
    """Everything that is wrong with a pattern's fakes and examples."""
    names = names_of(pattern)
    seen = {n: x for n, x in names.items() if not _driver(x)}
    own: dict[str, k.Kind] = {}
    for fake in pattern.fakes:
        nodes: tuple[s.Table | s.State, ...] = (*fake.tables, *fake.states)
        for node in nodes:
            if node.name in names or node.name in own:
                at = report.word(node.span, node.name)
                report.say("E0210", f"'{node.name}' is named already", at)
            own[node.name] = _own(node, pattern)
    if "mac" in names:
        seen["mac"] = k.number(48)
    for fake in pattern.fakes:
        _Device(pattern, seen | own, report).check(fake)
    clocks = (*pattern.of(s.Clock), *pattern.of(s.Measured))
    told = {k.NOW: k.number(64)} if clocks else {}
    for trial in pattern.trials:
        _trial(trial, pattern, names | own | told, own, report)


def _driver(kind: k.Kind) -> bool:
    """What the driver keeps, and no device sees."""
    return isinstance(kind, k.Var | k.Element) or (
        isinstance(kind, k.Array) and isinstance(kind.of, k.Var | k.Element)
    )


def _own(node: s.Table | s.State, pattern: Pattern) -> k.Kind:
    """Elements are counted when the device looks: a wrong one is the driver's mistake."""
    if isinstance(node, s.Table):
        return k.Array(node.name, k.Element(node, pattern.layouts.get(node.layout)), None)
    return k.Array(node.name, k.Var(node), None) if node.count else k.Var(node)


class _Device:
    """Checks one fake's rules."""

    def __init__(self, pattern: Pattern, names: dict[str, k.Kind], report: Report) -> None:
        self.pattern, self.names, self.report = pattern, names, report
        self.typer = Typer(names, report)

    def check(self, fake: s.Fake) -> None:
        for has in fake.has:
            if not _is_place(has.place):
                at = has.place.span
                hint = f"it is {_PLACES}"
                self.report.say("E0272", f"no machine has '{spell(has.place)}'", at, hint)
        for one in fake.capabilities:
            for width, offset, value in one.numbers:
                if width not in k.CAPABILITY.members or value >> int(width[1:]) or offset < 2:
                    text = f"'{width}[{offset}] = {value:#x}' is no number of a capability"
                    hint = "u8, u16 or u32, from byte 2 on"
                    self.report.say("E0272", text, one.span, hint)
        for table in fake.tables:
            self.table(table)
        for state in fake.states:
            if state.initial is not None and not isinstance(state.initial, s.Number):
                text = f"'{state.name}' begins with a number"
                self.report.say("E0271", text, state.initial.span)
        for rule in fake.rules:
            self.rule(rule)

    def table(self, table: s.Table) -> None:
        at = self.report.word(table.span, table.name)
        if table.at is None or table.initial is not None:
            text = f"'{table.name}' is the driver's: it lies where the driver said"
            self.report.say("E0271", text, at, "say where: at REGISTER")
        else:
            self.typer.number(table.at)
        self.typer.number(table.count)
        if table.layout and table.layout not in self.pattern.layouts:
            hint = self.report.near(table.layout, self.pattern.layouts)
            self.report.say("E0224", f"unknown layout '{table.layout}'", at, hint)

    def rule(self, rule: s.Rule) -> None:
        names = dict(self.names)
        if rule.register is not None:
            kind = self.typer.kind(rule.register)
            kind = kind.of if isinstance(kind, k.Array) else kind
            if not isinstance(kind, k.Reg | k.Unknown):
                text = f"'{spell(rule.register)}' is no register, so nothing reads or writes it"
                self.report.say("E0270", text, rule.register.span)
            names["index"] = k.number(16)
            if rule.event == "write":
                names |= {"value": kind, "was": kind}
        if rule.event == "frame":
            names["frame"] = k.Names("frame", {"length": k.number(16)})
        typer = Typer(names, self.report)
        typer.condition(rule.guard)
        self.acts(rule.acts, typer, rule)

    def acts(self, acts: tuple[s.Act, ...], typer: Typer, rule: s.Rule) -> None:
        for act in acts:
            match act:
                case s.Let():
                    kind = typer.kind(act.value)
                    typer.names[act.name] = kind
                case s.Write():
                    self.write(act, typer)
                case s.When():
                    typer.condition(act.guard)
                    self.acts(cast("tuple[s.Act, ...]", act.body), typer, rule)
                case s.Expect():
                    typer.condition(act.condition)
                    self.given(act.given)
                case s.Put() if rule.event != "frame":
                    self.report.say("E0270", "a frame is there in 'on frame' only", act.span)
                case s.Put():
                    for node in (act.start, act.length):
                        if node is not None:
                            typer.number(node)
                    self.place(act.place, typer)
                case s.Send():
                    typer.number(act.length)
                    self.place(act.place, typer)
                case s.Show():
                    typer.number(act.value)

    def given(self, given: s.Expr | None) -> None:
        if given is not None:
            self.report.say("E0256", "a device does what it does: say 'when'", given.span)

    def place(self, node: s.Expr, typer: Typer) -> None:
        """An address, an element of a table, or of the device's own numbers."""
        kind = typer.kind(node)
        if not isinstance(kind, k.Element | k.Var):
            typer.value(kind, node)

    def write(self, act: s.Write, typer: Typer) -> None:
        typer.condition(act.guard)
        self.given(act.given)
        target, value = act.target, act.value
        kind = typer.kind(target)
        of = typer.kind(target.of) if isinstance(target, s.Member | s.Slice) else None
        match kind:
            case k.Reg() | k.Num() if _root(target) in ("value", "was"):
                self.unwritable(target)
            case k.Reg(node=register) if isinstance(value, s.Record):
                typer.record(value, register.fields, register.name)
            case k.Reg(node=register):
                typer.fits(value, register.bits, register.name)
            case k.Var(node=state):
                typer.fits(value, state.bits, state.name)
            case k.Element(layout=layout) if layout is not None and isinstance(value, s.Record):
                typer.record(value, layout.fields, layout.name)
            case k.Num(bits=bits) if isinstance(target, s.Slice) and isinstance(of, k.Var):
                typer.fits(value, bits, spell(target))
            case k.Num(bits=bits) if isinstance(target, s.Member):
                typer.fits(value, bits, spell(target))
            case k.Unknown():
                pass
            case _:
                self.unwritable(target)

    def unwritable(self, target: s.Expr) -> None:
        hint = "a register, a number of its own or an element of a table can be"
        text = f"a device cannot write '{spell(target)}'"
        self.report.say("E0213", text, target.span, hint)


def _root(node: s.Expr) -> str:
    """The name that an expression is a part of."""
    while isinstance(node, s.Member | s.Index | s.Slice):
        node = node.of
    return node.text if isinstance(node, s.Name) else ""


def _is_place(node: s.Expr) -> bool:
    match node:
        case s.Member(of=s.Name(text="legacy"), name="port"):
            return True
        case s.Index(of=s.Name(text="bar"), index=s.Number()):
            return True
        case s.Index(of=s.Member(of=s.Name(text="acpi" | "entry"), name=width), index=s.Number()):
            return width in k.ACPI.members
        case s.Index(of=s.Member(of=s.Name(text="cpuid"), name=register), index=s.Number()):
            return register in k.CPUID.members
        case s.Index(of=s.Member(of=s.Name(text="mmio"), name=width), index=s.Number()):
            return width in k.MMIO.members
    return False


# ---- examples -----------------------------------------------------------------------------


def _trial(
    trial: s.Trial,
    pattern: Pattern,
    names: dict[str, k.Kind],
    own: dict[str, k.Kind],
    report: Report,
) -> None:
    if not pattern.fakes:
        hint = "say what the device does: fake"
        report.say("E0275", "an example needs a fake to run on", trial.span, hint)
        return
    if not any(isinstance(x, s.Sent | s.Shown | s.Then | s.Fails) for x in trial.lines):
        hint = "say what must be seen: then, sent, shown or fails"
        report.say("E0273", "this example cannot fail", trial.span, hint)
    turn = pattern.one(s.Turn)
    steps = tuple(walk(turn.steps)) if turn is not None else ()
    needs: tuple[tuple[type | tuple[type, ...], type, str], ...] = (
        ((s.Arrival, s.Sent), s.Offer, "'offer frame'"),
        (s.Text, s.Take, "'take text'"),
    )
    for line in trial.lines:
        for kinds, step, what in needs:
            if isinstance(line, kinds) and not any(isinstance(x, step) for x in steps):
                text = f"'{pattern.name}' has no {what}"
                report.say("E0277", text, line.span)
        match line:
            case s.Asked():
                _begins(line, pattern, own, report)
            case s.Then(condition=condition):
                Typer(names, report).condition(condition)
            case s.Fails(text=text):
                _fails(line, text, pattern, report)


def _begins(line: s.Asked, pattern: Pattern, own: dict[str, k.Kind], report: Report) -> None:
    """`with` sets a number of the device, or a register or its field at power on."""
    name, *field = line.path
    found = own.get(name)
    state = isinstance(found, k.Var) and not field
    _, register = pattern.registers.get(name, (None, None))
    known = {f.name for f in register.fields} if register is not None else set()
    if not state and (register is None or not set(field) <= known or len(field) > 1):
        at = report.word(line.span, name)
        hint = report.near(name, [*own, *pattern.registers])
        text = f"the device has no '{'.'.join(line.path)}' that begins as something else"
        report.say("E0274", text, at, hint)


def _fails(line: s.Fails, text: str, pattern: Pattern, report: Report) -> None:
    every = walk(tuple(q.rows for q in pattern.of(s.Sequence)))
    said = [x.message for x in every if isinstance(x, s.Await | s.Expect)]
    said += [x.message for x in pattern.of(s.Measured)]
    if text not in said:
        at = report.word(line.span, text)
        report.say("E0276", f'no row says "{text}"', at, report.near(text, said))
