"""A card, an interrupt controller and a processor that sleeps, step by step: can it oversleep?

    stuck(Scheme()) == ()           # in no interleaving
    stuck(Scheme(looks=1))          # the states in which a frame waits and nothing will wake

The line is that of `docs/sleep.md`: a turn answers one frame, if there is one; with none left it
acknowledges the card's cause; it looks again and interrupts itself if there is a frame; it tells
the controller that the interrupt is served; it sleeps. Between any two of these a frame may come:
first it lies in memory, then its cause is set, and then perhaps an interrupt is raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

FRAMES = 3
"""Frames that come in all: more add no new kind of state."""


@dataclass(frozen=True)
class Scheme:
    """What is tried. `level`: the card holds a line while its cause is set, else it sends messages.

    `always`: a message goes out whenever a cause is set, else only when it was not set before.
    `looks`: how often the turn looks for frames after the first time. `last`: the cause is
    acknowledged behind the last look. `early`: the end of the interrupt comes before all else.
    """

    level: bool = True
    always: bool = False
    looks: int = 2
    last: bool = False
    early: bool = False


@dataclass(frozen=True)
class State:
    """`pc` names the next step; `held`: the controller has an interrupt for the processor."""

    pc: str = "sleep"
    ring: int = 0
    coming: int = FRAMES
    told: int = 0  # frames in memory whose cause is still to be set
    cause: bool = False
    held: bool = False
    serving: bool = False
    more: bool = False


def program(scheme: Scheme) -> list[str]:
    """The turn's steps, in order."""
    look = ["again"] if scheme.looks == 2 else []
    steps = ["answer", "more", "acknowledge", *look]
    if scheme.last:
        steps = ["answer", "more", *look, "acknowledge"]
    return ["end", *steps, "sleep"] if scheme.early else [*steps, "end", "sleep"]


def after(scheme: Scheme, state: State) -> Iterator[State]:
    """Every state that can be next."""
    if state.coming:
        yield replace(state, coming=state.coming - 1, ring=state.ring + 1, told=state.told + 1)
    if state.told:
        rings = not scheme.level and (scheme.always or not state.cause)
        yield replace(state, told=state.told - 1, cause=True, held=state.held or rings)
    yield from _step(scheme, state)


def _step(scheme: Scheme, state: State) -> Iterator[State]:
    """The processor's own next step; none while it sleeps and nothing wakes it."""
    steps = program(scheme)
    pc = steps[(steps.index(state.pc) + 1) % len(steps)]
    match state.pc:
        case "answer":
            yield replace(state, pc=pc, ring=max(0, state.ring - 1))
        case "more":
            yield replace(state, pc=pc, more=state.ring > 0)
        case "acknowledge":
            yield replace(state, pc=pc, cause=state.cause and state.more)
        case "again":
            yield replace(state, pc=pc, held=state.held or state.ring > 0)
        case "end":
            yield replace(state, pc=pc, serving=False)
        case "sleep":
            line = scheme.level and state.cause
            if (state.held or line) and not state.serving:
                yield replace(state, pc=pc, held=False, serving=True)


def stuck(scheme: Scheme) -> tuple[State, ...]:
    """The states that can be reached in which frames wait and nothing will ever happen."""
    seen, left = {State()}, [State()]
    found = []
    while left:
        state = left.pop()
        following = list(after(scheme, state))
        if not following and state.ring:
            found.append(state)
        for one in following:
            if one not in seen:
                seen.add(one)
                left.append(one)
    return tuple(found)


def served(scheme: Scheme) -> bool:
    """Whether some way through answers every frame and ends asleep: the model does something."""
    seen, left = {State()}, [State()]
    while left:
        state = left.pop()
        if state.pc == "sleep" and not (state.ring or state.coming or state.told):
            return True
        for one in after(scheme, state):
            if one not in seen:
                seen.add(one)
                left.append(one)
    return False
