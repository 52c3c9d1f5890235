"""Put a frame where a card's turn looks for one: `arrive(card, bench, frame) -> Arrival`.

No device is there to deliver it. So the card's own program is run on the bench, the conditions
of its `offer` are read off, and what they want is put where a device would have written it:
elements of the card's tables, and what its registers answer. Only simple conditions are
solved (comparisons, sums, masks, selects); what stays closed is said, with its line.

    arrival = arrive(card, bench, frame, pinned)
    arrival.given       # (Assigned(memory 0x200108 16 bits = 98), ...)
    arrival.closed      # () if the frame is offered
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from metaos.errors import MetaosError, Span
from metaos.ir.build import Builder
from metaos.ir.program import SHADOW, Op, Program
from metaos.lower.clock import Ticks
from metaos.lower.lower import Lowered, card_services
from metaos.lower.plan import DevicePlan
from metaos.lower.services import Services
from metaos.lower.turn import Turn
from metaos.lower.values import Frame
from metaos.match.bind import offers
from metaos.trace.bench import Bench, Bits, Register
from metaos.trace.solve import Given, Solver, Values

ROUNDS = 64
"""Runs of the program in search of what it wants; each finds one condition's value."""


@dataclass(frozen=True)
class Card:
    """A card's steady program, and of it the frame offered and what services make of it."""

    plan: DevicePlan
    program: Program
    frame: Frame
    answered: Op
    length: Op


@dataclass(frozen=True)
class Arrival:
    """What was put there. `base` is where the frame lies, `length` how long the turn takes it for;
    `closed` are the lines of conditions that still keep it from being offered."""

    base: int
    length: int
    given: tuple[Given, ...]
    closed: tuple[Span, ...]


def cards(lowered: Lowered) -> tuple[DevicePlan, ...]:
    """The cards of an image, in the machine's order."""
    return tuple(p for p in lowered.plans if offers(p.pattern))


def card_of(lowered: Lowered, address: str) -> Card:
    """One card, lowered once more to see what its turn offers."""
    for plan, services in card_services(lowered.bindings, cards(lowered), ticks=lowered.ticks):
        if plan.address == address:
            return _card(plan, services, lowered.ticks)
    raise MetaosError(f"{address} is no card of this image")


def _card(plan: DevicePlan, services: Services, ticks: Ticks | None) -> Card:
    builder, spy = Builder(plan.address, "steady"), _Spy(services)
    Turn(plan, builder, spy, None, ticks).lower()
    if len(spy.seen) != 1:
        raise MetaosError(f"{plan.address} offers {len(spy.seen)} frames a turn; trace follows one")
    return Card(plan, builder.finish(), *spy.seen[0])


class _Spy:
    """The services of a card, and what their frame and its answer are: `seen`."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.seen: list[tuple[Frame, Op, Op]] = []

    @property
    def speaks(self) -> bool:
        return self.services.speaks

    def wants(self, builder: Builder) -> Op:
        return self.services.wants(builder)

    def __call__(self, builder: Builder, frame: Frame) -> tuple[Op, Op]:
        answered, length = self.services(builder, frame)
        self.seen.append((frame, answered, length))
        return answered, length

    def speak(self, builder: Builder, frame: Frame) -> tuple[Op, Op]:
        return self.services.speak(builder, frame)


def arrive(card: Card, bench: Bench, frame: bytes, pinned: Mapping[Register, Bits]) -> Arrival:
    """Change `bench` so that the card's turn finds `frame`; bits of `pinned` stay as they are.

    `pinned` are RAM bytes and registers that a person has set.
    """
    search = _Search(card, bench, frame, pinned)
    for _ in range(ROUNDS):
        if not search.improved():
            break
    values = Values(card.program, bench)
    return Arrival(
        values[card.frame.base],
        values[card.frame.length],
        tuple(search.given.values()),
        tuple(search.closed(values)),
    )


@dataclass
class _Search:
    card: Card
    bench: Bench
    frame: bytes
    pinned: Mapping[Register, Bits]
    given: dict[tuple[Register, int], Given] = field(default_factory=dict)

    def improved(self) -> bool:
        """Set one more thing that the offer wants; False if nothing (more) can be set."""
        values = Values(self.card.program, self.bench)
        goals = [*_conditions(values, self.card.frame.gate), self._length(values)]
        for op, wanted, _ in goals:
            if values[op] == wanted:
                continue
            found = Solver(values, self._settable(values), self.pinned).reach(op, wanted)
            if found and self._apply(found):
                return True
        return self._place(values)

    def _length(self, values: Values) -> tuple[Op, int, Span | None]:
        return self.card.frame.length, len(self.frame), self.card.frame.length.span

    def closed(self, values: Values) -> Iterator[Span]:
        goals = _conditions(values, self.card.frame.gate)
        spans = [span for op, wanted, span in goals if values[op] != wanted and span is not None]
        yield from dict.fromkeys(spans)

    def _apply(self, found: list[Given]) -> bool:
        """Whether anything changed by it."""
        changed = False
        for one in found:
            key = (one.place, one.number)
            known = self.given.get(key)
            bits = one.bits if known is None else known.bits.and_then(one.bits)
            if known is not None and bits == known.bits:
                continue
            self.given[key] = Given(one.place, one.number, one.width, bits)
            self._put(self.given[key])
            changed = True
        return changed

    def _put(self, one: Given) -> None:
        if one.number < 0:
            memory, address = self.bench.memory, one.place[1]
            memory.write(address, one.width, one.bits.over(memory.read(address, one.width)))
        else:
            self.bench.answers.nth[one.place, one.number] = one.bits

    def _place(self, values: Values) -> bool:
        """Put the frame's bytes where the offer says, or into the reads that bring them there."""
        base, changed = values[self.card.frame.base], False
        left = set(range(len(self.frame)))
        for op, port, first, count in values.reads():
            if op.kind != "ins":
                continue
            start, unit = values[op.args[2]] - base, op.value // 8
            for number in range(count):
                at = start + number * unit
                inside = [at + i for i in range(unit) if 0 <= at + i < len(self.frame)]
                if not inside:
                    continue
                left -= set(inside)
                data = bytes(self.frame[i] if i in inside else 0 for i in range(at, at + unit))
                mask = sum(0xFF << 8 * (i - at) for i in inside)
                bits = Bits(int.from_bytes(data, "little"), mask)
                if self.bench.answers.nth.get((port, first + number)) != bits:
                    self.bench.answers.nth[port, first + number] = bits
                    changed = True
        for at in sorted(left):
            if self.bench.peek(base + at, 1)[0] != self.frame[at]:
                self.bench.poke(base + at, self.frame[at : at + 1])
                changed = True
        return changed

    def _settable(self, values: Values) -> Callable[[int, int], bool]:
        """Whether a device writes there: the card's tables, but not where the frame itself is."""
        base = values[self.card.frame.base]
        tables = {t.symbol for t in self.card.plan.tables.values()}

        def settable(address: int, size: int) -> bool:
            if address + size > base and address < base + len(self.frame):
                return False
            located = self.bench.atlas.find(address, size)
            return located is not None and not located.shadow and located.symbol.name in tables

        return settable


def _conditions(values: Values, gate: Op) -> Iterator[tuple[Op, int, Span | None]]:
    """What a gate's chain of selects wants: each condition, 1 or 0, and its line."""
    chain = []
    while gate.kind == "select":
        condition, yes, no = gate.args
        if no.kind == "const" and no.value == SHADOW:
            chain.append((condition, 1, gate.span))
            gate = yes
        elif yes.kind == "const" and yes.value == SHADOW:
            chain.append((condition, 0, gate.span))
            gate = no
        else:
            break
    if gate.kind != "const":
        chain.append((gate, 0, gate.span))
    yield from reversed(chain)
