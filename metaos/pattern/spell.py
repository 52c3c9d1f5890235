"""An expression as a pattern file would write it: `spell(expression) -> str`.

For messages, and for asking whether two expressions say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from metaos.pattern import syntax as s


def spell(node: s.Expr) -> str:
    """The text of an expression, brackets around every operation inside another."""
    match node:
        case s.Number(value=value):
            return str(value) if value < 10 else f"{value:#x}"
        case s.String(value=text):
            return f'"{text}"'
        case s.Name(text=text):
            return text
        case s.Member(of=of, name=name):
            return f"{spell(of)}.{name}"
        case s.Index(of=of, index=index):
            return f"{spell(of)}[{_counted(index)}]"
        case s.Slice(of=of, high=high, low=low):
            return f"{_inner(of)}[{_counted(high)}:{_counted(low)}]"
        case s.Prime(of=of):
            return f"{spell(of)}'"
        case s.Reference(of=of):
            return f"&{spell(of)}"
        case s.Unary(operator=operator, operand=operand):
            return f"{operator}{_inner(operand)}"
        case s.Binary(operator=operator, left=left, right=right):
            return f"{_inner(left)} {operator} {_inner(right)}"
        case s.Call(function=function, arguments=arguments):
            return f"{function}({', '.join(map(spell, arguments))})"
        case s.Record(fields=parts):
            said = (p.name if p.value is None else f"{p.name} = {spell(p.value)}" for p in parts)
            return "{ " + ", ".join(said) + " }"


def _counted(node: s.Expr) -> str:
    """A number that counts, in decimal."""
    return str(node.value) if isinstance(node, s.Number) else spell(node)


def _inner(node: s.Expr) -> str:
    return f"({spell(node)})" if isinstance(node, s.Binary) else spell(node)


def dotted(node: s.Expr) -> str:
    """`a.b.c` as written; empty for an expression that is no such name."""
    match node:
        case s.Name(text=text):
            return text
        case s.Member(of=of, name=name):
            before = dotted(of)
            return f"{before}.{name}" if before else ""
    return ""


def walk(node: Any) -> Iterator[Any]:
    """Every syntax node below `node`, itself included, from left to right."""
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif is_dataclass(node):
        yield node
        for field in fields(node):
            if field.name != "span":
                yield from walk(getattr(node, field.name))
