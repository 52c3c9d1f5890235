"""The network a booted machine is connected to, as arguments for QEMU.

Entering: how the machine's command line was, and the network wanted; leaving: the command
line with every network card connected, all to one network or each to its own.

    forwards = (parse_forward("7007:7/udp"),)
    connect(arguments, user_backend([system.interface], forwards), cards)
    connect_each(arguments, [wire.backend for wire in wires], cards)

QEMU itself says which of its devices are network cards. How they are then found in the
machine that runs is `metaos.boot.found`'s.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import re
import socket
import subprocess
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaos.errors import Exit, MetaosError

NETDEV = "net0"
"""The id of the first backend; further ones count up."""

DATAGRAM = "udp"
"""What QEMU and everybody else calls the protocol of ports that take single datagrams."""

_HUB = "0"
LOCALHOST = "127.0.0.1"
_SOCKET_KINDS = {DATAGRAM: socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
_OWN_NETWORK = ("-nic", "-net")
_QUERY_SECONDS = 20
_WIDEST = 8
"""The shortest prefix of a user network."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this host that leads to one of the machine's; `guest` None: its first card's."""

    host_port: int
    guest_port: int
    protocol: str
    guest: ipaddress.IPv4Address | None = None

    def __str__(self) -> str:
        guest = f"{self.guest}:" if self.guest else ""
        return f"{self.host_port}:{guest}{self.guest_port}/{self.protocol}"


def parse_forward(text: str) -> Forward:
    """Read `HOST:GUEST`, `HOST:GUEST/PROTOCOL` or `HOST:ADDRESS:GUEST/PROTOCOL`.

    Raises:
        MetaosError: exit USAGE, if it is neither.
    """
    found = re.fullmatch(r"(\d{1,5}):(?:([\d.]+):)?(\d{1,5})(?:/(\w+))?", text)
    protocol = (found[4] or "tcp") if found else ""
    guest = None
    with contextlib.suppress(ValueError):
        guest = ipaddress.IPv4Address(found[2]) if found and found[2] else None
    if found is None or protocol not in _SOCKET_KINDS or (found[2] and guest is None):
        raise MetaosError(
            f"'{text}' is no port forward",
            hint="write HOST:GUEST/PROTOCOL, as 7007:7/udp, or HOST:ADDRESS:GUEST/PROTOCOL",
            exit_code=Exit.USAGE,
        )
    forward = Forward(int(found[1]), int(found[3]), protocol, guest)
    if not (0 < forward.host_port < 65536 and 0 < forward.guest_port < 65536):
        raise MetaosError(f"'{text}': ports go from 1 to 65535", exit_code=Exit.USAGE)
    return forward


def user_backend(guests: Sequence[ipaddress.IPv4Interface], forwards: Iterable[Forward]) -> str:
    """QEMU's user-mode network around all `guests`, with `forwards` from this host's loopback.

    It is the smallest that holds the guests' networks. QEMU takes its addresses 2 and 3 for
    itself, or 4 and 5 if a guest has one of those, and so on. A forward that names no guest
    leads to the first.

    Raises:
        MetaosError: the network is too small to hold QEMU's own addresses, the guests lie too
            far apart, or a forward names an address that no guest has.
    """
    network = guests[0].network
    while not all(guest.ip in network for guest in guests) and network.prefixlen > _WIDEST:
        network = network.supernet()
    known = [guest.ip for guest in guests]
    if not all(ip in network for ip in known):
        raise MetaosError(
            f"no user network holds {', '.join(map(str, known))}",
            hint="use --net dgram, or nearer addresses in the system file",
        )
    ours = _free_pair(network, known)
    words = ["user", f"id={NETDEV}", f"net={network}"]
    if ours != (2, 3):
        first = network.network_address
        words += [f"host={first + ours[0]}", f"dns={first + ours[1]}"]
    for forward in forwards:
        guest = forward.guest or known[0]
        if guest not in known:
            raise MetaosError(
                f"'{forward}': no card of the image has the address {guest}",
                hint=f"its cards have {', '.join(map(str, known))}",
                exit_code=Exit.USAGE,
            )
        way = f"{LOCALHOST}:{forward.host_port}-{guest}:{forward.guest_port}"
        words.append(f"hostfwd={forward.protocol}:{way}")
    return ",".join(words)


def _free_pair(
    network: ipaddress.IPv4Network, guests: Sequence[ipaddress.IPv4Address]
) -> tuple[int, int]:
    """The numbers of two neighbouring hosts, the first even, that are no guest's."""
    taken = {int(guest) - int(network.network_address) for guest in guests}
    for number in range(2, min(network.num_addresses - 2, 2 * len(guests) + 4), 2):
        if not {number, number + 1} & taken:
            return number, number + 1
    raise MetaosError(
        f"the user network needs room for QEMU's own addresses: a prefix of at most /29, "
        f"the image has {', '.join(map(str, guests))} in {network}",
        hint="use --net dgram, or another address in the system file",
    )


def check_ports(forwards: Iterable[Forward]) -> None:
    """Refuse a host port that is taken, before QEMU is started.

    Raises:
        MetaosError: another program listens there, or this user may not.
    """
    for forward in forwards:
        with socket.socket(socket.AF_INET, _SOCKET_KINDS[forward.protocol]) as probe:
            if forward.protocol == "tcp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOCALHOST, forward.host_port))
            except OSError as error:
                raise _port_refused(forward, error) from error


def _port_refused(forward: Forward, error: OSError) -> MetaosError:
    other = f"{forward.host_port + 1}:{forward.guest_port}/{forward.protocol}"
    port = f"{forward.protocol} port {forward.host_port}"
    if error.errno == errno.EADDRINUSE:
        return MetaosError(
            f"{port} of {LOCALHOST} is taken, perhaps by another 'metaos run'",
            hint=f"end that one, or forward another port: -p {other}",
        )
    return MetaosError(f"cannot use {port} of {LOCALHOST}: {error.strerror}")


@dataclass(frozen=True, slots=True)
class Datagrams:
    """A network made of datagrams, a frame in each. Ports of this host's loopback."""

    machine_port: int
    our_port: int
    netdev: str = NETDEV

    @property
    def backend(self) -> str:
        return (
            f"dgram,id={self.netdev},"
            f"local.type=inet,local.host={LOCALHOST},local.port={self.machine_port},"
            f"remote.type=inet,remote.host={LOCALHOST},remote.port={self.our_port}"
        )


def free_datagrams(number: int = 0) -> Datagrams:
    """Two ports that nothing uses at the moment, for the backend with this number."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(2):
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            probe.bind((LOCALHOST, 0))
            ports.append(probe.getsockname()[1])
    return Datagrams(ports[0], ports[1], f"net{number}")


@dataclass(frozen=True, slots=True)
class Wire:
    """Our end of a network of datagrams in files: `send` and `receive` carry whole frames."""

    end: socket.socket
    machine: Path
    ours: Path
    netdev: str = NETDEV

    @property
    def backend(self) -> str:
        return (
            f"dgram,id={self.netdev},local.type=unix,local.path={quote(self.machine)},"
            f"remote.type=unix,remote.path={quote(self.ours)}"
        )

    def send(self, frame: bytes) -> bool:
        """Hand `frame` to QEMU. False while QEMU is not there yet."""
        try:
            self.end.sendto(frame, str(self.machine))
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError, TimeoutError):
            return False
        return True

    def receive(self, seconds: float) -> bytes | None:
        """The next frame from the machine, or None after `seconds`."""
        self.end.settimeout(max(seconds, 0.0005))
        try:
            return self.end.recv(1 << 16)
        except TimeoutError:
            return None


@contextlib.contextmanager
def open_wire(folder: Path, number: int = 0) -> Iterator[Wire]:
    """A `Wire` whose two sockets lie in `folder`, which must have a short path."""
    machine, ours = folder / f"machine{number}", folder / f"ours{number}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        end.bind(str(ours))
        yield Wire(end, machine, ours, f"net{number}")


def connect(arguments: Sequence[str], backend: str, cards: Collection[str]) -> list[str] | None:
    """Add `backend` to QEMU's `arguments` and connect all network cards to it.

    `cards` are QEMU's names of network cards (`network_cards`). Several share the network
    through a hub. Where the arguments name no card, the machine's default one is asked for;
    None if there is none of either kind.

    Raises:
        MetaosError: the arguments connect a card themselves.
    """
    places = _places(arguments, cards)
    result = list(arguments)
    if len(places) == 1:
        result[places[0]] = _with(result[places[0]], netdev=NETDEV)
        return [*result, "-netdev", backend]
    if not places and "-nodefaults" in arguments:
        return None
    for number, place in enumerate(places):
        result[place] = _with(result[place], netdev=f"port{number}")
    if not places:
        result += ["-net", "nic"]
    result += ["-netdev", backend, "-netdev", f"hubport,id=hub0,hubid={_HUB},netdev={NETDEV}"]
    for number in range(len(places)):
        result += ["-netdev", f"hubport,id=port{number},hubid={_HUB}"]
    return result


def connect_each(
    arguments: Sequence[str], backends: Sequence[str], cards: Collection[str]
) -> list[str]:
    """Connect every network card of QEMU's `arguments` to a backend of its own, in their order.

    There are as many `backends` as `count_cards` says, one at least, with the ids net0, net1
    and so on. Of several cards, one without an id is given one: card0, card1.

    Raises:
        MetaosError: the arguments connect a card themselves.
    """
    if len(backends) == 1:
        return connect(arguments, backends[0], cards) or list(arguments)
    places = _places(arguments, cards)
    result = list(arguments)
    for number, (place, backend) in enumerate(zip(places, backends, strict=True)):
        name = _properties(result[place]).get("id", f"card{number}")
        result[place] = _with(result[place], netdev=f"net{number}", id=name)
        result += ["-netdev", backend]
    return result


def as_connected(arguments: Sequence[str], qemu: str) -> list[str]:
    """`arguments` with the cards that they make once they are connected.

    A card named by -device can only be connected by -netdev, with which QEMU leaves out the
    machine's default card: so it is left out before, too.
    """
    options = {option for option, _ in _pairs(arguments)}
    if "-device" not in options or options & {*_OWN_NETWORK, "-nodefaults", "-netdev"}:
        return list(arguments)
    named = _places(arguments, network_cards(qemu))
    return [*arguments, *(("-nic", "none") if named else ())]


def count_cards(arguments: Sequence[str], cards: Collection[str]) -> int:
    """How many network cards the arguments make, the machine's default one included."""
    return len(_places(arguments, cards)) or int("-nodefaults" not in arguments)


def _places(arguments: Sequence[str], cards: Collection[str]) -> list[int]:
    """Which of the arguments are the values of `-device` for network cards."""
    places = []
    for index, (option, value) in enumerate(_pairs(arguments)):
        if option in _OWN_NETWORK:
            raise _own_network(f"{option} {value}")
        if option != "-device" or _driver(value) not in cards:
            continue
        if "netdev" in _properties(value):
            raise _own_network(f"-device {value}")
        places.append(index + 1)
    return places


def network_cards(qemu: str) -> frozenset[str]:
    """Names and aliases of the devices that `qemu` lists as network cards.

    Raises:
        MetaosError: `qemu` cannot be run or does not answer.
    """
    try:
        answer = subprocess.run(
            [qemu, "-device", "help"],
            capture_output=True,
            text=True,
            timeout=_QUERY_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise MetaosError(
            f"{qemu} is not installed", hint="metaos doctor", exit_code=Exit.TOOL_MISSING
        ) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise MetaosError(f"cannot ask {qemu} for its devices: {error}") from error
    return parse_cards(answer.stdout)


def parse_cards(text: str) -> frozenset[str]:
    """The names and aliases under "Network devices:" in the answer to `-device help`."""
    section = re.search(r"^Network devices:\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return frozenset(re.findall(r'(?:name|alias) "([^"]+)"', section[1] if section else ""))


def capture(path: Path, number: int = 0) -> list[str]:
    """QEMU's arguments that write the frames of backend `number` to `path`, in pcap's format."""
    where = f"netdev=net{number},file={quote(path)}"
    return ["-object", f"filter-dump,id=capture{number},{where}"]


def quote(path: Path | str) -> str:
    """`path` inside an option of QEMU: commas doubled."""
    return str(path).replace(",", ",,")


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every argument with the one after it; options may begin with one dash or two."""
    for index, word in enumerate(arguments):
        value = arguments[index + 1] if index + 1 < len(arguments) else ""
        yield (f"-{word.lstrip('-')}" if word.startswith("-") else word), value


def _driver(value: str) -> str:
    properties = _properties(value)
    return properties.get("driver", value.partition(",")[0])


def _properties(value: str) -> dict[str, str]:
    """The properties of a `-device` value, written as JSON or as name=value,..."""
    if value.startswith("{"):
        try:
            return {str(k): str(v) for k, v in json.loads(value).items()}
        except (ValueError, AttributeError):
            return {}
    return dict(part.partition("=")[::2] for part in re.split(r"(?<!,),(?!,)", value))


def _with(value: str, **properties: str) -> str:
    """A `-device` value with these properties, where it does not have them."""
    known = _properties(value)
    new = {name: text for name, text in properties.items() if name not in known}
    if value.startswith("{"):
        return json.dumps(json.loads(value) | new)
    return ",".join((value, *(f"{name}={text}" for name, text in new.items())))


def _own_network(what: str) -> MetaosError:
    return MetaosError(
        f"QEMU's arguments bring a network of their own: {what}",
        hint="leave it out, or use --net none",
    )
