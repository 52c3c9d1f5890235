"""The acceptance test against fake machines: a right one, and ones with a fault each."""

import ipaddress
import time
from collections import deque
from collections.abc import Callable

import pytest

from metaos import resources
from metaos.boot.acceptance import Verdict, examine, given_of, plan
from metaos.boot.questions import Question, questions_of
from metaos.errors import MetaosError
from metaos.pattern.patterns import load
from tests.boot.test_questions import GIVEN, answer_to

PATTERNS = load([resources.PATTERNS])
SERVICES = ("arp", "icmp.echo", "udp.echo")
QUESTIONS, CONTROL = plan(SERVICES, PATTERNS.services, PATTERNS.layouts, GIVEN, seed=0)


class Machine:
    """Answers what has an answer; `fault` may change the frames it sends."""

    def __init__(
        self, fault: Callable[[Question | None, list[bytes]], list[bytes]], deaf: int = 0
    ) -> None:
        self.fault = fault
        self.deaf = deaf
        self.out: deque[bytes] = deque()
        self.known = {q.sent: q for q in QUESTIONS}
        self.controls = {CONTROL(n).sent: CONTROL(n) for n in range(len(QUESTIONS) + 3)}

    def send(self, frame: bytes) -> bool:
        self.deaf -= 1
        if self.deaf < 0:
            question = self.known.get(frame)
            asked = question or self.controls[frame]
            right = [answer_to(frame)] if asked.answers else []
            self.out.extend(self.fault(question, right))
        return True

    def receive(self, seconds: float) -> bytes | None:
        if not self.out:
            time.sleep(min(seconds, 0.01))
            return None
        return self.out.popleft()


def verdicts(machine: Machine, fate: Callable[[], str] = lambda: "") -> list[Verdict]:
    return list(
        examine(machine, QUESTIONS, CONTROL, fate=fate, boot_seconds=0.9, answer_seconds=0.5)
    )


def of(found: list[Verdict], question: str) -> Verdict:
    return next(v for v in found if question in v.question)


def test_every_example_is_asked() -> None:
    for name in SERVICES:
        for example in PATTERNS.services[name].examples:
            asked = [q for q in QUESTIONS if (q.service, q.title) == (name, example.title)]
            assert len(asked) == max(1, len(example.payloads))
    sizes = {q.payload for q in QUESTIONS if q.answers}
    assert {0, 1, 17, 56, 333, 1000, 1472} <= sizes


def test_controls_differ() -> None:
    assert len({CONTROL(n).sent for n in range(50)} | {q.sent for q in QUESTIONS}) == 50 + len(
        {q.sent for q in QUESTIONS}
    )


def test_a_right_machine_passes() -> None:
    found = verdicts(Machine(lambda _, right: right))
    assert len(found) == len(QUESTIONS) + 1
    assert all(v.passed for v in found), [v for v in found if not v.passed]


def test_a_machine_that_is_deaf_while_it_boots_passes() -> None:
    machine = Machine(lambda _, right: right, deaf=2)
    assert all(v.passed for v in verdicts(machine))


def test_late_answers_to_knocks_are_no_fault() -> None:
    machine = Machine(lambda _, right: right)
    machine.out.extend([answer_to(CONTROL(0).sent)] * 7)
    assert all(v.passed for v in verdicts(machine))


def test_a_control_may_be_the_question_itself() -> None:
    questions, control = plan(("arp",), PATTERNS.services, PATTERNS.layouts, GIVEN, seed=0)
    assert control(3).sent in {q.sent for q in questions}

    def found(fault: Callable[[Question | None, list[bytes]], list[bytes]]) -> list[Verdict]:
        machine = Machine(fault)
        machine.known = {q.sent: q for q in questions}
        return list(
            examine(machine, questions, control, fate=str, boot_seconds=0.9, answer_seconds=0.5)
        )

    assert all(v.passed for v in found(lambda _, right: right))
    wrong = found(lambda _, right: [f[:-20] + b"!" * 20 for f in right])
    assert not any(v.passed for v in wrong)
    count = 0

    def once(_: Question | None, right: list[bytes]) -> list[bytes]:
        nonlocal count
        count += bool(right)
        return right if count != 4 else []

    assert not all(v.passed for v in found(once))


def test_one_wrong_bit_fails() -> None:
    def flip(question: Question | None, right: list[bytes]) -> list[bytes]:
        return [f[:-1] + bytes([f[-1] ^ 1]) for f in right] if question else right

    found = verdicts(Machine(flip))
    assert [v.passed for v in found] == [
        v.expected == "silence" or v.service == "machine" for v in found
    ]


def test_silence_where_an_answer_is_due_fails() -> None:
    found = verdicts(Machine(lambda question, right: [] if question else right))
    assert of(found, "who has our address").detail == "no answer"
    assert of(found, "who has another").passed


def test_an_answer_where_silence_is_due_fails() -> None:
    def eager(question: Question | None, right: list[bytes]) -> list[bytes]:
        return right or [b"\xff" * 60]

    found = verdicts(Machine(eager))
    assert "answered by ffff" in of(found, "who has another").detail
    assert of(found, "who has our address").passed


def test_two_answers_fail() -> None:
    found = verdicts(Machine(lambda question, right: right * 2 if question else right))
    assert of(found, "who has our address").detail == "answered 2 times"


def test_a_machine_that_never_answers_is_given_up() -> None:
    (verdict,) = verdicts(Machine(lambda *_: []))
    assert not verdict.passed and verdict.detail.startswith("no answer in")


def test_a_machine_that_talks_nonsense_is_shown() -> None:
    (verdict,) = verdicts(Machine(lambda *_: [b"\xee" * 60]))
    assert "only wrong answers" in verdict.detail and "eeee" in verdict.detail


def test_a_machine_that_dies_is_not_waited_for() -> None:
    (verdict,) = verdicts(Machine(lambda *_: []), fate=lambda: "it ended")
    assert verdict.detail == "it ended" and verdict.seconds < 0.5


def test_a_machine_that_stops_answering_ends_the_test() -> None:
    heard = []

    def tired(question: Question | None, right: list[bytes]) -> list[bytes]:
        heard.append(question)
        return right if len(heard) < 9 else []

    found = verdicts(Machine(tired))
    assert len(found) < 9 and not found[-1].passed
    assert "did not answer the question after it" in found[-1].detail


def test_services_without_an_answer_cannot_be_tested() -> None:
    with pytest.raises(MetaosError, match="expects an answer"):
        plan(("ethernet",), PATTERNS.services, PATTERNS.layouts, GIVEN, seed=0)


def test_parents_are_asked_too() -> None:
    every, _ = plan(("udp.echo",), PATTERNS.services, PATTERNS.layouts, GIVEN, seed=0)
    own = questions_of("udp.echo", PATTERNS.services, PATTERNS.layouts, GIVEN, seed=0)
    assert {q.service for q in every} >= {q.service for q in own}


def test_we_are_not_the_machine() -> None:
    for text in ("10.0.2.15/24", "10.0.2.1/24", "192.168.1.2/30"):
        interface = ipaddress.IPv4Interface(text)
        given = given_of(interface, 1)
        peer = ipaddress.IPv4Address(given["peer.ip"].number)
        assert peer != interface.ip and peer in interface.network
