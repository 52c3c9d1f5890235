"""Ports, networks, and connecting a machine's card to them."""

import ipaddress
import json
import socket
from pathlib import Path

import pytest

from metaos.boot import network
from metaos.errors import Exit, MetaosError

CARDS = frozenset({"card", "alias"})
GUEST = ipaddress.IPv4Interface("10.0.2.15/24")


def test_a_forward_is_read() -> None:
    assert network.parse_forward("7007:7/udp") == network.Forward(7007, 7, "udp")
    assert network.parse_forward("80:8080") == network.Forward(80, 8080, "tcp")


@pytest.mark.parametrize(
    "text", ["", "7", "7:", "a:b", "7:1.2.3:7", "7::7", "7:7/sctp", "0:7/udp", "7:65536", "-1:7"]
)
def test_what_is_no_forward_is_refused(text: str) -> None:
    with pytest.raises(MetaosError) as refused:
        network.parse_forward(text)
    assert refused.value.exit_code is Exit.USAGE


def test_the_user_network_surrounds_the_guest() -> None:
    words = network.user_backend([GUEST], [network.Forward(7007, 7, "udp")]).split(",")
    assert words == [
        "user",
        "id=net0",
        "net=10.0.2.0/24",
        "hostfwd=udp:127.0.0.1:7007-10.0.2.15:7",
    ]


def test_the_user_network_makes_way_for_the_guest() -> None:
    backend = network.user_backend([ipaddress.IPv4Interface("192.168.9.2/24")], [])
    assert "net=192.168.9.0/24" in backend
    assert "host=192.168.9.4,dns=192.168.9.5" in backend


def test_a_network_too_small_is_refused() -> None:
    with pytest.raises(MetaosError, match="/29"):
        network.user_backend([ipaddress.IPv4Interface("10.0.0.1/30")], [])


@pytest.mark.parametrize(("protocol", "kind"), [("udp", "SOCK_DGRAM"), ("tcp", "SOCK_STREAM")])
def test_a_taken_port_is_named(protocol: str, kind: str) -> None:
    with socket.socket(socket.AF_INET, getattr(socket, kind)) as taker:
        taker.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            taker.listen()
        port = taker.getsockname()[1]
        with pytest.raises(MetaosError) as refused:
            network.check_ports([network.Forward(port, 7, protocol)])
    assert f"{protocol} port {port} of 127.0.0.1 is taken" in refused.value.message
    assert f"-p {port + 1}:7/{protocol}" in refused.value.hint
    network.check_ports([network.Forward(port, 7, protocol)])


GIVEN = ("-M", "pc", "-device", "disk,id=card", "-device", "alias,addr=7", "-device", "card,id=x")


def test_an_only_card_is_connected() -> None:
    result = network.connect(GIVEN[:6], "user,id=net0", CARDS)
    assert result == [*GIVEN[:5], "alias,addr=7,netdev=net0", "-netdev", "user,id=net0"]


def test_several_cards_share_one_network() -> None:
    result = network.connect(GIVEN, "user,id=net0", CARDS)
    assert result is not None
    assert result[:8] == [
        *GIVEN[:5],
        "alias,addr=7,netdev=port0",
        "-device",
        "card,id=x,netdev=port1",
    ]
    assert result[8::2] == ["-netdev"] * 4
    assert result[9::2] == [
        "user,id=net0",
        "hubport,id=hub0,hubid=0,netdev=net0",
        "hubport,id=port0,hubid=0",
        "hubport,id=port1,hubid=0",
    ]


def test_each_card_can_have_a_network_of_its_own() -> None:
    assert network.count_cards(GIVEN, CARDS) == 2
    assert network.count_cards(GIVEN[:4], CARDS) == 1  # the machine's default one
    assert network.count_cards(("-nodefaults", *GIVEN[:4]), CARDS) == 0
    result = network.connect_each(GIVEN, ["a,id=net0", "b,id=net1"], CARDS)
    assert result[5] == "alias,addr=7,netdev=net0,id=card0"
    assert result[7] == "card,id=x,netdev=net1"
    assert result[8:] == ["-netdev", "a,id=net0", "-netdev", "b,id=net1"]


def test_the_user_network_holds_every_card() -> None:
    far = ipaddress.IPv4Interface("10.0.3.1/24")
    forward = network.parse_forward("7007:10.0.3.1:7/udp")
    words = network.user_backend([GUEST, far], [forward, network.Forward(80, 81, "tcp")])
    assert "net=10.0.2.0/23," in words
    assert "udp:127.0.0.1:7007-10.0.3.1:7" in words and "tcp:127.0.0.1:80-10.0.2.15:81" in words


def test_a_forward_to_nobody_names_the_cards() -> None:
    with pytest.raises(MetaosError, match="no card of the image has") as refused:
        network.user_backend([GUEST], [network.parse_forward("7007:10.0.2.16:7/udp")])
    assert refused.value.exit_code is Exit.USAGE and "10.0.2.15" in refused.value.hint


def test_cards_too_far_apart_share_no_user_network() -> None:
    far = ipaddress.IPv4Interface("192.168.0.1/24")
    with pytest.raises(MetaosError, match="no user network holds"):
        network.user_backend([GUEST, far], [])


def test_the_user_network_makes_way_for_every_guest() -> None:
    guests = [ipaddress.IPv4Interface(f"10.0.2.{n}/24") for n in (2, 5, 7)]
    assert "host=10.0.2.8,dns=10.0.2.9" in network.user_backend(guests, [])


def test_a_card_in_json_is_connected() -> None:
    given = ["-device", json.dumps({"driver": "card", "addr": "7"})]
    result = network.connect(given, "user,id=net0", CARDS)
    assert result is not None
    assert json.loads(result[1]) == {"driver": "card", "addr": "7", "netdev": "net0"}


def test_the_default_card_is_connected_through_a_hub() -> None:
    result = network.connect(["-M", "pc"], "user,id=net0", CARDS)
    assert result is not None
    assert result[2:6] == ["-net", "nic", "-netdev", "user,id=net0"]
    assert result[7] == "hubport,id=hub0,hubid=0,netdev=net0"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-nic", "user"],
        ["--nic", "user"],
        ["-net", "nic"],
        ["-device", "card,netdev=mine", "-netdev", "user,id=mine"],
    ],
)
def test_a_network_of_the_users_own_is_left_alone(arguments: list[str]) -> None:
    with pytest.raises(MetaosError, match="of their own"):
        network.connect(arguments, "user,id=net0", CARDS)


def test_a_machine_without_a_card_is_not_connected() -> None:
    assert network.connect(["-nodefaults", "-device", "disk"], "user,id=net0", CARDS) is None


def test_cards_are_what_qemu_calls_network_devices() -> None:
    text = (
        'Storage devices:\nname "disk", bus PCI\n\n'
        'Network devices:\nname "card", bus PCI, alias "alias", desc "A Card"\nname "other"\n\n'
        'Input devices:\nname "mouse"\n'
    )
    assert network.parse_cards(text) == {"card", "alias", "other"}


def test_free_datagrams_differ() -> None:
    ends = network.free_datagrams()
    assert ends.machine_port != ends.our_port
    assert f"local.port={ends.machine_port}" in ends.backend
    assert f"remote.port={ends.our_port}" in ends.backend


def test_a_wire_carries_frames_both_ways(tmp_path: Path) -> None:
    with network.open_wire(tmp_path) as wire:
        assert not wire.send(b"nobody there")
        assert wire.receive(0.01) is None
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as machine:
            machine.bind(str(wire.machine))
            assert wire.send(b"question")
            assert machine.recv(100) == b"question"
            machine.sendto(b"answer", str(wire.ours))
            assert wire.receive(1) == b"answer"


def test_commas_in_paths_are_doubled() -> None:
    assert network.quote(Path("a,b")) == "a,,b"
