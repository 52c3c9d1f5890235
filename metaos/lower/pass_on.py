"""What services pass on to another card, into its queue: `pass_on(splice, nodes)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from metaos.errors import MetaosError, Problem
from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.headers import Headers, Node, Wire
from metaos.lower.known import fail
from metaos.lower.passing import BEGINS, LONGER, Queue
from metaos.lower.plan import Waker
from metaos.lower.rewrite import ByteSource, Rewrite, chunks, wire_bytes
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
        gates = [_gate(headers, node) for node in givers]
        some = gates[0]
        for gate in gates[1:]:
            some = b.and_(some, gate)  # each is 0 or 2^30, and more than one may be open
        went = wire.beyond.room(b, some, headers.frame.length)
        shift = b.const(_shift(headers, givers[0]), 64)
        for node, gate in zip(givers[1:], gates[1:], strict=True):
            own = b.const(_shift(headers, node), 64)
            shift = b.select(b.eq(gate, b.const(0, 64)), own, shift)
        copy = wire.beyond.put(b, headers.frame, went, shift)
    for node, gate in zip(givers, gates, strict=True):
        assert node.service.passing is not None
        own = b.or_(gate, went)
        headers.loads.clear()
        rewrite = Rewrite(own, chunks(_header(headers, node)))
        rewrite.store(b, copy, rewrite.load(b, headers.frame, {}))
        headers.keep(node, node.service.passing.keeps, own)
    with b.at(givers[0].service.span):
        wire.beyond.sent_on(b, went)
        if wire.wake is not None:
            wire.wake(b, went)


def _gate(headers: Headers, node: Node) -> Op:
    """The gate of a frame that a service passes on."""
    assert node.gate is not None and node.service.passing is not None
    when = node.service.passing.when
    if when is None:
        return node.gate
    headers.loads.clear()
    with headers.b.at(when.span):
        return headers.b.gate(node.gate, headers.truth(node, when))


def _layout(headers: Headers, node: Node) -> s.Layout | None:
    """What stands before the payload of a frame that is passed on, if not what stood there."""
    passing = node.service.passing
    own = {layout.name: layout for layout in node.service.layouts}
    name = passing.layout if passing is not None else ""
    return own.get(name) or headers.given.layouts.get(name)


def _shift(headers: Headers, node: Node) -> int:
    """Bytes by which a frame that is passed on is longer than the one that came.

    Raises MetaosError where a slot of the queue has no room for that.
    """
    layout = _layout(headers, node)
    shift = 0 if layout is None else layout.size - node.end
    if not -BEGINS <= shift <= LONGER:
        assert node.service.passing is not None
        text = f"the headers become {shift} bytes longer, {-BEGINS} to {LONGER} can be"
        raise fail(node.service.passing.span, "E0445", text)
    return shift


def _header(headers: Headers, node: Node) -> dict[int, ByteSource]:
    """What each byte of the new header is; none where it is the old one."""
    layout, passing = _layout(headers, node), node.service.passing
    if layout is None or passing is None:
        return {}
    said = {one.path[0]: one.value for one in passing.fields}
    sources: dict[int, ByteSource] = {}
    group: list[s.Field] = []
    for field in sorted(layout.fields, key=lambda x: -x.high):
        group.append(field)
        bits = sum(x.bits for x in group)
        if bits % 8 == 0:
            start = layout.size - 1 - group[0].high // 8
            with headers.b.at(said[field.name].span if field.name in said else passing.span):
                sources |= _bytes(headers, node, [(x, said.get(x.name)) for x in group], start)
            group = []
    return sources


def _bytes(
    headers: Headers, node: Node, group: Sequence[tuple[s.Field, s.Expr | None]], start: int
) -> dict[int, ByteSource]:
    """The bytes that some fields fill: a field of the frame that came, or worked out."""
    b, (first, value) = headers.b, group[0]
    bits = sum(field.bits for field, _ in group)
    at = headers.find(node, value) if value is not None and len(group) == 1 else None
    if at is not None and at.field.bits == bits and at.first_bit % 8 == 0:
        byte = at.first_bit // 8
        return {start + i: ByteSource("frame", byte + i, span=first.span) for i in range(bits // 8)}
    if bits > 64:
        raise fail(first.span, "E0438", "what is said has 64 bits at most")
    wide = 32 if bits <= 32 else 64
    whole = b.const(0, wide)
    for field, said in group:
        whole = b.shl(whole, b.const(field.bits % wide, wide)) if field is not first else whole
        if said is not None:
            mask = b.const((1 << field.bits) - 1, wide)
            whole = b.or_(whole, b.and_(headers.number(node, said, wide), mask))
    return wire_bytes(b, whole, start, bits // 8, first.span)
