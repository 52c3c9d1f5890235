"""docs/language.md: its examples are one sound file, its table has every code."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

import msgspec
import pytest

from metaos.errors import Source
from metaos.fake.results import text
from metaos.fake.run import run_tests
from metaos.match.system import System
from metaos.pattern import syntax as s
from metaos.pattern.parse import parse
from metaos.pattern.spell import walk
from metaos.pipeline import build
from metaos.probe.machine import Capability, Function
from metaos.probe.store import read_machine
from metaos.resources import PATTERNS
from tests.pattern.load import patterns_of, problems_of

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "language.md").read_text("utf-8")
BLOCK = re.compile(r"^```pattern\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> Source:
    """The page's examples, each at its own line of the page, so that errors point there."""
    text, line = [], 1
    for block in BLOCK.finditer(PAGE):
        start = PAGE.count("\n", 0, block.start(1)) + 1
        text.append("\n" * (start - line) + block[1])
        line = start + block[1].count("\n")
    return Source("docs/language.md", "".join(text))


def test_the_examples_are_sound() -> None:
    problems = problems_of(examples())
    assert "\n".join(p.render() for p in problems) == ""


def test_the_examples_show_every_construct() -> None:
    file = parse(examples())
    items = [item for device in file.devices for item in device.items]
    items += [inner for item in items if isinstance(item, s.Part) for inner in item.items]
    kinds = {type(item) for item in items}
    assert kinds == set(s.Item.__args__)
    rows = [row for item in items if isinstance(item, s.Sequence | s.Guard) for row in item.rows]
    assert {type(row) for row in rows} == set(s.Row.__args__)
    turns = [item for item in items if isinstance(item, s.Turn)]
    steps = {type(step) for turn in turns for step in turn.steps}
    assert steps >= {s.Let, s.Write, s.When, s.Offer, s.Grant, s.Take, s.Advance}
    assert {d.kind for d in file.devices} == {"device", "family", "member", "overlay"}
    assert file.layouts and file.services and file.sources


def test_the_examples_show_all_of_fakes() -> None:
    items = [item for device in parse(examples()).devices for item in device.items]
    fakes = [item for item in items if isinstance(item, s.Fake)]
    trials = [item for item in items if isinstance(item, s.Trial)]
    rules = [rule for fake in fakes for rule in fake.rules]
    assert {rule.event for rule in rules} == {"reset", "read", "write", "frame", "itself"}
    assert {type(node) for node in walk(rules_of(rules))} >= set(s.Act.__args__)
    assert {type(x) for trial in trials for x in trial.lines} == set(s.TrialLine.__args__)
    assert any(fake.has for fake in fakes)


def rules_of(rules: list[s.Rule]) -> tuple[s.Act, ...]:
    return tuple(act for rule in rules for act in rule.acts)


def test_what_the_page_tests_passes() -> None:
    system = System(name="page", address="10.0.2.15/24", services=("greeting",))
    results = run_tests(patterns_of(examples()), system)
    assert results.passed, text(results)
    ran = {t.name for t in results.tested if t.examples}
    assert ran == {"a100x", "a100x_early", "a100_line", "a100_timer", "a100_counter", "greeting"}
    assert [r.missed for t in results.tested for r in t.reach] == [()] * 10


def test_every_code_is_on_the_page() -> None:
    written = set()
    for module in (ROOT / "metaos" / "pattern").rglob("*.py"):
        written |= set(re.findall(r'"(E0\d{3})"', module.read_text("utf-8")))
    listed = set(re.findall(r"^\| (E0\d{3}) \|", PAGE, re.MULTILINE))
    assert listed == written


@pytest.mark.parametrize(
    ("device", "revision", "pattern"),
    [(0x0100, 2, "a100x"), (0x0100, 1, "a100x_early"), (0x0200, 2, "a200a")],
)
def test_the_examples_make_an_image(
    device: int, revision: int, pattern: str, tmp_path: Path
) -> None:
    """What the page shows can be generated: with the classes alone, for a machine with its card."""
    shutil.copytree(PATTERNS / "classes", tmp_path / "classes")
    (tmp_path / "page.pattern").write_text(examples().text, "utf-8")
    machine = read_machine(ROOT / "tests" / "data" / "machines" / "pc-e1000.json")
    functions = tuple(_other_card(f, device, revision) for f in machine.functions)
    machine = msgspec.structs.replace(machine, functions=functions)
    system = System(name="page", address="10.0.2.15/24", services=("greeting", "hello"))
    image = build(machine, system=system, pattern_dirs=[tmp_path])
    assert {d.pattern for d in image.manifest.provenance.devices} >= {
        pattern,
        "a100_line",
        "a100_host",
    }


def _other_card(function: Function, device: int, revision: int) -> Function:
    """The machine's network card as one of the page's, with the capability that one has."""
    if function.class_code != 0x020000:
        return function
    config = bytearray.fromhex(function.config)
    config[:4] = struct.pack("<HH", 0x1ACE, device)
    config[8] = revision
    config[0x34], config[0x40:0x4C] = 0x40, bytes((9, 0, 12, 2)) + bytes(8)
    return msgspec.structs.replace(
        function, vendor=0x1ACE, device=device, revision=revision, config=config.hex(),
        capabilities=(Capability(id=9, offset=0x40),),
    )  # fmt: skip
