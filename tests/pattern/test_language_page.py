"""docs/language.md: its examples are one sound file, its table has every code."""

from __future__ import annotations

import re
from pathlib import Path

from metaos.errors import Source
from metaos.pattern import syntax as s
from metaos.pattern.parse import parse
from tests.pattern.load import problems_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "language.md").read_text("utf-8")
BLOCK = re.compile(r"^```pattern\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> Source:
    """The page's examples, each at its own line of the page, so that errors point there."""
    text, line = [], 1
    for block in BLOCK.finditer(PAGE):
        start = PAGE.count("\n", 0, block.start(1)) + 1
        text.append("\n" * (start - line) + block[1])
        line = start + block[1].count("\n")
    return Source("docs/language.md", "".join(text))


def test_the_examples_are_sound() -> None:
    problems = problems_of(examples())
    assert "\n".join(p.render() for p in problems) == ""


def test_the_examples_show_every_construct() -> None:
    file = parse(examples())
    items = [item for device in file.devices for item in device.items]
    kinds = {type(item) for item in items}
    assert kinds == set(s.Item.__args__)
    rows = [row for item in items if isinstance(item, s.Sequence | s.Guard) for row in item.rows]
    assert {type(row) for row in rows} == set(s.Row.__args__)
    turns = [item for item in items if isinstance(item, s.Turn)]
    steps = {type(step) for turn in turns for step in turn.steps}
    assert steps >= {s.Let, s.Write, s.When, s.Offer, s.Take, s.Advance}
    assert {d.kind for d in file.devices} == {"device", "family", "member"}
    assert file.layouts and file.services and file.sources


def test_every_code_is_on_the_page() -> None:
    written = set()
    for module in (ROOT / "metaos" / "pattern").glob("*.py"):
        written |= set(re.findall(r'"(E0\d{3})"', module.read_text("utf-8")))
    listed = set(re.findall(r"^\| (E0\d{3}) \|", PAGE, re.MULTILINE))
    assert listed == written
