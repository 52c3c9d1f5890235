"""An image with its unit's own facts folded in serves that unit and refuses another."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos import resources
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.pipeline import build_proved
from metaos.probe.store import read_machine
from tests.model.reference import answer
from tests.qemu.booted import CARD, IP, MAC, TARGET, booted
from tests.qemu.conftest import MACHINES
from tests.qemu.questions import echo

pytestmark = pytest.mark.qemu


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = build_proved(
        read_machine(MACHINES / "pc-e1000.json"),
        system=read_system(),
        pattern_dirs=[resources.PATTERNS],
        progress=lambda _: None,
        fold_units=True,
    )
    path = tmp_path_factory.mktemp("folded") / "x.img"
    write_image(built.image, path)
    return path


def test_its_own_unit_is_served(folded: Path) -> None:
    with booted(folded, TARGET) as machine:
        frame = echo(MAC, IP)
        assert machine.ask(frame) == answer(frame, MAC, IP)


def test_another_unit_is_refused(folded: Path) -> None:
    with booted(folded, TARGET, card=CARD.replace("12:34:56", "12:34:57")) as machine:
        line = machine.wait_for("another unit")
        assert line.startswith("00:03.0: ")
        assert line.endswith("found 80005734")
