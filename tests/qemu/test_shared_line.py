"""A line that somebody holds for ever: who has no rule may not, and the card is answered."""

from __future__ import annotations

import pytest

from benchmarks.answers import in_flight
from benchmarks.harness import booted
from metaos.boot.qemu import Qemu
from metaos.lower.rows import config_address
from tests.qemu.booted import SCREEN, SERIAL
from tests.qemu.conftest import Make, probed
from tests.qemu.looks import LOOKS, asleep

pytestmark = pytest.mark.qemu

SMALL = ("-m", "64", "-nodefaults", *SERIAL, *SCREEN)
CARD, OTHER = "e1000,mac=52:54:00:12:34:56,addr=4", "pci-serial-2x,addr=8"
"""Four slots apart they have one line. Nobody has a rule for two serial ports on PCI."""
ADDRESS = "00:08.0"
COMMAND, SILENT, PORTS = 4, 1 << 10, 0x10
IER, THR_EMPTY = 1, 2
"""A 16550 that wants an interrupt as long as nothing is sent. Source: PC16550D 8.6.7."""
ECHOES = 1_000


def config(vm: Qemu, at: int, value: int | None = None) -> int:
    """A word of the function's configuration space, written if it is to be another."""
    vm.hmp(f"o /w 0xcf8 {0x8000_0000 | config_address(ADDRESS) | at:#x}")
    if value is not None:
        vm.hmp(f"o /w 0xcfc {value:#x}")
    return int(vm.hmp("i /w 0xcfc").split("=")[1], 16)


@pytest.mark.parametrize("board", ["pc", "q35"])
def test_who_has_no_rule_holds_no_line(board: str, make: Make) -> None:
    machine = probed("-M", board, *SMALL, "-device", CARD, "-device", OTHER)
    lines = {f.address: f.interrupt_line for f in machine.functions}
    assert lines["00:04.0"] == lines[ADDRESS]
    path, image = make(machine)
    assert image.manifest.gates.interrupts
    with booted(path, plugin=False) as one:
        one.wake(60)
        one.drain()
        assert config(one.vm, COMMAND) & (SILENT | 7) == SILENT | 3
        one.vm.hmp(f"o /b {(config(one.vm, PORTS) & ~3) + IER:#x} {THR_EMPTY}")
        assert asleep(one.vm) >= LOOKS - 1
        config(one.vm, COMMAND, 3)  # as if the image had not silenced it
        assert asleep(one.vm) < LOOKS // 2, "this function would keep the machine awake"
        assert in_flight(one, ECHOES) == (ECHOES, 0)
        config(one.vm, COMMAND, SILENT | 3)
        one.drain()
        assert asleep(one.vm) >= LOOKS - 1
