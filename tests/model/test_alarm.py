"""An alarm that is set in every turn, behind what is due: no interleaving oversleeps."""

from __future__ import annotations

import pytest

from tests.model.alarm import Setting, overslept, reached


@pytest.mark.parametrize("early", [False, True], ids=["in time", "early"])
def test_no_interleaving_oversleeps(early: bool) -> None:
    setting = Setting(early=early)
    assert overslept(setting) == ()
    states = reached(setting)
    assert any(x.pc == "sleep" and not x.held and not x.left for x in states)  # it is due, asleep
    assert any(x.pc == "do" and not x.seen and x.since > 2 for x in states)  # and is done, late


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(Setting(sets=False), id="never set"),
        pytest.param(Setting(order="set do"), id="set before what is due is done"),
        pytest.param(Setting(spares=True, early=True), id="not set anew where it rings early"),
    ],
)
def test_a_weaker_order_oversleeps(setting: Setting) -> None:
    """So that the model can tell."""
    found = overslept(setting)
    assert found and any(not x.rings for x in found)


def test_to_spare_a_setting_needs_an_alarm_that_is_never_early() -> None:
    """Why it is set in every turn: nothing says that a timer and a clock never drift apart."""
    assert overslept(Setting(spares=True)) == ()
    assert overslept(Setting(spares=True, early=True))
