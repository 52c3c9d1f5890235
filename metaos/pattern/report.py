"""Collects the problems a check finds, each once, and finds words under which to draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from metaos.errors import Problem, Span, did_you_mean
from metaos.pattern.patterns import Patterns

MANY = 40


class Report:
    """What is wrong so far. The same problem at the same place, seen from two members of a
    family, is said once."""

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        self._found: dict[tuple[str, Span, str], Problem] = {}
        self._muted = False

    def say(self, code: str, message: str, span: Span, hint: str = "") -> None:
        if not self._muted:
            problem = self.patterns.problem(code, message, span, hint)
            self._found.setdefault((code, span, message), problem)

    def said(self, code: str, span: Span) -> bool:
        """Whether a problem of that code was found there."""
        return any(key[:2] == (code, span) for key in self._found)

    @property
    def count(self) -> int:
        """How many problems were found."""
        return len(self._found)

    @property
    def many(self) -> bool:
        """So much is wrong that hints and pairs are not looked for any more."""
        return len(self._found) > MANY

    def word(self, span: Span, word: str) -> Span:
        """Where `word` stands in the line of `span`, from its start on; else `span`.

        Of a name that a part declares, `rx.next`, the part says only `next`.
        """
        found = self._word(span, word)
        return self._word(span, word.rpartition(".")[2]) if found is span else found

    def _word(self, span: Span, word: str) -> Span:
        source = self.patterns.sources.get(span.file)
        line = source.line(span.line) if source is not None else ""
        start = line.find(word, span.column - 1)
        while word and start >= 0:
            end = start + len(word)
            if not (_inside(line[start - 1 : start]) or _inside(line[end : end + 1])):
                return Span(span.file, span.line, start + 1, end + 1)
            start = line.find(word, end)
        return span

    def near(self, word: str, known: Iterable[str]) -> str:
        """`did_you_mean`, as long as there are few problems: it takes its time."""
        return "" if self.many or self._muted else did_you_mean(word, known)

    @contextmanager
    def muted(self) -> Iterator[None]:
        """What is found inside is not said: somebody looks again."""
        before, self._muted = self._muted, True
        try:
            yield
        finally:
            self._muted = before

    def problems(self) -> tuple[Problem, ...]:
        """Everything found, in the order of the files."""
        return tuple(p for _, p in sorted(self._found.items(), key=_place))


def _inside(character: str) -> bool:
    """Whether a name goes on with a character."""
    return character.isalnum() or character == "_"


def _place(entry: tuple[tuple[str, Span, str], Problem]) -> tuple[str, int, int, str, str]:
    code, span, message = entry[0]
    return span.file, span.line, span.column, code, message
