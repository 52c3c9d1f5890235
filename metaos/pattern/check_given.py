"""Addresses that a device is given: of tables, and never what the device says itself.

A field or a register that anywhere takes `&table` is an address to the device, which reads and
writes there by itself. What else is put into it has to be an address too, or a number of the rule.
"""

from __future__ import annotations

from collections.abc import Iterator

from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.report import Report
from metaos.pattern.spell import spell, walk

_CHOICES = {"select": 1}
"""Calls that give one of their arguments, from this one on."""


def addresses(pattern: Pattern, patterns: Patterns, report: Report) -> None:
    """Whatever is given where addresses are given is one."""
    given = list(_given(pattern))
    where = {place for place, value in given if _is_address(value)}
    numbers = {fact.name for fact in pattern.of(s.Fact)}
    for place, value in given:
        if place in where and not (_is_address(value) or _is_number(value, numbers)):
            text = f"'{place[1]}' is an address, '{spell(value)}' is no table's"
            hint = "give &table[i]; what a device says is never an address to be used"
            report.say("E0278", text, value.span, hint)


def _given(pattern: Pattern) -> Iterator[tuple[tuple[str, str], s.Expr]]:
    """What is put where: the layout and its field, or "" and a register, with each value."""
    tables = {table.name: table for table in pattern.of(s.Table)}
    registers = {r.name for block in pattern.of(s.Registers) for r in block.registers}
    for table in tables.values():
        if isinstance(table.initial, s.Record):
            yield from _fields(table.layout, table.initial)
    own = tuple(item for item in pattern.items if not isinstance(item, s.Fake))
    for node in walk(own):
        match node:
            case s.Write(target=s.Index(of=s.Name(text=name)), value=s.Record() as record) if (
                name in tables
            ):
                yield from _fields(tables[name].layout, record)
            case s.Write(
                target=s.Member(of=s.Index(of=s.Name(text=name)), name=field), value=value
            ) if name in tables and not isinstance(value, s.Record):
                yield (tables[name].layout, field), value
            case s.Write(target=s.Name(text=name), value=value) if name in registers:
                yield ("", name), value


def _fields(layout: str, record: s.Record) -> Iterator[tuple[tuple[str, str], s.Expr]]:
    for field in record.fields:
        if field.value is not None:
            yield (layout, field.name), field.value


def _is_address(value: s.Expr) -> bool:
    """Whether a value is made of a table's address, on every way."""
    match value:
        case s.Reference():
            return True
        case s.Binary(left=left):
            return _is_address(left)
        case s.Call(function=function, arguments=arguments) if function in _CHOICES:
            return all(_is_address(x) for x in arguments[_CHOICES[function] :])
    return False


def _is_number(value: s.Expr, known: set[str]) -> bool:
    """Whether a value is known when the image is built."""
    names = [node for node in walk(value) if isinstance(node, s.Name)]
    return all(node.text in known for node in names)
