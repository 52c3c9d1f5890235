"""Machines of many kinds: probed, an image built for each, and every example asked of it."""

from __future__ import annotations

import pytest

from metaos.boot.run import Wanted
from metaos.boot.run import test as examine
from metaos.match.system import read_system
from tests.qemu.booted import CARD, SERIAL, TARGET
from tests.qemu.conftest import Make, probed

pytestmark = pytest.mark.qemu

SMALL = ("-M", "pc", "-nodefaults", *SERIAL)
Q35 = ("-M", "q35", *TARGET[2:])

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
    "two processors": (*SMALL, "-smp", "2", "-device", "e1000"),
    "an 82544GC": (*SMALL, "-device", "e1000-82544gc"),
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
    "q35, behind a bridge": (
        *(*Q35, "-device", "pcie-pci-bridge,id=b"),
        *("-device", "e1000,bus=b,addr=5"),
    ),
}


@pytest.mark.parametrize("arguments", MACHINES.values(), ids=MACHINES)
def test_probe_build_and_ask(arguments: tuple[str, ...], make: Make) -> None:
    path, image = make(probed(*arguments))
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
