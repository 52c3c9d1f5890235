"""Every card says what its services want to say, and goes on answering."""

from __future__ import annotations

from collections import deque

import msgspec
import pytest

from metaos import resources
from metaos.boot.acceptance import given_of
from metaos.boot.questions import Question, judge
from metaos.boot.sayings import sayings_of
from metaos.fake.examples import Bench, _question
from metaos.fake.machine import MAC
from metaos.fake.prepare import prepare
from metaos.fake.seen import Seen
from metaos.match.bind import offers
from metaos.match.system import read_system
from metaos.pattern import syntax as s
from metaos.pattern.patterns import load
from metaos.pattern.spell import walk

pytestmark = pytest.mark.long

PATTERNS = load([resources.PATTERNS])
CARDS = [n for n, p in PATTERNS.devices.items() if offers(p) and not p.abstract and p.fakes]
SYSTEM = msgspec.structs.replace(
    read_system(), services=("arp", "icmp.echo", "udp.echo", "arp.announce")
)


def firsts(names: list[str]) -> list[str]:
    """Of each family the first: members differ in what they are recognised by."""
    families: dict[str, str] = {}
    for name in names:
        families.setdefault(PATTERNS.devices[name].family or name, name)
    return list(families.values())


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in firsts(CARDS) else pytest.mark.slow) for n in CARDS],
)
def test_a_card_says_who_it_is_once_and_answers_on(name: str) -> None:
    given = given_of(SYSTEM.interface, MAC)
    (saying,) = sayings_of("arp.announce", PATTERNS.services, dict(PATTERNS.layouts), given)
    bench = Bench(PATTERNS, SYSTEM, ("interpreter",))
    pattern = PATTERNS.devices[name]
    prepared = prepare(pattern, PATTERNS, SYSTEM, {}, "")
    station = prepared.station(Seen(), {}, emulated=False)
    assert station.start() is None
    fake = station.fakes[prepared.device.address]
    for _ in range(8):
        station.turn()
    assert [saying.wrong(frame) for frame in fake.sent] == [""]
    assert len(fake.sent[0]) == 60
    waiting: deque[Question] = deque()
    for number in range(100):  # round the ring: the spare buffer that was said is not lost
        question = _question(bench, 60 + number, pattern.span, number)
        waiting.append(question)
        assert fake.arrive(question.sent)
        for _ in range(4):
            station.turn()
        assert not judge(waiting.popleft(), fake.sent[-1])
    assert len(fake.sent) == 101


def test_every_card_of_ours_can_say_something() -> None:
    for name in CARDS:
        turn = PATTERNS.devices[name].one(s.Turn)
        assert turn is not None and any(isinstance(x, s.Grant) for x in walk(turn)), name
