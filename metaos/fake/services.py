"""Run a service's examples on frames alone, without a card: `test_service(...) -> Tested`.

The service and those it lies over become a program that looks at one frame in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from metaos.boot.acceptance import given_of, with_parents
from metaos.boot.frames import Value
from metaos.boot.questions import Question, asking, judge, questions_of, sizes
from metaos.boot.sayings import Saying, sayings_of
from metaos.errors import MetaosError, Span
from metaos.fake.emulate import Emulator
from metaos.fake.examples import SEED, Bench, outcome
from metaos.fake.machine import MAC
from metaos.fake.results import Outcome, Reach, Tested
from metaos.fake.seen import Seen
from metaos.fake.station import Engine, Interpreter
from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, Region
from metaos.ir.program import SHADOW, Program
from metaos.lower.clock import BEGUN, EVERY, NOW, Ticks
from metaos.lower.headers import Mine, Wire
from metaos.lower.passing import BEGINS, SLOTS, STRIDE, Queue
from metaos.lower.services import Services
from metaos.lower.values import Frame
from metaos.pattern import syntax as s

_ROOM = 1 << 16
_PLACES = {
    **{"frame": _ROOM, "length": 8, "gate": 8, "answered": 8, "sent": 8, "mac": 8},
    **{NOW: 8, "shown": 256},
}
_TICKS = Ticks(0, 32, 32, 1_000_000_000)
"""A clock that nobody reads: at NOW it is always the start."""
_SHOWN = "shown"
_LINE = b"a line\r\n"
"""What consoles show."""
BEYOND = Queue("beyond", Span("", 1, 1, 2))
"""Where frames go that a service passes on."""
_FIRST, _APART = 0x20_0000, 0x2_0000


class _NoPorts:
    """A service reaches no port."""

    def read(self, port: int, width: int) -> int:
        raise MetaosError(f"a service reads port {port:#x}")

    def write(self, port: int, width: int, value: int) -> None:
        raise MetaosError(f"a service writes port {port:#x}")


def test_service(service: s.Service, bench: Bench) -> Tested:
    """All examples of one service."""
    kind = "service"
    if service.say is not None:
        return Tested(name=service.name, kind=kind, untested="consoles show it, see theirs")
    if not service.examples:
        return Tested(name=service.name, kind=kind, untested="its pattern has no 'example'")
    seen = Seen()
    found: dict[tuple[str, str], Outcome] = {}
    for engine in bench.engines:
        for one in _examples(service, bench, engine, seen):
            key = one.place, one.name
            if key not in found or (found[key].passed and not one.passed):
                found[key] = one
    lines = [x.span for x in (*service.accept, *([service.where] if service.where else []))]
    conditions = [x for x in lines if (x.file, x.line) in seen.asked]
    said = service.speak.fields if service.speak is not None and not service.reply else ()
    fields = [*(x.span for x in service.reply), *(x.span for x in said)]
    stores = [x for x in fields if (x.file, x.line) in seen.could]
    return Tested(
        name=service.name,
        kind=kind,
        examples=tuple(found.values()),
        reach=(
            _reach("conditions refuse a frame", conditions, seen.refused),
            _reach("fields of the answer", stores, seen.stored),
        ),
    )


def _reach(what: str, spans: list[Span], reached: set[tuple[str, int]]) -> Reach:
    lines = list(dict.fromkeys((x.file, x.line) for x in spans))
    missed = tuple(f"{file}:{line}" for file, line in lines if (file, line) not in reached)
    return Reach(what=what, count=len(lines), missed=missed)


def _chain(service: s.Service, bench: Bench) -> tuple[s.Service, ...]:
    """The service, those below it and those that it has of its own; what is below comes first."""
    known = bench.patterns.services
    return tuple(known[name] for name in with_parents([service.name], known))


def _given(bench: Bench) -> dict[str, Value]:
    """Who the machine and its peer are, which is the gateway too."""
    peer = given_of(bench.system.interface, MAC)["peer.ip"].number
    return given_of(bench.system.interface, MAC, peer)


def _splice(service: s.Service, bench: Bench) -> Services:
    interface = bench.system.interface
    gateway = _given(bench)["my.gateway"].number
    mine = Mine(int(interface.ip), "mac", mask=int(interface.netmask), gateway=gateway)
    names = {"my.name": bench.system.name}
    layouts = bench.patterns.layouts
    wire, chain = Wire(beyond=BEYOND), _chain(service, bench)
    return Services(chain, layouts, mine, None, _TICKS, _SHOWN, names, wire)


def _speaking(service: s.Service, bench: Bench) -> Program:
    """What the service says unasked, into a frame that is all there for it."""
    builder = Builder("frames", "steady")
    with builder.at(service.span):
        frame = Frame(builder.address("frame"), builder.const(0, 32), builder.load(64, "gate"))
        said, length = _splice(service, bench).speak(builder, frame)
        builder.store(said, "answered")
        builder.store(builder.resize(length, 32), "sent")
    program = builder.finish()
    check(program)
    return program


def _program(service: s.Service, bench: Bench) -> Program:
    builder = Builder("frames", "steady")
    splice = _splice(service, bench)
    with builder.at(service.span):
        frame = Frame(
            builder.address("frame"), builder.load(32, "length"), builder.load(64, "gate"), 0
        )
        answered, length = splice(builder, frame)
        builder.store(answered, "answered")
        builder.store(builder.resize(length, 32), "sent")
    program = builder.finish()
    check(program)
    return program


def _engine(
    splice: Services, program: Program, name: str, seen: Seen
) -> tuple[Engine, dict[str, int]]:
    """What runs a program over a frame, and where its places are; states begin as they say."""
    states = splice.states()
    places = _PLACES | {at.symbol: 8 for at in states}
    places |= {place.name: max(place.size, 8) for place in splice.places()}
    used = (op.address.symbol for op in program.ops if op.address is not None)
    places |= {symbol: 8 for symbol in used if EVERY in symbol}
    places |= {BEYOND.symbol(part): size for part, size in BEYOND.sizes.items()}
    starts = {place: _FIRST + n * _APART for n, place in enumerate(places)}
    regions: dict[str, tuple[int, Region]] = {p: (starts[p], Ram(n)) for p, n in places.items()}
    memory = Memory(regions)
    engine: Engine = Interpreter(memory, _NoPorts(), seen)
    if name == "unicorn":
        engine = Emulator(memory, regions, _NoPorts())
    for at in states:
        if isinstance(at.node.initial, s.Number):
            engine.write(starts[at.symbol], at.node.initial.value.to_bytes(8, "little"))
    engine.write(starts[_SHOWN], _LINE)
    engine.write(starts[NOW], BEGUN.to_bytes(8, "little"))
    return engine, starts


def _examples(service: s.Service, bench: Bench, name: str, seen: Seen) -> Iterator[Outcome]:
    program = _program(service, bench)
    engine, starts = _engine(_splice(service, bench), program, name, seen)
    engine.write(starts["mac"], MAC.to_bytes(6, "big"))
    given = _given(bench)
    layouts = dict(bench.patterns.layouts)
    questions = questions_of(service.name, bench.patterns.services, layouts, given, seed=SEED)
    spans = [e.span for e in asking(service) for _ in sizes(e)]
    for question, span in zip(questions, spans, strict=True):
        wrong = None
        try:
            problem = _wrong(engine, starts, program, question)
            wrong = MetaosError(problem) if problem else None
        except MetaosError as error:
            wrong = error
        yield outcome(question.name, span, name, wrong)
    engine, starts = _engine(_splice(service, bench), program, name, seen)
    engine.write(starts["mac"], MAC.to_bytes(6, "big"))
    sayings = sayings_of(service.name, bench.patterns.services, layouts, given)
    unasked = (e for e in service.examples if e.said is not None)
    for _ in _LINE if sayings else ():
        engine.write(starts["gate"], SHADOW.to_bytes(8, "little"))
        engine.run(program)
    engine.write(starts["gate"], bytes(8))
    for used in service.used if sayings else ():  # what it waits for comes
        for question in questions_of(used, bench.patterns.services, layouts, given, seed=SEED):
            _wrong(engine, starts, program, question)
    for saying, example in zip(sayings, unasked, strict=True):
        problem = _unsaid(engine, starts, _speaking(service, bench), saying)
        wrong = MetaosError(problem) if problem else None
        yield outcome(saying.title, example.span, name, wrong)


def _unsaid(engine: Engine, starts: dict[str, int], program: Program, saying: Saying) -> str:
    """What is wrong with the frame that is said first; empty if it is right."""
    engine.write(starts["frame"], b"\xaa" * 2048)
    engine.run(program)
    shut = int.from_bytes(engine.read(starts["answered"], 8), "little")
    length = int.from_bytes(engine.read(starts["sent"], 4), "little")
    if shut:
        return "nothing is said"
    return saying.wrong(engine.read(starts["frame"], min(length, _ROOM)))


def _went(engine: Engine, starts: dict[str, int]) -> bytes | None:
    """The frame that was passed on, taken out of the queue; None if none was."""
    head, tail = (engine.read(starts[BEYOND.symbol(x)], 1)[0] for x in ("head", "tail"))
    if head == tail:
        return None
    engine.write(starts[BEYOND.symbol("tail")], bytes([head]))
    at = starts[BEYOND.symbol("frames")] + tail % SLOTS * STRIDE
    length = int.from_bytes(engine.read(at, 2), "little")
    return engine.read(at + BEGINS, length)


def _wrong(engine: Engine, starts: dict[str, int], program: Program, question: Question) -> str:
    """What is wrong with the answer to one question; empty if it is right."""
    frame = question.sent
    engine.write(starts["frame"], frame.ljust(2048, b"\0"))
    engine.write(starts["length"], len(frame).to_bytes(4, "little"))
    engine.run(program)
    shut = int.from_bytes(engine.read(starts["answered"], 8), "little")
    length = int.from_bytes(engine.read(starts["sent"], 4), "little")
    onward = _went(engine, starts)
    if question.onward is not None:
        if onward is None or not shut:
            return "expected to be passed on, and to no answer"
        return judge(question, onward)
    if onward is not None:
        return "expected to stay here, and it was passed on"
    if not question.answers:
        return "" if shut else f"expected silence, found an answer of {length} bytes"
    if shut:
        return "expected an answer, found silence"
    return judge(question, engine.read(starts["frame"], min(length, _ROOM)))
