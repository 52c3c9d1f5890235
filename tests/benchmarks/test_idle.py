"""What an image costs that has nothing to do but what is due at a time."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from benchmarks.harness import booted
from metaos.link.image import write_image
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.store import read_machine

RECORDED = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"
MOST = 1_000
"""Instructions a second. Linux executes 76,000 on the same machine (docs/benchmarks.md)."""


@pytest.mark.qemu
def test_with_three_things_to_do_every_second_it_takes_a_turn_a_second(tmp_path: Path) -> None:
    """DHCP, announcements and a look at the link, all of them together."""
    default = read_system()
    services = (*default.services, "arp.announce")
    system = msgspec.structs.replace(default, address="dhcp", services=services)
    path = tmp_path / "x.img"
    write_image(build(read_machine(RECORDED), system=system), path)
    with booted(path, plugin=True) as machine:
        assert machine.wire.receive(30), "it asks for an address"
        time.sleep(1.5)
        start, before = time.monotonic(), machine.counters()
        time.sleep(4)
        passed, after = time.monotonic() - start, machine.counters()
    turns = after.steady_turns - before.steady_turns
    done = after.owners["steady"].instructions - before.owners["steady"].instructions
    assert 3 <= turns <= 1.2 * passed + 2
    assert done / passed <= MOST
