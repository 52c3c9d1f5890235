"""Law 3, after the start: an image that leaves anything of it in RAM is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from metaos import pipeline
from metaos.link.image import Image
from metaos.match.system import read_system
from metaos.probe.store import read_machine
from metaos.verify.decode import straight_lines
from metaos.verify.laws import verify
from tests.verify.handmade import patch

MACHINE = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"


@cache
def image() -> Image:
    return pipeline.build(read_machine(MACHINE), system=read_system(None))


def left(changed: Image) -> list[str]:
    return [v.message for v in verify(changed).violations if "in RAM" in v.message]


def instruction(text: str, number: int = 0) -> tuple[int, bytes]:
    """Offset and bytes of an instruction of wipe, the `number`th that begins with `text`."""
    (line,) = [x for x in straight_lines(image()) if x.name == "wipe"]
    step = [x for x in line.steps if x.text.startswith(text)][number]
    return step.offset, step.raw


def test_nothing_is_left() -> None:
    assert left(image()) == []


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))]
)
def test_a_range_that_is_half(number: int) -> None:
    at, raw = instruction("mov ecx", number)
    count = int.from_bytes(raw[1:5], "little") // 2
    changed = patch(image(), "wipe", at, raw[:1] + count.to_bytes(4, "little"))
    (message,) = left(changed)
    assert message.startswith("leaves ")


def test_a_range_that_begins_late() -> None:
    at, raw = instruction("mov edi", 0)
    start = int.from_bytes(raw[1:5], "little") + 8
    changed = patch(image(), "wipe", at, raw[:1] + start.to_bytes(4, "little"))
    assert any("the loaded image" in message for message in left(changed))


def test_other_bytes_than_zeros() -> None:
    """EAX is not zeroed: what is stored is not known."""
    at, raw = instruction("xor eax, eax")
    changed = patch(image(), "wipe", at, b"\x31\xd2"[: len(raw)])  # xor edx, edx
    assert len(left(changed)) >= 5


def test_a_store_that_is_left_out() -> None:
    at, _ = instruction("rep stosq", 3)
    changed = patch(image(), "wipe", at, b"\x48\x89\xc0")
    assert left(changed) != []
