"""Overlays and what `resolved` says a rule is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos.errors import MetaosError, Source
from metaos.pattern import syntax as s
from metaos.pattern.check import check
from metaos.pattern.patterns import load
from metaos.pattern.resolved import resolved
from metaos.resources import PATTERNS
from tests.pattern.load import patterns_of

BASE = """\
source m = "M"

device d : console
  match pci vendor 0x1ACE device 1
  fact io : ports = bar[0]
  state a, b : u8 = 1

  registers r at io port 8 bits
    0 A rw  @m 1

  turn
    take text -> char, some
    x = a + b
    # a comment inside
    A <- char + x when some
    advance text when some
"""

OVER = """\
source m = "M"

overlay e of d
  because "the second one is elsewhere" @m 2
  match pci revision 2
  fact io : ports = bar[1]
"""

TWICE = """\
source m = "M"

overlay f of e
  because "and another start on this board" @m 3
  match pci revision 2 subsystem_device 7
  state a : u8 = 2
"""

SOURCES = [Source("base", BASE), Source("over", OVER), Source("twice", TWICE)]


def test_an_overlay_replaces_what_it_declares_and_keeps_the_rest() -> None:
    patterns = patterns_of(*SOURCES)
    assert check(patterns) == ()
    below, over, twice = (patterns.devices[x] for x in "def")
    assert over.named(s.Fact)["io"].span.file == "over"
    assert twice.named(s.Fact)["io"].span.file == "over"
    assert twice.named(s.State)["a"].span.file == "twice"
    assert twice.named(s.State)["b"] == below.named(s.State)["b"]
    assert over.class_name == "console" and len(over.of(s.Match)) == 2
    assert not over.abstract and below.named(s.Fact)["io"].span.file == "base"


def test_every_line_says_where_it_is_from() -> None:
    patterns = patterns_of(*SOURCES)
    shown = resolved("f", patterns)
    assert [o.name for o in shown.origins] == ["f", "e", "d", "console"]
    assert [o.because for o in shown.origins] == [
        "and another start on this board", "the second one is elsewhere", "", "",
    ]  # fmt: skip
    texts = {x.file: x.text.split("\n") for x in SOURCES}
    for line in shown.lines:
        assert texts[line.file][line.line - 1] == line.text
    said = [line.text for line in shown.lines]
    assert "  fact io : ports = bar[1]" in said and "  fact io : ports = bar[0]" not in said
    assert said.count("  state a, b : u8 = 1") == 1  # b is still from there
    assert "    # a comment inside" in said and said[-1] != ""
    assert [(r.item, r.line, r.by_file) for r in shown.replaced] == [
        ("fact io : ports = bar[0]", 5, "over"),
        ("state a, b : u8 = 1", 6, "twice"),
    ]


def test_a_use_shows_the_lines_of_its_part() -> None:
    patterns = load([PATTERNS])
    for name, pattern in patterns.devices.items():
        uses = [x for x in pattern.written if isinstance(x, s.Use)]
        shown = resolved(name, patterns)
        for part in (x for x in pattern.written if isinstance(x, s.Part)):
            times = max(1, sum(x.part == part.name for x in uses))
            inner = (part.items[0].span.file, part.items[0].span.line)
            assert [(x.file, x.line) for x in shown.lines].count(inner) == times


def test_all_of_ours_can_be_shown() -> None:
    patterns = load([PATTERNS])
    for name in (*patterns.devices, *patterns.services):
        assert resolved(name, patterns).lines
    with pytest.raises(MetaosError, match=r"no pattern 'icmp\.ekko'") as caught:
        resolved("icmp.ekko", patterns)
    assert "icmp.echo" in caught.value.hint


def test_a_later_folders_file_replaces_and_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.pattern").write_text(BASE)
    (tmp_path / "b" / "y.pattern").write_text(OVER)
    patterns = load([PATTERNS, tmp_path / "a", tmp_path / "b"])
    assert patterns.hidden == {"x.pattern": tmp_path / "a"}
    x = (tmp_path / "b" / "x.pattern").as_posix()
    assert patterns.replacements() == (f"{x} replaces {(tmp_path / 'a' / 'x.pattern').as_posix()}",)
    assert patterns.place("x.pattern") == x
    assert patterns.place("classes/net.pattern") == "classes/net.pattern"


def test_two_of_one_name_in_different_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.pattern").write_text(BASE)
    (tmp_path / "x.pattern").write_text(BASE)
    with pytest.raises(MetaosError) as caught:
        load([PATTERNS, tmp_path])
    assert "a file of the same path" in caught.value.problems[0].hint
