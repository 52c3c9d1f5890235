"""The start of a machine in time: nothing stops it, its memory is looked at again and again.

    timed(machine, asked, parts)        # the segments of `parts`, each with its seconds

A look takes about two microseconds; a part that begins and ends between two has no time of its own.
"""

from __future__ import annotations

import time

import msgspec

from metaos.boot.segments import ANSWER, Part, Segment
from metaos.boot.watched import Asked, Watched

_LOOKS = 4096
"""Looks after which it is asked whether there is still time, and a machine."""
_LOADER = 1


def timed(machine: Watched, asked: Asked, parts: tuple[Part, ...]) -> tuple[Segment, ...]:
    """Run the machine up to its first answer, as long as `parts` have one."""
    answers = parts[-1].segment.kind == ANSWER
    steady = len(parts) - (2 if answers else 1)
    seconds: list[float | None] = [None] * len(parts)
    here, looks, since = 0, 0, time.perf_counter()
    machine.vm.command("cont")
    while here < steady:
        after = _further(machine, parts, here)
        if after > here:
            now = time.perf_counter()
            seconds[here], since, here = now - since, now, after
        looks += 1
        if looks % _LOOKS == 0:
            machine.left("its steady phase")
    question = machine.question(asked) if answers else None
    if question is not None:
        machine.answer(*question)
        seconds[-1] = time.perf_counter() - since
    return tuple(
        msgspec.structs.replace(part.segment, seconds=spent)
        for part, spent in zip(parts, seconds, strict=True)
    )


def _further(machine: Watched, parts: tuple[Part, ...], here: int) -> int:
    """The part that the machine is in, `here` or a later one."""
    position = machine.position()
    if position[0] < 0:  # no phase has begun
        return _LOADER if machine.loaded() else here
    for number in range(here, len(parts)):
        if position in parts[number].positions:
            return number
    return here
