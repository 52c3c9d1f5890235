"""Cards found in the answers that QEMU 7.2 gives."""

from metaos.boot import found

SEVERAL = """card1: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:57
 \\ net1: index=0,type=dgram,local=/tmp/a
card0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56
 \\ net0: index=0,type=dgram,local=/tmp/b
"""
HUB = """hub 0
 \\ hub0port1: hub0: index=0,type=hubport,
 \\ hub0port0: e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56
net0: index=0,type=user,net=10.0.2.0
"""


def test_a_cards_address_is_that_on_its_network() -> None:
    assert found.card_address(SEVERAL) == 0x525400123456
    assert found.card_address(SEVERAL, "net1") == 0x525400123457
    assert found.card_address(SEVERAL, "net2") is None
    assert found.card_address(HUB) == 0x525400123456


def test_each_card_has_its_network() -> None:
    assert found.netdevs(SEVERAL) == {"card1": "net1", "card0": "net0"}


def test_cards_behind_bridges_have_their_buses_number() -> None:
    card = {"bus": 2, "slot": 31, "function": 1, "qdev_id": "deep"}
    inner = {"bus": 1, "slot": 5, "function": 0, "qdev_id": "", "pci_bridge": {"devices": [card]}}
    outer = {"bus": 0, "slot": 3, "function": 0, "qdev_id": "b", "pci_bridge": {"devices": [inner]}}
    bare = {"bus": 0, "slot": 4, "function": 0, "qdev_id": "raw", "pci_bridge": {"bus": {}}}
    answer = [{"bus": 0, "devices": [outer, bare]}]
    assert found.pci_addresses(answer) == {"b": "00:03.0", "deep": "02:1f.1", "raw": "00:04.0"}
