"""An alarm, a clock and a processor that sleeps, step by step: can it oversleep?

    overslept(Setting()) == ()                  # in no interleaving
    overslept(Setting(order="set do"))          # the states in which nothing is left to wake it

The line is that of `docs/sleep.md`: a turn reads the clock; it does what is due, which is due a
period later again; it sets the alarm to what is left until then; it tells the controller that the
interrupt is served; it sleeps. A unit of time may pass between any two of these, and other
interrupts may come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

PERIOD, OTHERS = 3, 2
"""In units of time; interrupts of others in all: more add no new kind of state."""
LONG = 2 * PERIOD
"""A turn that has taken as long as this may take for ever."""


@dataclass(frozen=True)
class Setting:
    """What is tried. `order`: of the block and of the alarm. `sets`: the alarm is set at all.

    `spares`: it is set only if something else is due next than when it was set last. `early`: the
    alarm counts faster than the clock, so that it rings a unit before its time.
    """

    order: str = "do set"
    sets: bool = True
    spares: bool = False
    early: bool = False


@dataclass(frozen=True)
class State:
    """`pc` names the next step, `left` the time until the block is due, 0 if that is over.

    `since` is how long ago the clock was read, `seen` what was left then. `rings`: the alarm's
    count; 0 for one that does not run. `new`: another time is due than the alarm was set to.
    `lag`: how long before it was set the clock was read.
    """

    pc: str = "read"
    left: int = 0
    since: int = 0
    seen: int = 0
    rings: int = 0
    lag: int = 0
    new: bool = True
    others: int = OTHERS
    held: bool = False
    serving: bool = False


def program(setting: Setting) -> list[str]:
    """The turn's steps, in order."""
    return ["read", *setting.order.split(), "end", "sleep"]


def after(setting: Setting, state: State) -> Iterator[State]:
    """Every state that can be next."""
    if state.since < LONG:
        yield _later(state)
    if state.others:
        yield replace(state, others=state.others - 1, held=True)
    steps = program(setting)
    pc = steps[(steps.index(state.pc) + 1) % len(steps)]
    match state.pc:
        case "read":
            yield replace(state, pc=pc, since=0, seen=state.left)
        case "do" if state.seen:
            yield replace(state, pc=pc)
        case "do":
            left = max(0, PERIOD - state.since)
            yield replace(state, pc=pc, left=left, seen=PERIOD, new=True)
        case "set" if not setting.sets or (setting.spares and not state.new):
            yield replace(state, pc=pc)
        case "set":
            count = max(1, state.seen - 1) if setting.early and state.seen else state.seen
            yield replace(state, pc=pc, rings=count, lag=state.since, new=False)
        case "end":
            yield replace(state, pc=pc, serving=False)
        case "sleep" if state.held and not state.serving:
            yield replace(state, pc=pc, held=False, serving=True)


def _later(state: State) -> State:
    """A unit of time has passed; the alarm rings once."""
    return replace(
        state,
        left=max(0, state.left - 1),
        since=state.since + 1,
        rings=max(0, state.rings - 1),
        held=state.held or state.rings == 1,
    )


def reached(setting: Setting) -> frozenset[State]:
    """Every state that can be reached."""
    seen, todo = {State()}, [State()]
    while todo:
        for one in after(setting, todo.pop()):
            if one not in seen:
                seen.add(one)
                todo.append(one)
    return frozenset(seen)


def overslept(setting: Setting) -> tuple[State, ...]:
    """The states asleep in which no alarm runs, or one that rings later than what is due and the
    time from the clock's reading to its setting.
    """
    asleep = (x for x in reached(setting) if x.pc == "sleep" and not x.held)
    return tuple(x for x in asleep if not x.rings or x.rings > x.left + x.lag)
