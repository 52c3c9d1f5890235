"""What `metaos diff` foretells of an image on another machine is what QEMU shows.

Each machine is probed, compared with the default one, and the default image booted on it.
"""

from __future__ import annotations

import pytest

from metaos.match.system import read_system
from metaos.pipeline import compare
from metaos.probe.store import read_machine
from tests.model.reference import answer
from tests.qemu.booted import BARE, CARD, IP, MAC, SERIAL, TARGET, booted
from tests.qemu.conftest import MACHINES, Made, probed
from tests.qemu.questions import echo

pytestmark = pytest.mark.qemu

AGAIN = "probe and build again"


@pytest.mark.parametrize(
    ("arguments", "card"),
    [
        pytest.param((*TARGET, "-device", "rtl8139,addr=1e"), CARD, id="a card added"),
        pytest.param(TARGET, f"{CARD},addr=7", id="a card moved"),
        pytest.param(TARGET, "e1000-82545em", id="another model"),
        pytest.param((*BARE, *SERIAL, "-device", "VGA,addr=4"), f"{CARD},addr=3", id="screen"),
        pytest.param(("-M", "q35", *TARGET[2:]), CARD, id="another chipset"),
        pytest.param((*TARGET, "-m", "4"), CARD, id="less memory"),
    ],
)
def test_the_words_of_a_refusal(default_image: Made, arguments: tuple[str, ...], card: str) -> None:
    here = probed(*arguments, "-device", card)
    found = compare(read_machine(MACHINES / "pc-e1000.json"), here, system=read_system())
    assert found.obstacles[0].by == "guard" and not found.serves
    with booted(default_image[0], arguments, card=card) as machine:
        assert machine.wait_for(AGAIN) == found.obstacles[0].text


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("-m", "8"), id="less memory, but enough"),
        pytest.param(("-m", "1024"), id="more memory"),
        pytest.param(("-cpu", "max"), id="a better processor"),
        pytest.param(("-device", "isa-serial"), id="a second serial port"),
    ],
)
def test_a_machine_said_to_be_served_is_served(
    default_image: Made, arguments: tuple[str, ...]
) -> None:
    here = probed(*TARGET, *arguments, "-device", CARD)
    found = compare(read_machine(MACHINES / "pc-e1000.json"), here, system=read_system())
    assert found.changes and found.serves, found.obstacles
    with booted(default_image[0], (*TARGET, *arguments), card=CARD) as machine:
        frame = echo(MAC, IP)
        assert machine.ask(frame) == answer(frame, MAC, IP)
