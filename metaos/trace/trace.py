"""`trace(made, image, wanted) -> Trace`: an image's turns, or the rows of a start phase.

Entering: what an image was made from (`pipeline.remake`) and the image, the same bytes;
leaving: records. What is executed is the image's machine code, in `processor.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from metaos.errors import Exit, MetaosError, did_you_mean
from metaos.link.image import Image
from metaos.lower.lower import Lowered, unit_facts
from metaos.match.cards import roles
from metaos.match.serves import Made
from metaos.trace.arrive import Arrival, Card, arrive, card_of, cards
from metaos.trace.bench import NO_BITS, Bench, Bits, Register, bench_of
from metaos.trace.follow import Follower, op_lines
from metaos.trace.frames import Asked, Named, frame_of
from metaos.trace.names import Names, Target, names_of
from metaos.trace.records import Arrived, Changed, RowDone, Trace, Turn
from metaos.trace.rows import Rows
from metaos.trace.solve import Values

STEADY = "steady"
PHASES = (STEADY, "guard", "init", "report")
LARGEST_TURNS = 1000
_NO_MAC = (0x02_00_00_00_00_01).to_bytes(6, "big")
"""Locally administered: what a card is said to have where the machine file says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asks for. `sets` are "PLACE=VALUE"; `card` "" means the first."""

    name: str
    frame: str = ""
    phase: str = STEADY
    card: str = ""
    turns: int = 1
    sets: tuple[str, ...] = ()


@dataclass
class Pins:
    """What a person has set: bits by place, and the words."""

    bits: dict[Register, Bits] = field(default_factory=dict)
    words: list[Changed] = field(default_factory=list)


def trace(made: Made, image: Image, wanted: Wanted) -> Trace:
    """Follow what is wanted.

    Raises:
        MetaosError: no such card, frame, phase or place, or the code cannot be executed here.
    """
    if wanted.phase not in PHASES:
        hint = did_you_mean(wanted.phase, PHASES)
        raise _usage(f"there is no phase '{wanted.phase}' to trace", hint)
    if not 1 <= wanted.turns <= LARGEST_TURNS:
        raise _usage(f"{wanted.turns} turns: 1 to {LARGEST_TURNS} can be traced")
    card = _chosen(made.lowered, wanted)
    if wanted.phase != STEADY:
        return _rows(made, image, wanted, card)
    if not wanted.frame:
        raise _usage("the steady phase is traced for a FRAME", "a service's name is one")
    return _steady(made, image, wanted, card)


def _chosen(lowered: Lowered, wanted: Wanted) -> str:
    there = [plan.address for plan in cards(lowered)]
    if wanted.card and wanted.card not in there:
        hint = did_you_mean(wanted.card, there)
        raise _usage(f"the image has no network card {wanted.card}", hint)
    if not there and wanted.phase == STEADY:
        raise MetaosError(
            "the image has no network card, so that no frame can come",
            hint="its start phases can be traced: --phase guard",
        )
    return wanted.card or next(iter(there), "")


# ---- the steady phase -----------------------------------------------------------------


def _steady(made: Made, image: Image, wanted: Wanted, address: str) -> Trace:
    lowered = made.lowered
    bench = bench_of(image, STEADY)
    names = names_of(made.lowered, image, bench)
    card = card_of(lowered, address)
    macs, assumed = _units(lowered, bench)
    named = frame_of(wanted.frame, _asked(lowered, address, macs[address]))
    data = named.data.ljust(card.frame.least, b"\0")
    pins = pinned(wanted.sets, names, address)
    apply(pins, bench)
    ops = op_lines([p for p in lowered.programs if p.phase == STEADY])
    follower = Follower(image, bench, names, ports=bench.ports, ops=ops)
    arrivals, turns = [], []
    for number in range(1, wanted.turns + 1):
        bench.answers.nth.clear()
        arrival = arrive(card, bench, data, pins.bits)
        before = Values(card.program, bench)
        given = tuple(_assumed(arrival, names, bench))
        inside = range(arrival.base, arrival.base + len(data))
        turns.append(follower.turn(number, inside))
        arrivals.append(_arrived(number, card, arrival, before, given, bench, names))
    return Trace(
        image=wanted.name,
        phase=STEADY,
        card=address,
        pattern=card.plan.pattern.name,
        frame=data.hex(),
        about=_about(named, data),
        assumed=(*assumed, *pins.words),
        arrivals=tuple(arrivals),
        turns=tuple(turns),
        rows=(),
        ends="",
        programs=ops,
        sources=_sources(made, turns, arrivals, ()),
    )


def _about(named: Named, data: bytes) -> str:
    padded = len(data) - len(named.data)
    filled = f", {padded} zeros behind it as the wire's shortest frame has" if padded else ""
    return f"{named.words}; {len(named.data)} bytes{filled}"


def _units(lowered: Lowered, bench: Bench) -> tuple[dict[str, bytes], list[Changed]]:
    """Put what init reads of this one unit into the states; each card's MAC, and the words."""
    macs: dict[str, bytes] = {}
    words = []
    for plan in lowered.plans:
        facts = unit_facts(lowered.bindings.machine, plan.address)
        for state in plan.states.values():
            if not state.node.unit:
                continue
            known = facts.get(state.node.unit)
            size = state.bits // 8
            data = _NO_MAC[:size] if known is None else known.to_bytes(size, "little")
            macs[plan.address] = data
            if state.symbol in bench.symbols:
                bench.poke(bench.symbols[state.symbol], data)
            where = "machine file" if known is not None else "nobody knows it"
            place = f"{state.symbol} ({where}; init reads it on the machine)"
            words.append(Changed(place=place, before="", after=data.hex(":")))
    return macs, words


def _asked(lowered: Lowered, address: str, mac: bytes) -> Asked:
    bindings = lowered.bindings
    there = roles(bindings.system, [plan.address for plan in cards(lowered)])
    role = next(r for r in there if r.card == address)
    patterns = bindings.patterns
    return Asked(patterns.services, patterns.layouts, role.interface, mac)


def _arrived(
    number: int,
    card: Card,
    arrival: Arrival,
    before: Values,
    assumed: tuple[Changed, ...],
    bench: Bench,
    names: Names,
) -> Arrived:
    answered = before[card.answered] == 0
    length = before[card.length] if answered else 0
    return Arrived(
        turn=number,
        address=hex(arrival.base),
        place=names.place(arrival.base, 8),
        length=arrival.length,
        offered=not arrival.closed,
        answered=answered,
        answer=bench.peek(arrival.base, length).hex(),
        assumed=assumed,
        closed=tuple(f"{span.file}:{span.line}" for span in arrival.closed),
    )


def _assumed(arrival: Arrival, names: Names, bench: Bench) -> Iterator[Changed]:
    """What was put where a device would have, by name."""
    for one in arrival.given:
        space, address = one.place
        if one.number >= 0:
            name = names.port(address) if space == "port" else names.place(address, one.width)
            place = f"{name}, read {one.number + 1} of the turn"
            yield Changed(place=place, before="", after=_masked(one.bits))
            continue
        held = bench.memory.read(address, one.width)
        for place, _, after in names.changed(address, one.width, held ^ one.bits.mask, held):
            yield Changed(place=place, before="", after=after)


def _masked(bits: Bits) -> str:
    mask = f" in the bits {bits.mask:#x}" if bits.mask & bits.mask + 1 else ""
    return f"{bits.value:#x}{mask}"


# ---- the start phases -----------------------------------------------------------------


def _rows(made: Made, image: Image, wanted: Wanted, card: str) -> Trace:
    rows = Rows(made, image)
    pins = pinned(wanted.sets, rows.names, card)
    done, ends = rows.done(wanted.phase, pins.bits)
    return Trace(
        image=wanted.name,
        phase=wanted.phase,
        card=card,
        pattern="",
        frame="",
        about="",
        assumed=tuple(pins.words),
        arrivals=(),
        turns=(),
        rows=done,
        ends=ends,
        programs={},
        sources=_sources(made, [], [], done),
    )


# ---- what both need -------------------------------------------------------------------


def pinned(sets: tuple[str, ...], names: Names, card: str) -> Pins:
    """Read every "PLACE=VALUE".

    Raises:
        MetaosError: one has no value, names nothing, or its number does not fit.
    """
    pins = Pins()
    for text in sets:
        name, equals, number = text.partition("=")
        try:
            value = int(number.strip(), 0)
        except ValueError:
            raise _usage(f"--set {text}: expected PLACE=NUMBER, as in rx[0].DD=1") from None
        target = names.find(name.strip(), card)
        if not equals or not 0 <= value < 1 << target.bits:
            raise _usage(f"--set {text}: the number does not fit {target.bits} bits")
        _pin(pins.bits, target, value)
        pins.words.append(Changed(place=f"{name.strip()} (--set)", before="", after=hex(value)))
    return pins


def _pin(bits: dict[Register, Bits], target: Target, value: int) -> None:
    """Registers are pinned whole, RAM byte by byte."""
    whole, (space, address) = target.of(value), target.place
    if not target.ram:
        bits[target.place] = bits.get(target.place, NO_BITS).and_then(whole)
        return
    for at in range(-(-whole.mask.bit_length() // 8)):
        byte = Bits(whole.value >> 8 * at & 0xFF, whole.mask >> 8 * at & 0xFF)
        key = (space, address + at)
        bits[key] = bits.get(key, NO_BITS).and_then(byte)


def apply(pins: Pins, bench: Bench) -> None:
    """Put what a person has set on the bench: RAM now, registers whenever they are read."""
    for (space, address), bits in pins.bits.items():
        located = bench.atlas.find(address, 1) if space == "memory" else None
        if located is not None and located.symbol.kind == "place":
            bench.memory.write(address, 8, bits.over(bench.memory.read(address, 8)))
        else:
            bench.answers.fixed[space, address] = bits


def _sources(
    made: Made, turns: list[Turn], arrivals: list[Arrived], rows: tuple[RowDone, ...]
) -> dict[str, str]:
    """The pattern lines that a trace names, with their text."""
    wanted = {(s.file, s.line) for turn in turns for s in turn.steps}
    wanted |= {(row.file, row.line) for row in rows}
    for arrival in arrivals:
        for place in arrival.closed:
            file, _, line = place.rpartition(":")
            wanted.add((file, int(line)))
    sources = made.lowered.bindings.patterns.sources
    return {
        f"{file}:{line}": sources[file].line(line).strip()
        for file, line in sorted(wanted)
        if file in sources
    }


def _usage(message: str, hint: str = "") -> MetaosError:
    return MetaosError(message, hint=hint, exit_code=Exit.USAGE)
