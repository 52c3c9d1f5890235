"""A serial port that wakes the processor by an edge, step by step: can a text stand still?

    stuck(Port()) == ()                # in no interleaving
    stuck(Port(acknowledged=True))     # the states in which text is left and nothing will wake

The port has room for a character, THR, and one that it sends. Its interrupt, and with it the line,
rises as THR becomes empty, and falls as THR is written. The controller keeps a rise until
the processor takes it. A turn looks if THR is empty, writes a character if there is one, and
sleeps. A card may wake the machine meanwhile, and begin the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

TEXT, CARDS = 4, 3
"""Characters of the text, and how often the card wakes the machine: more add nothing new."""
STEPS = ("begin", "look", "write", "acknowledge", "end", "sleep")


@dataclass(frozen=True)
class Port:
    """What is tried. `drops`: the controller forgets a rise if the line falls before it is taken.

    `acknowledged`: the turn ends the port's interrupt behind the write too, by reading IIR.
    `held`: another device on the line holds it up for good.
    """

    drops: bool = False
    acknowledged: bool = False
    held: bool = False


@dataclass(frozen=True)
class State:
    """`pc` names the next step; `text` is what is left of it, `coming` if it has not begun.

    `full`: there is a character in THR; `sending`: one is on its way; `asking`: the interrupt;
    `kept`: the controller has a rise of the line; `serving`: it was told of no end yet.
    """

    pc: str = "begin"
    coming: bool = True
    text: int = 0
    cards: int = CARDS
    ready: bool = False
    full: bool = False
    sending: bool = False
    asking: bool = False
    kept: bool = False
    serving: bool = False


def after(port: Port, state: State) -> Iterator[State]:
    """Every state that can be next."""
    if state.full and not state.sending:
        rises = not state.asking and not port.held
        yield replace(state, full=False, sending=True, asking=True, kept=state.kept or rises)
    if state.sending:
        yield replace(state, sending=False)
    pc = STEPS[(STEPS.index(state.pc) + 1) % len(STEPS)]
    falls = replace(state, pc=pc, asking=False, kept=state.kept and not port.drops)
    match state.pc:
        case "begin":
            yield replace(state, pc=pc)
            if state.coming:
                yield replace(state, pc=pc, coming=False, text=TEXT)
        case "look":
            yield replace(state, pc=pc, ready=state.text > 0 and not state.full)
        case "write" if state.ready:
            yield replace(falls, full=True, text=state.text - 1)
        case "acknowledge" if port.acknowledged:
            yield falls
        case "end":
            yield replace(state, pc=pc, serving=False)
        case "sleep":
            if state.kept and not state.serving:
                yield replace(state, pc=pc, kept=False, serving=True)
            if state.cards:
                yield replace(state, pc=pc, cards=state.cards - 1)
        case _:
            yield replace(state, pc=pc)


def reached(port: Port) -> Iterator[tuple[State, bool]]:
    """Every state that can be, with whether it is the last.

    What asked before anything was written may be up at the start, and the controller not know it.
    """
    first = State()
    left = [first, replace(first, asking=True), replace(first, asking=True, kept=True)]
    seen = set(left)
    while left:
        state = left.pop()
        following = set(after(port, state))
        yield state, not following
        left += following - seen
        seen |= following


def stuck(port: Port) -> tuple[State, ...]:
    """The states that can be reached in which text is left and nothing will ever happen."""
    return tuple(x for x, last in reached(port) if last and x.text)


def shown(port: Port) -> bool:
    """Whether the text can come to its end: the model does something."""
    return any(last and not (x.text or x.coming) for x, last in reached(port))
