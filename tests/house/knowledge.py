"""What Python must not know: the words and numbers that pattern files and targets are about.

`forbidden(patterns, targets)` collects them, `findings(source, name, forbidden)` says where a
Python file uses one as an identifier, in a literal or as a number. Comments and docstrings
may name what they like: they do nothing.
"""

from __future__ import annotations

import ast
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from metaos.pattern import syntax
from metaos.pattern.patterns import Patterns

_IDS = ("vendor", "device", "subsystem_vendor", "subsystem_device")
_WORD = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")

_COMMON = 0xFF
"""Up to it, as powers of two at any size, a number is an id by chance only."""


@dataclass(frozen=True)
class Forbidden:
    """`names` in lower case, `registers` as they are spelled, `numbers` of ids."""

    names: frozenset[str]
    registers: frozenset[str]
    numbers: frozenset[int]


@dataclass(frozen=True)
class Finding:
    """A word of the patterns in a file of the tool."""

    file: str
    line: int
    word: str


def forbidden(patterns: Patterns, targets: Iterable[Path]) -> Forbidden:
    """Everything that only patterns and targets may say.

    Numbers that are powers of two are left out: they are sizes far more often than ids.
    """
    names: set[str] = set()
    registers: set[str] = set()
    numbers: set[int] = set()
    for pattern in patterns.devices.values():
        names |= {pattern.name.lower(), pattern.family.lower()}
        registers |= set(pattern.registers)
        keys = [key for match in pattern.of(syntax.Match) for key in match.keys]
        ids = (v for k, v in keys if k in _IDS and isinstance(v, int))
        numbers |= {v for v in ids if v & (v - 1) and v > _COMMON}
    for service in patterns.services.values():
        names |= {service.name.lower(), *service.name.lower().split(".")}
    for layout in patterns.layouts.values():
        names.add(layout.name.lower())
    for path in targets:
        names |= _drivers(tomllib.loads(path.read_text("utf-8")))
    return Forbidden(frozenset(names - {""}), frozenset(registers), frozenset(numbers))


def _drivers(value: object) -> set[str]:
    """The devices that a target's QEMU arguments name, wherever they are in it."""
    if isinstance(value, dict):
        return set().union(*map(_drivers, value.values()), set())
    found: set[str] = set()
    if isinstance(value, list):
        for option, argument in itertools.pairwise(value):
            if option in ("-device", "--device") and isinstance(argument, str):
                found.add(argument.partition(",")[0].lower())
    return found


def findings(source: str, name: str, what: Forbidden) -> Iterator[Finding]:
    """Where Python code of file `name` uses a forbidden word or number."""
    tree = ast.parse(source)
    silent = {id(node) for node in _docstrings(tree)}
    for node in ast.walk(tree):
        if id(node) in silent:
            continue
        line = getattr(node, "lineno", 0)
        for text in _texts(node):
            yield from (Finding(name, line, word) for word in words_in(text, what))
        if (
            isinstance(node, ast.Constant)
            and type(node.value) is int
            and node.value in what.numbers
        ):
            yield Finding(name, line, hex(node.value))


def asm_findings(source: str, name: str, what: Forbidden) -> Iterator[Finding]:
    """The same for nasm: everything before a `;` counts."""
    for number, line in enumerate(source.splitlines(), 1):
        code = line.partition(";")[0]
        yield from (Finding(name, number, word) for word in words_in(code, what))


def words_in(text: str, what: Forbidden) -> Iterator[str]:
    """The forbidden words of `text`: whole words and their parts between . _ and -."""
    for word in _WORD.findall(text):
        parts = {word, *re.split(r"[._-]", word)}
        yield from sorted(p for p in parts if p in what.registers or p.lower() in what.names)
        for part in parts:
            number = _number(part)
            if number is not None and number in what.numbers:
                yield part


def _number(word: str) -> int | None:
    """What a word of four hex digits, or 0x and more, stands for."""
    if re.fullmatch(r"0[xX][0-9A-Fa-f]+|[0-9A-Fa-f]{4}", word):
        return int(word, 16)
    return None


def _docstrings(tree: ast.AST) -> Iterator[ast.AST]:
    """Every string that is a statement of its own."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                yield node.value


def _texts(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
            yield text
        case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.alias(name=text):
            yield text
        case ast.keyword(arg=str(text)):
            yield text
        case ast.Constant(value=str(text)):
            yield text
        case ast.Constant(value=bytes(data)):
            yield data.decode("latin-1")
