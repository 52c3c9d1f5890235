"""Services to ops: guarded rewrites of a frame, spliced where a card offers it.

Every test narrows a gate; the leaf services' gates say which answer is given, and each
service stores its fields in place under its own. All tests read the received frame: a
load that a store before it could have changed is made first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.lower.bounds import Bounds
from metaos.lower.plan import fail, walk
from metaos.lower.rewrite import ByteSource, Rewrite, chunks
from metaos.lower.turn import Frame
from metaos.pattern import syntax as s


@dataclass(frozen=True, slots=True)
class Mine:
    """What services call `my`: the address as a number, the symbol of the MAC's 6 bytes."""

    ip: int
    mac: str


@dataclass(slots=True)
class Node:
    """A service in the tree: where its header starts, its gate, and what it knows."""

    service: s.Service
    parent: Node | None
    layout: s.Layout | None
    start: int
    end: int
    bounds: Bounds
    constants: dict[str, int] = field(default_factory=dict)
    gate: Op | None = None
    children: list[Node] = field(default_factory=list)

    def up(self) -> list[Node]:
        """This node and its ancestors, nearest first."""
        chain, node = [], self
        while True:
            chain.append(node)
            if node.parent is None:
                return chain
            node = node.parent


@dataclass(frozen=True, slots=True)
class FieldAt:
    """A header field: its node, and its bits in the frame counted from the frame's start."""

    node: Node
    field: s.Field

    @property
    def key(self) -> str:
        return f"{self.node.service.name}.{self.field.name}"

    @property
    def first_bit(self) -> int:
        """Bits before the field, from the frame's first bit on the wire."""
        assert self.node.layout is not None
        return self.node.start * 8 + self.node.layout.size * 8 - 1 - self.field.high


class Services:
    """Splices a fixed set of services; call it as a `Splice` (metaos.lower.turn)."""

    def __init__(
        self, services: tuple[s.Service, ...], layouts: Mapping[str, s.Layout], mine: Mine
    ) -> None:
        self.services = services
        self.layouts = layouts
        self.mine = mine

    def __call__(self, builder: Builder, frame: Frame) -> tuple[Op, Op]:
        return _Splice(self, builder, frame).run()


class _Splice:
    def __init__(self, given: Services, builder: Builder, frame: Frame) -> None:
        self.given = given
        self.b = builder
        self.frame = frame
        self.loads: dict[str, Op] = {}
        self.places: dict[str, Op] = {}

    def run(self) -> tuple[Op, Op]:
        roots = [x for x in self.given.services if x.over == "frame"]
        if len(roots) != 1:
            span = roots[1].span if roots else Span("", 1, 1, 2)
            raise fail(span, "E0430", "one service, and one only, lies over the frame")
        root = self.node(roots[0], None)
        self.accept(root, self.frame.gate)
        answered = self.reply_gate(root)
        length = self.length(root)
        self.b.barrier()  # what the tests have read is read again, not kept
        self.rewrite(root)
        return answered, length

    def length(self, root: Node) -> Op:
        """The answer's length: one choice for each service that says `send`."""
        leaves = [n for n in self.all(root) if not n.children]
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

    def node(self, service: s.Service, parent: Node | None) -> Node:
        layout = next((x for x in service.layouts if x.name == service.header), None)
        layout = layout or self.given.layouts.get(service.header)
        if service.header and layout is None:
            raise fail(service.span, "E0431", f"no layout '{service.header}'")
        start = parent.end if parent is not None else 0
        size = layout.size if layout is not None else 0
        bounds = parent.bounds.copy() if parent is not None else Bounds()
        bounds.at_least("frame.length", self.frame.least)
        return Node(service, parent, layout, start, start + size, bounds)

    # -- names

    def find(self, node: Node, expression: s.Expr) -> FieldAt | None:
        """The header field an expression names, its own service's or an ancestor's."""
        match expression:
            case s.Name(text=text):
                for n in node.up():
                    found = n.layout.field(text) if n.layout is not None else None
                    if found is not None:
                        return FieldAt(n, found)
            case s.Member(name=name):
                path = dotted(expression).rpartition(".")[0]
                for n in node.up():
                    if n.service.name == path and n.layout is not None:
                        found = n.layout.field(name)
                        return FieldAt(n, found) if found is not None else None
        return None

    def constant(self, node: Node, expression: s.Expr) -> int | None:
        """The value of an expression known when the image is built."""
        match expression:
            case s.Number(value=value):
                return value
            case s.Member(of=s.Name(text="my"), name="ip"):
                return self.given.mine.ip
        at = self.find(node, expression)
        if at is not None:
            return next((n.constants[at.key] for n in node.up() if at.key in n.constants), None)
        return None

    def answered(self, node: Node, expression: s.Expr) -> int | None:
        """A constant of every frame the service answers, an only child's tests included."""
        while len(node.children) == 1:
            node = node.children[0]
        return self.constant(node, expression)

    def load(self, at: FieldAt) -> Op:
        """A field as a number, loaded once."""
        if at.key not in self.loads:
            first, bits = at.first_bit, at.field.bits
            byte, size = first // 8, 1
            while byte * 8 + size * 8 < first + bits:
                size *= 2
            whole = self.frame.load(self.b, size * 8, byte)
            if size > 1:
                whole = self.b.bswap(whole)
            low = byte * 8 + size * 8 - (first + bits)
            self.loads[at.key] = self.b.slice(whole, low + bits - 1, low)
        return self.loads[at.key]

    def number(self, node: Node, expression: s.Expr, bits: int) -> Op:
        """A number of the frame, at least `bits` wide."""
        known = self.constant(node, expression)
        if known is not None:
            return self.b.const(known, bits)
        if dotted(expression) == "frame.length":
            return self.b.resize(self.frame.length, bits)
        at = self.find(node, expression)
        if at is not None:
            return self.b.resize(self.load(at), bits)
        match expression:
            case s.Binary(operator="+", left=left, right=right):
                return self.b.add(self.number(node, left, bits), self.number(node, right, bits))
            case s.Binary(operator="-", left=left, right=right):
                return self.b.sub(self.number(node, left, bits), self.number(node, right, bits))
        raise fail(expression.span, "E0432", "this is no number of the frame")

    # -- accepting

    def accept(self, node: Node, gate: Op) -> None:
        service = node.service
        masks = _Masks()
        later: list[s.Expr] = []
        for test in conjuncts(service.where):
            if node.parent is None or not self.byte_test(node.parent, node, test, masks):
                raise fail(test.span, "E0441", "'where' is parent's field == constant")
        for test in (c for a in service.accept for c in conjuncts(a)):
            if not self.byte_test(node, node, test, masks):
                later.append(test)
        self.b.barrier()  # each service tests memory itself, which is shorter than a register
        for offset, size, mask, value, span in masks.covered():
            with self.b.at(span):
                gate = self.b.gate(gate, self.compare(offset, size, mask, value))
        for test in later:
            with self.b.at(test.span):
                gate = self.b.gate(gate, self.test(node, test))
        node.gate = gate
        children = [x for x in self.given.services if x.over == service.name]
        node.children = [self.node(x, node) for x in children]
        for child in node.children:
            self.accept(child, gate)
        needed = node.end
        if not node.children and not node.bounds.proves_at_least("frame.length", needed):
            with self.b.at(service.span):
                fits = self.b.ule(self.b.const(needed, 16), self.frame.length)
                node.gate = self.b.gate(gate, fits)

    def byte_test(self, node: Node, knows: Node, test: s.Expr, masks: _Masks) -> bool:
        """Note `field == constant`, or one bit of a field, as masked bytes.

        Names are those of `node`; `knows` may rely on the constant from here on.
        """
        if not (isinstance(test, s.Binary) and test.operator == "=="):
            return False
        value = self.constant(node, test.right)
        if value is None:
            return False
        at, bit = self.find(node, test.left), None
        if isinstance(test.left, s.Index) and isinstance(test.left.index, s.Number):
            at, bit = self.find(node, test.left.of), test.left.index.value
        if at is None:
            return False
        first, bits = at.first_bit, at.field.bits
        if bit is not None:
            first, bits = first + at.field.bits - 1 - bit, 1
        else:
            knows.constants[at.key] = value
        masks.add(first, bits, value, test.span)
        return True

    def compare(self, offset: int, size: int, mask: int, value: int) -> Op:
        if not value and size == 2:
            size = 4  # the two bytes beyond are not tested; 32 bits are tested in memory
        word = self.frame.load(self.b, size * 8, offset)
        if mask == (1 << size * 8) - 1:
            return self.b.eq(word, self.b.const(value, size * 8))
        kept = self.b.and_(word, self.b.const(mask, size * 8))
        if value == mask and mask & (mask - 1) == 0:
            return self.b.ne(kept, self.b.const(0, size * 8))
        return self.b.eq(kept, self.b.const(value, size * 8))

    def test(self, node: Node, test: s.Expr) -> Op:
        if not isinstance(test, s.Binary) or test.operator not in ("==", "!=", "<", "<="):
            raise fail(test.span, "E0433", "expected a comparison")
        if isinstance(test.left, s.Call):
            return self.sum_test(node, test)
        leading = self.leading_bytes(node, test)
        if leading is not None:
            return leading
        wire = self.wire_order(node, test)
        self.learn_bound(node, test)
        if wire is not None:
            return wire
        bits = 32
        a, b = self.number(node, test.left, bits), self.number(node, test.right, bits)
        kinds = {"==": self.b.eq, "!=": self.b.ne, "<": self.b.ult, "<=": self.b.ule}
        return kinds[test.operator](a, b)

    def leading_bytes(self, node: Node, test: s.Binary) -> Op | None:
        """`field < constant` whose low bytes are 0 needs the field's leading bytes alone."""
        at, limit = self.find(node, test.left), self.constant(node, test.right)
        if at is None or limit is None or test.operator != "<" or not limit:
            return None
        bits = at.field.bits
        if at.first_bit % 8 or bits not in (16, 32, 64):
            return None
        while bits > 8 and limit & ((1 << bits // 2) - 1) == 0:
            limit, bits = limit >> bits // 2, bits // 2
        word = self.frame.load(self.b, bits, at.first_bit // 8)
        if bits > 8:
            word = self.b.bswap(word)
        return self.b.ult(word, self.b.const(limit, bits))

    def wire_order(self, node: Node, test: s.Binary) -> Op | None:
        """`field + k == other`, compared as the field lies in memory.

        Only where other >= k is proved: then other - k fits the field's width as it is.
        """
        left, other = test.left, test.right
        k = 0
        if isinstance(left, s.Binary) and left.operator == "+":
            k, left = self.constant(node, left.right) or 0, left.left
        at, bound = self.find(node, left), self.linear(node, other)
        if test.operator != "==" or at is None or at.node is not node or bound is None:
            return None
        if at.field.bits != 16 or at.first_bit % 8 or bound[1] or bound[0] == "0":
            return None
        if not node.bounds.proves_at_least(bound[0], k):
            return None
        value = self.b.sub(self.number(node, other, 32), self.b.const(k, 32))
        word = self.frame.load(self.b, 16, at.first_bit // 8)
        return self.b.eq(word, self.b.bswap(self.b.trunc(value, 16)))

    def learn_bound(self, node: Node, test: s.Binary) -> None:
        if test.operator not in ("<=", "=="):
            return
        left, right = self.linear(node, test.left), self.linear(node, test.right)
        if left is None or right is None:
            return
        node.bounds.add(left[0], left[1] - right[1], right[0])
        if test.operator == "==":
            node.bounds.add(right[0], right[1] - left[1], left[0])

    def linear(self, node: Node, expression: s.Expr) -> tuple[str, int] | None:
        """An expression as name + constant."""
        known = self.constant(node, expression)
        if known is not None:
            return "0", known
        if dotted(expression) == "frame.length":
            return "frame.length", 0
        at = self.find(node, expression)
        if at is not None:
            return at.key, 0
        if isinstance(expression, s.Binary) and expression.operator == "+":
            left, right = self.linear(node, expression.left), self.linear(node, expression.right)
            if left is not None and right is not None and "0" in (left[0], right[0]):
                return (right[0] if left[0] == "0" else left[0]), left[1] + right[1]
        return None

    def sum_test(self, node: Node, test: s.Binary) -> Op:
        """`sum16(header) == 0xFFFF`: the ones' complement sum is a multiple of 65535.

        2^16 = 1 modulo 65535, so 64-bit words may be added with end-around carries; the
        sum is a multiple iff its product with -1/65535 = 0x0001000100010001 is 0 or at
        least 2^64 minus that. It is not 0: the header's first byte is known not to be.
        """
        call = test.left
        assert isinstance(call, s.Call)
        wanted = self.constant(node, test.right)
        if call.function != "sum16" or wanted != 0xFFFF or test.operator != "==":
            raise fail(test.span, "E0434", "write sum16(header) == 0xFFFF")
        if node.layout is None or dotted(call.arguments[0]) != "header" or node.layout.size % 4:
            raise fail(test.span, "E0434", "sum16 takes 'header', of whole 32-bit words")
        if not any(n.constants.get(f"{n.service.name}.{f.name}") for n in [node]
                   for f in node.layout.fields):  # fmt: skip
            raise fail(test.span, "E0435", "a header that may be all zeros has no such sum")
        total, offset = None, node.start
        overflow = None
        while offset < node.end:
            size = 8 if node.end - offset >= 8 else 4
            word = self.known_word(node, offset, size)
            if word is None:
                word = self.frame.load(self.b, size * 8, offset)
            word = self.b.resize(word, 64)
            if total is None:
                total = word
            elif overflow is None:
                total, overflow = self.b.add(total, word), self.b.carry(total, word)
            else:
                total, overflow = self.carried(total, word, overflow)
            offset += size
        assert total is not None
        if overflow is not None:
            total = self.b.add(total, self.b.zext(overflow, 64))
        factor = self.b.const(0x0001_0001_0001_0001, 64)
        product = self.b.mul(total, factor)
        return self.b.carry(product, factor)

    def known_word(self, node: Node, offset: int, size: int) -> Op | None:
        """A word of the header that an earlier test has fixed."""
        assert node.layout is not None
        for one in node.layout.fields:
            at = FieldAt(node, one)
            fixed = node.constants.get(at.key)
            if fixed is not None and at.first_bit == offset * 8 and one.bits == size * 8:
                data = fixed.to_bytes(size, "big")
                return self.b.const(int.from_bytes(data, "little"), size * 8)
        return None

    def carried(self, total: Op, word: Op, carry_in: Op) -> tuple[Op, Op]:
        """total + word + carry_in; a 32-bit `word` and its carry cannot overflow twice."""
        more = self.b.add(word, self.b.zext(carry_in, 64))
        return self.b.add(total, more), self.b.carry(total, more)

    # -- answering

    def reply_gate(self, node: Node) -> Op:
        """The gate of a service's answer: its own for a leaf, any child's for another."""
        assert node.gate is not None
        if not node.children:
            return node.gate
        gates = [self.reply_gate(child) for child in node.children]
        result = gates[0]
        with self.b.at(node.service.span):
            for gate in gates[1:]:
                result = self.b.gate_any(result, gate)
        return result

    def rewrite(self, root: Node) -> None:
        """Loads, then stores, service by service, leaves first.

        A service reads the received frame: what it reads and a service above it has
        stored by then is loaded before. (Of services side by side one alone stores.)
        """
        nodes = [n for n in self.all(root) if n.service.reply]
        early: dict[int, tuple[Rewrite, list[Op]]] = {}
        for number, node in enumerate(nodes):
            above = [n for n in nodes[:number] if node in n.up()]
            written = {byte for n in above for byte in self.writes(n)}
            if written & self.reads(node):
                early[number] = self.loaded(node)
        for number, node in enumerate(nodes):
            rewrite, values = early.get(number) or self.loaded(node)
            rewrite.store(self.b, self.frame, values)

    def loaded(self, node: Node) -> tuple[Rewrite, list[Op]]:
        self.loads.clear()
        rewrite = Rewrite(self.reply_gate(node), chunks(self.sources(node)))
        return rewrite, rewrite.load(self.b, self.frame, self.places)

    def writes(self, node: Node) -> set[int]:
        """The bytes of the frame a service's answer sets."""
        names = [s.Name(a.field, a.span) for a in node.service.reply]
        return {byte for name in names for byte in self.bytes_of(node, name)}

    def reads(self, node: Node) -> set[int]:
        """The bytes of the frame a service's answer is made of."""
        return {
            byte
            for assignment in node.service.reply
            for part in walk(assignment.value)
            if isinstance(part, s.Name | s.Member)
            for byte in self.bytes_of(node, part)
        }

    def bytes_of(self, node: Node, name: s.Expr) -> range:
        at = self.find(node, name)
        if at is None:
            return range(0)
        return range(at.first_bit // 8, -(-(at.first_bit + at.field.bits) // 8))

    def sources(self, node: Node) -> dict[int, ByteSource]:
        """What each byte of the answer becomes."""
        found: dict[int, ByteSource] = {}
        for assignment in node.service.reply:
            target = self.find(node, s.Name(assignment.field, assignment.span))
            if target is None or target.node is not node:
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
            data = known.to_bytes(size, "big")
            for i in range(size):
                found[start + i] = ByteSource("constant", data[i], span=span)
        elif dotted(value) == "my.mac":
            for i in range(size):
                found[start + i] = ByteSource("place", i, self.given.mine.mac, span)
        elif at is not None and at.field.bits == target.field.bits and at.first_bit % 8 == 0:
            for i in range(size):
                found[start + i] = ByteSource("frame", at.first_bit // 8 + i, span=span)
        elif isinstance(value, s.Call) and value.function == "update":
            op = self.update(node, value, target)
            for i in range(size):
                found[start + i] = ByteSource("value", i, span=span, value=op)
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


class _Masks:
    """Masked bytes of the frame that must have given values."""

    def __init__(self) -> None:
        self.bytes: dict[int, tuple[int, int, Span]] = {}

    def add(self, first: int, bits: int, value: int, span: Span) -> None:
        """`bits` bits from bit `first` on the wire are `value`."""
        for i in range(bits):
            byte, bit = divmod(first + i, 8)
            one = value >> (bits - 1 - i) & 1
            mask, known, at = self.bytes.get(byte, (0, 0, span))
            self.bytes[byte] = (mask | 0x80 >> bit, known | one * (0x80 >> bit), at)

    def covered(self) -> list[tuple[int, int, int, int, Span]]:
        """(offset, size, mask, value, span) with words as a little-endian load gives them."""
        result, offsets = [], sorted(self.bytes)
        while offsets:
            start = offsets[0]
            size = next(n for n in (8, 4, 2, 1) if self.fits(start, n))
            part = [self.bytes[start + i] for i in range(size)]
            mask = int.from_bytes(bytes(p[0] for p in part), "little")
            value = int.from_bytes(bytes(p[1] for p in part), "little")
            result.append((start, size, mask, value, part[0][2]))
            offsets = [o for o in offsets if o >= start + size]
        return result

    def fits(self, start: int, size: int) -> bool:
        """Whether `size` bytes compare at once: all whole, or all to be 0."""
        part = [self.bytes.get(start + i) for i in range(size)]
        if size == 1:
            return True
        if any(p is None for p in part):
            return False
        return all(p is not None and p[0] == 0xFF for p in part) or all(
            p is not None and p[1] == 0 for p in part
        )


def conjuncts(node: s.Expr | None) -> list[s.Expr]:
    """The parts of `a & b & c`."""
    if node is None:
        return []
    if isinstance(node, s.Binary) and node.operator == "&":
        return conjuncts(node.left) + conjuncts(node.right)
    return [node]


def dotted(node: s.Expr) -> str:
    """`a.b.c` as written; empty for another expression."""
    match node:
        case s.Name(text=text):
            return text
        case s.Member(of=of, name=name):
            return f"{dotted(of)}.{name}"
    return ""
