"""metaos/explanations.md: every code that is raised has its section, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metaos import explain
from metaos.errors import MetaosError
from tests.docs.sessions import ROOT

PACKAGE = ROOT / "metaos"


def raised() -> set[str]:
    """The codes that stand in the package's modules as texts of their own."""
    return {
        code
        for path in PACKAGE.rglob("*.py")
        for code in re.findall(r'"(E0\d{3})"', path.read_text("utf-8"))
    }


def test_every_code_is_explained() -> None:
    known = set(explain.explanations())
    assert raised() - known == set(), "write a section of these in metaos/explanations.md"
    assert known - raised() == set(), "nothing raises these any more"
    assert list(explain.explanations()) == sorted(known)


@pytest.mark.parametrize("code", explain.explanations())
def test_a_section_has_text_and_an_example(code: str) -> None:
    one = explain.explained(code)
    assert one.title and "<!--" not in one.text and "```" not in one.text
    said = one.text.split("\n")
    assert said[0] and not said[0].startswith(" ")
    assert any(line.startswith("    ") for line in said)
    if code < "E03":
        assert f"error[{code}]" in one.text


def test_what_was_meant_is_found() -> None:
    assert explain.explained("e0203").code == "E0203"
    with pytest.raises(MetaosError, match="no error has the code 'E0299'") as caught:
        explain.explained("E0299")
    assert caught.value.hint.startswith("did you mean 'E02")
    with pytest.raises(MetaosError) as lost:
        explain.explained("?")
    assert lost.value.hint == "metaos explain lists all codes"


def test_it_is_in_the_package() -> None:
    assert (Path(explain.__file__).parent / "explanations.md").is_file()
