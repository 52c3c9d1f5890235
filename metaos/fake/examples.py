"""Run the examples of a device's rule on its fake: `test_device(...) -> Tested`.

Each example begins at power on: guard and init run, then its lines in order. A network
card is asked every example of the system's services too. Where the fake says when the device
interrupts, all this is done twice: awake, where each turn follows on the last, and asleep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from metaos.boot.acceptance import given_of
from metaos.boot.frames import chain_of
from metaos.boot.questions import Question, ask, asking, judge, questions_of, sizes
from metaos.errors import MetaosError, Span
from metaos.fake.asleep import meets, rest
from metaos.fake.machine import MAC
from metaos.fake.numbers import Misuse
from metaos.fake.observe import Observer
from metaos.fake.prepare import Prepared, interrupts, prepare
from metaos.fake.results import Outcome, Reach, Tested
from metaos.fake.seen import Seen, coverage
from metaos.fake.sight import Scope
from metaos.fake.station import Station
from metaos.match.bind import offers
from metaos.match.services import services_of
from metaos.match.system import System
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.spell import spell, walk

HELLO = "hello"
"""What a console is given where the example does not say."""
SEED = 1
SHORT = 60
"""The shortest frame that is asked, in bytes."""
_TURNS_TO_ANSWER = 2


@dataclass(frozen=True)
class Bench:
    """What every example of a run shares."""

    patterns: Patterns
    system: System
    engines: tuple[str, ...]


@dataclass(frozen=True)
class Way:
    """In what an example runs, and whether the processor sleeps between turns."""

    engine: str
    asleep: bool

    @property
    def name(self) -> str:
        return f"{self.engine}, asleep" if self.asleep else self.engine

    @property
    def emulated(self) -> bool:
        return self.engine == "unicorn"


class _Wrong(Exception):  # noqa: N818 - an example that does not hold
    """Something else was found than an example's line expects."""

    def __init__(self, span: Span, detail: str) -> None:
        super().__init__(detail)
        self.span, self.detail = span, detail


def test_device(pattern: Pattern, bench: Bench) -> Tested:
    """All examples of one rule."""
    if not pattern.fakes:
        return Tested(name=pattern.name, kind="device", untested="its pattern has no 'fake'")
    if not pattern.trials:
        return Tested(name=pattern.name, kind="device", untested="its pattern has no 'example'")
    seen, rows = Seen(), set[Span]()
    examples, asked = list[Outcome](), list[Outcome]()
    sleeps = interrupts(pattern)
    for way in (Way(e, asleep) for asleep in (False, True)[: 1 + sleeps] for e in bench.engines):
        for trial in pattern.trials:
            examples.append(_tried(pattern, trial, bench, way, seen, rows))
        if offers(pattern):
            asked += _asked(pattern, bench, way, seen)
            if way.asleep and not way.emulated:
                examples.append(_met(pattern, bench, way, seen))
    found = coverage(pattern, seen, rows)
    reach = [Reach(what="rows", count=found.rows, missed=_places(found.missed_rows))]
    if pattern.one(s.Turn) is not None:
        reach.append(Reach(what="steps", count=found.steps, missed=_places(found.missed_steps)))
    return Tested(
        name=pattern.name,
        kind="device",
        examples=_joined(examples),
        asked=_joined(asked),
        reach=tuple(reach),
        asleep=sleeps if pattern.one(s.Interrupt) is not None else None,
    )


def _places(spans: tuple[Span, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{x.file}:{x.line}" for x in spans))


def _joined(outcomes: list[Outcome]) -> tuple[Outcome, ...]:
    """Of the same example in several engines the first that fails, or one."""
    found: dict[tuple[str, str], Outcome] = {}
    for outcome in outcomes:
        key = outcome.place, outcome.name
        if key not in found or (found[key].passed and not outcome.passed):
            found[key] = outcome
    return tuple(found.values())


def outcome(name: str, span: Span, way: str, wrong: Exception | None) -> Outcome:
    """An example's outcome; `wrong` is what kept it from passing."""
    at, detail = None, ""
    match wrong:
        case _Wrong():
            at, detail = wrong.span, wrong.detail
        case MetaosError():
            detail = wrong.message
            spans = [p.span for p in wrong.problems if p.span is not None]
            at = spans[0] if spans else None
            if isinstance(wrong, Misuse) and wrong.line is not None and wrong.line != at:
                detail += f" ({wrong.line.file}:{wrong.line.line})"
            elif wrong.problems and wrong.problems[0].message != detail:
                detail += f": {wrong.problems[0].message}"
    return Outcome(
        name=name,
        place=f"{span.file}:{span.line}",
        engine=way,
        passed=wrong is None,
        detail=detail,
        at=f"{at.file}:{at.line}" if at is not None else "",
    )


def _tried(
    pattern: Pattern, trial: s.Trial, bench: Bench, way: Way, seen: Seen, rows: set[Span]
) -> Outcome:
    wrong: Exception | None = None
    try:
        given = {
            ".".join(x.path): x.value.value
            for x in trial.lines
            if isinstance(x, s.Asked) and isinstance(x.value, s.Number)
        }
        text = next((x.text for x in trial.lines if isinstance(x, s.Text)), HELLO)
        prepared = prepare(pattern, bench.patterns, bench.system, given, text, asleep=way.asleep)
        rows |= _rows(prepared)
        _Run(prepared, given, bench, way, seen).run(trial)
    except (_Wrong, MetaosError) as error:
        wrong = error
    return outcome(trial.title, trial.span, way.name, wrong)


def _rows(prepared: Prepared) -> set[Span]:
    lowered, address = prepared.lowered, prepared.device.address
    every = (*lowered.console_rows, *lowered.init_rows)
    return {row.span for row in every if row.device == address}


@dataclass
class _Run:
    """One example under way; `waiting` are the questions that have no answer yet."""

    prepared: Prepared
    given: dict[str, int]
    bench: Bench
    way: Way
    seen: Seen
    waiting: deque[Question] = field(default_factory=deque)
    sent: int = 0
    shown: int = 0

    def run(self, trial: s.Trial) -> None:
        self.station = self.prepared.station(self.seen, self.given, emulated=self.way.emulated)
        self.fake = self.station.fakes[self.prepared.device.address]
        failed = self.station.start()
        fails = [x for x in trial.lines if isinstance(x, s.Fails)]
        said = _message(self.prepared.pattern, failed)
        if failed is not None and (not fails or said != fails[0].text):
            text = f'the start fails: "{said}"' if said else "the start fails"
            raise _Wrong(failed, text)
        if fails and failed is None:
            raise _Wrong(fails[0].span, f'the start does not fail, expected: "{fails[0].text}"')
        for line in trial.lines:
            self.line(line)
        if self.way.asleep and failed is None:
            wrong = rest(self.station, self.fake)
            if not wrong and len(self.fake.sent) - self.sent != len(self.waiting):
                wrong = "it sleeps, and a frame waits"
            if wrong:
                raise _Wrong(trial.span, f"then {wrong}")

    def line(self, line: s.TrialLine) -> None:
        match line:
            case s.Arrival():
                self.arrive(line)
            case s.Turns(count=count):
                for _ in range(count):
                    self.station.turn()
            case s.Sent():
                self.expect_sent(line)
            case s.Shown():
                found = self.fake.shown[self.shown :].decode("latin-1").rstrip("\r\n")
                self.shown = len(self.fake.shown)
                if found != line.text:
                    raise _Wrong(line.span, f'expected "{line.text}" shown, found "{found}"')
            case s.Then(condition=condition):
                self.expect(line.span, condition)

    def arrive(self, line: s.Arrival) -> None:
        for number, length in enumerate(line.lengths):
            self.one(line, _question(self.bench, length, line.span, number))

    def one(self, line: s.Arrival, question: Question) -> None:
        frame = question.sent
        if not line.answered:
            kept = chain_of(question.service, self.bench.patterns.services, _layouts(self.bench))
            head = kept.layers[0].end
            frame = frame[:head] + bytes(len(frame) - head)
        if self.fake.arrive(_on_wire(self.prepared.pattern, frame)) and line.answered:
            self.waiting.append(question)

    def expect_sent(self, line: s.Sent) -> None:
        frames = self.fake.sent[self.sent :]
        self.sent = len(self.fake.sent)
        found = tuple(len(frame) for frame in frames)
        if found != line.lengths:
            raise _Wrong(line.span, f"expected {_lengths(line.lengths)}, found {_lengths(found)}")
        for frame in frames:
            if not self.waiting:
                raise _Wrong(line.span, "a frame is sent that answers no question")
            problem = judge(self.waiting.popleft(), frame)
            if problem:
                raise _Wrong(line.span, f"the answer is wrong: {problem}")

    def expect(self, span: Span, condition: s.Expr) -> None:
        """A condition holds; of several joined by `&` the first that does not is named."""
        match condition:
            case s.Binary(operator="&", left=left, right=right):
                self.expect(span, left)
                self.expect(span, right)
                return
        sight = Observer(self.station, self.prepared.device.address)
        try:
            if sight.number(condition, Scope()).number:
                return
            text = f"'{spell(condition)}' does not hold"
            match condition:
                case s.Binary(operator="==" | "!=" | "<" | "<=", left=left, right=right):
                    sides = [x for x in (left, right) if not isinstance(x, s.Number)]
                    found = (f"{spell(x)} is {sight.number(x, Scope()).number:#x}" for x in sides)
                    text = f"expected {spell(condition)}, found {', '.join(found)}"
        except Misuse as error:
            text = error.message
        raise _Wrong(span, text)


def _lengths(lengths: tuple[int, ...]) -> str:
    if not lengths:
        return "nothing sent"
    return f"{', '.join(map(str, lengths))} bytes sent"


def _message(pattern: Pattern, span: Span | None) -> str:
    """What the row at a place says when it fails."""
    every = walk(tuple(q.rows for q in pattern.of(s.Sequence)))
    rows = (x for x in every if isinstance(x, s.Await | s.Expect))
    said = (*rows, *pattern.of(s.Measured))
    return next((x.message for x in said if x.span == span), "")


def _layouts(bench: Bench) -> dict[str, s.Layout]:
    return dict(bench.patterns.layouts)


def _on_wire(pattern: Pattern, frame: bytes) -> bytes:
    """A frame as it comes: not shorter than the rule says that any is."""
    turn = pattern.one(s.Turn)
    offered = (x for x in walk(turn.steps if turn is not None else ()) if isinstance(x, s.Offer))
    return frame.ljust(next((x.least for x in offered), 0), b"\0")


def _question(bench: Bench, length: int, span: Span, number: int) -> Question:
    """A question that is `length` bytes long and is answered; each `number` another one."""
    given = given_of(bench.system.interface, MAC)
    layouts = _layouts(bench)
    for service in services_of(bench.patterns, bench.system):
        for example in asking(service):
            plain = not (example.silence or example.changes or example.cut)
            if not plain or not any(example.payloads):
                continue
            chain = chain_of(service.name, bench.patterns.services, layouts)
            if chain.size <= length:
                return ask(chain, example, length - chain.size, given, seed=number)
    raise _Wrong(span, f"no service of the system answers a frame of {length} bytes")


def _met(pattern: Pattern, bench: Bench, way: Way, seen: Seen) -> Outcome:
    """Frames that come during turns."""
    wrong: Exception | None = None
    try:
        prepared = prepare(pattern, bench.patterns, bench.system, {}, HELLO, asleep=True)
        station = prepared.station(seen, {}, emulated=way.emulated)
        failed = station.start()
        if failed is not None:
            raise _Wrong(failed, "the start fails")
        questions = (_question(bench, SHORT, pattern.span, n).sent for n in count())
        frames = (_on_wire(pattern, frame) for frame in questions)
        found = meets(station, station.fakes[prepared.device.address], frames)
        if found:
            raise _Wrong(pattern.span, found)
    except (_Wrong, MetaosError) as error:
        wrong = error
    return outcome("asleep, frames that come during a turn", pattern.span, way.name, wrong)


def _asked(pattern: Pattern, bench: Bench, way: Way, seen: Seen) -> Iterator[Outcome]:
    """Every example of the system's services, asked through the card."""
    given = given_of(bench.system.interface, MAC)
    try:
        prepared = prepare(pattern, bench.patterns, bench.system, {}, HELLO, asleep=way.asleep)
        station = prepared.station(seen, {}, emulated=way.emulated)
        failed = station.start()
        if failed is not None:
            raise _Wrong(failed, "the start fails")
    except (_Wrong, MetaosError) as error:
        yield outcome("questions of the services", pattern.span, way.name, error)
        return
    address = prepared.device.address
    for service in services_of(bench.patterns, bench.system):
        if not service.examples:
            continue
        questions = questions_of(
            service.name, bench.patterns.services, _layouts(bench), given, seed=SEED
        )
        spans = [e.span for e in asking(service) for _ in sizes(e)]
        for question, span in zip(questions, spans, strict=True):
            wrong: Exception | None = None
            try:
                _ask(station, address, pattern, question, span)
            except (_Wrong, MetaosError) as error:
                wrong = error
            yield outcome(f"{service.name}: {question.name}", span, way.name, wrong)
            if isinstance(wrong, MetaosError):
                return  # what the device is like now, nobody knows


def _ask(station: Station, address: str, pattern: Pattern, question: Question, span: Span) -> None:
    fake = station.fakes[address]
    before = len(fake.sent)
    if not fake.arrive(_on_wire(pattern, question.sent)):
        raise _Wrong(span, "the device takes no frame: no 'on frame' rule applies")
    for _ in range(_TURNS_TO_ANSWER):
        station.turn()
    answers = fake.sent[before:]
    if not question.answers:
        if answers:
            raise _Wrong(span, f"expected silence, found {len(answers)} frames sent")
        return
    if len(answers) != 1:
        raise _Wrong(span, f"expected one answer, found {len(answers)} frames sent")
    problem = judge(question, answers[0])
    if problem:
        raise _Wrong(span, problem)
