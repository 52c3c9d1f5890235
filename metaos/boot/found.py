"""Which of a running machine's network cards is where: out of QEMU's own answers.

card_address(vm.hmp("info network"), "net0")    ->  0x525400123456
netdevs(vm.hmp("info network"))                 ->  {"card0": "net0", "card1": "net1"}
pci_addresses(vm.command("query-pci"))          ->  {"card0": "00:03.0", "card1": "01:05.0"}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from metaos.boot.network import NETDEV


def card_address(text: str, netdev: str = NETDEV) -> int | None:
    """The address of the card on a network, out of QEMU's `info network`; None if absent.

    A card on a hub is on whatever network the hub is.
    """
    for _, address, peer, hub in _cards(text):
        if peer == netdev or hub:
            return int(address.replace(":", ""), 16)
    return None


def netdevs(text: str) -> dict[str, str]:
    """Each card's id and the id of the network backend it is connected to."""
    return {name: peer for name, _, peer, _ in _cards(text)}


def pci_addresses(answer: Sequence[Any]) -> dict[str, str]:
    """Each device's id, where it has one, and its PCI address, out of QMP's `query-pci`.

    Buses have the numbers that the firmware gave them; what is behind a bridge that has none
    yet is not there.
    """
    return {
        device["qdev_id"]: f"{device['bus']:02x}:{device['slot']:02x}.{device['function']}"
        for device in _devices(answer)
        if device.get("qdev_id")
    }


def _cards(text: str) -> Iterator[tuple[str, str, str, bool]]:
    """Name, address and peer of each card, and whether a hub is between.

    A card's line is followed by its peer's; cards on a hub are listed under the hub.
    """
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found = re.search(r"(\S+): index=\d+,type=nic,.*?macaddr=([0-9a-fA-F:]{17})", line)
        if found:
            peer = following.strip().removeprefix("\\").strip().partition(":")[0]
            yield found[1], found[2], peer, "hub" in line


def _devices(buses: Sequence[Any]) -> Iterator[Any]:
    for bus in buses:
        for device in bus.get("devices", ()):
            yield device
            yield from _devices([device.get("pci_bridge", {})])
