"""Addresses of network cards out of `class/net`: `read_networks(tree, functions, gaps)`.

Source: Linux Documentation/ABI/testing/sysfs-class-net; include/uapi/linux/if_arp.h and
netdevice.h for the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from metaos.probe.machine import Function, Network, Origin
from metaos.probe.sysfs.pci import address_of
from metaos.probe.sysfs.tree import Gaps, Tree, UnreadError

_NET = "sys/class/net"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NETWORK = 0x02
"""PCI base class: network controller. PCI Code and ID Assignment 1.11 §1.3."""
_WITH_MAC, _PERMANENT = 1, 0
"""`type`: ARPHRD_ETHER; `addr_assign_type`: NET_ADDR_PERM."""
_NONE = "00:00:00:00:00:00"


def read_networks(tree: Tree, functions: Iterable[Function], gaps: Gaps) -> tuple[Network, ...]:
    """The address of the first port of each network card that has a driver."""
    try:
        interfaces = _interfaces(tree)
    except UnreadError as error:
        interfaces, why = {}, str(error)
    else:
        why = f"{tree.shown(_NET)} has no interface of it: no driver serves it"
    networks = []
    for function in functions:
        if function.class_code >> 16 != _NETWORK:
            continue
        names = interfaces.get(function.address, [])
        try:
            if not names:
                raise UnreadError(why)
            mac = _mac(tree, min(names, key=lambda name: (_port(tree, name), name)))
        except UnreadError as error:
            gaps.add(f"{function.address} mac", error)
            continue
        networks.append(Network(address=function.address, mac=mac, origin=Origin.SYSFS))
    return tuple(networks)


def _interfaces(tree: Tree) -> dict[str, list[str]]:
    """Interfaces by the PCI function that they are of, as their links say."""
    found: dict[str, list[str]] = {}
    for name in tree.names(_NET):
        for path in (f"{_NET}/{name}", f"{_NET}/{name}/device"):
            parts = tree.link(path).split("/")
            addresses = [address for part in parts if (address := address_of(part))]
            if addresses:
                found.setdefault(addresses[-1], []).append(name)
                break
    return found


def _port(tree: Tree, name: str) -> int:
    """Which of a card's ports an interface is; 0 where Linux does not say."""
    try:
        return tree.number(f"{_NET}/{name}/dev_port")
    except UnreadError:
        return 0


def _mac(tree: Tree, name: str) -> str:
    where = f"{_NET}/{name}"
    kind = tree.number(f"{where}/type")
    if kind != _WITH_MAC:
        raise UnreadError(
            f"{tree.shown(where)}/type:1:1: {kind}: interfaces with a MAC address have {_WITH_MAC}"
        )
    if tree.exists(f"{where}/addr_assign_type"):
        assigned = tree.number(f"{where}/addr_assign_type")
        if assigned != _PERMANENT:
            raise UnreadError(
                f"{tree.shown(where)}/addr_assign_type:1:1: {assigned}: the address is not the"
                " card's own, software gave it another"
            )
    mac = tree.text(f"{where}/address").strip().lower()
    if not _MAC.fullmatch(mac) or mac == _NONE:
        raise UnreadError(f"{tree.shown(where)}/address:1:1: {mac[:40]!a} is no address of a card")
    return mac
