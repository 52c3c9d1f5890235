"""The link in operation: taken away and given back, and rings that go round many times."""

from __future__ import annotations

import pytest

from metaos.boot.network import NETDEV
from tests.model.reference import answer
from tests.qemu.booted import BARE, CARD, IP, MAC, SERIAL, booted
from tests.qemu.conftest import Make, probed
from tests.qemu.questions import echo, quiet

pytestmark = pytest.mark.qemu

PC = (*BARE, *SERIAL)
MICROVM = ("-M", "microvm", *PC[2:])
Q35 = ("-M", "q35", *PC[2:], "-device", "pcie-root-port,id=rp0,chassis=1")
EXPRESS = CARD.replace("e1000,", "e1000e,bus=rp0,")
CARDS = {
    "82540EM": (PC, CARD),
    "82544GC": (PC, CARD.replace("e1000,", "e1000-82544gc,")),
    "82545EM": (PC, CARD.replace("e1000,", "e1000-82545em,")),
    "82574L": (Q35, EXPRESS),
    "virtio": (PC, CARD.replace("e1000,", "virtio-net-pci,")),
    "virtio, version 1 alone": (PC, CARD.replace("e1000,", "virtio-net-pci,disable-legacy=on,")),
    "virtio, legacy": (PC, CARD.replace("e1000,", "virtio-net-pci,disable-modern=on,")),
    "virtio over MMIO": (MICROVM, CARD.replace("e1000,", "virtio-net-device,")),
    "virtio over MMIO, version 1": (
        (*MICROVM, "-global", "virtio-mmio.force-legacy=false"),
        CARD.replace("e1000,", "virtio-net-device,"),
    ),
    "vmxnet3": (PC, CARD.replace("e1000,", "vmxnet3,")),
    "NE2000": (PC, CARD.replace("e1000,", "ne2k_pci,")),
    "82559C": (PC, CARD.replace("e1000,", "i82559c,")),
    "21143": (PC, CARD.replace("e1000,", "tulip,")),
    "PCnet": (PC, CARD.replace("e1000,", "pcnet,")),
    "RTL8139C+": (PC, CARD.replace("e1000,", "rtl8139,")),
}
"""With rings of 16 to 64 slots, of 32 virtio's, of 256 the legacy virtio's."""
ECHOES = 32_000


QUICK = ("82540EM", "virtio")
"""Of the others `make test-all` takes the link."""


@pytest.mark.parametrize(
    ("arguments", "card"),
    [
        pytest.param(*values, marks=() if name in QUICK else pytest.mark.slow, id=name)
        for name, values in CARDS.items()
    ],
)
def test_a_link_that_goes_and_comes(arguments: tuple[str, ...], card: str, make: Make) -> None:
    path, _ = make(probed(*arguments, "-device", card))
    with booted(path, arguments, card=card) as machine:
        for number in range(3):
            knock = echo(MAC, IP, number)
            assert machine.ask(knock) == answer(knock, MAC, IP)
            quiet(machine, IP)
            machine.vm.hmp(f"set_link {NETDEV} off")
            machine.wire.send(echo(MAC, IP, 0x100 + number))
            assert machine.wire.receive(0.2) is None, "an answer over a link that is down"
            machine.vm.hmp(f"set_link {NETDEV} on")
        machine.ask(echo(MAC, IP, 0x200))
        quiet(machine, IP)
        for number in range(ECHOES):
            frame = echo(MAC, IP, number)
            assert machine.wire.send(frame)
            assert machine.wire.receive(5) == answer(frame, MAC, IP), f"echo {number}"
