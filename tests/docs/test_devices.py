"""docs/devices.toml leaves out no pattern of a network card and no network device of QEMU's."""

from __future__ import annotations

import pytest

from metaos import resources
from metaos.boot.network import network_cards
from metaos.boot.target import QEMU, load_target, targets
from metaos.pipeline import read_patterns
from tests.qemu.cards import Placed, devices, placed


def test_every_pattern_of_a_network_card_has_a_line() -> None:
    patterns = read_patterns([resources.PATTERNS]).devices.values()
    named = {p.name for p in patterns if p.class_name == "net.ethernet" and not p.abstract}
    data = devices()
    told = {card["pattern"] for card in data["card"]} | {
        one["pattern"] for one in data.get("fake", ())
    }
    assert told == named, "docs/devices.toml"


def test_a_card_is_found_where_it_is() -> None:
    root = ("-M", "q35", "-device", "pcie-root-port,id=p", "-device", "virtio-net-pci,bus=p")
    assert placed(root) == (Placed("virtio_net_modern", "q35, behind a root port"),)
    assert placed(("-device", "virtio-net-pci")) == (Placed("virtio_net_transitional", "pc"),)
    two = ("-device", "pci-bridge,id=b", "-device", "e1000,bus=b", "-device", "vmxnet3")
    assert [p.place for p in placed(two)] == ["pc, behind a bridge", "pc"]
    for name in targets():
        assert len(placed(load_target(name).args)) == 1


@pytest.mark.qemu
def test_every_network_device_of_qemu_has_a_line() -> None:
    data = devices()
    named = {card["qemu"] for card in data["card"]} | {one["qemu"] for one in data["same"]}
    named |= {q for one in data["none"] if not one.get("absent") for q in one["qemu"]}
    aliases = {"e1000-82540em", "virtio-net"}
    assert network_cards(QEMU) - aliases == named, "docs/devices.toml"
