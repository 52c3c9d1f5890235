"""Where a rule of the grammar stands in its file, and what its numbers are: all nodes need it."""

from __future__ import annotations

from typing import Any

from lark import Token, Transformer

from metaos.errors import MetaosError, Problem, Source, Span
from metaos.pattern.numbers import number, short

NANOSECONDS = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class LocatedNodes(Transformer[Token, Any]):
    """Of one file. The methods of its kinds are one a rule, children in the grammar's order."""

    def __init__(self, source: Source) -> None:
        super().__init__(visit_tokens=False)
        self._text = source

    def span(self, meta: Any) -> Span:
        if meta.empty:
            return Span(self._text.file, 1, 1, 2)
        line = self._text.line(meta.line)
        end = meta.end_column if meta.end_line == meta.line else len(line) + 1
        end = min(end, len(line.rstrip()) + 1)
        return Span(self._text.file, meta.line, meta.column, max(end, meta.column + 1))

    def error(self, code: str, message: str, span: Span, hint: str = "") -> MetaosError:
        problem = Problem(code, message, span, hint, self._text.line(span.line))
        return MetaosError(f"{self._text.file} does not parse", problems=[problem])

    def value(self, token: Token) -> int:
        """The number a token says."""
        try:
            return number(token)
        except ValueError as error:
            raise self.error("E0009", str(error), self.at(token)) from None

    def width(self, token: Token) -> int:
        """The bits of `u32`."""
        digits = token[1:]
        if len(digits) > 4:
            raise self.error("E0009", f"a width of '{short(token)}' is too much", self.at(token))
        return int(digits)

    def at(self, token: Token) -> Span:
        line, column = token.line or 1, token.column or 1
        return Span(self._text.file, line, column, column + len(token))


def flat(items: list[Any]) -> tuple[Any, ...]:
    """`state a, b` is two items."""
    found: list[Any] = []
    for item in items:
        if isinstance(item, tuple):
            found.extend(item)
        elif item is not None:
            found.append(item)
    return tuple(found)
