"""Ask a booted machine every question its services' examples hold, and judge the answers.

Entering: the wire to the machine and the questions; leaving: one `Verdict` a question.

A question may want its frame passed on: then the answer is awaited on the other card's wire.

Every question is followed by a *control*, a question whose right answer is known and is
like no other. What came before the control's answer is the answer to the question: one
right frame, or nothing where silence is due. So silence is proved, not waited for.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from metaos.boot.frames import Value, chain_of
from metaos.boot.questions import Question, ask, asking, judge, questions_of, sizes
from metaos.boot.sayings import Listening, Peer, Saying, sayings_of
from metaos.errors import MetaosError
from metaos.pattern import syntax

BOOT_SECONDS = 30.0
ANSWER_SECONDS = 5.0
_KNOCK_SECONDS = 0.2
_POLL_SECONDS = 0.1
_DISTINCT_BYTES = 8
_PEER_MAC = 0x02_00_00_00_00_02
"""Locally administered, no group: ours alone on a network of two."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one question. `detail` says what is wrong, or is empty.

    `card` is the PCI address of the card it was asked of.
    """

    service: str
    question: str
    expected: str
    passed: bool
    detail: str
    seconds: float
    card: str = ""


Control = Callable[[int], Question]
"""The n-th control: the same question each time, with another payload."""


def given_of(machine: ipaddress.IPv4Interface, mac: int, gateway: int = 0) -> dict[str, Value]:
    """What patterns may call `my` and `peer`: the machine's addresses and ours."""
    hosts = (host for host in machine.network.hosts() if host != machine.ip)
    return {
        "my.ip": Value(int(machine.ip), 32),
        "my.mac": Value(mac, 48),
        "my.mask": Value(int(machine.netmask), 32),
        "my.gateway": Value(gateway, 32),
        "peer.ip": Value(int(next(hosts)), 32),
        "peer.mac": Value(_PEER_MAC, 48),
    }


def plan(
    names: Sequence[str],
    services: Mapping[str, syntax.Service],
    layouts: Mapping[str, syntax.Layout],
    given: Mapping[str, Value],
    *,
    seed: int,
) -> tuple[tuple[Question, ...], Control]:
    """All questions of the services `names` and of those they lie over, and their control.

    Raises:
        MetaosError: no example among them is answered, so that nothing could be proved.
    """
    every = with_parents(names, services)
    questions = [
        question
        for name in every
        if services[name].examples
        for question in questions_of(name, services, layouts, given, seed=seed)
    ]
    answered = [
        (name, example, payload)
        for name in every
        for example in asking(services[name])
        if not example.silence and not example.passed
        for payload in sizes(example)
    ]
    if not answered:
        raise MetaosError(
            f"no example of {', '.join(names) or 'no services'} expects an answer",
            hint="an `example` with `answer` in a service's pattern makes it testable",
        )
    long = [entry for entry in answered if (entry[2] or 0) >= _DISTINCT_BYTES]
    name, example, payload = (long or answered)[0]
    chain = chain_of(name, services, layouts)
    return tuple(questions), lambda n: ask(chain, example, payload, given, seed=seed + n + 1)


def heard(
    names: Sequence[str],
    services: Mapping[str, syntax.Service],
    layouts: Mapping[str, syntax.Layout],
    given: Mapping[str, Value],
) -> tuple[Saying, ...]:
    """All that the services `names`, and those they lie over, say unasked."""
    every = with_parents(names, services)
    telling = [x for x in every if any(e.said is not None for e in services[x].examples)]
    return tuple(x for name in telling for x in sayings_of(name, services, layouts, given))


def examine(
    peer: Peer,
    questions: Sequence[Question],
    control: Control,
    *,
    sayings: Sequence[Saying] = (),
    beyond: Peer | None = None,
    fate: Callable[[], str],
    boot_seconds: float = BOOT_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
) -> Iterator[Verdict]:
    """Wait for the machine, then ask every question once, in order, and hear what it says itself.

    `fate` says why nothing more is to be waited for, and nothing while there is; `beyond` is the
    wire of the card that frames are passed on to. Ends early, with the verdict that says so, when
    the machine stops answering controls.
    """
    start = time.monotonic()
    peer = Listening(peer, sayings)
    trouble = _wake(peer, control, fate, boot_seconds)
    awake = time.monotonic()
    yield _verdict("machine", "boots and answers", "an answer", trouble, start)
    for number, question in enumerate(questions, 2):
        if trouble:
            return
        start = time.monotonic()
        peer.send(question.sent)
        frames, trouble = _until(peer, control(number), fate, answer_seconds, question)
        expected = "an answer" if question.answers else "silence"
        if question.onward is None:
            detail = trouble or _compare(question, frames)
        else:
            expected = "passed on"
            detail = trouble or _came(question, frames, beyond, answer_seconds)
        yield _verdict(question.service, question.name, expected, detail, start)
    for saying in sayings:
        if trouble:
            return
        start = time.monotonic()
        detail = peer.hear(saying, awake + saying.seconds)
        yield _verdict(saying.service, saying.title, "a frame unasked", detail, start)


def missing(card: str, there: Collection[str]) -> Verdict:
    """The verdict on a card that the machine does not have."""
    cards = f"its cards are {', '.join(sorted(there))}" if there else "it has none"
    detail = f"the machine has no network card {card}: {cards}"
    verdict = _verdict("machine", "has the card", "a card", detail, time.monotonic())
    return msgspec.structs.replace(verdict, card=card)


def _wake(peer: Peer, control: Control, fate: Callable[[], str], seconds: float) -> str:
    """Knock until the first right answer, then take all late ones from the wire."""
    end = time.monotonic() + seconds
    knock = control(0)
    strange = b""
    while not (over := fate()) and time.monotonic() < end:
        peer.send(knock.sent)
        quiet = time.monotonic() + _KNOCK_SECONDS
        while (left := quiet - time.monotonic()) > 0:
            frame = peer.receive(left)
            if frame is not None and not judge(knock, frame):
                frames, trouble = _until(peer, control(1), fate, ANSWER_SECONDS)
                wrong = [f for f in frames if judge(knock, f)]
                return trouble or (f"an answer to nothing: {_hex(wrong[0])}" if wrong else "")
            strange = frame or strange
    if over:
        return over
    if strange:
        return f"only wrong answers in {seconds:.0f} s: {judge(knock, strange)}: {_hex(strange)}"
    return f"no answer in {seconds:.0f} s"


def _until(
    peer: Peer,
    control: Question,
    fate: Callable[[], str],
    seconds: float,
    question: Question | None = None,
) -> tuple[list[bytes], str]:
    """Ask `control`; the frames that come before its answer, and what is wrong, if anything.

    A control without a payload can be the very frame that was asked as `question`: the first
    right answer is that one's then.
    """
    frames: list[bytes] = []
    twice = question is not None and question.sent == control.sent
    end = time.monotonic() + seconds
    sent = peer.send(control.sent)
    over = ""
    while not over and (left := end - time.monotonic()) > 0:
        if not sent:
            sent = peer.send(control.sent)
        frame = peer.receive(min(left, _POLL_SECONDS))
        if frame is None:
            over = fate()
            continue
        if not judge(control, frame) and (frames or not twice):
            return frames, ""
        frames.append(frame)
    if over:
        return frames, over
    came = f"; {len(frames)} other frames came: {_hex(frames[-1])}" if frames else ""
    return frames, f"the machine did not answer the question after it in {seconds:.0f} s{came}"


def _compare(question: Question, frames: Sequence[bytes]) -> str:
    """What is wrong with `frames` as the whole answer to `question`; empty if nothing is."""
    if not question.answers:
        return f"answered by {_hex(frames[0])}" if frames else ""
    if not frames:
        return "no answer"
    wrong = judge(question, frames[0])
    if wrong:
        return f"{wrong}: {_hex(frames[0])}"
    return f"answered {len(frames)} times" if len(frames) > 1 else ""


def _came(question: Question, frames: Sequence[bytes], beyond: Peer | None, seconds: float) -> str:
    """What is wrong with a frame that must come out of the other card, and be answered by none."""
    if frames:
        return f"answered by {_hex(frames[0])}"
    if beyond is None:
        return "the machine has no card that it goes out of"
    end, wrong = time.monotonic() + seconds, "nothing came out of the other card"
    while (left := end - time.monotonic()) > 0:
        frame = beyond.receive(min(left, _POLL_SECONDS))
        if frame is not None and not (wrong := judge(question, frame)):
            return ""
    return wrong


def _verdict(service: str, question: str, expected: str, detail: str, start: float) -> Verdict:
    return Verdict(
        service=service,
        question=question,
        expected=expected,
        passed=not detail,
        detail=detail,
        seconds=round(time.monotonic() - start, 6),
    )


def with_parents(names: Sequence[str], services: Mapping[str, syntax.Service]) -> tuple[str, ...]:
    """`names`, the services below each and those that it has of its own, every one once.

    What is below or its own comes before a service.
    """
    found: dict[str, None] = {}

    def add(name: str, way: tuple[str, ...]) -> None:
        if name in services and name not in way and name not in found:
            for other in (services[name].over, *services[name].used):
                add(other, (*way, name))
            found[name] = None

    for name in names:
        add(name, ())
    return tuple(found)


def _hex(frame: bytes) -> str:
    return frame[:64].hex() + ("..." if len(frame) > 64 else "")
