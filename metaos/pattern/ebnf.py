"""The grammar as people read it: `sections(grammar)`.

    device      = "device" dotted ":" dotted block( item )

Lark's notation loses what the parser alone needs: priorities, names of tree nodes, the tokens
of indentation. A block is `block( ... )`: lines further in, at least one, each a choice of what
stands in the brackets. An optional part is in [ ], `*` is any number, `+` at least one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(r"^// -+ (.+?) -+$")
_RULE = re.compile(r"^\??(\w+?)(?:\.\d+)?\s*:\s?(.*)$")
_HIDDEN = ("_NL", "_INDENT", "_DEDENT")
WIDTH = 96


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the grammar under its heading; `rules` are names with their alternatives."""

    title: str
    rules: tuple[tuple[str, tuple[str, ...]], ...]

    def text(self) -> str:
        """The rules, their names in a column."""
        width = max(len(name) for name, _ in self.rules)
        lines: list[str] = []
        for name, ways in self.rules:
            marks = (f"{name:<{width}} =", *[" " * (width + 1) + "|"] * len(ways))
            for mark, way in zip(marks, ways, strict=False):
                lines += _folded(mark, way)
        return "\n".join(lines)


def sections(grammar: str) -> tuple[Section, ...]:
    """The grammar's sections in order; what comes before the first heading is "A file"."""
    found: list[tuple[str, list[tuple[str, list[str]]]]] = [("a file", [])]
    for line in grammar.splitlines():
        if heading := _HEADING.match(line):
            found.append((heading[1], []))
        elif rule := _RULE.match(line):
            if rule[1] not in _HIDDEN:
                found[-1][1].append((rule[1].removesuffix("_"), list(_ways(rule[2]))))
        elif line.lstrip().startswith("|"):
            found[-1][1][-1][1].extend(_ways(line.lstrip()[1:]))
    return tuple(
        Section(title[0].upper() + title[1:], tuple((n, _joined(w)) for n, w in rules))
        for title, rules in found
    )


def _joined(ways: list[str]) -> tuple[str, ...]:
    """The alternatives, in one line where they are names alone."""
    bare = all(re.fullmatch(r"[a-z_ |]+", way) for way in ways)
    return (" | ".join(ways),) if bare else tuple(ways)


def _ways(body: str) -> Iterator[str]:
    """The alternatives of one line that end a line of the pattern file each, or the whole."""
    for way in re.split(r"(?<=_NL) \| (?=\")", body):
        yield plain(way)


def plain(way: str) -> str:
    """An alternative without what the parser alone needs."""
    way = re.sub(r"\s*->\s*\w+\s*$", "", way.strip())
    way = re.sub(r"\(_NL \| (\w+)\)\*", r"\1*", way)
    way = re.sub(r"\(_NL \| _NL _INDENT (\w+)\+ _DEDENT\)", r"[block( \1 )]", way)
    way = re.sub(r"_NL \[_INDENT (\w+)\+ _DEDENT\]", r"[block( \1 )]", way)
    way = re.sub(r"_NL _INDENT (\w+)\+ _DEDENT", r"block( \1 )", way)
    way = re.sub(r"\s*\b_NL\b", "", way)
    return way if way.startswith("/") else re.sub(r"\b([a-z]\w*)_\b", r"\1", way)


def _folded(mark: str, way: str) -> Iterator[str]:
    """One alternative, broken at spaces outside quotes where it is too long."""
    line, indent = mark, " " * (len(mark) + 1)
    for word in re.findall(r'(?:"[^"]*"|[^\s"])+', way):
        if len(line) + 1 + len(word) > WIDTH and line.strip() not in ("", "=", "|"):
            yield line
            line = indent[:-1]
        line = f"{line} {word}"
    yield line
