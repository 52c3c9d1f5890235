"""Frames that services say unasked: `Speaking(given, builder, frame).run()`.

Each of a frame's headers is written whole, every byte of it: what the services say of its
fields, 0 where none says anything. Zeros follow up to the shortest frame's end. Of several that
want to speak the first does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.accept import Accept
from metaos.lower.headers import LINE, FieldAt, Given, Node, conjuncts
from metaos.lower.known import fail
from metaos.lower.passing import Queue
from metaos.lower.rewrite import ByteSource, Rewrite, chunks, wire_bytes
from metaos.lower.text import pieces
from metaos.lower.values import Frame
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted

LEAST = 60
"""Bytes of the shortest frame, its check sequence left out. Source: IEEE Std 802.3-2018 §3.2.8."""

Rule = tuple[s.Expr, Node]
"""What a field is, and the service that says so."""


def speakers(services: Sequence[s.Service]) -> tuple[s.Service, ...]:
    """Those of the services that say something unasked."""
    return tuple(x for x in services if x.speak is not None and x.speak.when is not None)


class Speaking(Accept):
    """Room for one frame: who speaks, what is said, and what is remembered of it."""

    def __init__(self, given: Given, builder: Builder, frame: Frame) -> None:
        super().__init__(given, builder, frame)
        self.places: dict[str, Op] = {}
        self.rules: dict[str, Rule] = {}
        self.said: dict[str, Op] = {}
        self.end = 0  # of the frame that is being said
        self.more: Op | None = None  # bytes of the line that follows

    def wants(self) -> Op:
        """Whether any service wants to speak, as one bit."""
        waiting = self.given.wire.waiting
        wanted = waiting.waits(self.b) if waiting is not None else self.b.const(0, 1)
        return self.b.or_(wanted, self.own_wants())

    def own_wants(self) -> Op:
        """Whether any of the card's own services does."""
        wanted = self.b.const(0, 1)
        for service in speakers(self.given.services):
            assert service.speak is not None and service.speak.when is not None
            with self.b.at(service.speak.span):
                one = self.truth(self.chain(service)[-1], service.speak.when)
                wanted = self.b.or_(wanted, one)
        return wanted

    def run(self) -> tuple[Op, Op]:
        """The gate of the frame that is said, and its length."""
        rest, length = self.frame.gate, self.b.const(0, 32)
        said: Op | None = None
        waiting = self.given.wire.waiting
        if waiting is not None:
            said, length, rest = self.send_on(waiting)
        for service in speakers(self.given.services):
            assert service.speak is not None and service.speak.when is not None
            chain = self.chain(service)
            with self.b.at(service.speak.span):
                self.b.barrier()
                text = self.text(chain[-1])
                wants = self.truth(chain[-1], service.speak.when)
                gate = self.b.gate(rest, wants)
                rest = self.b.gate(rest, self.b.not_(wants))
                own = self.b.const(max(self.end, LEAST), 32)
                own = own if self.more is None else self.b.add(own, self.more)
                mine = self.b.eq(gate, self.b.const(0, 64))
                length = self.b.select(mine, own, length) if said is not None else own
                said = self.b.select(mine, gate, said) if said is not None else gate
                self.write(chain, gate, text)
                self.keep(chain[-1], service.speak.keeps, gate)
                if waiting is not None:
                    waiting.note_last(self.b, gate, passed=False)
        assert said is not None
        return said, length

    def send_on(self, waiting: Queue) -> tuple[Op, Op, Op]:
        """A frame that waits goes first, unless the last one did and a service wants to speak.

        Gives its gate and length, and what is left of the frame's gate.
        """
        with self.b.at(waiting.span):
            own = self.b.and_(self.own_wants(), waiting.was_last(self.b))
            mine = self.b.and_(waiting.waits(self.b), self.b.not_(own))
            gate = self.b.gate(self.frame.gate, mine)
            rest = self.b.gate(self.frame.gate, self.b.not_(mine))
            length = waiting.get(self.b, replace(self.frame, gate=gate))
            waiting.note_last(self.b, gate, passed=True)
            return gate, length, rest

    def chain(self, service: s.Service) -> list[Node]:
        """The services of a frame's headers, the outermost first."""
        way, by_name = [service], {x.name: x for x in self.given.services}
        while way[0].over in by_name:
            way.insert(0, by_name[way[0].over])
        chain: list[Node] = []
        for one in way:
            chain.append(self.node(one, chain[-1] if chain else None))
        return chain

    def text(self, node: Node) -> dict[int, ByteSource]:
        """What stands between the headers and a line; sets where the frame ends."""
        self.end, self.more = node.end, None
        assert node.service.speak is not None
        text, heard = node.service.speak.text, self.given.heard(node.service)
        if text is None or heard is None:
            return {}
        found: dict[int, ByteSource] = {}
        with self.b.at(text.span):
            numbers = {x.name: x.bits for x in node.service.states} | {f"{LINE}.lost": 16}
            before = text.value.removesuffix(f"{{{LINE}}}")
            for piece in pieces(before, self.given.names, numbers, text.span):
                if isinstance(piece, str):
                    one = ByteSource("constant", ord(piece), span=text.span)
                else:
                    one = ByteSource("value", 0, "", text.span, self.digit(node, *piece))
                found[node.end + len(found)] = one
            self.end += len(found)
            if self.end < LEAST:
                least = f"{LEAST - node.end} characters before its line at least"
                raise fail(text.span, "E0444", f"a text has {least}, this has {len(found)}")
            self.more = self.b.zext(heard.length(self.b), 32)
        return found

    def digit(self, node: Node, name: str, low: int) -> Op:
        """Four bits of a number as a hexadecimal digit."""
        whose, _, what = name.rpartition(".")
        found: s.Expr = s.Name(what, node.service.span)
        if whose:
            found = s.Member(s.Name(whose, node.service.span), what, node.service.span)
        number = self.number(node, found, 64)
        bits = self.b.zext(self.b.slice(number, low + 3, low), 32)
        letter = self.b.ult(self.b.const(9, 32), bits)
        base = self.b.select(letter, self.b.const(ord("a") - 10, 32), self.b.const(ord("0"), 32))
        return self.b.trunc(self.b.add(bits, base), 8)

    def write(self, chain: list[Node], gate: Op, text: dict[int, ByteSource]) -> None:
        """All bytes of all headers, and a text behind them."""
        self.rules, self.said = {}, {}
        for node in chain:
            self.add_rules(node)
        sources: dict[int, ByteSource] = {}
        for node in chain:
            if node.layout is not None:
                self.header(node, node.layout, sources)
        sources |= {at: ByteSource("constant", 0) for at in range(self.end, LEAST)}
        rewrite = Rewrite(gate, chunks(sources | text))
        rewrite.store(self.b, self.frame, rewrite.load(self.b, self.frame, self.places))
        heard = self.given.heard(chain[-1].service)
        if text and heard is not None:
            heard.copy(self.b, self.frame.base, self.end, gate)
            heard.said(self.b, gate)

    def add_rules(self, node: Node) -> None:
        """What a service says of fields, its `where` first; the last word counts."""
        for test in conjuncts(node.service.where):
            match test:
                case s.Binary(operator="==", left=left, right=value) if node.parent is not None:
                    self.rules[self.field(node.parent, left).key] = value, node.parent
        for asked in node.service.speak.fields if node.service.speak is not None else ():
            path: s.Expr = s.Name(asked.path[0], asked.span)
            for part in asked.path[1:]:
                path = s.Member(path, part, asked.span)
            self.rules[self.field(node, path).key] = asked.value, node

    def field(self, node: Node, expression: s.Expr) -> FieldAt:
        at = self.find(node, expression)
        if at is None:
            raise fail(expression.span, "E0437", f"no field '{dotted(expression)}'")
        return at

    def header(self, node: Node, layout: s.Layout, sources: dict[int, ByteSource]) -> None:
        """The bytes of one header, those of fields that share a byte together."""
        group: list[FieldAt] = []
        for field in sorted(layout.fields, key=lambda x: -x.high):
            group.append(FieldAt(node, field))
            bits = sum(at.field.bits for at in group)
            if bits % 8 == 0:
                self.bytes_of(group, bits // 8, sources)
                group = []

    def bytes_of(self, group: list[FieldAt], size: int, sources: dict[int, ByteSource]) -> None:
        """The bytes that some fields fill."""
        start = group[0].first_bit // 8
        rule = self.rules.get(group[0].key)
        span = rule[0].span if rule is not None else None
        if not any(at.key in self.rules for at in group):
            sources |= {start + i: ByteSource("constant", 0) for i in range(size)}
            return
        mine = self.given.mine
        if rule is not None and dotted(rule[0]) == "my.mac" and mine.unit is None:
            sources |= {start + i: ByteSource("place", i, mine.mac, span) for i in range(size)}
            return
        if size > 8:
            raise fail(group[0].field.span, "E0438", "what is said has 64 bits at most")
        bits = 32 if size <= 4 else 64
        whole = self.b.const(0, bits)
        for at in group:
            whole = self.b.shl(whole, self.b.const(at.field.bits, bits))
            whole = self.b.or_(whole, self.spoken(at, bits))
        sources |= wire_bytes(self.b, whole, start, size, span)

    # -- what is said

    def spoken(self, at: FieldAt, bits: int) -> Op:
        """A field's number, in which bits above its own are 0."""
        if at.key not in self.said:
            rule = self.rules.get(at.key)
            wide = 32 if at.field.bits <= 32 else 64
            self.said[at.key] = self.b.const(0, wide)  # in its own sum it counts as 0
            if rule is not None:
                with self.b.at(rule[0].span):
                    found = self.number(rule[1], rule[0], wide)
                    mask = self.b.const((1 << at.field.bits) - 1, wide)
                    self.said[at.key] = self.b.and_(found, mask)
        return self.b.resize(self.said[at.key], bits)

    def load(self, at: FieldAt) -> Op:
        """A field of the frame that is being said, not of the one that came."""
        return self.spoken(at, 32 if at.field.bits <= 32 else 64)

    def number(self, node: Node, expression: s.Expr, bits: int) -> Op:
        """A number of what is said."""
        name, _, what = dotted(expression).rpartition(".")
        if what == "length" and name.rpartition(".")[2] in ("payload", "message", "header"):
            fixed = self.b.const(self.stretch(node, name), bits)
            more = self.more if not name.endswith("header") else None
            return fixed if more is None else self.b.add(fixed, self.b.resize(more, bits))
        match expression:
            case s.Call(function="sum16", arguments=(s.Name(text="header"),)):
                return self.b.resize(self.header_sum(node), bits)
        return super().number(node, expression, bits)

    def stretch(self, node: Node, name: str) -> int:
        """Bytes of a service's `payload`, `message` or `header`."""
        owner, _, what = name.rpartition(".")
        whose = next((n for n in node.up() if n.service.name == owner), node) if owner else node
        start = whose.end if what == "payload" else whose.start
        return (whose.end if what == "header" else self.end) - start

    def header_sum(self, node: Node) -> Op:
        """The ones' complement sum of a header's 16-bit words. Source: RFC 1071 §1."""
        assert node.layout is not None
        total = self.b.const(0, 32)
        for field in node.layout.fields:
            op = self.spoken(FieldAt(node, field), 64)
            op = self.b.shl(op, self.b.const(field.low % 16, 64))
            for piece in range(0, field.bits + field.low % 16, 16):
                word = self.b.resize(self.b.lshr(op, self.b.const(piece, 64)), 16)
                total = self.b.add(total, self.b.zext(word, 32))
        for _ in range(2):
            high = self.b.lshr(total, self.b.const(16, 32))
            total = self.b.add(self.b.and_(total, self.b.const(0xFFFF, 32)), high)
        return total
