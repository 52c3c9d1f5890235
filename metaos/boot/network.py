"""The network a booted machine is connected to, as arguments for QEMU.

Entering: how the machine's command line was, and the network wanted; leaving: the command
line with the first network card connected to it.

    forwards = (parse_forward("7007:7/udp"),)
    connect(arguments, user_backend(system.interface, forwards), cards)

QEMU itself says which of its devices are network cards.
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
"""The id of the backend that `connect` adds."""

DATAGRAM = "udp"
"""What QEMU and everybody else calls the protocol of ports that take single datagrams."""

_HUB = "0"
_LOCALHOST = "127.0.0.1"
_SOCKET_KINDS = {DATAGRAM: socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
_OWN_NETWORK = ("-nic", "-net")
_QUERY_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this host that leads to one of the machine's."""

    host_port: int
    guest_port: int
    protocol: str

    def __str__(self) -> str:
        return f"{self.host_port}:{self.guest_port}/{self.protocol}"


def parse_forward(text: str) -> Forward:
    """Read `HOST:GUEST` or `HOST:GUEST/PROTOCOL`.

    Raises:
        MetaosError: exit USAGE, if it is neither.
    """
    found = re.fullmatch(r"(\d{1,5}):(\d{1,5})(?:/(\w+))?", text)
    protocol = (found[3] or "tcp") if found else ""
    if found is None or protocol not in _SOCKET_KINDS:
        raise MetaosError(
            f"'{text}' is no port forward",
            hint="write HOST:GUEST/PROTOCOL, as 7007:7/udp",
            exit_code=Exit.USAGE,
        )
    forward = Forward(int(found[1]), int(found[2]), protocol)
    if not (0 < forward.host_port < 65536 and 0 < forward.guest_port < 65536):
        raise MetaosError(f"'{text}': ports go from 1 to 65535", exit_code=Exit.USAGE)
    return forward


def user_backend(guest: ipaddress.IPv4Interface, forwards: Iterable[Forward]) -> str:
    """QEMU's user-mode network around `guest`, with `forwards` from this host's loopback.

    QEMU takes the network's addresses 2 and 3 for itself, or 4 and 5 if the guest has one
    of those.

    Raises:
        MetaosError: the guest's network is too small to hold QEMU's own addresses.
    """
    network = guest.network
    if network.prefixlen > 29:
        raise MetaosError(
            f"the user network needs a prefix of at most /29, the image has {guest}",
            hint="use --net dgram, or another address in the system file",
        )
    first = network.network_address
    words = ["user", f"id={NETDEV}", f"net={network}"]
    if int(guest.ip) - int(first) in (2, 3):
        words += [f"host={first + 4}", f"dns={first + 5}"]
    words += [
        f"hostfwd={f.protocol}:{_LOCALHOST}:{f.host_port}-{guest.ip}:{f.guest_port}"
        for f in forwards
    ]
    return ",".join(words)


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
                probe.bind((_LOCALHOST, forward.host_port))
            except OSError as error:
                raise _port_refused(forward, error) from error


def _port_refused(forward: Forward, error: OSError) -> MetaosError:
    other = f"{forward.host_port + 1}:{forward.guest_port}/{forward.protocol}"
    port = f"{forward.protocol} port {forward.host_port}"
    if error.errno == errno.EADDRINUSE:
        return MetaosError(
            f"{port} of {_LOCALHOST} is taken, perhaps by another 'metaos run'",
            hint=f"end that one, or forward another port: -p {other}",
        )
    return MetaosError(f"cannot use {port} of {_LOCALHOST}: {error.strerror}")


@dataclass(frozen=True, slots=True)
class Datagrams:
    """A network made of datagrams, a frame in each. Ports of this host's loopback."""

    machine_port: int
    our_port: int

    @property
    def backend(self) -> str:
        return (
            f"dgram,id={NETDEV},"
            f"local.type=inet,local.host={_LOCALHOST},local.port={self.machine_port},"
            f"remote.type=inet,remote.host={_LOCALHOST},remote.port={self.our_port}"
        )


def free_datagrams() -> Datagrams:
    """Two ports that nothing uses at the moment."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(2):
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            probe.bind((_LOCALHOST, 0))
            ports.append(probe.getsockname()[1])
    return Datagrams(*ports)


@dataclass(frozen=True, slots=True)
class Wire:
    """Our end of a network of datagrams in files: `send` and `receive` carry whole frames."""

    end: socket.socket
    machine: Path
    ours: Path

    @property
    def backend(self) -> str:
        return (
            f"dgram,id={NETDEV},local.type=unix,local.path={quote(self.machine)},"
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
def open_wire(folder: Path) -> Iterator[Wire]:
    """A `Wire` whose two sockets lie in `folder`, which must have a short path."""
    machine, ours = folder / "machine", folder / "ours"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        end.bind(str(ours))
        yield Wire(end, machine, ours)


def connect(arguments: Sequence[str], backend: str, cards: Collection[str]) -> list[str] | None:
    """Add `backend` to QEMU's `arguments` and connect the first network card to it.

    `cards` are QEMU's names of network cards (`network_cards`). Where the arguments name
    no card, the machine's default one is asked for; None if there is none of either kind.

    Raises:
        MetaosError: the arguments connect a card themselves.
    """
    result = list(arguments)
    for index, (option, value) in enumerate(_pairs(arguments)):
        if option in _OWN_NETWORK:
            raise _own_network(f"{option} {value}")
        if option != "-device" or _driver(value) not in cards:
            continue
        if "netdev" in _properties(value):
            raise _own_network(f"-device {value}")
        result[index + 1] = _with_netdev(value)
        return [*result, "-netdev", backend]
    if "-nodefaults" in arguments:
        return None
    hub = f"hubport,id=hub0,hubid={_HUB},netdev={NETDEV}"
    return [*result, "-net", "nic", "-netdev", backend, "-netdev", hub]


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


def capture(path: Path) -> list[str]:
    """QEMU's arguments that write the network's frames to `path`, in pcap's format."""
    return ["-object", f"filter-dump,id=capture0,netdev={NETDEV},file={quote(path)}"]


def card_address(text: str) -> int | None:
    """The address of the card on our network, out of QEMU's `info network`; None if absent.

    A card's line is followed by its peer's; cards on a hub are listed under the hub.
    """
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        found = re.search(r"type=nic,.*?macaddr=([0-9a-fA-F:]{17})", line)
        peer = following.strip().removeprefix("\\").strip()
        if found and (peer.startswith(f"{NETDEV}:") or "hub" in line):
            return int(found[1].replace(":", ""), 16)
    return None


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


def _with_netdev(value: str) -> str:
    if value.startswith("{"):
        return json.dumps(json.loads(value) | {"netdev": NETDEV})
    return f"{value},netdev={NETDEV}"


def _own_network(what: str) -> MetaosError:
    return MetaosError(
        f"QEMU's arguments bring a network of their own: {what}",
        hint="leave it out, or use --net none",
    )
