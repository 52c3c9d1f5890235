"""`unproved`: a rule that has driven no real device is shown as such by every verb."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from metaos import resources
from metaos.cli_patterns_text import patterns_data, patterns_text, resolved_text
from metaos.cli_text import match_text
from metaos.match.bind import bind
from metaos.match.report import match_report
from metaos.match.system import read_system
from metaos.pattern.patterns import Patterns, load
from metaos.pattern.resolved import resolved
from metaos.pipeline import build_proved
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine

MACHINES = Path(__file__).parents[1] / "data" / "machines"
UNPROVED = {"i210", "rtl8168", "rtl8168b"}
SAID = "00:03.0 i210: not proved on silicon: "


@pytest.fixture(scope="module")
def ours() -> Patterns:
    return load([resources.PATTERNS])


@pytest.fixture(scope="module")
def machine() -> Machine:
    """A PC whose card says that it is an I210; its first window is as large as one's."""
    known = read_machine(MACHINES / "pc-e1000.json")
    functions = (
        replace(f, device=0x1533) if f.address == "00:03.0" else f for f in known.functions
    )
    return replace(known, functions=tuple(functions))


def test_patterns_of_cards_that_qemu_lacks_say_so(ours: Patterns) -> None:
    data = patterns_data(ours)["devices"]
    assert {d["name"] for d in data if d["unproved"]} == UNPROVED
    listed = patterns_text(ours)
    for name in UNPROVED:
        assert f"{name} (not proved on silicon)" in listed
        assert f"{name}: not proved on silicon: " in resolved_text(resolved(name, ours), ours)
    assert listed.count("not proved") == len(UNPROVED)
    assert "not proved" not in resolved_text(resolved("i82540em", ours), ours)


def test_match_and_build_say_it_of_the_device(ours: Patterns, machine: Machine) -> None:
    system = read_system()
    report = match_report(bind(machine, ours, system), "x.json")
    text = match_text(report)
    assert "i210 (not proved)" in text and SAID in text
    assert [d.address for d in report.devices if d.unproved] == ["00:03.0"]
    built = build_proved(
        machine, system=system, pattern_dirs=[resources.PATTERNS], progress=lambda _: None
    )
    assert [told.startswith(SAID) for told in built.unproved] == [True]


def test_what_was_tried_says_nothing(ours: Patterns) -> None:
    known = read_machine(MACHINES / "pc-e1000.json")
    assert "not proved" not in match_text(match_report(bind(known, ours, read_system()), "x.json"))
