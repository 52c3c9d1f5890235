"""Checks of a pattern's facts, where its places lie, and how they begin.

Each check is `f(pattern, typer) -> None`; the typer knows the pattern's names.
"""

from __future__ import annotations

from collections.abc import Callable

from metaos.errors import Span
from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.arithmetic import OPERATIONS
from metaos.pattern.check_places import CONFIG_BYTES, PORTS
from metaos.pattern.names import element_number
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import spell, walk
from metaos.pattern.widths import Typer, region


def one_meaning(pattern: Pattern, typer: Typer) -> None:
    """A name that is inherited means the same still: a member may replace, not rename."""
    seen: dict[str, tuple[object, Span]] = {}
    for item in pattern.items:
        for name, of, span in _meanings(item):
            first = seen.setdefault(name, (of, span))
            if first[0] == of:
                continue
            at = typer.report.word(span, name)
            if not typer.report.said("E0210", at):
                text = f"'{name}' is inherited and means something else, {first[1]}"
                typer.say("E0210", text, at)


def _meanings(item: s.Item) -> list[tuple[str, object, Span]]:
    match item:
        case s.Fact() | s.Table() | s.State() | s.Layout():
            return [(item.name, type(item), item.span)]
        case s.Registers():
            return [(r.name, item.name, r.span) for r in item.registers]
    return []


def matches(pattern: Pattern, typer: Typer) -> None:
    """A match's `where` is a condition on what is matched."""
    for match in pattern.of(s.Match):
        typer.condition(match.where)


def facts(pattern: Pattern, typer: Typer) -> None:
    """A fact is of its type."""
    for fact in pattern.of(s.Fact):
        if fact.type == "window":
            kind = typer.kind(fact.value)
            if not isinstance(kind, k.Window | k.Unknown):
                typer.say(
                    "E0206", f"'{spell(fact.value)}' is no window", fact.value.span,
                    "a window is bar[N] or memory(ADDRESS, SIZE), or one of them plus bytes",
                )  # fmt: skip
        elif fact.type == "capability":
            if not (isinstance(fact.value, s.Call) and fact.value.function == "capability"):
                text, hint = (
                    f"'{spell(fact.value)}' is no capability",
                    "capability(NUMBER, u8[N] == 1)",
                )
                typer.say("E0206", text, fact.value.span, hint)
            typer.kind(fact.value)
        elif fact.type == "ports":
            kind = typer.kind(fact.value)
            if not isinstance(kind, k.Window) or not kind.bar:
                typer.number(fact.value)
        else:
            typer.fits(fact.value, int(fact.type[1:6]), fact.name)


def demands(pattern: Pattern, typer: Typer) -> None:
    """What the rule cannot do without is a condition."""
    for one in pattern.of(s.Demand):
        typer.condition(one.condition)


def blocks(pattern: Pattern, typer: Typer) -> None:
    """Memory registers lie in a window, ports at ports, both large enough."""
    for block in pattern.of(s.Registers):
        size = _room(block, typer)
        for register in block.registers:
            end = register.offset + register.count * register.bits // 8
            if size is not None and end > size:
                typer.say(
                    "E0223", f"'{register.name}' ends at {end:#x}, '{block.name}' has "
                    f"{size:#x} bytes", typer.report.word(register.span, register.name),
                )  # fmt: skip
            _page(pattern, register, typer)


def _room(block: s.Registers, typer: Typer) -> int | None:
    """The bytes that a block's place has, where known."""
    name = typer.report.word(block.span, block.name)
    if block.at is None:
        if block.space == "config":
            return CONFIG_BYTES
        what = "a fact of type window" if block.space == "mmio" else "ports"
        typer.say("E0223", f"{block.space} registers lie at {what}: '{block.name} at ...'", name)
        return None
    kind = typer.kind(block.at)
    match block.space, kind:
        case _, k.Unknown():
            return None
        case "mmio", k.Window(size=size):
            return size
        case "port", k.Ports():
            return PORTS
        case "port", k.Num(value=int(base)):
            return PORTS - base
    wanted = {
        "mmio": "memory registers lie in a window",
        "port": "ports lie at a fact of type ports or at a constant",
        "config": "configuration registers lie in the function itself, at nothing",
    }[block.space]
    typer.say("E0223", f"{wanted}, given '{spell(block.at)}'", block.at.span)
    return None


def _page(pattern: Pattern, register: s.Register, typer: Typer) -> None:
    if register.page is None:
        return
    name, bit, value = register.page
    found = pattern.registers.get(name)
    at = typer.report.word(register.span, name)
    if found is None:
        hint = typer.report.near(name, pattern.registers)
        typer.say("E0218", f"the page is chosen by no register '{name}'", at, hint)
        return
    field = next((f for f in found[1].fields if f.name == bit), None)
    if field is None:
        hint = typer.report.near(bit, [f.name for f in found[1].fields])
        at = typer.report.word(register.span, bit)
        typer.say("E0218", f"'{name}' has no field '{bit}' to choose a page", at, hint)
    elif value >> field.bits:
        message = f"page {value} does not fit '{name}.{bit}', bits {field.high}:{field.low}"
        typer.say("E0218", message, at)


def tables(pattern: Pattern, typer: Typer) -> None:
    """Tables are of known layouts, fit their window and begin with fields they have."""
    for table in pattern.of(s.Table):
        layout = pattern.layouts.get(table.layout)
        if table.layout and layout is None:
            at = typer.report.word(table.span, table.layout)
            hint = typer.report.near(table.layout, pattern.layouts) or "the device declares none"
            typer.say("E0224", f"no layout '{table.layout}'", at, hint)
        typer.built(table.count)
        if table.at is not None:
            _in_window(table, layout, typer)
        if table.initial is not None:
            _initial(table, layout, typer)


def _in_window(table: s.Table, layout: s.Layout | None, typer: Typer) -> None:
    assert table.at is not None
    kind = typer.kind(table.at)
    if isinstance(kind, k.Array) and isinstance(kind.of, k.Element):
        kind = region(kind)
    count = table.elements
    size = _element_bytes(table, layout) * count if count is not None else 0
    if not isinstance(kind, k.Window | k.Unknown):
        text = f"a table lies at a window or another table, given '{spell(table.at)}'"
        typer.say("E0223", text, table.at.span)
    elif isinstance(kind, k.Window) and kind.size is not None and size > kind.size:
        message = f"'{table.name}' has {size:#x} bytes, '{spell(table.at)}' {kind.size:#x}"
        typer.say("E0223", message, table.at.span)


def _element_bytes(table: s.Table, layout: s.Layout | None) -> int:
    return table.element_size or (layout.size if layout is not None else 0)


def _initial(table: s.Table, layout: s.Layout | None, typer: Typer) -> None:
    assert table.initial is not None
    inner = _with_i(typer, table.elements)
    if isinstance(table.initial, s.Record) and layout is not None:
        inner.record(table.initial, layout.fields, layout.name)
    elif layout is not None:
        typer.say("E0206", "an element begins as { field = value, ... }", table.initial.span)
    elif not table.layout:
        typer.say("E0206", "buffers of bytes begin as they are", table.initial.span)
    typer.used |= inner.used


def _with_i(typer: Typer, count: int | None) -> Typer:
    names = {**typer.names, "i": element_number(count)}
    return Typer(names, typer.report)


def states(pattern: Pattern, typer: Typer) -> None:
    """States begin with numbers that fit them."""
    for state in pattern.of(s.State):
        if state.initial is None:
            continue
        inner = _with_i(typer, state.count) if state.count else typer
        values = initial_values(state)
        if values is None:
            inner.fits(state.initial, state.bits, state.name)
            _constant_start(state, typer)
        else:
            inner.number(state.initial)
            for number, value in enumerate(values):
                if not 0 <= value < 1 << state.bits:
                    where = f" ({state.name}[{number}])" if state.count else ""
                    message = f"{value}{where} does not fit the {state.bits} bits of '{state.name}'"
                    typer.say("E0203", message, state.initial.span)
                    break
        typer.used |= inner.used


def _constant_start(state: s.State, typer: Typer) -> None:
    for node in walk(state.initial):
        if isinstance(node, s.Name) and isinstance(typer.names.get(node.text), k.Var | k.Reg):
            message = f"'{node.text}' is not known when the image is built"
            typer.say("E0206", message, node.span, "a state begins with a constant")


def initial_values(state: s.State) -> tuple[int, ...] | None:
    """How a state begins, element for element, where the text alone says so."""
    if state.count > 4096:
        return None
    if state.initial is None:
        return (0,) * max(1, state.count)
    values = [_evaluate(state.initial, i) for i in range(max(1, state.count))]
    known = tuple(v for v in values if v is not None)
    return known if len(known) == len(values) else None


def _evaluate(node: s.Expr, i: int) -> int | None:
    match node:
        case s.Number(value=value):
            return value
        case s.Name(text="i"):
            return i
        case s.Binary(operator=operator, left=left, right=right) if operator in OPERATIONS:
            a, b = _evaluate(left, i), _evaluate(right, i)
            if a is None or b is None or a.bit_length() > 64 or b.bit_length() > 64:
                return None
            return OPERATIONS[operator](a, b)
    return None


CHECKS: tuple[Callable[[Pattern, Typer], None], ...] = (
    one_meaning, matches, facts, demands, blocks, tables, states,
)  # fmt: skip
