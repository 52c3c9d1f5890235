"""Two cards that sleep together: neither is left with a frame, whoever else holds their line."""

from __future__ import annotations

import pytest

from tests.model.lines import Pair, starved, stuck

KINDS = [
    pytest.param(Pair(), id="two on a level line"),
    pytest.param(Pair(together=False), id="a level line, and messages"),
    pytest.param(Pair(held=True), id="somebody holds their line for ever"),
    pytest.param(Pair(together=False, held=True), id="and holds that of one"),
    pytest.param(Pair(spurious=True), id="a line that falls interrupts besides"),
    pytest.param(Pair(together=False, spurious=True), id="so does that of one"),
]


@pytest.mark.parametrize("pair", KINDS)
def test_neither_is_left_with_a_frame(pair: Pair) -> None:
    assert stuck(pair) == ()
    assert starved(pair) == ()


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(Pair(looks=False), id="no look, two on a line"),
        pytest.param(Pair(looks=False, together=False), id="no look, a line and messages"),
        pytest.param(Pair(level=False), id="two on a line that is an edge"),
        pytest.param(Pair(level=False, held=True), id="an edge that somebody holds up"),
    ],
)
def test_a_weaker_order_oversleeps(pair: Pair) -> None:
    """So that the model can tell."""
    assert stuck(pair)
