"""The words of the language, read out of its grammar: what editors and highlighters colour.

    keywords().heads     # "device", "await": what a line begins with
    keywords().inside    # "within", "bits": what stands further on in a line
    keywords().types     # "window", "ports": what a fact can be

No word is reserved: `length` is a keyword of `offer` and a name elsewhere. A line's first word
decides, so heads and the words inside a line are told apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

GRAMMAR = Path(__file__).with_name("grammar.lark")
_RULE = re.compile(r"^\??([a-z_]\w*)\s*:(.*(?:\n[ \t]+\|.*)*)", re.MULTILINE)
_TERMINAL = re.compile(r"^([A-Z]\w*)(?:\.\d+)?\s*:\s*/\(?([a-z|]+)\)?\\b/", re.MULTILINE)
_WORD = re.compile(r'"([A-Za-z]+)"')


@dataclass(frozen=True, slots=True)
class Keywords:
    """The grammar's words by where they stand; a word may stand in several places."""

    heads: frozenset[str]
    inside: frozenset[str]
    types: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.heads | self.inside | self.types


@cache
def keywords() -> Keywords:
    """All words of `grammar.lark`."""
    return read_keywords(GRAMMAR.read_text("utf-8"))


def read_keywords(grammar: str) -> Keywords:
    """The words of a grammar in lark's notation."""
    terminals = {name: set(words.split("|")) for name, words in _TERMINAL.findall(grammar)}
    heads: set[str] = set()
    inside: set[str] = set()
    for _, body in _RULE.findall(grammar):
        for line in re.split(r"\n[ \t]+\||(?<=_NL) \|", body):
            words = _WORD.findall(line)
            begins = re.match(r'\s*"([A-Za-z]+)"', line) is not None and "_NL" in line
            heads |= set(words[:1] if begins else ())
            inside |= set(words[1:] if begins else words)
    types = terminals.pop("FACT_TYPE", set())
    return Keywords(
        frozenset(heads), frozenset(inside.union(*terminals.values())), frozenset(types)
    )
