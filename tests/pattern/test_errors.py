"""Broken patterns: each file says in its first line the one problem it has, and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metaos.errors import Source
from tests.pattern.load import ERRORS, problems_of

FILES = sorted(ERRORS.glob("*.pattern"))
FIRST_LINE = re.compile(r"# (E\d{4}) (\d+):(\d+) (.+)")


def expected(path: Path) -> tuple[str, int, int, str]:
    found = FIRST_LINE.fullmatch(path.read_text("utf-8").split("\n")[0])
    assert found is not None, f"{path.name}: the first line is '# CODE LINE:COLUMN TEXT'"
    return found[1], int(found[2]), int(found[3]), found[4]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_says_this_and_nothing_else(path: Path) -> None:
    code, line, column, text = expected(path)
    problems = problems_of(Source.read(path, path.name))
    said = "\n".join(p.render() for p in problems)
    assert [p.code for p in problems] == [code], said
    assert problems[0].span is not None
    assert (problems[0].span.line, problems[0].span.column) == (line, column), said
    assert text in said


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_draws_the_line(path: Path) -> None:
    (problem,) = problems_of(Source.read(path, path.name))
    assert problem.span is not None
    lines = problem.render().split("\n")
    assert lines[0].startswith(f"{path.name}:{problem.span.line}:{problem.span.column}: error[")
    assert lines[1][4:] == path.read_text("utf-8").split("\n")[problem.span.line - 1]
    carets = lines[2].index("^")
    assert carets == 4 + problem.span.column - 1
    assert set(lines[2].strip()) == {"^"}


def test_every_code_has_a_file() -> None:
    written = set()
    for module in (Path(__file__).parents[2] / "metaos" / "pattern").glob("*.py"):
        written |= set(re.findall(r'"(E0\d{3})"', module.read_text("utf-8")))
    missing = written - {expected(path)[0] for path in FILES}
    assert not missing, f"no file in tests/pattern/errors/ shows {sorted(missing)}"


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("\tmatch platform part\n  fact f : u8 = 1\n", "E0002", "a tab begins line 2: "),
        ("  match platform part\n\tfact f : u8 = 1\n", "E0001", "a tab begins this line: "),
        ("    match platform part\n  fact f : u8 = 1\n", "E0002", ""),
    ],
)
def test_a_tab_that_makes_a_block_is_named(text: str, code: str, hint: str) -> None:
    (problem,) = problems_of(Source("x.pattern", "device d : interrupts\n" + text))
    assert problem.code == code
    assert problem.hint.startswith(hint) and bool(problem.hint) is bool(hint)
