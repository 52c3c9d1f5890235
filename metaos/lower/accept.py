"""A service's tests to a gate that is open only where all of them hold."""

from __future__ import annotations

from metaos.ir.program import Op
from metaos.lower.bounds import Bounds
from metaos.lower.headers import FieldAt, Headers, Node, conjuncts
from metaos.lower.known import fail
from metaos.lower.masks import Masks
from metaos.pattern import syntax as s
from metaos.pattern.spell import dotted
from metaos.told import big_endian, bytes_of


class Accept(Headers):
    """Lowers `where` and `accept when` of a tree of services."""

    def node(self, service: s.Service, parent: Node | None) -> Node:
        layout = next((x for x in service.layouts if x.name == service.header), None)
        layout = layout or self.given.layouts.get(service.header)
        if service.header and layout is None:
            raise fail(service.span, "E0431", f"no layout '{service.header}'")
        start = parent.end if parent is not None else 0
        size = layout.size if layout is not None else 0
        bounds = parent.bounds.copy() if parent is not None else Bounds()
        bounds.at_least("frame.length", self.frame.least)
        quiet = self.quiet(service)
        return Node(service, parent, layout, start, start + size, bounds, quiet=quiet)

    def accept(self, node: Node, gate: Op) -> None:
        service = node.service
        masks = Masks()
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
        children = [x for x in self.above(service) if self.listens(x)]
        node.children = [self.node(x, node) for x in children]
        for child in node.children:
            self.accept(child, gate)
        needed = node.end
        if not node.children and not node.bounds.proves_at_least("frame.length", needed):
            with self.b.at(service.span):
                fits = self.b.ule(self.b.const(needed, 32), self.frame.length)
                node.gate = self.b.gate(gate, fits)

    def listens(self, service: s.Service) -> bool:
        """Whether a frame that comes matters to a service or to one above it."""
        above = map(self.listens, self.above(service))
        return not service.quiet or service.listens or any(above)

    def quiet(self, service: s.Service) -> bool:
        """Whether neither a service nor one above it answers."""
        above = self.above(service)
        return service.quiet or (bool(above) and all(map(self.quiet, above)))

    def above(self, service: s.Service) -> list[s.Service]:
        return [x for x in self.given.services if x.over == service.name]

    def byte_test(self, node: Node, knows: Node, test: s.Expr, masks: Masks) -> bool:
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
        if value >> bits or not masks.add(first, bits, value, test.span):
            raise fail(test.span, "E0442", "this excludes what else is tested: it never holds")
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
        if isinstance(test, s.Binary) and test.operator == "|":
            return self.truth(node, test)
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
        bits = self.room(node, test)
        a, b = self.number(node, test.left, bits), self.number(node, test.right, bits)
        kinds = {"==": self.b.eq, "!=": self.b.ne, "<": self.b.ult, "<=": self.b.ule}
        return kinds[test.operator](a, b)

    def room(self, node: Node, test: s.Binary) -> int:
        """Bits in which both sides are what they are as numbers: 32 or 64."""
        widest = self.widest(node, test)
        known = (self.constant(node, side) or 0 for side in (test.left, test.right))
        sums = isinstance(test.left, s.Binary) or isinstance(test.right, s.Binary)
        return 64 if widest > (16 if sums else 32) or max(known) >> 32 else 32

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
        k: int | None = 0
        if isinstance(left, s.Binary) and left.operator == "+":
            k, left = self.constant(node, left.right), left.left
        at, right = self.find(node, left), self.find(node, other)
        if test.operator != "==" or k is None or at is None or at.node is not node:
            return None
        if at.field.bits != 16 or at.first_bit % 8:
            return None
        if dotted(other) != "frame.length" and (right is None or right.field.bits > 16):
            return None
        name = right.key if right is not None else "frame.length"
        if not node.bounds.proves_at_least(name, k):
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
        if not any(
            n.constants.get(f"{n.service.name}.{f.name}")
            for n in [node]
            for f in node.layout.fields
        ):
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
                total, overflow = self.carried(total, word, overflow, size)
            offset += size
        assert total is not None
        if overflow is not None:
            total = self.around(total, overflow, twice=node.end - node.start >= 24)
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
                return self.b.const(big_endian(bytes_of(fixed, size)), size * 8)
        return None

    def around(self, total: Op, overflow: Op, *, twice: bool) -> Op:
        """The end-around carry; after three words of 64 bits it may carry once more."""
        more = self.b.zext(overflow, 64)
        again = self.b.zext(self.b.carry(total, more), 64) if twice else None
        total = self.b.add(total, more)
        return total if again is None else self.b.add(total, again)

    def carried(self, total: Op, word: Op, carry_in: Op, size: int) -> tuple[Op, Op]:
        """total + word + carry_in and its carry. `word` has `size` bytes: of 4, it and the
        carry have room in 64 bits; of 8, either of the two sums may carry, not both."""
        more, carry = self.b.zext(carry_in, 64), None
        if size == 8:
            carry = self.b.carry(word, more)
        more = self.b.add(word, more)
        over = self.b.carry(total, more)
        return self.b.add(total, more), over if carry is None else self.b.or_(carry, over)
