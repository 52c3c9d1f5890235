"""For all tests: `pytest --update-golden` writes the texts in tests/golden/ anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
