"""What goes wrong after the guard: every console names device and line, and what was read."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from metaos import resources
from metaos.boot.network import NETDEV
from metaos.link.image import Image
from metaos.probe.store import read_machine
from tests.model.reference import answer
from tests.qemu.booted import BARE, CARD, IP, MAC, SERIAL, TARGET, Booted, booted
from tests.qemu.conftest import MACHINES, Made, Make, probed
from tests.qemu.questions import echo

pytestmark = pytest.mark.qemu

RULE = "net/i8254x.pattern"
LIMIT, SHORT = "within 10 s", "within 300 ms"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of patterns whose card waits 300 ms for a link, not 10 s."""
    text = (resources.PATTERNS / RULE).read_text("utf-8")
    assert text.count(LIMIT) == 1
    folder = tmp_path_factory.mktemp("patterns")
    (folder / RULE).parent.mkdir()
    (folder / RULE).write_text(text.replace(LIMIT, SHORT))
    return folder


def without_link(machine: Booted) -> None:
    machine.vm.hmp(f"set_link {NETDEV} off")
    machine.vm.command("cont")


def parked(machine: Booted, image: Image) -> bool:
    return machine.root() == image.manifest.phase("report").root


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(TARGET, id="screen and serial port"),
        pytest.param((*BARE, *SERIAL), id="a serial port alone"),
    ],
)
def test_no_link_is_reported(arguments: tuple[str, ...], make: Make, hasty: Path) -> None:
    slot = "00:03.0" if arguments == TARGET else "00:02.0"
    path, image = make(probed(*arguments, "-device", CARD), patterns=[hasty])
    with booted(path, arguments, paused=True) as machine:
        without_link(machine)
        line = machine.wait_for("no link")
        found = re.fullmatch(re.escape(f"{slot}: no link, found ") + "([0-9a-f]{8})", line)
        assert found is not None, line
        assert not int(found[1], 16) & 2, "the status says that the link is up"
        assert parked(machine, image)
        machine.wire.send(echo(MAC, IP))
        assert machine.wire.receive(0.2) is None


def test_both_consoles_say_the_same(make: Make, hasty: Path) -> None:
    path, _ = make(read_machine(MACHINES / "pc-e1000.json"), patterns=[hasty])
    with booted(path, TARGET, paused=True) as machine:
        without_link(machine)
        line = machine.wait_for("no link")
        machine.wait_until(lambda: line in machine.screen(), "the screen shows the report")
        assert [row for row in machine.screen() if "no link" in row] == [line]


def test_the_screen_alone_reports(make: Make, hasty: Path) -> None:
    arguments = (*BARE, "-vga", "std")
    path, image = make(probed(*arguments, "-device", CARD), patterns=[hasty])
    with booted(path, arguments, paused=True) as machine:
        without_link(machine)
        machine.wait_until(lambda: parked(machine, image), "it parks in the report phase")
        where = "00:03.0: no link, found "
        machine.wait_until(
            lambda: any(row.startswith(where) for row in machine.screen()), "the screen shows it"
        )


def waits(machine: Booted, image: Image) -> bool:
    """A row has waited for 10 ms at least (35795 ticks of the clock)."""
    elapsed = image.manifest.symbol("rows.elapsed").physical
    return int.from_bytes(machine.physical(elapsed, 4), "little") > 35_795


def test_the_time_limit_is_kept(make: Make, hasty: Path) -> None:
    """By the machine's own clock, which runs with the host's: 300 ms and not much more."""
    path, image = make(read_machine(MACHINES / "pc-e1000.json"), patterns=[hasty])
    with booted(path, TARGET, paused=True) as machine:
        without_link(machine)
        machine.wait_until(lambda: waits(machine, image), "init waits for the link")
        start = time.monotonic()
        machine.wait_for("no link", seconds=5)
        assert 0.1 < time.monotonic() - start < 3


def test_the_link_may_come_while_it_waits(default_image: Made) -> None:
    path, image = default_image
    with booted(path, TARGET, paused=True) as machine:
        without_link(machine)
        machine.wait_until(lambda: waits(machine, image), "init waits for the link")
        machine.vm.hmp(f"set_link {NETDEV} on")
        frame = echo(MAC, IP)
        assert machine.ask(frame) == answer(frame, MAC, IP)
        assert machine.wait_for("MetaOS") == "MetaOS 10.0.2.15"
