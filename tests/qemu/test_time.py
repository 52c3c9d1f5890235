"""`every` is the machine's time: counted against another clock of it, through wraps.

QEMU's `-icount` makes the machine's time that of its instructions (64 ns each), so nothing here
depends on how busy the host is; the real-time clock counts the same time in seconds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos.lower.clock import BEGUN, NOW
from metaos.probe.store import read_machine
from tests.qemu.booted import TARGET, Booted, booted
from tests.qemu.conftest import MACHINES, Make

pytestmark = pytest.mark.qemu

HERTZ = 3_579_545
BLINK = """# A star on the serial port four times a second.

member uart16550 of ns16550
  match legacy com
  fact base : ports = legacy.port

  turn
    take text -> char, some
    ready = LSR.THRE when some else 0
    THR   <- char when ready
    advance text when ready
    when !some
      every 250 ms
        THR <- 0x2A
"""
CMOS_SECONDS = 0


@pytest.fixture
def blinking(tmp_path: Path) -> Path:
    (tmp_path / "console").mkdir()
    (tmp_path / "console" / "uart16550.pattern").write_text(BLINK)
    return tmp_path


def seconds(machine: Booted) -> int:
    """Of the real-time clock, which counts the machine's time, as binary-coded decimal."""
    machine.vm.hmp(f"o /b 0x70 {CMOS_SECONDS}")
    said = machine.vm.hmp("i /b 0x71").rpartition("0x")[2].strip()
    return 10 * int(said[0], 16) + int(said[1], 16)


def test_four_times_a_second_through_the_wraps_of_the_timer(make: Make, blinking: Path) -> None:
    path, image = make(read_machine(MACHINES / "pc-e1000.json"), patterns=[blinking])
    place = image.manifest.symbol(NOW).physical
    slow = ("-icount", "shift=6,sleep=off", "-rtc", "clock=vm")
    with booted(path, (*TARGET, *slow)) as machine:
        machine.wait_for("MetaOS")

        def look() -> tuple[int, int, int]:
            """Stars so far, seconds modulo 60, the clock's ticks; in one moment."""
            machine.vm.command("stop")
            machine.read_all()
            found = machine.said.count("*"), seconds(machine)
            ticks = int.from_bytes(machine.physical(place, 8), "little")
            machine.vm.command("cont")
            return (*found, ticks)

        first = look()
        machine.wait_until(lambda: look()[0] >= first[0] + 60, "60 stars have come")
        last = look()
    stars, passed, ticks = (b - a for a, b in zip(first, last, strict=True))
    assert first[2] > BEGUN
    assert abs(stars / 4 - passed % 60) <= 1.5  # 15 s: three wraps
    assert abs(stars - 4 * ticks / HERTZ) <= 1
