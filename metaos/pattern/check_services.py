"""Checks of services: what they lie over, what they may name; check_siblings.py has the rest.

check(patterns, report) -> None
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from metaos.errors import Span
from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.check_siblings import check_siblings
from metaos.pattern.check_texts import said
from metaos.pattern.patterns import Patterns
from metaos.pattern.report import Report
from metaos.pattern.widths import Typer

MAX_LAYERS = 16
TEXT_CLASS = "console"
"""The class whose services say texts instead of answering."""


def check(patterns: Patterns, report: Report) -> None:
    """Check all services."""
    roots = {c.over for c in patterns.classes.values() if c.over}
    for service in patterns.services.values():
        if not service.model and _parent_known(service, patterns, roots, report):
            _Service(service, patterns, report).run()
    check_siblings(patterns, report)


def _parent_known(service: s.Service, patterns: Patterns, roots: set[str], report: Report) -> bool:
    """The way from a service to its root is there and is no circle."""
    known = {*patterns.services, *patterns.classes, *roots}
    if service.over not in known:
        at = report.word(_behind(service), service.over)
        hint = report.near(service.over, known - {service.name})
        report.say("E0250", f"nothing is called '{service.over}' to lie over", at, hint)
        return False
    way, name = {service.name}, service.over
    while name in patterns.services:
        if name in way:
            if name == service.name:
                report.say("E0250", f"'{service.name}' lies over itself", service.span)
            return False
        way.add(name)
        name = patterns.services[name].over
        if len(way) > MAX_LAYERS:
            text = f"services lie over each other more than {MAX_LAYERS} deep"
            report.say("E0250", text, service.span)
            return False
    return name in known


def _behind(service: s.Service) -> Span:
    span = service.span
    return Span(span.file, span.line, span.end_column, span.end_column)


@dataclass
class _Service:
    service: s.Service
    patterns: Patterns
    report: Report

    def run(self) -> None:
        service = self.service
        if service.over in self.patterns.classes:
            self.on_console()
            return
        if service.say is not None:
            text = f"'say' is for services over {TEXT_CLASS}; '{service.name}' answers frames"
            self.report.say("E0252", text, service.say.span)
        own = self.names(service)
        self.header()
        self.where()
        for constant in service.constants:
            self.typer({}).fits(constant.value, constant.bits, constant.name)
        typer = self.typer(own)
        for one in service.named:
            typer.number(one.value)
        for demand in service.demands:
            typer.condition(demand.condition)
        for use in service.uses:
            self.use(use)
        for condition in service.accept:
            typer.condition(condition)
        self.kept(service.keeps, typer)
        for pulse in service.pulses:
            self.kept(pulse.keeps, typer)
            if not pulse.period:
                self.report.say("E0227", "no time passes in 0", pulse.span)
        self.reply(typer)
        self.speak(own)
        self.passing(own)
        if service.tell is not None:
            self.tell(service.tell)
        if service.hear is not None:
            self.hear(service.hear)
        if service.send is not None:
            typer.fits(service.send, 16, "send")
        self.questions(own)

    def use(self, use: s.Use) -> None:
        """The numbers that a service of its own is given."""
        own = {x.name: k.number(min(64, x.bits)) for x in self.service.constants}
        wanted = self.patterns.services[f"{self.service.name}.{use.name}"].constants
        for argument, constant in zip(use.arguments, wanted, strict=True):
            self.typer(own).fits(argument, constant.bits, constant.name)

    def hear(self, hear: s.Hear) -> None:
        """A ring of lines, whose count and size are such as can be."""
        if hear.count not in (2**n for n in range(1, 9)):
            text = f"lines are 2 to 256 and a power of two, not {hear.count}"
            self.report.say("E0227", text, hear.span)
        if not 8 <= hear.size <= 240:
            text = f"a line has 8 to 240 characters, not {hear.size}"
            self.report.say("E0227", text, hear.span)

    def typer(self, names: Mapping[str, k.Kind]) -> Typer:
        return Typer(names, self.report)

    def on_console(self) -> None:
        service = self.service
        if service.over != TEXT_CLASS:
            text = f"'{service.over}' carries no services"
            self.report.say("E0252", text, self.report.word(_behind(service), service.over))
        elif service.say is None:
            self.report.say(
                "E0252", f"'{service.name}' over {TEXT_CLASS} says nothing", service.span
            )
        else:
            said(self.report, service.say.value, service.say.span)
        odd: list[Any] = [*service.states, *service.accept, *service.keeps, *service.reply]
        odd += [
            *service.pulses,
            *service.named,
            *service.uses,
            *service.demands,
            *([service.speak] if service.speak else []),
            *([service.passing] if service.passing else []),
            *service.ask,
            *service.examples,
        ]
        if service.where is not None:
            odd.insert(0, service.where)
        if odd:
            text = f"a service over {TEXT_CLASS} only says a text"
            self.report.say("E0252", text, odd[0].span)

    # ---- layouts and names

    def layout(self, service: s.Service) -> s.Layout | None:
        own = {x.name: x for x in service.layouts}
        return own.get(service.header) or self.patterns.layouts.get(service.header)

    def up(self, service: s.Service) -> Iterator[s.Service]:
        """A service and those it lies over, nearest first."""
        found: s.Service | None = service
        while found is not None:
            yield found
            found = self.patterns.services.get(found.over)

    def header(self) -> None:
        service = self.service
        if service.header and self.layout(service) is None:
            known = [*self.patterns.layouts, *(x.name for x in service.layouts)]
            hint = self.report.near(service.header, known)
            at = self.header_span()
            self.report.say("E0224", f"no layout '{service.header}'", at, hint)
        used = {service.header, service.passing.layout if service.passing else ""}
        for layout in service.layouts:
            if layout.name not in used:
                at = self.report.word(layout.span, layout.name)
                self.report.say("E0226", f"layout '{layout.name}' is never used", at)

    def header_span(self) -> Span:
        """The name in `header NAME`, which is somewhere below the service's first line."""
        span = self.service.span
        if self.report.many:
            return span
        source = self.patterns.sources.get(span.file)
        for number, line in enumerate(source.lines if source is not None else (), 1):
            words = line.split("#")[0].split()
            if number > span.line and words == ["header", self.service.header]:
                column = line.index(self.service.header, line.index("header") + 6) + 1
                return Span(span.file, number, column, column + len(self.service.header))
        return span

    def names(self, service: s.Service) -> dict[str, k.Kind]:
        """What a service's expressions may name."""
        names: dict[str, k.Kind] = {"my": k.MY, "frame": k.Stretch("frame")}
        for other in self.patterns.services.values():
            if other.passing is not None:  # whoever asks may be told what it has counted
                _nest(names, other.name, {x.name: k.Var(x) for x in other.states})
        for other in reversed(list(self.up(service))):
            _nest(names, other.name, self.parts(other))
        for used in service.used:
            _nest(names, used, self.parts(self.patterns.services[used]))
        for one in service.lists:
            columns = {x.name: k.number(x.bits) if x.bits > 1 else k.BIT for x in one.columns}
            names[one.name] = k.Names(one.name, columns)
        if service.hear is not None:
            names["line"] = k.Names("line", {"waiting": k.BIT, "lost": k.number(16)})
        nearest = next((x for x in self.up(service) if x.header), None)
        names |= self.parts(nearest) if nearest is not None else {}
        for constant in service.constants:
            names[constant.name] = k.number(min(64, constant.bits))
        return names | {x.name: k.Var(x) for x in service.states}

    def parts(self, service: s.Service) -> dict[str, k.Kind]:
        layout = self.layout(service)
        stretches = {name: k.Stretch(name) for name in ("header", "payload", "message")}
        fields = layout.fields if layout is not None else ()
        missing = service.header and layout is None
        found: dict[str, k.Kind] = {**stretches}
        found |= {x.name: k.Var(x) for x in service.states}
        found |= {f.name: k.number(f.bits) if f.bits > 1 else k.BIT for f in fields}
        return _Anything(found) if missing else found

    # ---- parts

    def where(self) -> None:
        service = self.service
        if service.where is None:
            return
        parent = self.patterns.services.get(service.over)
        names = self.names(parent) if parent is not None else {"frame": k.Stretch("frame")}
        self.typer(names).condition(service.where)

    def reply(self, typer: Typer) -> None:
        layout = self.layout(self.service)
        if layout is None and self.service.header:
            return
        fields = {f.name: f for f in layout.fields} if layout is not None else {}
        seen: set[str] = set()
        for assignment in self.service.reply:
            name, at = assignment.field, self.report.word(assignment.span, assignment.field)
            if "." in name:
                self.reply_below(assignment, typer)
                continue
            if name not in fields:
                hint = self.report.near(name, fields) or f"'{self.service.name}' has no header"
                what = layout.name if layout is not None else self.service.name
                self.report.say("E0202", f"'{what}' has no field '{name}'", at, hint)
                typer.number(assignment.value)
                continue
            if name in seen:
                self.report.say("E0210", f"'{name}' is answered twice", at)
            seen.add(name)
            typer.fits(assignment.value, fields[name].bits, name)

    def reply_below(self, assignment: s.Assignment, typer: Typer) -> None:
        """A field of a service below, which that one leaves alone."""
        below, _, name = assignment.field.rpartition(".")
        self.asked(s.Asked(tuple(assignment.field.split(".")), assignment.value, assignment.span),
                   typer.names)  # fmt: skip
        for other in self.up(self.service):
            if other.name == below and any(x.field == name for x in other.reply):
                text = f"'{below}' answers '{name}' itself"
                self.report.say("E0210", text, assignment.span)

    def kept(self, keeps: tuple[s.Assignment, ...], typer: Typer) -> None:
        """What states become."""
        states = {x.name: x for x in self.service.states}
        for assignment in keeps:
            name = assignment.field
            if name not in states:
                hint = self.report.near(name, states) or "declare it: state NAME : u16"
                at = self.report.word(assignment.span, name)
                self.report.say("E0202", f"'{self.service.name}' has no state '{name}'", at, hint)
                typer.number(assignment.value)
            else:
                typer.fits(assignment.value, states[name].bits, name)

    def speak(self, own: Mapping[str, k.Kind]) -> None:
        speak = self.service.speak
        if speak is None:
            return
        typer = self.typer(own)
        typer.condition(speak.when)
        for asked in speak.fields:
            self.asked(asked, own)
        self.kept(speak.keeps, typer)
        if speak.text is not None:
            self.text(speak.text)
        if speak.when is None and speak.keeps:
            text = "what is remembered when something is said stands under 'speak when'"
            self.report.say("E0252", text, speak.keeps[0].span)

    def passing(self, own: Mapping[str, k.Kind]) -> None:
        """The headers that a frame is passed on with: each field of them is said of once."""
        passing = self.service.passing
        if passing is None:
            return
        typer = self.typer(own)
        layout = self.passed_layout()
        if passing.layout and layout is None:
            known = [*self.patterns.layouts, *(x.name for x in self.service.layouts)]
            hint = self.report.near(passing.layout, known)
            at = self.report.word(passing.span, passing.layout)
            self.report.say("E0224", f"no layout '{passing.layout}'", at, hint)
            return
        typer.condition(passing.when)
        fields = {x.name: x for x in layout.fields} if layout is not None else {}
        seen: set[str] = set()
        for one in passing.fields:
            name = ".".join(one.path)
            if name not in fields:
                hint = self.report.near(name, fields) or "say 'pass as LAYOUT'"
                text = f"what is passed on has no field '{name}'"
                self.report.say("E0202", text, self.report.word(one.span, one.path[0]), hint)
            elif name in seen:
                self.report.say("E0210", f"'{name}' is said twice", one.span)
            else:
                typer.fits(one.value, fields[name].bits, name)
            seen.add(name)
        self.kept(passing.keeps, typer)
        if not self.service.quiet:
            text = f"'{self.service.name}' answers frames: another service passes them on"
            self.report.say("E0252", text, passing.span)

    def text(self, text: s.String) -> None:
        """What is said behind the headers ends in what was heard."""
        states = [state.name for state in self.service.states]
        said(self.report, text.value, text.span, [*states, "my.name", "line.lost", "line"])
        if self.service.hear is None or not text.value.endswith("{line}"):
            hint = "say 'hear 32 lines of 112', and {line} behind all else of the text"
            self.report.say("E0252", "a text ends in a line that was heard", text.span, hint)
        elif "{line}" in text.value.removesuffix("{line}"):
            self.report.say("E0252", "a text has one {line}, its end", text.span)

    def tell(self, line: s.String) -> None:
        states = [state.name for state in self.service.states]
        said(self.report, line.value, line.span, states)
        if not self.service.quiet:
            text = f"'{self.service.name}' answers frames: what is told, a service of its own tells"
            self.report.say("E0252", text, line.span)

    def questions(self, own: Mapping[str, k.Kind]) -> None:
        names = {**own, "peer": k.PEER}
        for asked in self.service.ask:
            self.asked(asked, names)
        answers = {**names, "asked": k.Names("asked", names)}
        for example in self.service.examples:
            for change in example.changes:
                self.asked(change, names)
            onward = self.onward() if example.passed else {}
            typer = self.typer({**answers, **onward})
            for condition in example.answers:
                typer.condition(condition)

    def onward(self) -> dict[str, k.Kind]:
        """The names of the headers that a frame is passed on with, where they are new ones."""
        layout = self.passed_layout()
        fields = layout.fields if layout is not None else ()
        return {f.name: k.number(f.bits) if f.bits > 1 else k.BIT for f in fields}

    def passed_layout(self) -> s.Layout | None:
        """The layout of the headers that a frame is passed on with, if there is one."""
        name = self.service.passing.layout if self.service.passing is not None else ""
        own = {x.name: x for x in self.service.layouts}
        return own.get(name) or self.patterns.layouts.get(name)

    def asked(self, asked: s.Asked, names: Mapping[str, k.Kind]) -> None:
        """A field of the question, or of one of the services below, and its value."""
        typer = self.typer(names)
        expression: s.Expr = s.Name(asked.path[0], self.report.word(asked.span, asked.path[0]))
        for part in asked.path[1:]:
            at = expression.span
            end = at.end_column + 1 + len(part)
            expression = s.Member(expression, part, Span(at.file, at.line, at.column, end))
        kind = typer.kind(expression)
        if isinstance(kind, k.Num):
            typer.fits(asked.value, kind.bits, ".".join(asked.path))
        elif not isinstance(kind, k.Unknown):
            text = f"'{'.'.join(asked.path)}' is no field"
            self.report.say("E0206", text, expression.span)


class _Anything(dict[str, k.Kind]):
    """The names of a header whose layout is missing, which was reported."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> k.Kind:
        return k.UNKNOWN

    def get(self, name: str, default: object = None) -> k.Kind:
        return self[name]


def _nest(names: dict[str, k.Kind], name: str, parts: dict[str, k.Kind]) -> None:
    """Put `a.b`'s parts where `a` then `.b` find them."""
    first, _, rest = name.partition(".")
    there = names.get(first)
    members = dict(there.members) if isinstance(there, k.Names) else {}
    if rest:
        _nest(members, rest, parts)
        names[first] = k.Names(first, members)
    else:
        names[first] = k.Names(name, parts if isinstance(parts, _Anything) else members | parts)
