"""What each network card of a machine is to do: `roles(system, cards) -> Roles`.

roles(system, ("00:03.0", "00:04.0"))[1].interface  ->  10.0.2.16/24
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from metaos.errors import MetaosError, Problem, did_you_mean
from metaos.match.system import Card, System
from metaos.pattern.syntax import Service
from metaos.told import Told


@dataclass(frozen=True, slots=True)
class Role:
    """A card's PCI address, its address on the network and the services asked of it."""

    card: str
    interface: ipaddress.IPv4Interface
    services: tuple[str, ...]
    giver: str = ""
    """The service that is given the address, where the system file does not say it."""
    gateway: int = 0
    """Who takes what leaves the network, an address of it; 0 where nobody does, or `giver` says."""
    to: str = ""
    """The card that frames are passed on to; empty where neither the file nor their number says."""


def roles(system: System, cards: Sequence[str]) -> tuple[Role, ...]:
    """The role of every card; `cards` are the PCI addresses of all, in the machine's order.

    Raises:
        MetaosError: the system names a card that is not there, two cards would have one
            address, or a card's number leads out of the system's network.
    """
    problems = [_absent(name, cards, ("cards", name)) for name in system.cards if name not in cards]
    problems += [
        _absent(own.to, cards, way) if own.to not in cards else _itself(name, way)
        for name, own in system.cards.items()
        if own.to is not None and (own.to == name or own.to not in cards)
        for way in [("cards", name, "to", own.to)]
    ]
    found: list[Role] = []
    for number, card in enumerate(cards):
        own = system.cards.get(card)
        text = own.address if own and own.address else _counted(system, number)
        if not text:
            problems.append(_outside(system, card, number))
            continue
        interface = ipaddress.IPv4Interface(text)
        twin = next((r for r in found if r.interface.ip == interface.ip), None)
        if twin is not None:
            problems.append(_twice(interface, twin.card, card, system))
        services = system.services if own is None or own.services is None else own.services
        giver = "" if own and own.address else system.giver
        more = (giver,) if giver and giver not in services else ()
        gateway, wrong = _gateway(system, card, interface)
        problems += wrong
        to = _beyond(own, card, cards)
        found.append(Role(card, interface, (*services, *more), giver, gateway, to))
    if problems:
        raise MetaosError(f"system '{system.name}' does not fit this machine", problems=problems)
    return tuple(found)


def _gateway(
    system: System, card: str, interface: ipaddress.IPv4Interface
) -> tuple[int, list[Problem]]:
    """Who takes what leaves a card's network: as the card says, or the system of its network."""
    own = system.cards.get(card)
    named = own.gateway if own is not None and own.gateway else None
    text = named or ("" if system.giver else system.gateway)
    fact = f"system.cards.{card}.gateway" if named else "system.gateway"
    if not text:
        return 0, []
    address = ipaddress.IPv4Address(text)
    if address in interface.network and address != interface.ip:
        return Told(int(address), (fact,)), []
    if named is None and own is not None and own.address:  # another network than the system's
        return 0, []
    where = f"no other host of {interface.network}, where {card} is"
    hint = "a gateway is reached without one: name its address in the card's own network"
    way = ("cards", card, "gateway") if named else ("gateway",)
    return 0, [Problem("E0309", f"the gateway {text} is {where}", hint=hint, key=way)]


def address_fact(system: System, card: str) -> str:
    """Where a card's address on the network is from: a path into the system file."""
    own = system.cards.get(card)
    return f"system.cards.{card}.address" if own and own.address else "system.address"


def carried_by(role: Role, services: Sequence[Service]) -> tuple[Service, ...]:
    """Of all `services`, parents first, those that the card carries, and what they lie over.

    Raises:
        MetaosError: what the system names for the card is said on consoles only.
    """
    named = {service.name: service for service in services}
    wanted: set[str] = set()
    for name in role.services:
        way = [name]
        while way:
            name = way.pop()
            if name in named and name not in wanted:
                wanted.add(name)
                way += [named[name].over, *named[name].used]
    carried = tuple(x for x in services if x.name in wanted and x.say is None)
    if not carried:
        raise MetaosError(
            f"{role.card} has nothing to carry: {', '.join(role.services)}",
            hint="name a service that answers frames for it: metaos patterns list",
        )
    for service in carried:
        if service.passing is not None and not role.to:
            raise MetaosError(
                f"'{service.name}' of {role.card} passes frames on, and no card is named for them",
                problems=[Problem("E0310", "where do they go?", service.passing.span)],
                hint=f'say it in the system file: [cards."{role.card}"] to = "..."',
            )
    return carried


def _beyond(own: Card | None, card: str, cards: Sequence[str]) -> str:
    """The card that a card passes frames on to: as the file says, or of two the other."""
    if own is not None and own.to is not None:
        return own.to
    others = [other for other in cards if other != card]
    return others[0] if len(others) == 1 else ""


def _itself(card: str, way: tuple[str, ...]) -> Problem:
    wrong = f"{card} would pass frames on to itself"
    return Problem("E0310", wrong, hint="name another card", key=way)


def _counted(system: System, number: int) -> str:
    """The address of the card with this number; empty where the network has no such host."""
    first = system.interface
    address = ipaddress.IPv4Address(int(first.ip) + number)
    if address not in first.network or address == first.network.broadcast_address:
        return ""
    return f"{address}/{first.network.prefixlen}"


def _absent(name: str, cards: Sequence[str], way: tuple[str, ...]) -> Problem:
    there = f"its cards: {', '.join(cards)}" if cards else "it has no card that is served"
    near = did_you_mean(name, cards) if len(cards) > 1 else ""
    hint = f"{near} {there}" if near.startswith("did") else there
    return Problem("E0304", f"the machine has no card {name}", hint=hint, key=way)


def _twice(interface: ipaddress.IPv4Interface, one: str, other: str, system: System) -> Problem:
    counted = [x for x in (one, other) if not (x in system.cards and system.cards[x].address)]
    count = "; cards without an address of their own count up from the system's"
    return Problem(
        "E0305",
        f"{interface.ip} is the address of {one} and of {other}",
        hint=f'give one of them another: [cards."{(counted or [other])[0]}"] address = "..."'
        + (count if counted else ""),
        key=_address_of(system, other),
    )


def _outside(system: System, card: str, number: int) -> Problem:
    return Problem(
        "E0306",
        f"{card} would be {system.interface.ip} + {number}, "
        f"which is no host of {system.interface.network}",
        hint=f'give it an address: [cards."{card}"] address = "..."',
        key=_address_of(system, card),
    )


def _address_of(system: System, card: str) -> tuple[str, ...]:
    """The way to what gives a card its address."""
    own = system.cards.get(card)
    return ("cards", card, "address") if own is not None and own.address else ("address",)
