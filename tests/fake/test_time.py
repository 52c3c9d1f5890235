"""`every` in a rule at work among fakes, in the interpreter and in unicorn, through wraps."""

from __future__ import annotations

from metaos import resources
from metaos.errors import Source
from metaos.fake import run
from metaos.fake.results import Results, text
from metaos.match.system import read_system
from metaos.pattern.parse import parse
from metaos.pattern.patterns import load, resolve

RULE = """source m = "A manual"

device blinker : general
  match legacy com

  registers lamp at legacy.port port 8 bits
    0 LAMP  rw  @m 1
    1 READY ro  @m 2
    2 OTHER wo  @m 3

  turn
    every 250 ms
      LAMP <- 1
    when READY == 1
      every 5 s
        OTHER <- 1

  fake
    state lit, late : u16
    on write LAMP
      lit   <- lit + 1
      READY <- lit == 4 | READY
    on write OTHER
      late <- late + 1
"""
"""The fake of the ACPI timer goes on by 10 ms whenever it is read: once a turn."""


def results_of(*lines: str) -> Results:
    ours = load([resources.PATTERNS])
    rule = RULE + '\n  example "time"\n' + "".join(f"    {line}\n" for line in lines)
    sources = {**ours.sources, "x.pattern": Source("x.pattern", rule)}
    patterns = resolve(tuple(map(parse, sources.values())), sources)
    return run.run_tests(patterns, read_system(), "blinker")


def test_at_once_and_then_once_in_26_turns() -> None:
    found = results_of(
        "turn", "then lit == 1", "turn 24", "then lit == 1", "turn 2", "then lit == 2",
        "turn 250", "then lit == 12",
    )  # fmt: skip
    assert found.passed, text(found)


def test_through_the_wraps_of_the_counter() -> None:
    """15 s are three wraps of 24 bits."""
    found = results_of("turn 1500", "then lit == 60 & late == 3")
    assert found.passed, text(found)


def test_what_is_due_waits_for_its_guard() -> None:
    """The other lamp is due at once, and its guard opens when the first was lit four times."""
    found = results_of("turn 76", "then lit == 3 & late == 0", "turn", "then late == 1")
    assert found.passed, text(found)
    found = results_of("turn 576", "then late == 1", "turn 2", "then late == 2")
    assert found.passed, text(found)
