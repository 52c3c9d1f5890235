"""Blocks through data ports: the proof of their bound, and each way of losing it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from metaos.link.image import Image
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.store import read_machine
from metaos.verify import verify
from metaos.verify.audit import measure, render
from metaos.verify.decode import straight_lines
from tests.verify.handmade import patch

pytestmark = pytest.mark.long

MACHINE = Path(__file__).parents[1] / "data" / "machines" / "pc-ne2k.json"
MASK = 0x1FF
"""What keeps a count to its 9 bits; the buffer holds 512 times 32 bits."""


@cache
def image() -> Image:
    return build(read_machine(MACHINE), system=read_system())


def masks() -> list[tuple[int, bytes]]:
    """Offset and bytes of every instruction of steady that masks a count."""
    (line,) = (x for x in straight_lines(image()) if x.name == "steady")
    end = MASK.to_bytes(4, "little")
    return [(s.offset, s.raw) for s in line.steps if s.mnemonic == "and" and s.raw[-4:] == end]


def test_each_block_has_its_mask() -> None:
    assert verify(image()).violations == ()
    assert len(masks()) == 2


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(("mask", "sound"), [(0xFF, True), (0x200, True), (0x3FF, False)])
def test_law_3_wants_the_whole_block_inside(number: int, mask: int, sound: bool) -> None:
    """512 times 32 bits fill the buffer of 2,048 bytes, one more would leave it."""
    offset, raw = masks()[number]
    changed = patch(image(), "steady", offset, raw[:-4] + mask.to_bytes(4, "little"))
    found = verify(changed).violations
    assert [v.law for v in found] == ([] if sound else [3])
    for violation in found:
        assert "a repeated string instruction may leave its place" in violation.message
        assert violation.span is not None and violation.span.file == "net/ne2000.pattern"


@pytest.mark.parametrize("number", [0, 1])
def test_law_3_wants_a_bound_at_all(number: int) -> None:
    offset, raw = masks()[number]
    unbounded = verify(patch(image(), "steady", offset, bytes([0x90]) * len(raw))).violations
    assert 3 in {v.law for v in unbounded}


def test_the_audit_states_the_largest_counts() -> None:
    shown = render(measure(image(), "pc-ne2k"))
    (line,) = (x for x in shown.splitlines() if "largest blocks" in x)
    assert line.count("511 at steady+") == 2
