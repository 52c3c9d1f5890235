"""For all tests: `pytest --update-golden` writes the texts in tests/golden/ anew.

Patterns that one test had checked are not checked again for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metaos.errors import Problem
from metaos.pattern.check import check
from metaos.pattern.patterns import Patterns

GOLDEN = Path(__file__).parent / "golden"

Golden = Callable[[str, str], None]
"""Compare a text with the one kept under a name, a path below tests/golden/."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Demand that a text is the one that is kept; with --update-golden, keep it."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            return
        hint = "if that is wanted: pytest --update-golden, and look at the difference"
        assert path.exists(), f"no {path}; {hint}"
        assert text == path.read_text("utf-8"), f"differs from {path}; {hint}"

    return compare


@pytest.fixture(autouse=True, scope="session")
def checked_once() -> Iterator[None]:
    """What a check finds depends on nothing but the texts and where they lie."""
    found: dict[object, tuple[Problem, ...]] = {}

    def remembered(patterns: Patterns) -> tuple[Problem, ...]:
        texts = tuple((name, source.text) for name, source in patterns.sources.items())
        key = texts, tuple(patterns.folders.items()), tuple(patterns.hidden.items())
        if key not in found:
            found[key] = check(patterns)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaos.pipeline.check_patterns", remembered)
        yield
