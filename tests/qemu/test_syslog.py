"""What consoles show, told to who collects it: what waits in vain is counted."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.store import read_machine
from tests.qemu.booted import IP, MAC, TARGET, Booted, booted
from tests.qemu.conftest import MACHINES
from tests.qemu.test_speak import HOP, PEER, arp

pytestmark = pytest.mark.qemu

COLLECTOR = bytes([192, 0, 2, 9])
MESSAGE = re.compile(r"<14>1 - ([!-~]+) MetaOS ([0-9a-f]{4}) - - ([ -~]*)")
"""PRI, VERSION, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID, SD, MSG. Source: RFC 5424 §6."""
KEPT = 31
"""Lines that wait: of 32 places one is being filled."""


@pytest.fixture(scope="module", params=["halt", "poll"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    system = msgspec.structs.replace(
        read_system(),
        name="logger",
        idle=request.param,
        gateway="10.0.2.2",
        services=("banner", "arp", "icmp.echo", "arp.rival", "syslog"),
        settings={"syslog": {"to": "192.0.2.9"}},
    )
    machine = read_machine(MACHINES / "pc-e1000.json")
    path = tmp_path_factory.mktemp("syslog") / "x.img"
    write_image(build(machine, system=system, pattern_dirs=[resources.PATTERNS]), path)
    return path


def messages(machine: Booted, count: int, seconds: float = 10) -> list[tuple[str, str]]:
    """So many datagrams: the number of lines that were lost before each, and the line."""
    end = time.monotonic() + seconds
    found: list[tuple[str, str]] = []
    while len(found) < count and time.monotonic() < end:
        frame = machine.wire.receive(0.2)
        if frame is None or frame[12:14] != b"\x08\x00":
            continue
        assert frame[:12] == PEER + MAC and frame[26:34] == IP + COLLECTOR
        assert sum(struct.unpack("!10H", frame[14:34])) % 0xFFFF == 0
        total, ports = int.from_bytes(frame[16:18], "big"), frame[34:38]
        assert ports == struct.pack("!HH", 514, 514) and len(frame) == max(14 + total, 60)
        assert int.from_bytes(frame[38:40], "big") == total - 20 and frame[40:42] == b"\0\0"
        said = MESSAGE.fullmatch(frame[42:].decode("ascii"))
        assert said is not None and said[1] == "logger", frame[42:]
        found.append((said[2], said[3]))
    return found


def asked(machine: Booted) -> None:
    """Wait until it asks who the gateway is."""
    end = time.monotonic() + 20
    while machine.wire.receive(0.2) != arp(1, MAC, IP, HOP):
        assert time.monotonic() < end, "it does not ask for its gateway"


def rival(machine: Booted, number: int) -> str:
    """Another with its address: the line that this is told in, once the console has shown it."""
    machine.wire.send(arp(1, bytes([2, 0, 0, 0, 1, number]), IP, IP))
    return machine.wait_for(f"{0x0200_0000_0100 + number:012x}")


def test_lines_wait_until_the_gateway_answers(image: Path) -> None:
    with booted(image, TARGET) as machine:
        banner = machine.wait_for("MetaOS")
        line = rival(machine, 7)
        assert messages(machine, 1, 1.5) == []
        asked(machine)
        machine.wire.send(arp(2, PEER, HOP, IP))
        assert messages(machine, 2) == [("0000", banner), ("0000", line)]
        line = rival(machine, 8)
        assert messages(machine, 1) == [("0000", line)]
        assert messages(machine, 1, 1) == []


def test_lines_that_find_no_room_are_counted(image: Path) -> None:
    with booted(image, TARGET) as machine:
        lines = [machine.wait_for("MetaOS")]
        lines += [rival(machine, number) for number in range(40)]
        asked(machine)
        machine.wire.send(arp(2, PEER, HOP, IP))
        lost = f"{len(lines) - KEPT:04x}"
        assert messages(machine, KEPT) == [(lost, line) for line in lines[:KEPT]]
        last = rival(machine, 99)
        assert messages(machine, 1) == [(lost, last)]
