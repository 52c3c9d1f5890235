"""Machines of many kinds: probed, an image built for each, and every example asked of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from metaos.boot.run import Wanted
from metaos.boot.run import test as examine
from metaos.errors import Exit, MetaosError
from metaos.link.image import write_image
from metaos.match.system import System, read_system
from metaos.pipeline import build
from metaos.probe.store import format_machine, parse_machine
from tests.qemu.booted import BARE, CARD, SCREEN, SERIAL, TARGET, booted
from tests.qemu.cards import placed
from tests.qemu.conftest import Make, probed

pytestmark = pytest.mark.qemu

SMALL = ("-M", "pc", "-nodefaults", *SERIAL)
Q35 = ("-M", "q35", *TARGET[2:])
MICROVM = ("-M", "microvm", *TARGET[2:5], *SERIAL)
MODERN = ("-global", "virtio-mmio.force-legacy=false")

I8255X = (
    *("i82557b", "i82557c", "i82558a", "i82558b", "i82559a", "i82559b", "i82559c", "i82559er"),
    *("i82550", "i82551", "i82562", "i82801"),
)

MACHINES = {
    "default": (*TARGET, "-device", CARD),
    "slot 7, a serial port to nowhere": (
        *("-M", "pc", "-m", "96", "-nodefaults", "-serial", "null"),
        *("-device", f"{CARD},addr=7"),
    ),
    "no screen, no serial port": ("-M", "pc", "-nodefaults", "-device", "e1000"),
    "a processor with everything": (*TARGET, "-cpu", "max", "-device", "e1000"),
    "48 MiB": (*SMALL, "-m", "48", "-device", "e1000"),
    "6 GiB": (*SMALL, "-m", "6G", "-device", "e1000"),
    "the last slot": (*SMALL, "-device", "e1000,addr=1f"),
    "a multi-function slot": (
        *(*SMALL, "-device", "e1000,addr=6.0,multifunction=on"),
        *("-device", "virtio-rng-pci,addr=6.3"),
    ),
    "behind a bridge": (
        *(*SMALL, "-device", "pci-bridge,id=b,chassis_nr=1"),
        *("-device", "e1000,bus=b,addr=5"),
    ),
    "virtio, transitional": (*SMALL, "-device", "virtio-net-pci"),
    "virtio, legacy": (*SMALL, "-device", "virtio-net-pci,disable-modern=on"),
    "virtio, legacy, nothing optional": (
        *(*SMALL, "-device", "virtio-net-pci,disable-modern=on,event_idx=off,mrg_rxbuf=off"),
    ),
    "virtio, nothing optional": (
        *(*SMALL, "-device", "virtio-net-pci,event_idx=off,mrg_rxbuf=off,status=off"),
    ),
    "virtio, long queues": (
        *(*SMALL, "-device", "virtio-net-pci,rx_queue_size=1024,tx_queue_size=256"),
    ),
    "virtio, version 1 alone, behind a root port": (
        *(*Q35, "-device", "pcie-root-port,id=p,chassis=1", "-device", "virtio-net-pci,bus=p"),
    ),
    "an NE2000": (*SMALL, "-device", "ne2k_pci"),
    "an NE2000 on q35, behind a bridge": (
        *(*Q35, "-device", "pci-bridge,id=b,chassis_nr=1"),
        *("-device", "ne2k_pci,bus=b,addr=5"),
    ),
    "virtio over MMIO": (*MICROVM, "-device", "virtio-net-device"),
    "virtio over MMIO, version 1": (*MICROVM, *MODERN, "-device", "virtio-net-device"),
    "virtio over MMIO, nothing optional": (
        *(*MICROVM, "-device", "virtio-net-device,event_idx=off,mrg_rxbuf=off,status=off"),
    ),
    "two processors": (*SMALL, "-smp", "2", "-device", "e1000"),
    "a 21143": (*SMALL, "-device", "tulip"),
    "a 21143 on q35, behind a bridge": (
        *(*Q35, "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "tulip,bus=b,addr=5"),
    ),
    "a PCnet": (*SMALL, "-device", "pcnet"),
    "a PCnet on q35, behind a bridge": (
        *(*Q35, "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "pcnet,bus=b,addr=5"),
    ),
    "a vmxnet3": (*SMALL, "-device", "vmxnet3"),
    "a vmxnet3 behind a root port": (
        *(*Q35, "-device", "pcie-root-port,id=p,chassis=1", "-device", "vmxnet3,bus=p"),
    ),
    "an RTL8139C+": (*SMALL, "-device", "rtl8139"),
    "an RTL8139C+ on q35, behind a bridge": (
        *(*Q35, "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "rtl8139,bus=b,addr=5"),
    ),
    "an 82557A": (*SMALL, "-device", "i82557a"),
    "an 82801 on q35, behind a bridge": (
        *(*Q35, "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "i82801,bus=b,addr=5"),
    ),
    "an 82544GC": (*SMALL, "-device", "e1000-82544gc"),
    "an 82545EM": (*SMALL, "-device", "e1000-82545em"),
    "an 82544GC on q35, behind a bridge": (
        *(*Q35, "-device", "pci-bridge,id=b,chassis_nr=1"),
        *("-device", "e1000-82544gc,bus=b,addr=5"),
    ),
    "an 82545EM on q35, behind a bridge": (
        *(*Q35, "-device", "pci-bridge,id=b,chassis_nr=1"),
        *("-device", "e1000-82545em,bus=b,addr=5"),
    ),
    "an 82574L on pc": (*SMALL, "-device", "e1000e"),
    "virtio, transitional, behind a bridge": (
        *(*SMALL, "-device", "pci-bridge,id=b,chassis_nr=1"),
        *("-device", "virtio-net-pci,bus=b,addr=5"),
    ),
    "virtio, version 1 alone": (*SMALL, "-device", "virtio-net-pci,disable-legacy=on"),
    "an 82574L behind a root port": (
        *(*Q35, "-device", "pcie-root-port,id=rp0,chassis=1"),
        *("-device", "e1000e,bus=rp0"),
    ),
    "four processors, behind two bridges": (
        *(*SMALL, "-smp", "4", "-device", "pci-bridge,id=a,chassis_nr=1"),
        *("-device", "pci-bridge,id=b,bus=a,addr=3,chassis_nr=2"),
        *("-device", "e1000,bus=b,addr=5"),
    ),
    "q35": (*Q35, "-device", "e1000"),
    "q35, with all default devices but the card": ("-M", "q35", "-device", "e1000"),
    "the default card and all default devices": ("-M", "pc"),
    "q35, behind a bridge": (
        *(*Q35, "-device", "pcie-pci-bridge,id=b"),
        *("-device", "e1000,bus=b,addr=5"),
    ),
    "an 82559C on q35, behind a bridge": (
        *(*Q35, "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "i82559c,bus=b,addr=5"),
    ),
    **{f"QEMU's {name}": (*SMALL, "-device", name) for name in I8255X},
}

QUICK = (
    "default", "behind a bridge", "q35", "an 82574L behind a root port",
    "virtio, version 1 alone, behind a root port", "an NE2000", "an RTL8139C+",
)  # fmt: skip
"""Some of every kind; `make test-all` asks them all."""


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(arguments, marks=() if name in QUICK else pytest.mark.slow, id=name)
        for name, arguments in MACHINES.items()
    ],
)
def test_probe_build_and_ask(arguments: tuple[str, ...], make: Make) -> None:
    machine = probed(*arguments)
    assert parse_machine(format_machine(machine)) == machine
    path, image = make(machine)
    (card,) = (d for d in image.manifest.provenance.devices if d.offers)
    assert [one.pattern for one in placed(arguments)] in ([], [card.pattern])
    wanted = Wanted(
        image=path, net="wire", capture=None, accel="tcg", target=None, arguments=()
    )  # fmt: skip
    result = examine(wanted, patterns=(), seed=11, boot_seconds=20, progress=lambda _: None)
    assert result.passed, "\n".join(
        [f"{v.service}: {v.question}: {v.detail}" for v in result.verdicts if not v.passed]
        + [f"the console said: {result.console}"]
    )
    assert sum(v.expected == "an answer" for v in result.verdicts) >= 18
    assert sum(v.expected == "silence" for v in result.verdicts) >= 20
    address = str(read_system().interface.ip)
    seen = any(d.pattern == "uart16550" for d in image.manifest.provenance.devices)
    assert (f"MetaOS {address}" in result.console) is seen


@pytest.mark.parametrize(("vendor", "device"), [(0x10EC, 0x8139), (0x8086, 0x9999)])
def test_a_card_without_a_pattern(vendor: int, device: int) -> None:
    """A machine whose card is another: no card of QEMU's need stay without a pattern."""
    machine = probed(*BARE, "-device", "e1000")
    functions = tuple(
        replace(f, vendor=vendor, device=device) if f.address == "00:02.0" else f
        for f in machine.functions
    )
    machine = replace(machine, functions=functions)
    words = f"{vendor:04x}:{device:04x} class 020000"
    with pytest.raises(MetaosError) as refused:
        build(machine, system=read_system())
    error = refused.value
    assert error.exit_code is Exit.NO_PATTERN
    (problem,) = (p for p in error.problems if words in p.message)
    assert problem.message.startswith("00:02.0 has no pattern")
    assert "nearest: " in problem.hint and ("i825" in problem.hint or "rtl8139" in problem.hint)


def test_a_machine_without_pci_says_its_banner(tmp_path: Path) -> None:
    """Its init has nothing to do, its guard no functions to look at."""
    arguments = ("-M", "isapc", "-cpu", "qemu64", *BARE[2:], *SERIAL)
    machine = probed(*arguments)
    assert machine.functions == () and machine.acpi == ()
    system = System(name="hello", address="10.0.2.15/24", services=("banner",))
    path = tmp_path / "x.img"
    write_image(build(machine, system=system), path)
    with booted(path, arguments, card="") as running:
        assert running.wait_for("MetaOS") == "MetaOS 10.0.2.15"


def test_no_card_is_touched_that_nobody_needs(tmp_path: Path) -> None:
    arguments = (*BARE, *SCREEN, *SERIAL)
    system = System(name="hello", address="10.0.2.15/24", services=("banner",))
    image = build(probed(*arguments, "-device", CARD), system=system)
    assert "00:03.0" not in {d.address for d in image.manifest.provenance.devices}
    path = tmp_path / "x.img"
    write_image(image, path)
    with booted(path, arguments) as running:
        assert running.wait_for("MetaOS") == "MetaOS 10.0.2.15"
        assert "BAR0: 32 bit memory at 0xfebc0000" in running.vm.hmp("info pci")
