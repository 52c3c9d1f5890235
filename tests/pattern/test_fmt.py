"""`formatted`: one form for each text, whatever it looked like, that says the same."""

from __future__ import annotations

import random
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from metaos.errors import MetaosError, Source
from metaos.pattern import fmt
from metaos.pattern.fmt import formatted
from metaos.pattern.parse import parse
from metaos.resources import PATTERNS
from tests.pattern.load import ERRORS
from tests.pattern.test_hostile import broken
from tests.pattern.test_language_page import examples

pytestmark = pytest.mark.long

OURS = sorted(PATTERNS.rglob("*.pattern"))
CORPUS = sorted(ERRORS.glob("*.pattern"))
BROKEN = 400


def source(path: Path) -> Source:
    return Source.read(path, path.name)


def form(text: str) -> str:
    return formatted(Source("x.pattern", text))


def bare(node: Any) -> Any:
    """A syntax tree without places."""
    if isinstance(node, tuple):
        return tuple(map(bare, node))
    if not is_dataclass(node):
        return node
    named = [(f.name, bare(getattr(node, f.name))) for f in fields(node) if f.name != "span"]
    return type(node).__name__, named


def comments(text: str) -> list[str]:
    """The comments, as far as no text in quotes holds a '#'."""
    return [
        line[line.index("#") :].strip(" \t\r")
        for line in text.split("\n")
        if "#" in line and '"' not in line
    ]


def demand_good(text: str) -> None:
    """Formatted once it means the same, twice it does not change."""
    once = form(text)
    assert form(once) == once
    assert bare(parse(Source("x.pattern", once))) == bare(parse(Source("x.pattern", text)))
    assert comments(once) == comments(text)
    assert not any(line != line.rstrip(" \t") for line in once.split("\n"))


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_ours_are_formatted(path: Path) -> None:
    assert formatted(source(path)) == path.read_text("utf-8"), "run: metaos patterns fmt patterns"


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_what_it_looked_like_does_not_matter(path: Path) -> None:
    text = path.read_text("utf-8")
    draw = random.Random(path.name)
    assert form(untidy(draw, text)) == text


def untidy(draw: random.Random, text: str) -> str:
    """The same with other indentation, other spaces and more empty lines."""
    deep = draw.choice([1, 3, 4])
    lines = []
    for line in text.split("\n"):
        indent = (len(line) - len(line.lstrip())) // 2 * deep
        body, quoted = "", False
        for character in line.strip():
            quoted ^= character == '"'
            body += character
            if character == "#" and not quoted:
                body = line.strip()
                break
            if character == " " and not quoted:
                body = body.rstrip() + " " * draw.randint(1, 4)
        lines.append(" " * indent + body + " " * draw.randint(0, 2))
        if not line:
            lines += [""] * draw.randint(0, 2)
    return "\n" * draw.randint(0, 2) + "\n".join(lines) + "\n" * draw.randint(0, 3)


def test_the_broken_ones_too_as_far_as_they_parse() -> None:
    parsed = 0
    for path in CORPUS:
        try:
            parse(source(path))
        except MetaosError:
            with pytest.raises(MetaosError):
                formatted(source(path))
            continue
        parsed += 1
        demand_good(path.read_text("utf-8"))
    assert parsed > 80


def test_mutated_texts_as_far_as_they_parse() -> None:
    parsed = 0
    for number in range(BROKEN):
        text = broken(number)
        try:
            parse(Source("x.pattern", text))
        except MetaosError:
            continue
        parsed += 1
        demand_good(text)
    assert parsed > BROKEN // 10


def test_the_language_page() -> None:
    demand_good(examples().text)
    lines = [line for line in examples().text.split("\n") if line]
    assert [line for line in form(examples().text).split("\n") if line] == lines


UGLY = """

# What it is
source   a="A"
source long = "B"
device x:console   # why
   match pci   vendor 0x1ACE
   # about the registers

   registers r at io port 8 bits
        0 A rw @a 1 "first"
        0x10   BB[ 6 ] wo 16 bits  page A . P==0    @a 13.4
            7 : 4  FIELD   "of it"
            0 P
   #  behind the registers


   sequence init
      A<-{P,FIELD=3}# sets
      BB[ 0 ]   <-  ~ ( 1+2 ) [ 7:0 ]
      BB[10]<-f( a ,!b&&c )
      # the last row
   turn
      some_name = (a
 +  b   # in brackets

     ) & x'
      z = -> given
"""

TIDY = """\
# What it is
source a    = "A"
source long = "B"
device x : console  # why
  match pci vendor 0x1ACE
  # about the registers

  registers r at io port 8 bits
    0    A     rw                        @a 1  "first"
    0x10 BB[6] wo 16 bits page A.P == 0  @a 13.4
      7:4 FIELD  "of it"
      0   P
  #  behind the registers

  sequence init
    A <- { P, FIELD = 3 }  # sets
    BB[0]  <- ~(1 + 2)[7:0]
    BB[10] <- f(a, !b & &c)
    # the last row
  turn
    some_name = (a
        + b                # in brackets

    ) & x'
"""


def test_an_example() -> None:
    assert form(UGLY.replace("      z = -> given\n", "")) == TIDY


def test_what_does_not_parse_is_said_with_its_place() -> None:
    with pytest.raises(MetaosError) as caught:
        form(UGLY)
    assert caught.value.problems[0].code == "E0001"


def test_line_ends_of_windows_become_ours() -> None:
    assert form(UGLY.replace("      z = -> given\n", "").replace("\n", "\r\n")) == TIDY


@pytest.mark.parametrize("text", ["", "\n\n", "# alone", "\t# deep\n\n\n# two"])
def test_texts_without_words(text: str) -> None:
    once = form(text)
    assert form(once) == once and comments(once) == comments(text)


@pytest.mark.parametrize("made", ['source a = "B"', 'source a = "A"', "source"])
def test_a_mistake_of_the_formatter_is_refused(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fmt, "_columns", lambda lines: iter([made]))
    with pytest.raises(MetaosError):
        form('source a = "A"  # a comment\n')
