"""Services to ops: guarded rewrites of a frame, spliced where a card offers it.

Every test narrows a gate; the leaf services' gates say which answer is given, and each
service stores its fields in place under its own. All tests read the received frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from metaos.errors import MetaosError, Problem, Span
from metaos.ir.build import Builder
from metaos.ir.program import SHADOW, Op
from metaos.link.parts import Datum, Place
from metaos.lower.accept import Accept
from metaos.lower.bounds import Bounds
from metaos.lower.clock import EVERY, Ticks, due
from metaos.lower.headers import FieldAt, Given, Headers, Mine, Node, StateAt, Wire
from metaos.lower.known import fail
from metaos.lower.pass_on import pass_on
from metaos.lower.plan import DevicePlan
from metaos.lower.rewrite import ByteSource, Rewrite, chunks, wire_bytes
from metaos.lower.speak import Speaking, speakers
from metaos.lower.values import Frame
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted, walk
from metaos.told import bytes_of


class Services:
    """Splices a fixed set of services; call it as a `Splice` (metaos.lower.turn)."""

    def __init__(
        self,
        services: tuple[s.Service, ...],
        layouts: Mapping[str, s.Layout],
        mine: Mine,
        tell: Callable[[Builder, str, Op], None] | None = None,
        ticks: Ticks | None = None,
        shown: str = "",
        names: Mapping[str, str] | None = None,
        wire: Wire | None = None,
    ) -> None:
        self.given = Given(services, layouts, mine, tell, ticks, shown, names or {}, wire or Wire())

    def __call__(self, builder: Builder, frame: Frame) -> tuple[Op, Op]:
        """A frame to the gate of its answer and the answer's length."""
        return _Splice(self.given, builder, frame).run()

    @property
    def speaks(self) -> bool:
        """Whether the card sends something unasked: what one of them says, or another card's."""
        return bool(speakers(self.given.services)) or self.given.wire.waiting is not None

    def demand(self) -> None:
        """Refuse what a service demands, where it is known not to be so."""
        builder = Builder(self.given.mine.card, "steady")
        headers = Headers(self.given, builder, _nowhere(builder))
        problems = [
            Problem("E0407", f"{service.name}: {demand.message}", demand.span)
            for service in self.given.services
            for demand in service.demands
            if headers.constant(Node(service, None, None, 0, 0, Bounds()), demand.condition) == 0
        ]
        if problems:
            text = f"what {self.given.mine.card} is to do cannot be done"
            raise MetaosError(text, problems=problems)

    def states(self) -> tuple[StateAt, ...]:
        """All states of the services."""
        mine = self.given.mine
        return tuple(
            StateAt(mine.symbol(service, state.name), state, mine.card)
            for service in self.given.services
            for state in service.states
        )

    def places(self) -> tuple[Place, ...]:
        """Where the lines are that services hear."""
        heard = (self.given.heard(x) for x in self.given.services)
        return tuple(p for x in heard if x is not None for p in x.places(self.given.mine.card))

    def data(self) -> tuple[Datum, ...]:
        """The lists of services, those with rows."""
        given = self.given
        every = [given.list_of(x, one.name) for x in given.services for one in x.lists if one.rows]
        return tuple(rows.datum() for rows in every)

    def wants(self, builder: Builder) -> Op:
        """Whether one of them wants to, as one bit."""
        return Speaking(self.given, builder, _nowhere(builder)).wants()

    def speak(self, builder: Builder, frame: Frame) -> tuple[Op, Op]:
        """Room for a frame, to the gate of one that is said and its length."""
        return Speaking(self.given, builder, frame).run()


def _nowhere(builder: Builder) -> Frame:
    """A frame for what asks for no frame."""
    return Frame(builder.const(0, 64), builder.const(0, 32), builder.const(0, 64))


class _Splice(Accept):
    """One offered frame: accept, choose the answer's length, rewrite."""

    def __init__(self, given: Given, builder: Builder, frame: Frame) -> None:
        super().__init__(given, builder, frame)
        self.places: dict[str, Op] = {}

    def run(self) -> tuple[Op, Op]:
        roots = [x for x in self.given.services if x.over == "frame"]
        if len(roots) != 1:
            span = roots[1].span if roots else Span("", 1, 1, 2)
            raise fail(span, "E0430", "one service, and one only, lies over the frame")
        self.pulses()
        self.hear()
        root = self.node(roots[0], None)
        self.accept(root, self.frame.gate)
        self.take_turns(root)
        none = self.b.const(SHADOW, 64), self.b.const(0, 32)
        answered, length = none if root.quiet else (self.reply_gate(root), self.length(root))
        self.b.barrier()  # what the tests have read is read again, not kept
        self.remember(root)
        pass_on(self, self.all(root))
        if not root.quiet:
            self.rewrite(root)
        return answered, length

    def take_turns(self, root: Node) -> None:
        """Where the frames that wait for the card are as many as there can be, every other one that
        it sends is one of them: so no flood of either kind keeps the other from its turn."""
        waiting = self.given.wire.waiting
        leaves = [n for n in self.all(root) if not n.answering and not n.quiet]
        if waiting is None or root.quiet:
            return
        with self.b.at(waiting.span):
            free = self.b.or_(self.b.not_(waiting.full(self.b)), waiting.was_last(self.b))
            for leaf in leaves:
                assert leaf.gate is not None
                leaf.gate = self.b.gate(leaf.gate, free)
            waiting.note_last(self.b, self.reply_gate(root), passed=False)

    def length(self, root: Node) -> Op:
        """The answer's length: one choice for each service that says `send`."""
        leaves = [n for n in self.all(root) if not n.answering and not n.quiet]
        senders: dict[int, Node] = {}
        for leaf in leaves:
            sender = next((n for n in leaf.up() if n.service.send is not None), None)
            if sender is None:
                raise fail(leaf.service.span, "E0436", "no 'send' says how long the answer is")
            senders[id(sender)] = sender
        length: Op | None = None
        for node in senders.values():
            assert node.service.send is not None
            with self.b.at(node.service.send.span):
                one = self.number(node, node.service.send, 32)
                if length is None:
                    length = one
                else:
                    mine = self.b.eq(self.reply_gate(node), self.b.const(0, 64))
                    length = self.b.select(mine, one, length)
        assert length is not None
        return length

    def all(self, node: Node) -> list[Node]:
        """The node and everything above it, leaves before their parents."""
        return [n for child in node.children for n in self.all(child)] + [node]

    def reply_gate(self, node: Node) -> Op:
        """The gate of a service's answer: its own for a leaf, any child's for another."""
        assert node.gate is not None
        if not node.answering:
            return node.gate
        gates = [self.reply_gate(child) for child in node.answering]
        result = gates[0]
        with self.b.at(node.service.span):
            for gate in gates[1:]:
                result = self.b.gate_any(result, gate)
        return result

    def pulses(self) -> None:
        """What happens once in a time, whatever arrives."""
        ticks, mine = self.given.ticks, self.given.mine
        for service in self.given.services:
            for number, pulse in enumerate(service.pulses):
                with self.b.at(pulse.span):
                    if ticks is None:
                        raise fail(pulse.span, "E0467", "no clock on this machine tells the time")
                    symbol = f"{mine.card}.{EVERY}{service.name}.{number}"
                    time = due(self.b, ticks, symbol, pulse.period)
                    gate = self.b.gate(self.b.const(0, 64), time.holds)
                    time.again(self.b, gate)
                    self.keep(Node(service, None, None, 0, 0, Bounds()), pulse.keeps, gate)

    def hear(self) -> None:
        """What services hear of what consoles show."""
        for service in self.given.services:
            heard = self.given.heard(service)
            if heard is not None:
                with self.b.at(heard.node.span):
                    if not self.given.shown:
                        raise fail(heard.node.span, "E0443", "the machine has no console to hear")
                    heard.take(self.b, self.given.shown)

    def remember(self, root: Node) -> None:
        """What services keep of a frame that they accept."""
        for node in self.all(root):
            if node.service.listens:
                assert node.gate is not None
                self.loads.clear()
                self.keep(node, node.service.keeps, node.gate)
                if node.service.tell is not None and self.given.tell is not None:
                    with self.b.at(node.service.tell.span):
                        self.given.tell(self.b, node.service.name, node.gate)

    def rewrite(self, root: Node) -> None:
        """Loads, then stores, service by service, leaves first.

        A service stores into its own header and reads it and those below, which services
        above it leave alone: what it loads is the received frame, though they have stored
        by then. (Of services side by side one alone stores.)
        """
        for node in self.all(root):
            if node.service.reply and not node.quiet:
                self.loads.clear()
                rewrite = Rewrite(self.reply_gate(node), chunks(self.sources(node)))
                values = rewrite.load(self.b, self.frame, self.places)
                rewrite.store(self.b, self.frame, values)

    def sources(self, node: Node) -> dict[int, ByteSource]:
        """What each byte of the answer becomes."""
        found: dict[int, ByteSource] = {}
        for assignment in node.service.reply:
            path: s.Expr = s.Name(assignment.field, assignment.span)
            if "." in assignment.field:
                below, _, name = assignment.field.rpartition(".")
                path = s.Member(s.Name(below, assignment.span), name, assignment.span)
            target = self.find(node, path)
            if target is None or (target.node is not node and "." not in assignment.field):
                raise fail(assignment.span, "E0437", f"no field '{assignment.field}'")
            if target.first_bit % 8 or target.field.bits % 8:
                raise fail(assignment.span, "E0438", "an answer's field is of whole bytes")
            with self.b.at(assignment.span):
                self.source_bytes(node, assignment, target, found)
        return found

    def source_bytes(
        self, node: Node, assignment: s.Assignment, target: FieldAt, found: dict[int, ByteSource]
    ) -> None:
        start, size, span = target.first_bit // 8, target.field.bits // 8, assignment.span
        value = assignment.value
        known, at = self.answered(node, value), self.find(node, value)
        if known is not None:
            for i, byte in enumerate(reversed(bytes_of(known, size))):
                found[start + i] = ByteSource("constant", byte, span=span)
        elif dotted(value) == "my.mac":
            mine = self.given.mine
            for i in range(size):
                if mine.unit is None:
                    found[start + i] = ByteSource("place", i, mine.mac, span)
                else:
                    byte = mine.unit >> 8 * i & 0xFF
                    found[start + i] = ByteSource("constant", byte, span=span)
        elif at is not None and at.field.bits == target.field.bits and at.first_bit % 8 == 0:
            for i in range(size):
                found[start + i] = ByteSource("frame", at.first_bit // 8 + i, span=span)
        elif isinstance(value, s.Call) and value.function == "update":
            op = self.update(node, value, target)
            for i in range(size):
                found[start + i] = ByteSource("value", i, span=span, value=op)
        elif size <= 8:
            op = self.number(node, value, 32 if size <= 4 else 64)
            found |= wire_bytes(self.b, op, start, size, span)
        else:
            raise fail(value.span, "E0439", "an answer's field is a field, a constant or 'update'")

    def update(self, node: Node, call: s.Call, target: FieldAt) -> Op:
        """`update(checksum, old, new)`: RFC 1624, as the bytes lie in memory.

        The ones' complement sum does not mind the order of bytes. Adding `old` yields
        0xFFFF for zero, subtracting a `new` that is not 0 yields 0x0000.
        """
        if len(call.arguments) != 3 or target.field.bits != 16:
            raise fail(call.span, "E0440", "update(checksum, old, new) makes 16 bits")
        checksum, old, new = call.arguments
        at, changed = self.find(node, checksum), self.find(node, old)
        new_value = self.constant(node, new)
        if at is None or changed is None or new_value is None:
            raise fail(call.span, "E0440", "update takes two fields and a constant")
        shift = 8 * (changed.first_bit // 8 % 2 ^ at.first_bit // 8 % 2)
        if changed.field.bits != 8 or changed.first_bit % 8:
            raise fail(old.span, "E0440", "update follows one changed byte")
        total = self.frame.load(self.b, 16, at.first_bit // 8)
        known = self.constant(node, old)
        before = (
            self.b.const(known << shift, 16)
            if known is not None
            else self.b.shl(self.b.zext(self.load(changed), 16), self.b.const(shift, 16))
        )
        total, over = self.b.add(total, before), self.b.carry(total, before)
        total = self.b.add(total, self.b.zext(over, 16))
        if new_value:
            less = self.b.const(new_value << shift, 16)
            borrow = self.b.ult(total, less)
            total = self.b.sub(self.b.sub(total, less), self.b.zext(borrow, 16))
        return total

    def answered(self, node: Node, expression: s.Expr) -> int | None:
        """A constant of every frame the service answers, an only child's tests included."""
        known = self.constant(node, expression)
        while known is None and len(node.children) == 1 and not node.children[0].quiet:
            node = node.children[0]
            known = self.constant(node, expression)
        return known


def demand_grants(carried: Iterable[tuple[DevicePlan, Services]]) -> None:
    """Refuse cards on which a service speaks and whose rules give it no room for a frame.

    Raises:
        MetaosError: with a problem for each such card, at its rule's `turn`.
    """
    problems = []
    for card, services in carried:
        turn = card.pattern.one(s.Turn)
        if turn is None or any(isinstance(x, s.Grant) for x in walk(turn)):
            continue
        speak = (f"'{x.name}'" for x in speakers(services.given.services))
        given = services.given.wire.waiting is not None
        names = ", ".join([*speak, *(["what another card passes on"] if given else [])])
        if names:
            text = f"{card.address} carries {names}, and '{card.pattern.name}' grants no frame"
            hint = (
                "say 'grant frame at ELEMENT when c -> said' behind its 'offer', or name the "
                f'services of this card without it: [cards."{card.address}"] services = [...]'
            )
            problems.append(Problem("E0479", text, turn.span, hint))
    if problems:
        raise MetaosError(
            "a service has something to say, and no card to send it", problems=problems
        )
