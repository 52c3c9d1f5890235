"""Frames that a machine says unasked, as the examples with `said` describe them.

sayings = sayings_of("announce", services, layouts, given)
heard = Listening(wire, sayings)    # a wire on which only other frames come
heard.first[sayings[0]]             # the frame, once it has come
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from metaos.boot.frames import Chain, Given, TooShortError, Value, View, chain_of
from metaos.pattern import syntax
from metaos.pattern.spell import walk

_NANO = 1_000_000_000


class Peer(Protocol):
    """The other end of the wire (`network.Wire`)."""

    def send(self, frame: bytes) -> bool: ...

    def receive(self, seconds: float) -> bytes | None: ...


@dataclass(frozen=True, eq=False, slots=True)
class Saying:
    """A frame that must come at most so many `seconds` after the start, unasked.

    `conditions` hold of it, each seen from a layer of the chain.
    """

    service: str
    title: str
    chain: Chain
    given: Given
    conditions: tuple[tuple[int, syntax.Expr], ...]
    seconds: float

    def wrong(self, frame: bytes) -> str:
        """The first condition that does not hold of a frame; empty if it is this one."""
        view = View(self.chain, len(self.chain.layers) - 1, frame, len(frame), self.given)
        for layer, condition in self.conditions:
            try:
                if view.at(layer).evaluate(condition) == Value(0, 1):
                    return f"{condition.span}: does not hold"
            except TooShortError as error:
                return f"the frame ends before {error}"
        return ""


def sayings_of(
    name: str,
    services: Mapping[str, syntax.Service],
    layouts: Mapping[str, syntax.Layout],
    given: Given,
) -> tuple[Saying, ...]:
    """What the examples of the service `name` say that it says unasked.

    Raises MetaosError where an expression means nothing.
    """
    chain = chain_of(name, services, layouts)
    own = len(chain.layers) - 1
    wheres = tuple(
        (index - 1, layer.service.where)
        for index, layer in enumerate(chain.layers)
        if layer.service.where is not None and not _said_otherwise(chain, index)
    )
    return tuple(
        Saying(
            name,
            example.title,
            chain,
            given,
            (*wheres, *((own, answer) for answer in example.answers)),
            example.said / _NANO,
        )
        for example in services[name].examples
        if example.said is not None
    )


def _said_otherwise(chain: Chain, index: int) -> bool:
    """Whether what a service says has another number where its `where` looks at what comes."""
    service = chain.layers[index].service
    said = {asked.path for asked in service.speak.fields} if service.speak is not None else set()
    below = tuple(service.over.split("."))
    return any((*below, x.text) in said for x in walk(service.where) if isinstance(x, syntax.Name))


class Listening:
    """A wire without what the machine says unasked, which is kept: the first of each."""

    def __init__(self, peer: Peer, sayings: Sequence[Saying]) -> None:
        self.peer = peer
        self.sayings = sayings
        self.first: dict[Saying, bytes] = {}

    def send(self, frame: bytes) -> bool:
        """Hand a frame to the machine."""
        return self.peer.send(frame)

    def receive(self, seconds: float) -> bytes | None:
        """The next frame that is none of the sayings, or None after `seconds`."""
        end = time.monotonic() + seconds
        left = seconds
        while (frame := self.peer.receive(left)) is not None:
            mine = next((x for x in self.sayings if not x.wrong(frame)), None)
            if mine is None:
                return frame
            self.first.setdefault(mine, frame)
            left = end - time.monotonic()
            if left <= 0:
                return None
        return None

    def hear(self, saying: Saying, end: float) -> str:
        """Wait for a frame until `end` by the clock; what is wrong, if it does not come."""
        last = b""
        while saying not in self.first:
            left = end - time.monotonic()
            if left <= 0:
                other = f"; the last other frame: {last[:64].hex()}" if last else ""
                return f"nothing of the kind came in {saying.seconds:g} s{other}"
            last = self.receive(min(left, 0.1)) or last
        return ""
