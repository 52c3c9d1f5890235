"""Lark's tree of one pattern file to our nodes: `Nodes(source).transform(tree) -> File`.

What the grammar alone cannot refuse is refused here: E0004 to E0009.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lark import Token, Tree, v_args

from metaos.errors import MetaosError, Problem, Source, Span
from metaos.pattern import syntax as s
from metaos.pattern.nodes_fake import FakeNodes
from metaos.pattern.numbers import number, short
from metaos.pattern.repeats import rows_made

MAX_BITS = 8 * 65_536
SAID = 10_000_000_000
"""How long, in nanoseconds, a frame is waited for that comes unasked, where nothing is said."""
MAX_REPEATED = 4_096
"""Rows that a `repeat` may make, before those that are alike are joined."""
NANOSECONDS = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def _placed(rows: list[tuple[str, int, Span]], size: int) -> tuple[s.Field, ...]:
    """Fields listed in wire order, with the bit numbers of a big-endian record."""
    fields, top = [], size * 8
    for name, bits, span in rows:
        fields.append(s.Field(name, top - 1, top - bits, span))
        top -= bits
    return tuple(fields)


@v_args(meta=True)
class Nodes(FakeNodes):
    """Lark's tree to our nodes; one method a rule, children in the grammar's order."""

    def __init__(self, source: Source) -> None:
        super().__init__(visit_tokens=False)
        self._text = source

    def span(self, meta: Any) -> Span:
        if meta.empty:
            return Span(self._text.file, 1, 1, 2)
        line = self._text.line(meta.line)
        end = meta.end_column if meta.end_line == meta.line else len(line) + 1
        end = min(end, len(line.rstrip()) + 1)
        return Span(self._text.file, meta.line, meta.column, max(end, meta.column + 1))

    def error(self, code: str, message: str, span: Span, hint: str = "") -> MetaosError:
        problem = Problem(code, message, span, hint, self._text.line(span.line))
        return MetaosError(f"{self._text.file} does not parse", problems=[problem])

    def value(self, token: Token) -> int:
        """The number a token says."""
        try:
            return number(token)
        except ValueError as error:
            raise self.error("E0009", str(error), self.at(token)) from None

    def width(self, token: Token) -> int:
        """The bits of `u32`."""
        digits = token[1:]
        if len(digits) > 4:
            raise self.error("E0009", f"a width of '{short(token)}' is too much", self.at(token))
        return int(digits)

    def at(self, token: Token) -> Span:
        line, column = token.line or 1, token.column or 1
        return Span(self._text.file, line, column, column + len(token))

    # -- expressions

    def number(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Number(self.value(c[0]), self.span(meta))

    def string(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.String(c[0][1:-1], self.span(meta))

    def name(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Name(str(c[0]), self.span(meta))

    def member_of(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Member(c[0], str(c[1]), self.span(meta))

    def index(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Index(c[0], c[1], self.span(meta))

    def slice(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Slice(c[0], c[1], c[2], self.span(meta))

    def prime(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Prime(c[0], self.span(meta))

    def reference(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Reference(c[0], self.span(meta))

    def invert(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Unary("~", c[0], self.span(meta))

    def negate(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Unary("!", c[0], self.span(meta))

    def call(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Call(str(c[0]), tuple(c[1:]), self.span(meta))

    def record(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Record(tuple(c), self.span(meta))

    def record_field(self, meta: Any, c: list[Any]) -> s.RecordField:
        return s.RecordField(str(c[0]), c[1], self.span(meta))

    def chain(self, meta: Any, operator: str, c: list[Any]) -> s.Expr:
        left: s.Expr = c[0]
        for right in c[1:]:
            left = s.Binary(operator, left, right, self.span(meta))
        return left

    def or_(self, meta: Any, c: list[Any]) -> s.Expr:
        return self.chain(meta, "|", c)

    def xor_(self, meta: Any, c: list[Any]) -> s.Expr:
        return self.chain(meta, "^", c)

    def and_(self, meta: Any, c: list[Any]) -> s.Expr:
        return self.chain(meta, "&", c)

    def mul_(self, meta: Any, c: list[Any]) -> s.Expr:
        return self.chain(meta, "*", c)

    def mixed(self, meta: Any, c: list[Any]) -> s.Expr:
        left: s.Expr = c[0]
        for operator, right in zip(c[1::2], c[2::2], strict=True):
            if right is not None:
                left = s.Binary(str(operator), left, right, self.span(meta))
        return left

    comparison = shift = sum = mixed

    # -- steps

    def let(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Let(str(c[0]), c[1], c[2], c[3], self.span(meta))

    def keep(self, meta: Any, c: list[Any]) -> s.Keep:
        return s.Keep(str(c[0]), c[1], self.value(c[2]), self.span(meta))

    def write(self, meta: Any, c: list[Any]) -> s.Write:
        return s.Write(c[0], c[1], c[2], c[3], self.span(meta))

    def swap(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Swap(c[0], c[1], c[2], self.span(meta))

    def move_in(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Move(True, c[0], c[1], c[2], c[3], self.span(meta))

    def move_out(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Move(False, c[0], c[1], c[2], c[3], self.span(meta))

    def touch(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Touch(c[0], c[1], self.span(meta))

    def when(self, meta: Any, c: list[Any]) -> s.Step:
        return s.When(c[0], tuple(c[1:]), self.span(meta))

    def every(self, meta: Any, c: list[Any]) -> s.Step:
        period = self.value(c[0]) * NANOSECONDS[c[1]]
        return s.Every(period, tuple(c[2:]), self.span(meta))

    def wake(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Wake(c[0], self.span(meta))

    def given(self, meta: Any, c: list[Any]) -> s.Given:
        return s.Given(c[0], tuple(c[1:]), self.span(meta))

    def offer(self, meta: Any, c: list[Any]) -> s.Step:
        frame, length, least, guard, answered, answer_length = c
        skip: s.Expr | None = None
        match frame:
            case s.Binary(operator="+", left=left, right=right):
                frame, skip = left, right
        return s.Offer(
            frame, skip, length, self.value(least) if least is not None else 0, guard,
            str(answered), str(answer_length), self.span(meta),
        )  # fmt: skip

    def grant(self, meta: Any, c: list[Any]) -> s.Step:
        frame, guard, said = c
        skip: s.Expr | None = None
        match frame:
            case s.Binary(operator="+", left=left, right=right):
                frame, skip = left, right
        return s.Grant(frame, skip, guard, str(said), self.span(meta))

    def take(self, meta: Any, c: list[Any]) -> s.Step:
        position = str(c[2]) if c[2] is not None else ""
        return s.Take(str(c[0]), str(c[1]), position, self.span(meta))

    def advance(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Advance(c[0], self.span(meta))

    def order(self, meta: Any, c: list[Any]) -> s.Step:
        return s.Order(self.span(meta))

    def await_(self, meta: Any, c: list[Any]) -> s.Row:
        within = self.value(c[1]) * NANOSECONDS[c[2]]
        return s.Await(c[0], within, c[3][1:-1], c[4], self.span(meta))

    def expect(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Expect(c[0], c[1][1:-1], c[2], self.span(meta))

    def each(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Each(str(c[0]), tuple(c[1:]), self.span(meta))

    def repeat(self, meta: Any, c: list[Any]) -> s.Row:
        row = s.Repeat(str(c[0]), self.value(c[1]), self.value(c[2]), tuple(c[3:]), self.span(meta))
        most, made = MAX_REPEATED, rows_made((row,), MAX_REPEATED)
        if made > most:
            raise self.error("E0009", f"more than {most} rows are too many", self.span(meta))
        return row

    def run(self, meta: Any, c: list[Any]) -> s.Row:
        return s.Run(c[0][0], self.span(meta))

    # -- places

    def dotted(self, meta: Any, c: list[Any]) -> tuple[str, Span]:
        return ".".join(map(str, c)), self.span(meta)

    def cite(self, meta: Any, c: list[Any]) -> s.Cite:
        return s.Cite(str(c[0]), str(c[1]), self.span(meta))

    def bit_range(self, meta: Any, c: list[Any]) -> tuple[int, int]:
        high = self.value(c[0])
        low = self.value(c[1]) if c[1] is not None else high
        if low > high:
            raise self.error("E0004", f"bits {high}:{low} run backwards", self.span(meta))
        if high >= MAX_BITS:
            raise self.error("E0009", f"bit {high} is beyond every record", self.span(meta))
        return high, low

    def field(self, meta: Any, c: list[Any]) -> s.Field:
        high, low = c[0]
        return s.Field(str(c[1]), high, low, self.span(meta))

    placed_field = field

    def listed_field(self, meta: Any, c: list[Any]) -> tuple[str, int, Span]:
        return str(c[0]), self.width(c[1]), self.span(meta)

    def register(self, meta: Any, c: list[Any]) -> s.Register:
        offset, name, count, access, own, stream, page, bit, value, cite, _text, *fields = c
        paged = (str(page), str(bit), self.value(value)) if page is not None else None
        fields = [f for f in fields if f is not None]
        length = self.value(count) if count is not None else 1
        return s.Register(
            self.value(offset), str(name), length, str(access), paged, cite,
            tuple(fields), self.span(meta), self.value(own) if own is not None else -1,
            stream is not None,
        )  # fmt: skip

    def registers(self, meta: Any, c: list[Any]) -> s.Registers:
        name, at, space, bits, *rest = c
        width = self.value(bits)
        rows = tuple(
            replace(r, bits=width) if r.bits < 0 else r for r in rest if isinstance(r, s.Register)
        )
        return s.Registers(str(name), at, str(space), width, rows, self.span(meta))

    def layout(self, meta: Any, c: list[Any]) -> s.Layout:
        name, size, order, *rows = c
        placed = [r for r in rows if isinstance(r, s.Field)]
        listed = [r for r in rows if not isinstance(r, s.Field)]
        span = self.span(meta)
        if order == "big" and not placed:
            placed = list(_placed(listed, self.value(size)))
            total = sum(bits for _, bits, _ in listed)
            if total != self.value(size) * 8:
                raise self.error(
                    "E0005", f"the fields of '{name}' make {total} bits, its size "
                    f"{self.value(size)} bytes {self.value(size) * 8}", span,
                )  # fmt: skip
        elif listed or order == "big":
            raise self.error(
                "E0006", "a little-endian layout places each field ('15:0 length'), a "
                "big-endian one lists them in wire order ('length u16')", span,
            )  # fmt: skip
        return s.Layout(str(name), self.value(size), str(order), tuple(placed), span)

    def element_bytes(self, meta: Any, c: list[Any]) -> tuple[str, int]:
        return str(c[1] or ""), self.value(c[0])

    def element_layout(self, meta: Any, c: list[Any]) -> tuple[str, int]:
        return str(c[0]), 0

    def table(self, meta: Any, c: list[Any]) -> s.Table:
        name, count, (layout, size), align, at, initial = c
        alignment = self.value(align) if align is not None else 1
        return s.Table(str(name), count, size, layout, alignment, at, initial, self.span(meta))

    def state_name(self, meta: Any, c: list[Any]) -> tuple[str, int, Span]:
        return str(c[0]), self.value(c[1]) if c[1] is not None else 0, self.span(meta)

    def state(self, meta: Any, c: list[Any]) -> tuple[s.State, ...]:
        *names, width, unit, initial = c
        fact = unit[0] if unit is not None else ""
        bits = self.width(width)
        return tuple(s.State(n, count, bits, initial, at, fact) for n, count, at in names)

    # -- declarations

    def source(self, meta: Any, c: list[Any]) -> s.SourceName:
        return s.SourceName(str(c[0]), c[1][1:-1], self.span(meta))

    def match_key(self, meta: Any, c: list[Any]) -> tuple[str, int]:
        return str(c[0]), self.value(c[1])

    def match_pci(self, meta: Any, c: list[Any]) -> s.Match:
        *keys, where = c
        return s.Match("pci", "", tuple(keys), where, self.span(meta))

    def match(self, meta: Any, c: list[Any]) -> s.Match:
        kind, name, where = c
        return s.Match(str(kind), str(name), (), where, self.span(meta))

    def fact(self, meta: Any, c: list[Any]) -> s.Fact:
        return s.Fact(str(c[0]), str(c[1]), c[2], self.span(meta))

    def learn(self, meta: Any, c: list[Any]) -> s.Learn:
        return s.Learn(tuple(c), self.span(meta))

    def demand(self, meta: Any, c: list[Any]) -> s.Demand:
        return s.Demand(c[0], c[1][1:-1], self.span(meta))

    def part(self, meta: Any, c: list[Any]) -> s.Part:
        name, *rest = [x for x in c if x is not None]
        parameters = tuple(str(x) for x in rest if isinstance(x, Token))
        items = _flat([x for x in rest if not isinstance(x, Token)])
        return s.Part(str(name), parameters, items, self.span(meta))

    def use(self, meta: Any, c: list[Any]) -> s.Use:
        name, part, *arguments = [x for x in c if x is not None]
        return s.Use(str(name), str(part), tuple(arguments), self.span(meta))

    def sequence(self, meta: Any, c: list[Any]) -> s.Sequence:
        return s.Sequence(str(c[0]), tuple(c[1:]), self.span(meta))

    def turn(self, meta: Any, c: list[Any]) -> s.Turn:
        return s.Turn(tuple(c), self.span(meta))

    def clock(self, meta: Any, c: list[Any]) -> s.Clock:
        register, bits, down, hertz, rank = c
        number = self.value(rank) if rank is not None else 0
        return s.Clock(
            register, self.value(bits), self.value(hertz), self.span(meta), down is not None,
            None, number,
        )  # fmt: skip

    def clock_of(self, meta: Any, c: list[Any]) -> s.Clock:
        register, bits, down, period, rank = c
        number = self.value(rank) if rank is not None else 0
        return s.Clock(
            register, self.value(bits), 0, self.span(meta), down is not None, period, number
        )

    def access(self, meta: Any, c: list[Any]) -> s.Access:
        return s.Access(c[0], c[1], self.value(c[2]), self.span(meta))

    def interrupt(self, meta: Any, c: list[Any]) -> s.Interrupt:
        return s.Interrupt(str(c[0]), None, self.span(meta))

    def interrupt_line(self, meta: Any, c: list[Any]) -> s.Interrupt:
        return s.Interrupt("line", c[0], self.span(meta))

    def waker(self, meta: Any, c: list[Any]) -> s.Waker:
        return s.Waker(c[0], c[1], self.span(meta))

    def guard(self, meta: Any, c: list[Any]) -> s.Guard:
        return s.Guard(str(c[0]), tuple(c[1:]), self.span(meta))

    def class_(self, meta: Any, c: list[Any]) -> s.ClassDef:
        (name, at), over, *items = c
        return s.ClassDef(name, _flat(items), at, over[0] if over is not None else "")

    def device(self, meta: Any, c: list[Any]) -> s.Device:
        (name, at), (parent, _), *items = c
        kind = "family" if self._text.line(meta.line).startswith("family") else "device"
        return s.Device(name, parent, kind, _flat(items), at, kind == "family")

    def member(self, meta: Any, c: list[Any]) -> s.Device:
        (name, at), (parent, _), *items = c
        return s.Device(name, parent, "member", _flat(items), at)

    def branch(self, meta: Any, c: list[Any]) -> s.Device:
        (name, at), (parent, _), *items = c
        return s.Device(name, parent, "member", _flat(items), at, abstract=True)

    def overlay(self, meta: Any, c: list[Any]) -> s.Device:
        (name, at), (parent, _), *items = c
        return s.Device(name, parent, "overlay", _flat(items), at)

    def because(self, meta: Any, c: list[Any]) -> s.Because:
        return s.Because(c[0][1:-1], c[1], self.span(meta))

    def unproved(self, meta: Any, c: list[Any]) -> s.Unproved:
        return s.Unproved(c[0][1:-1], self.span(meta))

    # -- services

    def header(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("header", [str(c[0])])

    def let_constant(self, meta: Any, c: list[Any]) -> s.Constant:
        return s.Constant(str(c[0]), self.width(c[1]), c[2], self.span(meta))

    def condition(self, meta: Any, c: list[Any]) -> s.Expr:
        expression: s.Expr = c[0]
        return expression

    def accept(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("accept", list(c))

    def assignment(self, meta: Any, c: list[Any]) -> s.Assignment:
        return s.Assignment(c[0][0], c[1], self.span(meta))

    def reply(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("reply", list(c))

    def send(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("send", list(c))

    def remember(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("remember", list(c))

    def pulse(self, meta: Any, c: list[Any]) -> s.Pulse:
        count, unit, *keeps = c
        return s.Pulse(self.value(count) * NANOSECONDS[unit], tuple(keeps), self.span(meta))

    def speak(self, meta: Any, c: list[Any]) -> Tree[Any]:
        when, *lines = c
        fields = tuple(x for x in lines if isinstance(x, s.Asked))
        keeps = tuple(x for x in lines if isinstance(x, s.Assignment))
        return Tree("speak", [s.Speak(when, fields, keeps, self.span(meta))])

    def say(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("say", [s.String(c[0][1:-1], self.span(meta))])

    def tell(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("tell", [s.String(c[0][1:-1], self.span(meta))])

    def asked(self, meta: Any, c: list[Any]) -> s.Asked:
        return s.Asked(tuple(c[0][0].split(".")), c[1], self.span(meta))

    def ask(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("ask", list(c))

    def example_payload(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("payload", [self.value(x) for x in c])

    def example_with(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("with", [s.Asked(tuple(c[0][0].split(".")), c[1], self.span(meta))])

    def example_cut(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("cut", [self.value(c[0])])

    def example_expect(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("answer", list(c))

    def example_silence(self, meta: Any, c: list[Any]) -> Tree[Any]:
        return Tree("silence", [True])

    def example_said(self, meta: Any, c: list[Any]) -> Tree[Any]:
        count, unit = c
        given = SAID if count is None else self.value(count) * NANOSECONDS[unit]
        return Tree("said", [given])

    def example(self, meta: Any, c: list[Any]) -> s.Example:
        title, *items = c
        span = self.span(meta)
        parts = _sorted(items)
        silence = bool(parts["silence"])
        if silence == bool(parts["answer"]):
            raise self.error("E0007", "an example has 'answer' lines or 'silence'", span)
        return s.Example(
            title[1:-1], tuple(parts["payload"]) or (0,), tuple(parts["with"]),
            parts["cut"][0] if parts["cut"] else None, tuple(parts["answer"]), silence, span,
            parts["said"][0] if parts["said"] else None,
        )  # fmt: skip

    def service(self, meta: Any, c: list[Any]) -> s.Service:
        (name, at), (over, _), where, *items = c
        items = list(_flat(items))
        parts = _sorted([x for x in items if isinstance(x, Tree)])
        for once in ("header", "send", "speak", "say", "tell"):
            if len(parts[once]) > 1:
                raise self.error("E0008", f"service '{name}' says '{once}' twice", at)
        return s.Service(
            name=name, over=over, where=where,
            layouts=tuple(x for x in items if isinstance(x, s.Layout)),
            header=parts["header"][0] if parts["header"] else "",
            constants=tuple(x for x in items if isinstance(x, s.Constant)),
            accept=tuple(parts["accept"]), reply=tuple(parts["reply"]),
            send=parts["send"][0] if parts["send"] else None,
            say=parts["say"][0] if parts["say"] else None,
            ask=tuple(parts["ask"]),
            examples=tuple(x for x in items if isinstance(x, s.Example)), span=at,
            states=tuple(x for x in items if isinstance(x, s.State)),
            keeps=tuple(parts["remember"]),
            pulses=tuple(x for x in items if isinstance(x, s.Pulse)),
            speak=parts["speak"][0] if parts["speak"] else None,
            tell=parts["tell"][0] if parts["tell"] else None,
        )  # fmt: skip

    def start(self, meta: Any, c: list[Any]) -> s.File:
        def of(kind: type) -> Any:
            return tuple(x for x in c if isinstance(x, kind))

        return s.File(
            self._text.file, of(s.SourceName), of(s.ClassDef), of(s.Layout),
            of(s.Device), of(s.Service),
        )  # fmt: skip


def _flat(items: list[Any]) -> tuple[Any, ...]:
    """`state a, b` is two items."""
    flat: list[Any] = []
    for item in items:
        if isinstance(item, tuple):
            flat.extend(item)
        elif item is not None:
            flat.append(item)
    return tuple(flat)


_PARTS = (
    "header", "accept", "remember", "reply", "send", "speak", "say", "tell", "ask",
    "payload", "with", "cut", "answer", "silence", "said",
)  # fmt: skip


def _sorted(trees: list[Any]) -> dict[str, list[Any]]:
    """Children of the trees by their rule's name, in order; an absent one is empty."""
    found: dict[str, list[Any]] = {kind: [] for kind in _PARTS}
    for tree in trees:
        found[tree.data].extend(tree.children)
    return found
