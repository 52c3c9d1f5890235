"""`every` is the machine's time: counted against another clock of it, through wraps.

QEMU's `-icount` makes the machine's time that of its instructions (64 ns each), so nothing here
depends on how busy the host is; the real-time clock counts the same time in seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.boot.network import NETDEV
from metaos.link.image import Image, write_image
from metaos.lower.clock import BEGUN, NOW, SCALED
from metaos.match.system import System
from metaos.pipeline import build
from metaos.probe.machine import Learnt, Machine, Origin
from metaos.probe.store import read_machine
from tests.qemu.booted import CARD, SERIAL, TARGET, Booted, booted
from tests.qemu.conftest import MACHINES, Make, probed
from tests.qemu.looks import LOOKS, asleep, sleeps

pytestmark = pytest.mark.qemu

HERTZ = 3_579_545
PIT_HERTZ = 1_193_182 / 256
"""Of the byte of the 8254's counter that is read."""
ALARM = "local_apic_timer"
LATE = 0.0005
"""Seconds: a turn, its instructions 64 ns each, and what 50 ms are measured to."""
ONE = 1 + 4 * LATE
"""Stars more or less, by where between two of them one looks, each as late as it may be."""
BLINK = """# A star on the serial port four times a second.

member uart16550 of ns16550
  match legacy com
  fact base : ports = legacy.port

  turn
    take text -> char, some
    ready = LSR.THRE when some else 0
    THR   <- char when ready
    advance text when ready
    wake when some
    when !some
      every 250 ms
        THR <- 0x2A
"""
CMOS_SECONDS = 0
EMULATOR = 0x4000_0000
"""The leaf of CPUID in which QEMU says that it is the processor."""
MICROVM = ("-M", "microvm,rtc=on", "-m", "64", "-nodefaults", *SERIAL)
WINDOW = "virtio-net-device,mac=52:54:00:12:34:56"


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


def uncounted(machine: Machine) -> Machine:
    """The machine, if nobody knew that its processor is QEMU's own, which counts at one rate."""
    leaves = tuple(x for x in machine.cpu.leaves if x.leaf != EMULATOR)
    return msgspec.structs.replace(machine, cpu=msgspec.structs.replace(machine.cpu, leaves=leaves))


def plain() -> Machine:
    return uncounted(read_machine(MACHINES / "pc-e1000.json"))


@dataclass(frozen=True)
class Watched:
    """60 stars or more: how many, the seconds (modulo 60) that passed, the clock's ticks, and

    at how many of so many looks afterwards the processor slept."""

    stars: int
    seconds: int
    ticks: int
    asleep: int

    def demand(self, hertz: float) -> None:
        """The stars are a period of whole ticks apart, by the clock itself and by the other one."""
        period = math.ceil(hertz / 4)
        assert abs(self.stars - self.ticks / period) <= ONE
        apart = self.stars * period / hertz - self.seconds
        assert abs((apart + 30) % 60 - 30) <= 1.5  # 15 s or more: three wraps of the ACPI timer


def watched(path: Path, image: Image, target: Sequence[str] = TARGET, card: str = CARD) -> Watched:
    place = image.manifest.symbol(NOW).physical
    slow = ("-icount", "shift=6,sleep=off", "-rtc", "clock=vm")
    with booted(path, (*target, *slow), card=card) as machine:
        machine.wait_for("MetaOS")

        def look() -> tuple[int, int, int]:
            machine.vm.command("stop")
            machine.read_all()
            found = machine.said.count("*"), seconds(machine)
            ticks = int.from_bytes(machine.physical(place, 8), "little")
            machine.vm.command("cont")
            return (*found, ticks)

        first = look()
        assert first[2] > BEGUN
        machine.wait_until(lambda: look()[0] >= first[0] + 60, "60 stars have come")
        last = look()
        slept = asleep(machine.vm)
    stars, passed, ticks = (b - a for a, b in zip(first, last, strict=True))
    return Watched(stars, passed % 60, ticks, slept)


def test_four_times_a_second_through_the_wraps_of_the_timer(blinking: Path, tmp_path: Path) -> None:
    """Without a rest: the clock is read in every turn."""
    system = System(name="x", address="10.0.2.15/24", services=("banner",), idle="poll")
    image = build(
        plain(),
        system=system,
        pattern_dirs=[resources.PATTERNS, blinking],
    )
    path = tmp_path / "x.img"
    write_image(image, path)
    found = watched(path, image)
    found.demand(HERTZ)
    assert found.asleep == 0
    assert all(x.pattern != ALARM for x in image.manifest.provenance.devices)


def test_four_times_a_second_asleep(make: Make, blinking: Path) -> None:
    """The local APIC's timer wakes the processor, which sleeps between."""
    path, image = make(plain(), patterns=[blinking])
    assert any(x.pattern == ALARM for x in image.manifest.provenance.devices)
    found = watched(path, image)
    found.demand(HERTZ)
    assert found.asleep > LOOKS / 2


def test_asleep_nothing_is_late(make: Make, blinking: Path) -> None:
    """By the clock itself: from when a star was due to the turn that showed it.

    In the midst of a turn its time is there already, but not yet what is due next.
    """
    path, image = make(read_machine(MACHINES / "pc-e1000.json"), patterns=[blinking])
    places = [image.manifest.symbol(name).physical for name in (NOW, "com0.every.0")]
    period = SCALED // 4
    looks: dict[int, tuple[int, ...]] = {}
    with booted(path, (*TARGET, "-icount", "shift=6,sleep=off")) as machine:
        machine.wait_for("MetaOS")

        def ten_looks() -> bool:
            machine.vm.command("stop")
            machine.read_all()
            if sleeps(machine.vm):
                held = (int.from_bytes(machine.physical(at, 8), "little") for at in places)
                looks[machine.said.count("*")] = tuple(held)
            machine.vm.command("cont")
            return len(looks) == 10

        machine.wait_until(ten_looks, "it sleeps after ten stars")
    assert all(0 <= now - (due - period) <= LATE * SCALED for now, due in looks.values())


def test_four_times_a_second_asleep_by_the_interval_timer(make: Make, blinking: Path) -> None:
    """-M microvm: the clock's counter wraps after 54.9 ms, so there is a turn after 27.5 ms."""
    found_there = uncounted(probed(*MICROVM, "-device", WINDOW))
    path, image = make(found_there, patterns=[blinking])
    served = {x.pattern for x in image.manifest.provenance.devices}
    assert {ALARM, "pit8254", "io_apic"} <= served
    found = watched(path, image, MICROVM, WINDOW)
    found.demand(PIT_HERTZ)
    assert found.asleep


def test_four_times_a_second_by_the_hpet(make: Make, blinking: Path) -> None:
    """On the same machine, where the ACPI timer is the last to be asked."""
    rule = resources.PATTERNS / "platform" / "acpi_pm_timer.pattern"
    (blinking / "platform").mkdir()
    changed = rule.read_text("utf-8").replace("3579545 Hz", "3579545 Hz rank 9")
    (blinking / "platform" / rule.name).write_text(changed)
    period = Learnt(
        device="HPET",
        pattern="event_timer",
        name="period",
        value=10_000_000,
        origin=Origin.DISCOVERER,
    )
    machine = plain()
    machine = msgspec.structs.replace(machine, learnt=(*machine.learnt, period))
    path, image = make(machine, patterns=[blinking])
    served = {x.address: x.pattern for x in image.manifest.provenance.devices}
    assert served["HPET"] == "event_timer" and "FACP" not in served
    found = watched(path, image)
    found.demand(100_000_000)


@pytest.mark.parametrize("target", ["pc", "microvm"])
def test_four_times_a_second_by_the_processors_counter(
    target: str, make: Make, blinking: Path
) -> None:
    """Measured beside the ACPI timer, or the 8254 of which a tick is 0.2 ms."""
    if target == "pc":
        path, image = make(read_machine(MACHINES / "pc-e1000.json"), patterns=[blinking])
        found = watched(path, image)
    else:
        path, image = make(probed(*MICROVM, "-device", WINDOW), patterns=[blinking])
        found = watched(path, image, MICROVM, WINDOW)
    served = {x.pattern for x in image.manifest.provenance.devices}
    assert served >= {"emulated_counter", {"pc": "acpi_pm_timer", "microvm": "pit8254"}[target]}
    found.demand(SCALED)
    assert found.asleep


@pytest.mark.parametrize(("target", "card"), [(TARGET, CARD), (MICROVM, WINDOW)])
def test_real_time_by_the_processors_counter(
    target: tuple[str, ...], card: str, make: Make, blinking: Path
) -> None:
    """10 s by the host are 10 s: an image's time is that of its last turn, of which there are four
    a second."""
    path, image = make(probed(*target, "-device", card), patterns=[blinking])
    assert "emulated_counter" in {x.pattern for x in image.manifest.provenance.devices}
    place = image.manifest.symbol(NOW).physical
    with booted(path, target, card=card) as machine:
        machine.wait_for("MetaOS")

        def now() -> int:
            return int.from_bytes(machine.physical(place, 8), "little")

        def look() -> tuple[float, float]:
            """Right behind a turn: the host did not stand still between two looks."""
            seen = [(time.monotonic(), now())]

            def just_made() -> bool:
                seen.append((time.monotonic(), now()))
                (began, old), (_, new) = seen[-2:]
                return new != old and time.monotonic() - began < 0.1

            machine.wait_until(just_made, "a turn has been made")
            return time.monotonic(), seen[-1][1] / SCALED

        first = look()
        time.sleep(10)
        passed, told = (b - a for a, b in zip(first, look(), strict=True))
    assert passed > 10
    assert abs(told - passed) < 0.15, f"{told} s by the image, {passed} s by the host"


def test_a_processor_that_is_no_longer_of_one_rate_is_refused(make: Make, blinking: Path) -> None:
    """The image was made for QEMU's own; this one does not say so any more."""
    path, _ = make(read_machine(MACHINES / "pc-e1000.json"), patterns=[blinking])
    with booted(path, (*TARGET, "-cpu", "qemu64,tcg-cpuid=off")) as machine:
        said = machine.wait_for("probe and build again")
    assert "CPUID leaf 40000000 ebx changed: expected 54474354, found 00000000" in said


def test_a_wait_is_real_time_by_the_interval_timer(make: Make, tmp_path: Path) -> None:
    """2 s are 36 wraps of what is read of its counter: -M microvm has no other clock."""
    rule = "net/virtio_net_mmio_legacy.pattern"
    text = (resources.PATTERNS / rule).read_text("utf-8")
    assert text.count("within 10 s") == 1
    (tmp_path / rule).parent.mkdir()
    (tmp_path / rule).write_text(text.replace("within 10 s", "within 2 s"))
    card = "virtio-net-device,mac=52:54:00:12:34:56"
    bare = ("-M", "microvm", "-m", "64", "-nodefaults", "-serial", "chardev:s0")
    path, image = make(probed(*bare, "-device", card), patterns=[tmp_path])
    assert any(x.pattern == "pit8254" for x in image.manifest.provenance.devices)
    elapsed = image.manifest.symbol("rows.elapsed").physical
    with booted(path, bare, card=card, paused=True) as machine:
        machine.vm.hmp(f"set_link {NETDEV} off")
        machine.vm.command("cont")
        machine.wait_until(
            lambda: int.from_bytes(machine.physical(elapsed, 4), "little") > 46, "init waits"
        )
        start = time.monotonic()
        assert "no link" in machine.wait_for("no link")
        assert time.monotonic() - start > 1  # of the 2 s at least what is left after 10 ms
