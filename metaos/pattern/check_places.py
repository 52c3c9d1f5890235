"""Checks of what a pattern declares: registers, fields, layouts, tables, states, cites.

Each check is `f(file, report) -> None`; the table `CHECKS` is what `check` runs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator

from metaos.errors import Span
from metaos.pattern import syntax as s
from metaos.pattern.report import Report
from metaos.pattern.spell import spell

READABLE = frozenset({"ro", "rw", "rc", "rw1s", "rw1c"})
WRITABLE = frozenset({"wo", "rw", "rw1s", "rw1c", "w1c"})
ACCESS_KINDS = ("ro", "wo", "rw", "rc", "rw1s", "rw1c", "w1c")
WIDTHS = {"mmio": (8, 16, 32), "port": (8, 16, 32), "config": (8, 16, 32)}
MAX_COUNT = 1 << 16
CONFIG_BYTES = 256
PORTS = 1 << 16

Place = tuple[str, Span]


def _scopes(file: s.File) -> Iterator[s.Device | s.Part]:
    """Devices and their parts: what each declares has names of its own."""
    for device in file.devices:
        yield device
        yield from (i for i in device.items if isinstance(i, s.Part))


def _blocks(file: s.File) -> Iterator[s.Registers]:
    for scope in _scopes(file):
        yield from (i for i in scope.items if isinstance(i, s.Registers))


def _owners(file: s.File) -> tuple[s.ClassDef | s.Device | s.Part, ...]:
    return (*file.classes, *_scopes(file))


def _layouts(file: s.File) -> Iterator[s.Layout]:
    yield from file.layouts
    for owner in _owners(file):
        yield from (i for i in owner.items if isinstance(i, s.Layout))
    for service in file.services:
        yield from service.layouts


# ---- names ------------------------------------------------------------------------------


def names_once(file: s.File, report: Report) -> None:
    """A name is declared once in its file, class, device, register, layout or service."""
    _once(((x.name, x.span) for x in file.sources), "source", report)
    for class_ in file.classes:
        _once(((x.name, x.span) for x in class_.items), "name", report)
    for scope in _scopes(file):
        _once(_declared(scope), "name", report)
        _once(_sequences(scope), "sequence", report)
    for service in file.services:
        called = [(x.name, x.span) for x in service.constants]
        called += [(x.name, x.span) for x in service.named]
        called += [(x.name, x.span) for x in service.uses]
        _once(called, "name", report)
        _once(((x.name, x.span) for x in service.layouts), "layout", report)
    for block in _blocks(file):
        for register in block.registers:
            _once(((f.name, f.span) for f in register.fields), "field", report)
    for layout in _layouts(file):
        _once(((f.name, f.span) for f in layout.fields), "field", report)


def _once(places: Iterable[Place], what: str, report: Report) -> None:
    seen: dict[str, Span] = {}
    for name, span in places:
        at = report.word(span, name)
        if name in seen:
            message = f"{what} '{name}' is declared twice, first in line {seen[name].line}"
            report.say("E0210", message, at)
        seen.setdefault(name, at)


def _declared(scope: s.Device | s.Part) -> Iterator[Place]:
    """What the expressions of a device or a part can name, and its blocks."""
    for item in scope.items:
        match item:
            case s.Fact(name=name) | s.Table(name=name) | s.State(name=name) | s.Layout(name=name):
                yield name, item.span
            case s.Registers(name=name, registers=registers):
                yield name, item.span
                yield from ((r.name, r.span) for r in registers)
            case s.Learn(rows=rows):
                yield from ((r.name, r.span) for r in rows if isinstance(r, s.Keep))
            case s.Part(name=name) | s.Use(name=name):
                yield name, item.span


def _sequences(scope: s.Device | s.Part) -> Iterator[Place]:
    for item in scope.items:
        match item:
            case s.Sequence(name=name) | s.Guard(name=name):
                yield name, item.span
            case s.Turn():
                yield "turn", item.span
            case s.Clock() | s.Measured():
                yield "clock", item.span
            case s.Access():
                yield "access", item.span
            case s.Interrupt():
                yield "interrupt", item.span
            case s.Waker():
                yield "wake", item.span
            case s.Alarm():
                yield "alarm", item.span
            case s.Lines():
                yield "lines", item.span


# ---- registers --------------------------------------------------------------------------


def registers(file: s.File, report: Report) -> None:
    """Access kinds, widths, cites and pages are known."""
    for block in _blocks(file):
        if block.bits not in WIDTHS[block.space]:
            message = f"{block.space} registers have 8, 16 or 32 bits, given {block.bits}"
            report.say("E0227", message, report.word(block.span, str(block.bits)))
        for register in block.registers:
            if register.bits not in (block.bits, *WIDTHS[block.space]):
                message = f"'{register.name}' has {register.bits} bits, a register 8, 16 or 32"
                report.say("E0227", message, report.word(register.span, str(register.bits)))
            if register.access not in ACCESS_KINDS:
                near = difflib.get_close_matches(register.access, ACCESS_KINDS, 1, 0.5)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                listed = ", ".join(ACCESS_KINDS[:-1])
                report.say(
                    "E0211", f"unknown access kind '{register.access}'",
                    report.word(_behind(register, report), register.access),
                    f"use {listed} or {ACCESS_KINDS[-1]}{hint}",
                )  # fmt: skip
            if register.count < 1:
                report.say("E0227", f"'{register.name}' has no element", register.span)
            if register.cite is None:
                report.say(
                    "E0221", f"no cite says where '{register.name}' is from",
                    report.word(register.span, register.name),
                    "name a 'source' at the file's top and cite it: @source section",
                )  # fmt: skip


def _behind(register: s.Register, report: Report) -> Span:
    """The row of a register, from behind its name on."""
    name = report.word(register.span, register.name)
    return Span(name.file, name.line, name.end_column, register.span.end_column)


def register_fields(file: s.File, report: Report) -> None:
    """Fields lie inside their register, apart from each other or one inside the other."""
    for block in _blocks(file):
        for register in block.registers:
            _fields(register.fields, register.bits, f"'{register.name}'", report)


def layout_fields(file: s.File, report: Report) -> None:
    """Fields lie inside their layout, apart from each other or one inside the other."""
    for layout in _layouts(file):
        if layout.size < 1:
            report.say("E0227", f"'{layout.name}' has no bytes", layout.span)
        _fields(layout.fields, layout.size * 8, f"'{layout.name}'", report)


def _fields(fields: tuple[s.Field, ...], bits: int, of: str, report: Report) -> None:
    for field in fields:
        if field.bits < 1:
            report.say("E0227", f"'{field.name}' has no bits", field.span)
        elif field.high >= bits:
            message = f"bits {_range(field)} of '{field.name}' lie beyond {of}, bits {bits - 1}:0"
            report.say("E0217", message, field.span)
    around: list[s.Field] = []
    for field in sorted((f for f in fields if f.bits > 0), key=lambda f: (f.low, -f.high)):
        while around and around[-1].high < field.low:
            around.pop()
        if around and (field.high > around[-1].high or field.bits == around[-1].bits):
            pair = sorted((around[-1], field), key=lambda f: (f.span.line, f.span.column))
            message = f"bits {_range(pair[1])} overlap '{pair[0].name}', bits {_range(pair[0])}"
            report.say("E0216", message, pair[1].span)
        around.append(field)  # a field inside it is a part of it


def _range(field: s.Field) -> str:
    return str(field.high) if field.high == field.low else f"{field.high}:{field.low}"


def overlaps(file: s.File, report: Report) -> None:
    """Two registers share bytes only as `ro` and `wo`, or on different pages."""
    for scope in _scopes(file):
        groups: dict[tuple[str, str], list[tuple[s.Register, int]]] = {}
        for block in scope.items:
            if isinstance(block, s.Registers):
                at = spell(block.at) if block.at is not None else ""
                group = groups.setdefault((block.space, at), [])
                group += [(register, register.bits // 8) for register in block.registers]
        for group in groups.values():
            _apart(group, report)


def _apart(group: list[tuple[s.Register, int]], report: Report) -> None:
    ordered = sorted(group, key=lambda entry: (entry[0].offset, entry[0].span.line))
    for number, (register, _) in enumerate(ordered):
        for other, other_size in reversed(ordered[:number]):
            if other.offset + other_size * other.count <= register.offset:
                continue
            later, first = sorted((register, other), key=lambda r: r.span.line, reverse=True)
            if register.name != other.name and not _may_share(register, other):
                report.say(
                    "E0215", f"'{later.name}' overlaps '{first.name}' at {first.offset:#06x}, "
                    f"line {first.span.line}", report.word(later.span, later.name),
                    "one place is shared by a ro and a wo register, or by different pages",
                )  # fmt: skip
                break


def _may_share(a: s.Register, b: s.Register) -> bool:
    """One is only read and the other only written, or they are on different pages."""
    if a.page and b.page and a.page[:2] == b.page[:2] and a.page[2] != b.page[2]:
        return True
    kinds = {a.access, b.access}
    return (
        len(kinds & READABLE) == 1 and len(kinds & WRITABLE) == 1 and kinds <= READABLE ^ WRITABLE
    )


# ---- tables, states, constants ------------------------------------------------------------


def sizes(file: s.File, report: Report) -> None:
    """Tables have elements, numbers have bits."""
    for owner in _owners(file):
        for item in owner.items:
            match item:
                case s.Table():
                    _table_size(item, report)
                case s.State(name=name, bits=bits, span=span, count=count):
                    _number_size(name, bits, span, report)
                    if count > MAX_COUNT:
                        report.say("E0227", f"'{name}' has more than {MAX_COUNT} elements", span)
                case s.Fact(name=name, type=kind, span=span) if kind.startswith("u"):
                    _number_size(name, int(kind[1:6]), span, report)
                case s.Clock(bits=bits, hertz=hertz, period=period, span=span):
                    if not 8 <= bits <= 64 or not (hertz or period):
                        report.say("E0227", f"no clock has {bits} bits at {hertz} Hz", span)
    for service in file.services:
        for constant in service.constants:
            _number_size(constant.name, constant.bits, constant.span, report)


def _number_size(name: str, bits: int, span: Span, report: Report) -> None:
    if not 1 <= bits <= 64:
        message = f"'{name}' has {bits} bits, a number has 1 to 64"
        report.say("E0227", message, report.word(span, f"u{bits}"))


def _table_size(table: s.Table, report: Report) -> None:
    count = table.elements
    if count is not None and not 1 <= count <= MAX_COUNT:
        message = f"'{table.name}' has {count} elements, a table has 1 to {MAX_COUNT}"
        report.say("E0227", message, table.span)
    if (table.element_size or not table.layout) and not 1 <= table.element_size <= MAX_COUNT:
        message = f"an element of '{table.name}' has {table.element_size} bytes"
        report.say("E0227", message, table.span, f"1 to {MAX_COUNT}")
    if table.align < 1 or table.align & (table.align - 1) or table.align > 4096:
        message = f"no alignment is {table.align} bytes"
        report.say("E0227", message, table.span, "a power of two, at most 4096")


# ---- sources ------------------------------------------------------------------------------

_CITED = re.compile(r"(?<![\w@])@([A-Za-z_]\w*)")


def sources(file: s.File, report: Report) -> None:
    """Every cite, in comments too, names a `source` of its file; every source is cited."""
    known = {x.name: x for x in file.sources}
    cited: set[str] = set()
    source = report.patterns.sources.get(file.name)
    for number, line in enumerate(source.lines if source is not None else (), 1):
        bare = re.sub(r'"[^"]*"', lambda m: " " * len(m[0]), line)
        for found in _CITED.finditer(bare):
            cited.add(found[1])
            if found[1] not in known:
                at = Span(file.name, number, found.start() + 1, found.end() + 1)
                hint = report.near(found[1], known) or 'declare it: source NAME = "..."'
                report.say("E0222", f"no source '{found[1]}' is declared in this file", at, hint)
    for name in known.keys() - cited:
        report.say("E0226", f"source '{name}' is never cited", report.word(known[name].span, name))


CHECKS: tuple[Callable[[s.File, Report], None], ...] = (
    names_once, registers, register_fields, layout_fields, overlaps, sizes, sources,
)  # fmt: skip
