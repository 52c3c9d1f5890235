"""The machine sleeps while its serial port is busy, and ends its text when it goes on."""

from __future__ import annotations

import contextlib
import fcntl
import os

import pytest

from tests.madt import without_8259
from tests.model.reference import answer
from tests.qemu.booted import BARE, CARD, IP, MAC, SCREEN, SERIAL, TARGET, Booted, booted
from tests.qemu.conftest import Made, Make, probed
from tests.qemu.looks import LOOKS, asleep
from tests.qemu.questions import echo

pytestmark = pytest.mark.qemu

SMALL = ("-m", "64", "-nodefaults", *SERIAL)
MACHINES = {
    "pc": (TARGET, CARD),
    "pc, two ports": (
        (*TARGET, "-chardev", "null,id=s1", "-serial", "chardev:s1"),
        CARD,
    ),
    "pc, a port on PCI": (
        (*BARE, "-device", "pci-serial,chardev=s0"),
        CARD,
    ),
    "q35": (("-M", "q35", *SMALL, *SCREEN), "e1000e,mac=52:54:00:12:34:56"),
    "microvm": (("-M", "microvm", *SMALL), "virtio-net-device,mac=52:54:00:12:34:56"),
}
NO_8259 = {
    "microvm": (("-M", "microvm,pic=off", *SMALL), "virtio-net-device,mac=52:54:00:12:34:56"),
    "q35": (("-M", "q35,pic=off", *SMALL, *SCREEN), "e1000e,mac=52:54:00:12:34:56"),
    "q35, a pin": (("-M", "q35,pic=off", *SMALL), "e1000,mac=52:54:00:12:34:56"),
}


def stop_up(machine: Booted) -> None:
    """Fill the pipe behind the serial port, so that QEMU's takes no further character."""
    fcntl.fcntl(machine.serial, fcntl.F_SETPIPE_SZ, 4096)
    writer = os.open(f"/proc/self/fd/{machine.serial}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b".")
    os.close(writer)


@pytest.mark.parametrize("name", MACHINES)
def test_it_sleeps_until_the_port_is_free(name: str, make: Make) -> None:
    arguments, card = MACHINES[name]
    slept_through(make(probed(*arguments, "-device", card)), arguments, card)


@pytest.mark.parametrize("name", NO_8259)
def test_without_an_8259_an_io_apic_leads_its_line(name: str, make: Make) -> None:
    arguments, card = NO_8259[name]
    made = make(without_8259(probed(*arguments, "-device", card)))
    found = {x.pattern for x in made[1].manifest.provenance.devices}
    assert {"xapic_alone", "io_apic"} <= found and "pic8259" not in found
    slept_through(made, arguments, card)


def test_a_madt_that_says_of_a_pair_that_is_not_there(make: Make) -> None:
    arguments, card = NO_8259["microvm"]
    path, _ = make(probed(*arguments, "-device", card))
    with booted(path, arguments, card=card) as machine:
        machine.wait_for("APIC: there is no 8259 pair, though the MADT says so")


def slept_through(made: Made, arguments: tuple[str, ...], card: str) -> None:
    """Boot with a port that is stopped up, ask meanwhile, and let it go on."""
    path, image = made
    devices = image.manifest.provenance.devices
    console = next(x.address for x in devices if x.pattern in ("uart16550", "pci_serial"))
    shown = image.manifest.symbol(f"{console}.banner.at").physical
    with booted(path, arguments, card=card, paused=True) as machine:
        stop_up(machine)
        machine.vm.command("cont")
        machine.wait_until(lambda: machine.physical(shown, 1)[0] == 2, "two characters are taken")
        assert asleep(machine.vm) >= LOOKS - 1
        request = echo(MAC, IP)
        assert machine.ask(request) == answer(request, MAC, IP)
        assert machine.physical(shown, 1) == b"\2", "one is being sent, one waits for it"
        machine.wait_for("10.0.2.15")
        assert machine.said.lstrip(".").startswith("MetaOS"), "none is lost"
        assert asleep(machine.vm) >= LOOKS - 1
