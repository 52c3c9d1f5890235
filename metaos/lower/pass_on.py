"""What services pass on to another card, into its queue: `pass_on(splice, nodes)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from metaos.errors import MetaosError, Problem
from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.headers import Headers, Node, Wire
from metaos.lower.passing import Queue
from metaos.lower.plan import Waker
from metaos.match.bind import Bindings, offers
from metaos.match.cards import Role, carried_by, roles
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted, walk
from metaos.pattern.syntax import Service

HEARS = "system.hears"
"""What a card's rule calls that it is to take all frames, whomever they are for."""


def passers(parts: Sequence[Role], services: Sequence[Service]) -> tuple[Role, ...]:
    """The roles of the cards whose services pass frames on."""
    if not any(service.passing is not None for service in services):
        return ()
    return tuple(r for r in parts if any(x.passing for x in carried_by(r, services)))


def queues_of(parts: Sequence[Role], services: Sequence[Service]) -> Mapping[str, Queue]:
    """The queues of the cards that frames are passed on to, by card."""
    found: dict[str, Queue] = {}
    for role in passers(parts, services):
        passing = [x.passing for x in carried_by(role, services) if x.passing is not None]
        found.setdefault(role.to, Queue(role.to, passing[0].span))
    return found


def given_by(parts: Sequence[Role], services: Sequence[Service]) -> dict[str, tuple[str, ...]]:
    """The parts of each card's queue, which belong to it, with the cards that put frames there."""
    givers = passers(parts, services)
    return {
        queue.symbol(name): tuple(role.card for role in givers if role.to == queue.card)
        for queue in queues_of(parts, services).values()
        for name in queue.sizes
    }


def hearing_cards(bindings: Bindings) -> tuple[str, ...]:
    """The cards with a service that wants all frames of its wire.

    Raises:
        MetaosError: the rule of one of them does not ask whether it is to hear all.
    """
    if not any(service.hears for service in bindings.services):
        return ()
    rules = {b.device.address: b.pattern for b in bindings.bindings if offers(b.pattern)}
    found, problems = [], []
    for role in roles(bindings.system, tuple(rules)):
        wanted = [x.name for x in carried_by(role, bindings.services) if x.hears]
        if wanted:
            found.append(role.card)
        members = (x for x in walk(rules[role.card].items) if isinstance(x, s.Member))
        if wanted and not any(dotted(x) == HEARS for x in members):
            text = f"{role.card} carries '{wanted[0]}', which is to hear all, and "
            text += f"'{rules[role.card].name}' has no '{HEARS}'"
            problems.append(Problem("E0487", text, rules[role.card].span))
    if problems:
        raise MetaosError("a card is to hear all frames of its wire", problems=problems)
    return tuple(found)


def wire_of(
    role: Role, queues: Mapping[str, Queue], carried: Sequence[Service], waker: Waker | None
) -> Wire:
    """What a card has to do with other cards. What it gives to one before it waits for a turn."""
    passes = any(service.passing is not None for service in carried)
    beyond = queues.get(role.to) if passes else None
    late = beyond is not None and beyond.card < role.card and waker is not None
    return Wire(queues.get(role.card), beyond, _waking(waker) if late and waker else None)


def _waking(waker: Waker) -> Callable[[Builder, Op], None]:
    at = waker.register

    def wake(b: Builder, gate: Op) -> None:
        b.store(b.const(waker.value, at.bits), at.symbol, at.number, (gate,), ordered=True)

    return wake


def pass_on(headers: Headers, nodes: Sequence[Node]) -> None:
    """The frame goes into the other card's queue if a service passes it on and there is room."""
    wire, b = headers.given.wire, headers.b
    givers = [node for node in nodes if node.service.passing is not None]
    if wire.beyond is None or not givers:
        return
    with b.at(givers[0].service.span):
        gates = [node.gate for node in givers if node.gate is not None]
        some = gates[0]
        for gate in gates[1:]:
            some = b.and_(some, gate)  # each is 0 or 2^30, and more than one may be open
        went = wire.beyond.room(b, some, headers.frame.length)
        wire.beyond.put(b, headers.frame, went, b.const(0, 64))
        wire.beyond.sent_on(b, went)
        if wire.wake is not None:
            wire.wake(b, went)
    for node, gate in zip(givers, gates, strict=True):
        assert node.service.passing is not None
        headers.loads.clear()
        headers.keep(node, node.service.passing.keeps, b.or_(gate, went))
