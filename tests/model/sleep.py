"""A card, an interrupt controller and a processor that sleeps, step by step: can it oversleep?

    stuck(Scheme()) == ()           # in no interleaving
    stuck(Scheme(looks=False))      # the states in which a frame waits and nothing will wake

The line is that of `docs/sleep.md`: a turn answers one frame, if there is one; it acknowledges the
card's cause, and waits until that has reached the card; it looks and interrupts itself if there is
another frame; it tells the controller that the interrupt is served; it sleeps. Between any two of
these a frame may come: first it lies in memory, then its cause is set, and then perhaps an
interrupt is raised.
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
    `looks`: whether the turn looks for frames behind the first time. `last`: the cause is
    acknowledged behind the last look. `early`: the end of the interrupt comes before all else.

    `posted`: the acknowledgement is a write that reaches the card later; `flushed`: the card is
    read before the look, and that waits until the write is there.

    `sent`: the line is an I/O APIC's, which sends its level as a message, and no other before it is
    told of that one's end. It is told if the vector's last message was a level's. `shared`: what
    the processor sends itself has the same vector.
    """

    level: bool = True
    always: bool = False
    looks: bool = True
    last: bool = False
    early: bool = False
    posted: bool = False
    flushed: bool = False
    sent: bool = False
    shared: bool = False


@dataclass(frozen=True)
class State:
    """`pc` names the next step; `held`: the controller has an interrupt for the processor.

    `own`: it has one of the processor's own, of another vector; `owned`: that one is served.
    `under_way`: the acknowledgement was written, and has not reached the card.
    `remote`: the I/O APIC waits to be told; `levelled`: the vector's last message was a level's.
    """

    pc: str = "sleep"
    ring: int = 0
    coming: int = FRAMES
    told: int = 0  # frames in memory whose cause is still to be set
    cause: bool = False
    under_way: bool = False
    held: bool = False
    serving: bool = False
    own: bool = False
    owned: bool = False
    remote: bool = False
    levelled: bool = False


def program(scheme: Scheme) -> list[str]:
    """The turn's steps, in order."""
    look = ["look"] if scheme.looks else []
    forget = ["acknowledge", "flush"] if scheme.flushed else ["acknowledge"]
    steps = ["answer", *look, *forget] if scheme.last else ["answer", *forget, *look]
    return ["end", *steps, "sleep"] if scheme.early else [*steps, "end", "sleep"]


def after(scheme: Scheme, state: State) -> Iterator[State]:
    """Every state that can be next."""
    if state.coming:
        yield replace(state, coming=state.coming - 1, ring=state.ring + 1, told=state.told + 1)
    if state.told:
        rings = not scheme.level and (scheme.always or not state.cause)
        yield replace(state, told=state.told - 1, cause=True, held=state.held or rings)
    if scheme.sent and state.cause and not state.remote:
        yield replace(state, held=True, remote=True, levelled=True)
    if state.under_way:
        yield replace(state, cause=False, under_way=False)
    yield from _step(scheme, state)


def _step(scheme: Scheme, state: State) -> Iterator[State]:
    """The processor's own next step; none while it sleeps and nothing wakes it."""
    steps = program(scheme)
    pc = steps[(steps.index(state.pc) + 1) % len(steps)]
    match state.pc:
        case "answer":
            yield replace(state, pc=pc, ring=max(0, state.ring - 1))
        case "acknowledge" if scheme.posted:
            yield replace(state, pc=pc, under_way=True)
        case "acknowledge":
            yield replace(state, pc=pc, cause=False)
        case "flush":
            yield from () if state.under_way else (replace(state, pc=pc),)
        case "look":
            itself, apart = state.ring > 0, scheme.sent and not scheme.shared
            yield replace(
                state,
                pc=pc,
                held=state.held or (itself and not apart),
                own=state.own or (itself and apart),
                levelled=state.levelled and not (itself and scheme.shared),
            )
        case "end":
            told = state.serving and not state.owned and state.levelled
            remote = state.remote and not told
            yield replace(state, pc=pc, serving=False, owned=False, remote=remote)
        case "sleep":
            line = scheme.level and state.cause and not scheme.sent
            if state.own and not state.serving:
                yield replace(state, pc=pc, own=False, owned=True, serving=True)
            elif (state.held or line) and not state.serving:
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
