"""The lexer, the TextMate grammar and the grammar page know the language's words, all of them."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark
from pygments.token import Comment, Error, Keyword, Name, Number, String

from metaos.pattern.ebnf import sections
from metaos.pattern.keywords import GRAMMAR, keywords
from metaos.pattern.lexer import PatternLexer
from metaos.pattern.textmate import textmate
from metaos.resources import PATTERNS

ROOT = Path(__file__).parents[2]
FILES = sorted(PATTERNS.rglob("*.pattern"))
BLOCK = re.compile(r"^```pattern[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def tokens(text: str) -> list[tuple[object, str]]:
    return list(PatternLexer(stripnl=False, ensurenl=False).get_tokens(text))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_pattern_is_coloured(path: Path) -> None:
    text = path.read_text("utf-8")
    found = tokens(text)
    assert "".join(value for _, value in found) == text
    assert not [value for kind, value in found if kind is Error]


def test_the_documents_patterns_are_coloured() -> None:
    blocks = [b for page in (ROOT / "docs").rglob("*.md") for b in BLOCK.findall(page.read_text())]
    assert len(blocks) > 10
    assert not [value for b in blocks for kind, value in tokens(b) if kind is Error]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("aZ_09\"#@<-=:.[](){}&|'~$%\n\t ")))
def test_nothing_is_lost(text: str) -> None:
    assert "".join(value for _, value in tokens(text)) == text


def test_kinds_are_told_apart() -> None:
    text = (
        "device x1 : net.ethernet   # a card\n"
        "  state length : u16 = 0x10\n"
        "    0x04 TAIL wo @man 4.2\n"
        "    length <- r.length\n"
        '    await R.DONE == 1 within 5 ms else "no"\n'
        "  ?\n"
    )
    found = [(kind, value) for kind, value in tokens(text) if value.strip()]
    for wanted in (
        (Keyword.Declaration, "device"), (Name.Class, "x1"), (Comment.Single, "# a card"),
        (Keyword.Type, "u16"), (Number.Hex, "0x10"), (Name.Decorator, "@man"), (Number, "4.2"),
        (Name, "length"), (Name.Attribute, "length"), (Keyword, "await"), (Keyword, "within"),
        (Keyword, "ms"), (String.Double, '"no"'), (Error, "?"),
    ):  # fmt: skip
        assert wanted in found, wanted
    assert (Keyword, "length") not in found


def grammar_words() -> set[str]:
    """Every word of the grammar, as lark itself understands it."""
    lark = Lark(GRAMMAR.read_text("utf-8"), parser="lalr", postlex=None, lexer="basic")
    literal = {t.pattern.value for t in lark.terminals if t.pattern.type == "str"}
    choices = {
        word
        for t in lark.terminals
        if t.pattern.type == "re"
        for found in re.findall(r"(?<![\w\]])\(?([a-z|]+)\)?\\b", t.pattern.value)
        for word in found.split("|")
    }
    return {w for w in literal | choices if re.fullmatch(r"[A-Za-z]+", w)}


def test_the_words_are_those_of_the_grammar() -> None:
    assert keywords().all == grammar_words()


def test_textmate_has_the_grammars_words() -> None:
    file = ROOT / "editors" / "metaos-pattern.tmLanguage.json"
    written = json.loads(file.read_text("utf-8"))
    assert written == textmate(), "run: python tools/docs.py"
    rules = written["repository"]["keywords"]["patterns"]
    said = {w for r in rules if (m := re.search(r"\(([A-Za-z|]+)\)\\b", r["match"]))
            for w in m[1].split("|")}  # fmt: skip
    assert said == grammar_words()


def test_textmate_expressions_compile() -> None:
    def matches(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["match"]] if "match" in node else []
            return own + [m for value in node.values() for m in matches(value)]
        return [m for value in node for m in matches(value)] if isinstance(node, list) else []

    found = matches(textmate())
    assert len(found) > 8
    for expression in found:
        re.compile(expression)
    head = re.compile(textmate()["repository"]["keywords"]["patterns"][0]["match"])
    assert head.match("    await R == 1") and not head.match("    send <- 1")


def test_pygments_is_told_of_the_lexer() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    module, _, name = project["entry-points"]["pygments.lexers"]["metaos-pattern"].partition(":")
    assert getattr(importlib.import_module(module), name) is PatternLexer


def test_the_grammar_page_has_every_rule() -> None:
    made = {name for section in sections(GRAMMAR.read_text("utf-8")) for name, _ in section.rules}
    lark = Lark(GRAMMAR.read_text("utf-8"), parser="lalr", lexer="basic")
    rules = {str(r.origin.name).removesuffix("_") for r in lark.rules}
    rules = {r for r in rules if not r.startswith("__")}
    assert made >= rules and {"NAME", "NUMBER", "STRING"} <= made
    page = (ROOT / "docs" / "grammar.md").read_text("utf-8")
    assert not re.search(r"_NL|_INDENT|_DEDENT|\S_ =", page)
    assert re.search(r'^device += "device" dotted ":" dotted block\( item \)', page, re.MULTILINE)
