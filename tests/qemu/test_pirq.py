"""A machine file from under a system that led no PCI interrupt to the 8259: the image does."""

from __future__ import annotations

import pytest

from tests.configured import configured
from tests.model.reference import answer
from tests.qemu.booted import IP, MAC, SCREEN, SERIAL, Booted, booted
from tests.qemu.conftest import Make, probed
from tests.qemu.looks import sleeps
from tests.qemu.questions import echo

pytestmark = pytest.mark.qemu

SMALL = ("-m", "64", "-nodefaults", *SERIAL, *SCREEN)
MACHINES = {
    "pc": ("00:01.0", 0x60, "e1000,mac=52:54:00:12:34:56", (0x00, 0x85)),
    "q35": ("00:1f.0", 0x68, "rtl8139,mac=52:54:00:12:34:56", (0x85, 0x00)),
}
"""The router, its routes, a card by line, and what the file says of A or E, and of D or H."""


def config(machine: Booted, address: str, at: int) -> int:
    """A word of configuration space, by mechanism 1. Source: PCI 3.0 §3.2.2.3.2."""
    device, function = int(address[3:5], 16), int(address[6:])
    machine.vm.hmp(f"o /w 0xcf8 {0x8000_0000 | device << 11 | function << 8 | at:#x}")
    return int(machine.vm.hmp("i /w 0xcfc").split("=")[1], 16)


@pytest.mark.parametrize("name", MACHINES)
def test_it_leads_them_there(name: str, make: Make) -> None:
    router, at, card, (first, last) = MACHINES[name]
    arguments = ("-M", name, *SMALL)
    found = probed(*arguments, "-device", card)
    routes = next(f for f in found.functions if f.address == router).config_u32(at)
    kept = routes & 0x00FF_FF00
    path, image = make(configured(found, router, {at: kept | 0x0080_8000 | first | last << 24}))
    assert image.manifest.gates.interrupts
    with booted(path, arguments, card=card) as machine:
        machine.wait_for("MetaOS")
        question = echo(MAC, IP)
        assert machine.ask(question) == answer(question, MAC, IP)
        ends = (first & 0x7F or 0x80) | (last & 0x7F or 0x80) << 24
        assert config(machine, router, at) == kept | ends
        machine.wait_until(lambda: sleeps(machine.vm), "it sleeps")
