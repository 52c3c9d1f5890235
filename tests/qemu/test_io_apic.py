"""A machine without PCI sleeps: its card's line goes through an I/O APIC."""

from __future__ import annotations

import pytest

from benchmarks.answers import in_flight
from benchmarks.harness import booted
from tests.qemu.booted import SERIAL
from tests.qemu.conftest import Make, probed
from tests.qemu.looks import LOOKS, asleep

pytestmark = pytest.mark.qemu

MICROVM = ("-M", "microvm", "-m", "64", "-nodefaults", *SERIAL, "-device", "virtio-net-device")
ECHOES = 2_000


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="before version 1"),
        pytest.param(("-global", "virtio-mmio.force-legacy=false"), id="version 1"),
        pytest.param(("-M", "microvm,ioapic2=off"), id="one I-O APIC", marks=pytest.mark.slow),
    ],
)
def test_it_sleeps_and_loses_none(arguments: tuple[str, ...], make: Make) -> None:
    path, image = make(probed(*MICROVM, *arguments))
    assert image.manifest.gates.interrupts
    assert any(x.pattern == "io_apic" for x in image.manifest.provenance.devices)
    with booted(path, plugin=False) as machine:
        machine.wake(60)
        machine.drain()
        assert in_flight(machine, ECHOES) == (ECHOES, 0)
        assert asleep(machine.vm) >= LOOKS - 1, "nothing comes, and the processor does not sleep"
