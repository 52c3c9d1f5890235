"""The order of a turn's last steps: no interleaving oversleeps, and every weaker order does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model.sleep import Scheme, served, stuck

KINDS = [
    pytest.param(Scheme(level=True), id="a line, by level"),
    pytest.param(Scheme(level=True, sent=True), id="a line, by an I/O APIC"),
    pytest.param(Scheme(level=False), id="messages, when a cause is new"),
    pytest.param(Scheme(level=False, always=True), id="messages, whenever a cause is set"),
]


@pytest.mark.parametrize("scheme", KINDS)
def test_no_interleaving_oversleeps(scheme: Scheme) -> None:
    for one in (scheme, replace(scheme, posted=True, flushed=True)):
        assert stuck(one) == ()
        assert served(one)


@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param(Scheme(level=True, looks=False), id="no look, a line"),
        pytest.param(Scheme(level=False, looks=False), id="no look, messages"),
        pytest.param(Scheme(level=True, last=True), id="acknowledged last, a line"),
        pytest.param(Scheme(level=False, last=True), id="acknowledged last, messages"),
        pytest.param(Scheme(level=True, posted=True), id="posted, a line"),
        pytest.param(Scheme(level=True, sent=True, posted=True), id="posted, an I/O APIC"),
        pytest.param(Scheme(level=False, posted=True), id="posted, messages"),
        pytest.param(Scheme(level=True, sent=True, looks=False), id="no look, an I/O APIC"),
        pytest.param(Scheme(level=True, sent=True, shared=True), id="one vector for all"),
    ],
)
def test_a_weaker_order_oversleeps(scheme: Scheme) -> None:
    """So that the model can tell: each of these loses a frame."""
    found = stuck(scheme)
    assert found and all(state.pc == "sleep" and state.ring for state in found)


@pytest.mark.parametrize("level", [True, False])
def test_the_end_of_the_interrupt_may_come_first(level: bool) -> None:
    assert stuck(Scheme(level=level, early=True)) == ()
