"""What the host's ports lead to, for a person: `forward_notes(forwards, served, ...)`.

Whether something answers there, patterns say: a service over the port's protocol that takes what
is for this port, and an example of which is answered. Only the files of the image's services are
read, so that a start does not wait.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from metaos.boot.network import DATAGRAM, LOCALHOST, Forward
from metaos.boot.questions import asking, conjuncts
from metaos.errors import Source
from metaos.match.cards import Role
from metaos.match.services import settled
from metaos.match.system import System
from metaos.pattern import syntax as s
from metaos.pattern.parse import parse


def forward_notes(
    forwards: Sequence[Forward], served: Sequence[Role], system: System, folders: Iterable[Path]
) -> tuple[str, ...]:
    """Who shares the network, which card each port leads to, and what to try that answers."""
    notes = [_leads_to(f, served) for f in forwards] if len(served) > 1 else []
    tries = [
        f"try: echo hi | nc -u -w1 {LOCALHOST} {f.host_port}"
        for f in forwards
        if served
        and f.protocol == DATAGRAM
        and answers_at(f.guest_port, DATAGRAM, _role_of(f, served).services, system, folders)
    ]
    return (*shared(served), *notes, *tries)


def answers_at(
    port: int, protocol: str, names: Sequence[str], system: System, folders: Iterable[Path]
) -> bool:
    """Whether one of the services `names` answers what comes to `port`."""
    found = {service.name: service for service in _services(protocol, names, folders)}
    return any(
        port in _wanted(service) and any(not x.silence and not x.passed for x in asking(service))
        for service in settled(found, system).values()
    )


def _services(protocol: str, names: Sequence[str], folders: Iterable[Path]) -> Iterator[s.Service]:
    """The services of these names over `protocol`; those of a later folder come later."""
    named = "|".join(map(re.escape, names))
    begins = re.compile(rf"^service ({named}) over {re.escape(protocol)}\b", re.MULTILINE)
    for folder in folders:
        for path in sorted(folder.rglob("*.pattern")):
            source = Source.read(path, str(path))
            if begins.search(source.text):
                yield from (x for x in parse(source).services if x.name in names)


def _wanted(service: s.Service) -> Iterator[int]:
    """The numbers that a frame's fields have to be for the service to take it."""
    constants = {x.name: x.value for x in service.constants}
    for one in conjuncts(service.where) if service.where is not None else ():
        if isinstance(one, s.Binary) and one.operator == "==":
            right = one.right
            value = constants.get(right.text) if isinstance(right, s.Name) else right
            if isinstance(value, s.Number):
                yield value.value


def shared(served: Sequence[Role]) -> list[str]:
    """What to say of several cards on one network."""
    if len(served) < 2:
        return []
    each = ", ".join(f"{role.card} is {role.interface.ip}" for role in served)
    return [f"{len(served)} cards share the network: {each}"]


def _role_of(forward: Forward, served: Sequence[Role]) -> Role:
    return next((r for r in served if r.interface.ip == forward.guest), served[0])


def _leads_to(forward: Forward, served: Sequence[Role]) -> str:
    role = _role_of(forward, served)
    other = next(r for r in served if r is not role)
    way = f"{forward.host_port}:{other.interface.ip}:{forward.guest_port}/{forward.protocol}"
    return f"port {forward.host_port} leads to {role.card}; another card's: -p {way}"
