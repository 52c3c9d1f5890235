"""The start of an image, counted and timed in QEMU, held against the proof of its bytes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import msgspec
import pytest

from metaos import resources
from metaos.boot import counted as counting
from metaos.boot.accel import Choice
from metaos.boot.chart import Chart, boot_chart
from metaos.boot.chart_text import svg, text
from metaos.boot.counted import counted
from metaos.boot.run import Wanted, roles_of
from metaos.boot.run import test as examine
from metaos.boot.segments import Part, Position, Segment
from metaos.boot.timed import timed
from metaos.boot.watched import Asked, Watched, watched
from metaos.errors import Exit, MetaosError
from metaos.pattern.patterns import load
from metaos.verify.laws import follow, verify
from tests.qemu.conftest import Made

pytestmark = pytest.mark.qemu

TCG = Choice(name="tcg", why="")
SECONDS = 60.0


def wanted(path: Path, *arguments: str) -> Wanted:
    return Wanted(
        image=path, net="wire", capture=None, accel="tcg", target=None, arguments=arguments
    )


def asked(made: Made) -> Asked:
    return Asked(roles_of(made[1], made[0]), load([resources.PATTERNS]))


def test_each_part_costs_what_the_proof_says(default_image: Made) -> None:
    """A turn of a phase has one length; a row takes a turn; the parts come in their order."""
    path, image = default_image
    chart = boot_chart(
        wanted(path), patterns=load([resources.PATTERNS]), seconds=SECONDS, progress=lambda _: None
    )
    kinds = [segment.kind for segment in chart.segments]
    assert kinds[:2] == ["firmware", "loader"] and kinds[-3:] == ["wipe", "steady", "answer"]
    report, walks = verify(image), {one.line.name: one.walked for one in follow(image).phases}
    for phase in ("guard", "init"):
        parts = [s for s in chart.segments if s.kind == phase]
        assert sum(s.rows for s in parts) == walks[phase].rows
        for part in parts:
            assert part.exact and part.turns == part.rows
            # A port access that moves one item counts as the item and its end.
            turn = report.instructions(phase)
            assert turn * part.turns <= part.instructions <= (turn + 4) * part.turns
    devices = [s.device for s in chart.segments if s.kind == "init"]
    assert devices[-1] == "00:03.0" and len(devices) == len(set(devices))
    steady = chart.segments[-2]
    assert report.instructions("steady") <= steady.instructions <= report.instructions("steady") + 8
    firmware, loader = chart.segments[:2]
    assert firmware.instructions > 1_000_000 and loader.instructions > 12_000
    assert not firmware.exact and not loader.exact, "the disk takes its time"
    assert firmware.seconds and chart.segments[-1].seconds and not chart.segments[-1].exact
    assert chart.segments[-2].seconds is None, "a turn is too short to be seen"


def link_on_after(monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """Connect the cable once the machine has begun so many turns of one row."""
    seen: Counter[Position] = Counter()
    count = counting._count

    def counts(machine: Watched) -> int:
        position = machine.position()
        seen[position] += 1
        if position[0] >= 0 and seen[position] == turns:
            machine.vm.hmp("set_link net0 on")
        return count(machine)

    monkeypatch.setattr(counting, "_count", counts)


@pytest.mark.parametrize("seldom", [0.002, 1.0], ids=["soon", "when the machine sleeps already"])
def test_a_wait_is_a_part_of_its_own(
    seldom: float, default_image: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many of its turns are stopped at; the card takes half a second of the machine's.

    However late its end is seen, the first turn of steady is not missed.
    """
    path, image = default_image
    monkeypatch.setattr(counting, "_LOOK_SECONDS", seldom)
    link_on_after(monkeypatch, 10)
    with watched(wanted(path), image, TCG, SECONDS, counting=True) as machine:
        machine.vm.hmp("set_link net0 off")
        parts = counted(machine, asked(default_image))
    (wait,) = [part.segment for part in parts if part.segment.kind == "wait"]
    assert wait.device == "00:03.0" and wait.rows == 1 and not wait.exact
    line = (resources.PATTERNS / wait.file).read_text().splitlines()[wait.line - 1]
    assert "await STATUS.LU" in line
    assert wait.turns > counting._PATIENCE and wait.instructions > 10_000_000
    kinds = [part.segment.kind for part in parts]
    assert kinds[kinds.index("wait") - 1] == "init" and kinds[-2:] == ["steady", "answer"]


def test_a_short_wait_is_exact(default_image: Made) -> None:
    """Turns are joined by phase and device, but for a row that took several."""
    _, image = default_image
    machine = SimpleNamespace(image=image)
    rows = image.manifest.symbol("rows.init")
    (stride, *_) = {e.end - e.start for e in image.account if e.kind == "row" and e.phase == "init"}
    count = rows.size // stride
    spots = [(1, stride * n) for n in range(count) for _ in range(3 if n == count - 2 else 1)]
    turns = [counting._Turn(spot, 70 * n) for n, spot in enumerate([*spots, (2, 0)])]
    parts = list(counting._grouped(machine, turns))  # type: ignore[arg-type]
    wait, after = parts[-2].segment, parts[-1].segment
    assert (wait.kind, wait.device, wait.rows, wait.turns) == ("wait", "00:03.0", 1, 3)
    assert wait.instructions == 210 and wait.exact and wait.line
    assert (after.kind, after.device, after.rows) == ("init", "00:03.0", 1)
    assert sum(part.segment.instructions for part in parts) == 70 * len(spots)
    assert frozenset(spots) == frozenset().union(*(part.positions for part in parts))


def test_what_is_over_between_two_looks_has_no_time(default_image: Made) -> None:
    """The machine is never seen in guard's part: it is passed over, and the one before has all."""
    path, image = default_image
    parts = (
        Part(Segment(kind="firmware"), frozenset()),
        Part(Segment(kind="loader"), frozenset()),
        Part(Segment(kind="guard"), frozenset({(0, 1)})),
        Part(Segment(kind="steady"), frozenset({(3, 0)})),
    )
    with watched(wanted(path), image, TCG, SECONDS, counting=False) as machine:
        found = timed(machine, asked(default_image), parts)
    firmware, _, guard, steady = (segment.seconds for segment in found)
    assert firmware is not None and guard is steady is None


def test_a_machine_that_is_refused(default_image: Made) -> None:
    path, image = default_image
    with (
        watched(wanted(path, "-device", "e1000"), image, TCG, SECONDS, counting=True) as machine,
        pytest.raises(MetaosError, match="went to its report phase instead of steady"),
    ):
        counted(machine, asked(default_image))


def test_a_machine_that_is_refused_is_not_waited_for(default_image: Made) -> None:
    path, _ = default_image
    refused = wanted(path, "-device", "rtl8139")
    result = examine(refused, patterns=(), seed=0, boot_seconds=SECONDS, progress=lambda _: None)
    (verdict,) = result.verdicts
    assert "reports what is wrong" in verdict.detail and verdict.seconds < SECONDS / 2
    assert "expected ffff:ffff, found 10ec:8139" in result.console


@pytest.mark.parametrize("count", [True, False])
def test_a_limit(count: bool, default_image: Made) -> None:
    path, image = default_image
    parts = (Part(Segment(kind="firmware"), frozenset()),) * 4
    with (
        watched(wanted(path), image, TCG, 0.05, counting=count) as machine,
        pytest.raises(MetaosError, match="in the time given") as refused,
    ):
        if count:
            counted(machine, asked(default_image))
        else:
            timed(machine, asked(default_image), parts)
    assert refused.value.exit_code is Exit.TIMEOUT


CHART = Chart(
    image="x<y>.img",
    accelerator="tcg",
    segments=(
        Segment(kind="firmware", instructions=7_000_000, seconds=0.2),
        Segment(kind="init", device="00:03.0", rows=20, turns=20, instructions=1_500),
        Segment(
            kind="wait", device="00:03.0", file="a.pattern", line=7, rows=1, turns=900,
            instructions=66_000, exact=False, seconds=0.0125,
        ),
    ),
)  # fmt: skip


def test_the_chart_as_text_and_drawing() -> None:
    shown = text(CHART)
    assert "wait 00:03.0 a.pattern:7" in shown and "66,000*" in shown and "212.500" in shown
    root = ElementTree.fromstring(svg(CHART))
    words = "".join(root.itertext())
    assert "x<y>.img" in words and "in all: 7,067,500 instructions, 212.500 ms (tcg)" in words
    bars = [float(x.attrib["width"]) for x in root if x.tag.endswith("rect")][1:]
    assert len(bars) == 3 and bars[0] > bars[2] > bars[1] > 0
    again = msgspec.json.decode(msgspec.json.encode(CHART), type=Chart)
    assert again == CHART
