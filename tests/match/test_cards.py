"""What each card of a machine is to do: counted, by the system file, and every refusal."""

import ipaddress

import pytest
from msgspec.structs import replace

from metaos import resources
from metaos.errors import MetaosError
from metaos.match.cards import Role, carried_by, roles
from metaos.match.system import Card, System
from metaos.pattern.patterns import load

THREE = ("00:03.0", "00:04.0", "01:02.0")


def system(address: str = "10.0.2.15/24", **cards: Card) -> System:
    """A system; cards are named by their number among THREE, as c0."""
    named = {THREE[int(name[1:])]: card for name, card in cards.items()}
    return System(name="s", address=address, services=("arp",), cards=named)


def addresses(found: tuple[Role, ...]) -> list[str]:
    return [str(role.interface) for role in found]


def refusal(of: System, cards: tuple[str, ...] = THREE) -> str:
    with pytest.raises(MetaosError) as refused:
        roles(of, cards)
    return refused.value.render()


def test_cards_count_up_in_the_machines_order() -> None:
    found = roles(system(), THREE)
    assert [role.card for role in found] == list(THREE)
    assert addresses(found) == ["10.0.2.15/24", "10.0.2.16/24", "10.0.2.17/24"]
    assert {role.services for role in found} == {("arp",)}


def test_a_named_card_changes_no_other() -> None:
    found = roles(system(c1=Card(address="10.9.9.9/16", services=("udp.echo",))), THREE)
    assert addresses(found) == ["10.0.2.15/24", "10.9.9.9/16", "10.0.2.17/24"]
    assert [role.services for role in found] == [("arp",), ("udp.echo",), ("arp",)]


def test_a_card_with_services_of_its_own_still_counts() -> None:
    assert addresses(roles(system(c2=Card(services=("arp",))), THREE))[2] == "10.0.2.17/24"


def test_a_card_that_is_not_there_is_refused_naming_those_that_are() -> None:
    text = refusal(system(c2=Card()), THREE[:2])
    assert "the machine has no card 01:02.0" in text
    assert "its cards: 00:03.0, 00:04.0" in text
    assert "it has no card that is served" in refusal(system(c2=Card()), ())


def test_an_address_used_twice_names_both_cards() -> None:
    text = refusal(system(c0=Card(address="10.0.2.16/24")))
    assert "10.0.2.16 is the address of 00:03.0 and of 00:04.0" in text
    assert '[cards."00:04.0"]' in text and "count up" in text
    both = Card(address="10.1.1.1/24")
    assert "10.1.1.1 is the address of 00:03.0 and of 01:02.0" in refusal(system(c0=both, c2=both))


def test_a_network_too_small_is_refused() -> None:
    text = refusal(system("10.0.2.253/24"))
    assert "01:02.0 would be 10.0.2.253 + 2, which is no host of 10.0.2.0/24" in text
    assert roles(system("10.0.2.253/24", c2=Card(address="10.0.3.1/24")), THREE)


def test_a_gateway_is_of_the_cards_own_network() -> None:
    of = system(c1=Card(address="10.9.9.9/16"), c2=Card(address="10.8.0.1/24", gateway="10.8.0.9"))
    of = replace(of, gateway="10.0.2.2")
    found = [str(ipaddress.IPv4Address(role.gateway)) for role in roles(of, THREE)]
    assert found == ["10.0.2.2", "0.0.0.0", "10.8.0.9"]
    assert roles(replace(of, address="dhcp"), THREE)[0].gateway == 0  # the lease says it
    text = refusal(replace(of, gateway="10.0.3.2"), THREE)
    assert "the gateway 10.0.3.2 is no other host of 10.0.2.0/24, where 00:03.0 is" in text
    assert "E0309" in refusal(system(c2=Card(address="10.8.0.1/24", gateway="10.0.2.2")))
    assert "E0309" in refusal(replace(system(), gateway="10.0.2.15"))


def test_all_problems_are_said_at_once() -> None:
    of = system(c2=Card(), c0=Card(address="10.0.2.16/24"))
    text = refusal(of, THREE[:2])
    assert "no card 01:02.0" in text and "10.0.2.16 is the address of" in text


def test_a_card_carries_its_services_and_what_they_lie_over() -> None:
    every = tuple(load([resources.PATTERNS]).services.values())
    named = roles(system(c0=Card(services=("icmp.echo",))), THREE[:1])[0]
    carried = [service.name for service in carried_by(named, every)]
    assert "icmp.echo" in carried and "arp" not in carried and "udp.echo" not in carried
    assert {s.over for s in carried_by(named, every)} <= {"frame", *carried}
    speaker = roles(system(c0=Card(services=("banner",))), THREE[:1])[0]
    with pytest.raises(MetaosError, match=r"00:03\.0 has nothing to carry: banner"):
        carried_by(speaker, every)


def test_frames_are_passed_on_to_the_other_of_two_cards_or_to_the_one_named() -> None:
    assert [role.to for role in roles(system(), THREE[:2])] == [THREE[1], THREE[0]]
    assert [role.to for role in roles(system(c0=Card(to=THREE[2])), THREE)] == [THREE[2], "", ""]
    assert roles(system(), THREE[:1])[0].to == ""


def test_a_card_that_passes_frames_on_to_nowhere_or_to_itself_is_refused() -> None:
    every = tuple(load([resources.PATTERNS]).services.values())
    of = system(c0=Card(services=("forward",)), c1=Card(services=("forward",), to=THREE[0]))
    found = roles(of, THREE)
    assert carried_by(found[1], every)
    with pytest.raises(MetaosError) as refused:
        carried_by(found[0], every)
    assert f'[cards."{THREE[0]}"] to = ' in refused.value.render()
    assert "00:03.0 would pass frames on to itself" in refusal(system(c0=Card(to=THREE[0])))
    assert "the machine has no card 01:02.0" in refusal(system(c0=Card(to=THREE[2])), THREE[:2])
