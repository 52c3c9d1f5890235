"""The IR of targets, as text: every change of the lowering shows here."""

from __future__ import annotations

import pytest

from metaos import resources
from metaos.ir.program import Program
from metaos.ir.text import render
from metaos.lower.lower import guard, lower
from metaos.match.bind import bind
from metaos.match.system import read_system
from metaos.pattern.patterns import load
from tests.conftest import GOLDEN, Golden
from tests.lower.lowering import machine

WHOLE = "pc-e1000"
CARDS = {"pc-ne2k": ("00.03.0-steady", "platform-init")}
"""Machines of which only what their card makes is kept."""


def programs(name: str) -> dict[str, Program]:
    """All programs of a machine, by device and phase."""
    lowered = lower(bind(machine(name), load([resources.PATTERNS]), read_system()))
    found = (*lowered.programs, guard(lowered, ())[0])
    return {f"{p.device.replace(':', '.')}-{p.phase}": p for p in found if p.ops}


PROGRAMS = {
    **{f"{WHOLE}/{name}": program for name, program in programs(WHOLE).items()},
    **{f"{of}/{n}": p for of, kept in CARDS.items() for n, p in programs(of).items() if n in kept},
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_text_form(name: str, golden: Golden) -> None:
    golden(f"ir/{name}.ir", render(PROGRAMS[name]))


def test_no_golden_is_left_over() -> None:
    folder = GOLDEN / "ir"
    kept = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.ir")}
    assert kept == set(PROGRAMS)
