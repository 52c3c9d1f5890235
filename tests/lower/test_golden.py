"""The IR of the default target, as text: every change of the lowering shows here."""

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

FOLDER = "ir/pc-e1000"


def programs() -> dict[str, Program]:
    """All programs of the default target, by device and phase."""
    lowered = lower(bind(machine(), load([resources.PATTERNS]), read_system()))
    found = (*lowered.programs, guard(lowered, ())[0])
    return {f"{p.device.replace(':', '.')}-{p.phase}": p for p in found if p.ops}


PROGRAMS = programs()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_text_form(name: str, golden: Golden) -> None:
    golden(f"{FOLDER}/{name}.ir", render(PROGRAMS[name]))


def test_no_golden_is_left_over() -> None:
    kept = {path.stem for path in (GOLDEN / FOLDER).glob("*.ir")}
    assert kept == set(PROGRAMS)
