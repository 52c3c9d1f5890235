"""Measured tables find their place in a document."""

from pathlib import Path

import pytest

from benchmarks.document import DOCUMENT, markdown, write_measured
from metaos.errors import MetaosError

TEXT = """before
<!-- measured: a -->
old
<!-- end -->
between
<!-- measured: b -->
kept
<!-- end -->
"""


def test_one_part_is_replaced_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text(TEXT)
    write_measured("a", r"new \1", path)
    once = path.read_text()
    assert once == TEXT.replace("old", "\nnew \\1\n")
    write_measured("a", r"new \1", path)
    assert path.read_text() == once


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text(TEXT)
    with pytest.raises(MetaosError, match="0 parts `<!-- measured: c -->`"):
        write_measured("c", "new", path)
    assert path.read_text() == TEXT


def test_the_document_has_both_tables() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert [text.count(f"<!-- measured: {name} -->") for name in ("beside-linux", "scale")] == [
        1,
        1,
    ]


def test_a_table() -> None:
    assert markdown(("a", ""), [(1, "x")]) == "| a |  |\n| --- | --- |\n| 1 | x |"
