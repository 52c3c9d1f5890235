"""A serial port's text goes on in every interleaving, and in weaker schemes it does not."""

from __future__ import annotations

import pytest

from tests.model.port import Port, shown, stuck


@pytest.mark.parametrize("drops", [False, True])
def test_no_text_stands_still(drops: bool) -> None:
    assert stuck(Port(drops=drops)) == ()
    assert shown(Port(drops=drops))


@pytest.mark.parametrize(
    "port",
    [
        pytest.param(Port(acknowledged=True, drops=True), id="acknowledged behind the write"),
        pytest.param(Port(held=True), id="another device holds the line up"),
    ],
)
def test_a_weaker_scheme_stands_still(port: Port) -> None:
    found = stuck(port)
    assert found and all(state.pc == "sleep" and state.text for state in found)
