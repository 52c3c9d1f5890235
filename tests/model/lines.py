"""Two cards and a processor that sleeps: on one line, or one on a line and one that sends messages.

    stuck(Pair()) == ()             # in no interleaving
    stuck(Pair(together=False, looks=False))

A turn does for each card what `tests/model/sleep.py` does for one; then comes the end of the
interrupt, and sleep. `held`: somebody without a rule holds the line for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

FRAMES = 2
"""Frames that come to each card: more add no new kind of state."""
CARDS = 0, 1


@dataclass(frozen=True)
class Pair:
    """`together`: the second card is on the first one's line, else it sends messages.

    `level`: the line is a level, else an edge. `looks`: a card is looked at behind its
    acknowledgement. `held`: see above. `spurious`: a line that falls before the controller was
    asked gives an interrupt all the same.
    """

    together: bool = True
    level: bool = True
    looks: bool = True
    held: bool = False
    spurious: bool = False


@dataclass(frozen=True)
class Card:
    """`told`: frames in memory whose cause is still to be set."""

    coming: int = FRAMES
    ring: int = 0
    told: int = 0
    cause: bool = False


@dataclass(frozen=True)
class State:
    """`at`: the next step. `pending`: a message or an edge waits at the controller."""

    at: int
    cards: tuple[Card, Card] = (Card(), Card())
    pending: bool = False


def program(pair: Pair) -> tuple[tuple[str, int], ...]:
    """The turn's steps in order, each with the card that it is about."""
    own = ("answer", "acknowledge", *(("look",) if pair.looks else ()))
    return (*((step, card) for card in CARDS for step in own), ("sleep", -1))


def start(pair: Pair) -> State:
    """Asleep, and nothing has come."""
    return State(len(program(pair)) - 1)


def line(pair: Pair, state: State) -> bool:
    """Whether the line is up."""
    on = state.cards if pair.together else state.cards[:1]
    return pair.held or any(card.cause for card in on)


def after(pair: Pair, state: State) -> Iterator[State]:
    """Every state that can be next."""
    for number in CARDS:
        card = state.cards[number]
        if card.coming:
            come = replace(card, coming=card.coming - 1, ring=card.ring + 1, told=card.told + 1)
            yield _with(state, number, come)
        if card.told:
            on_line = pair.together or number == 0
            rises = not card.cause if not on_line else not pair.level and not line(pair, state)
            told = _with(state, number, replace(card, told=card.told - 1, cause=True))
            yield replace(told, pending=state.pending or rises)
    yield from _step(pair, state)


def _step(pair: Pair, state: State) -> Iterator[State]:
    """The processor's own next step; none while it sleeps and nothing wakes it."""
    steps = program(pair)
    (name, number), onward = steps[state.at], (state.at + 1) % len(steps)
    if name == "sleep":
        if state.pending or (pair.level and line(pair, state)):
            yield replace(state, at=onward, pending=False)
        return
    card, moved = state.cards[number], replace(state, at=onward)
    match name:
        case "answer":
            yield _with(moved, number, replace(card, ring=max(0, card.ring - 1)))
        case "acknowledge":
            fallen = _with(moved, number, replace(card, cause=False))
            yield fallen
            if pair.spurious and line(pair, state) and not line(pair, fallen):
                yield replace(fallen, pending=True)
        case "look":
            yield replace(moved, pending=state.pending or card.ring > 0)


def _with(state: State, number: int, card: Card) -> State:
    first, second = state.cards
    return replace(state, cards=(card, second) if number == 0 else (first, card))


def reached(pair: Pair) -> dict[State, tuple[State, ...]]:
    """Every state, with those that can be next."""
    found: dict[State, tuple[State, ...]] = {}
    left = [start(pair)]
    while left:
        state = left.pop()
        if state not in found:
            found[state] = tuple(after(pair, state))
            left += found[state]
    return found


def stuck(pair: Pair) -> tuple[State, ...]:
    """The states in which frames wait and nothing will ever happen."""
    waits = [state for state, onward in reached(pair).items() if not onward]
    return tuple(x for x in waits if any(card.ring for card in x.cards))


def starved(pair: Pair) -> tuple[State, ...]:
    """The states in which a frame waits from which none leads to where none does."""
    found = reached(pair)
    done = {x for x in found if not any(c.ring or c.coming or c.told for c in x.cards)}
    grown = True
    while grown:
        more = {x for x, onward in found.items() if x not in done and done & set(onward)}
        done |= more
        grown = bool(more)
    return tuple(x for x in found if x not in done)
