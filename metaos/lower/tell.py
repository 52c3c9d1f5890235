"""Lines that services tell on the consoles while the machine runs.

    lines = lines_of(cards, texts, consoles)   # what can be told, and where its text begins
    lines.begin(b, gate, line)                 # a card's turn: tell this, if nothing is being told
    write_line(b)                              # the platform's turn: its next character

The consoles show a ring of 256 characters, each at its own pace; the text that is shown at start
is the first of the lines. A line begins when all consoles have shown what was told before; what
happens meanwhile is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.link.parts import Datum, DatumLine, Place
from metaos.lower.headers import StateAt
from metaos.lower.known import fail
from metaos.lower.plan import DevicePlan
from metaos.lower.services import Services
from metaos.lower.stepper import PLATFORM
from metaos.lower.text import TEXT_SIZE, Texts, character, literal
from metaos.lower.work import GENERATED
from metaos.match.system import System
from metaos.pattern import syntax as s

TEXT = "told.text"
"""The ring that consoles show; a 0 stands behind its last character."""
WRITTEN = "told.written"
SITE, POSITION = "told.site", "told.position"
"""The line that is being told: where its text begins, and how much of it is written."""
VALUES = "told.values"
"""The numbers that it shows, 64 bits each."""
TEXTS, DIGITS = "told.texts", "told.digits"
MOST = 4
"""Numbers that one line can show."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text from `site` on, and the states that it shows, in the order of `VALUES`."""

    site: int
    shown: tuple[StateAt, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Everything that can be told. `of` is by card and service; `cursors` are the consoles'."""

    texts: Texts
    of: Mapping[tuple[str, str], Line]
    cursors: tuple[str, ...]

    def teller(self, card: str) -> Callable[[Builder, str, Op], None]:
        """What begins a line of one of a card's services, by its name."""
        return lambda b, service, gate: self.begin(b, self.of[card, service], gate)

    def begin(self, b: Builder, line: Line, gate: Op) -> None:
        """Where the gate is open and nothing is being told: tell this line."""
        at = b.add(b.zext(b.load(8, POSITION), 64), b.zext(b.load(32, SITE), 64))
        gate = b.gate(gate, b.eq(b.load(8, TEXTS, 0, (at,)), b.const(0, 8)))
        for cursor in self.cursors:
            gate = b.gate(gate, b.eq(b.load(8, cursor), b.load(8, WRITTEN)))
        for number, state in enumerate(line.shown):
            value = b.zext(b.load(state.storage, state.symbol), 64)
            b.store(value, VALUES, 8 * number, (gate,))
        b.store(b.const(line.site, 32), SITE, 0, (gate,))
        b.store(b.const(0, 8), POSITION, 0, (gate,))

    def data(self) -> tuple[Datum, ...]:
        """The texts, room behind them for any position, and the digits."""
        data = bytes(self.texts.data) + bytes(TEXT_SIZE)
        digits = self.texts.digit_bytes() or bytes(4)
        said = [DatumLine(x.start, x.end, x.device, "text", x.span) for x in self.texts.said]
        said.append(DatumLine(said[-1].end, len(data), PLATFORM, "constant", GENERATED))
        shown = DatumLine(0, len(digits), PLATFORM, "constant", GENERATED)
        return (
            Datum(TEXTS, ("steady",), data, 1, (), tuple(said)),
            Datum(DIGITS, ("steady",), digits, 4, (), (shown,)),
        )

    def places(self) -> tuple[Place, ...]:
        """What is written of it."""
        sizes = {TEXT: TEXT_SIZE, WRITTEN: 1, SITE: 4, POSITION: 1, VALUES: 8 * MOST}
        return tuple(
            Place(name, PLATFORM, size, 8, True, (), GENERATED, ("steady",))
            for name, size in sizes.items()
        )


def lines_of(
    carried: Sequence[tuple[DevicePlan, Services]],
    cursors: tuple[str, ...],
    system: System,
    services: Sequence[s.Service],
) -> Lines | None:
    """What the services of all cards can tell, and before it what consoles show at the start.

    `cursors` are the places where consoles keep how much they have shown. None where nothing is
    ever told, or nobody could show it.
    """
    telling = [(d, own, x) for d, own in carried for x in own.given.services if x.tell]
    hearing = any(x.hear for _, own in carried for x in own.given.services)
    if not (telling or hearing) or not cursors:
        return None
    texts, found = Texts(words={}), dict[tuple[str, str], Line]()
    names = {"my.ip": system.shown_address, "my.name": system.name}
    said = [x.say for x in services if x.say is not None]
    first = "\r\n".join(literal(say.value, names, say.span) for say in said)
    texts.add(first or system.name, {}, PLATFORM, said[0].span if said else GENERATED)
    for device, own, service in telling:
        assert service.tell is not None
        shown = tuple(x for x in service.states if f"{{{x.name}" in service.tell.value)
        if len(shown) > MOST:
            text = f"a line shows {len(shown)} numbers, at most {MOST}"
            raise fail(service.tell.span, "E0472", text)
        texts.words = {x.name: (8 * n, x.bits) for n, x in enumerate(shown)}
        address = str(IPv4Address(int(own.given.mine.ip)))
        mine = names if "ip" in own.given.mine.held else names | {"my.ip": address}
        site = texts.add(service.tell.value, mine, device.address, service.tell.span)
        states = (StateAt(own.given.mine.symbol(service, x.name), x) for x in shown)
        found[device.address, service.name] = Line(site, tuple(states))
    return Lines(texts, found, cursors)


def write_line(b: Builder) -> None:
    """One turn of the writer: the next character of what is being told, if there is one."""
    position, written = b.load(8, POSITION), b.load(8, WRITTEN)
    at = b.add(b.zext(position, 64), b.zext(b.load(32, SITE), 64))
    code, shown = character(b, TEXTS, DIGITS, VALUES, at)
    more = b.resize(b.ne(code, b.const(0, 8)), 8)
    behind = b.add(written, more)
    b.store(shown, TEXT, 0, (b.zext(written, 64),))
    b.store(b.const(0, 8), TEXT, 0, (b.zext(behind, 64),))
    b.store(behind, WRITTEN)
    b.store(b.add(position, more), POSITION)
