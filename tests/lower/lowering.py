"""Small pattern texts taken through the stages up to the lowering, and run.

device = planned("state head : u4", "turn", "  head <- head + 1")
run(turned(device), device)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from metaos.errors import MetaosError, Source, Span
from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ports, Ram
from metaos.ir.interpret import run as interpret
from metaos.ir.program import Op, Program
from metaos.link.parts import Datum
from metaos.lower.accesses import Text
from metaos.lower.headers import Mine
from metaos.lower.plan import DevicePlan, plan
from metaos.lower.services import Services
from metaos.lower.turn import Turn
from metaos.lower.values import Frame
from metaos.match.bind import Bindings, bind, bind_devices
from metaos.match.system import System
from metaos.pattern import syntax as s
from metaos.pattern.parse import parse
from metaos.pattern.patterns import Patterns, resolve
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine
from metaos.resources import PATTERNS

MACHINES = Path(__file__).parents[1] / "data" / "machines"
NOWHERE = Span("test", 1, 1, 2)
HEAD = 'source m = "A manual"\n'
CARD = HEAD + "device card : net.ethernet\n  match pci vendor 0x8086 device 0x100E\n"
BASE = 0x200000
MAC = bytes.fromhex("525400123456")
IP = 0x0A00020F


@cache
def machine(name: str = "pc-e1000") -> Machine:
    return read_machine(MACHINES / f"{name}.json")


def patterns_of(*texts: str) -> Patterns:
    """The patterns of some texts, as files 0.pattern, 1.pattern, and the classes."""
    sources = [
        Source.read(path, f"classes/{path.name}")
        for path in sorted((PATTERNS / "classes").glob("*.pattern"))
    ]
    sources += [Source(f"{number}.pattern", text) for number, text in enumerate(texts)]
    return resolve(tuple(map(parse, sources)), {x.file: x for x in sources})


def bound(*texts: str, services: tuple[str, ...] = (), on: str = "pc-e1000") -> Bindings:
    """A machine bound to the patterns of some texts, with wanted services."""
    system = System(name="test", address="10.0.2.15/24", services=services)
    return bind(machine(on), patterns_of(*texts), system)


def card(*lines: str) -> str:
    """The text of a device's rule for the machine's network card."""
    return CARD + "".join(f"  {line}\n" for line in lines)


def planned(*lines: str) -> DevicePlan:
    """The places of a device whose rule has these lines."""
    (binding,) = (b for b in bind_devices(machine(), patterns_of(card(*lines))))
    return plan(binding)


def turned(
    device: DevicePlan, services: Services | None = None, text: Text | None = None
) -> Program:
    """A device's turn as a program."""
    builder = Builder(device.address, "steady")
    turn = Turn(device, builder, services, text)
    turn.lower()
    program = builder.finish()
    check(program)
    _SENT[program] = turn.constants.data(device.address, "steady")
    return program


_SENT: dict[Program, tuple[Datum, ...]] = {}
"""The constants that go with a program."""


def placed(
    device: DevicePlan, content: Mapping[str, bytes] | None = None, registers: int = 0
) -> dict[str, tuple[int, Ram]]:
    """RAM for a device's tables, states and register window, 4 KiB apart at least."""
    sizes = {t.symbol: t.count * t.stride for t in device.tables.values()}
    for state in device.states.values():
        sizes[state.symbol] = max(1, state.count) * max(state.stride, state.storage // 8)
    for name in device.windows:
        sizes[device.symbol(name)] = registers
    sizes[device.symbol("port.latch")] = 8
    given = content or {}
    regions, at = {}, BASE
    for symbol, size in sizes.items():
        data = given.get(symbol.rpartition(".")[2], b"").ljust(size, b"\0")
        regions[symbol] = at, Ram(data)
        at += (size | 0xFFF) + 1
    return regions


def run(
    program: Program, regions: Mapping[str, tuple[int, Ram]], ports: Ports | None = None
) -> dict[Op, int]:
    """One turn of a program over its places, and the constants that go with it."""
    sent = {d.name: (BASE - 0x1000, Ram(d.data, writable=False)) for d in _SENT.get(program, ())}
    return interpret(program, Memory({**regions, **sent}), ports=ports)


def number(regions: Mapping[str, tuple[int, Ram]], symbol: str, size: int = 0) -> int:
    """The little-endian number that lies at a place."""
    data = regions[symbol][1].data
    return int.from_bytes(data[: size or len(data)], "little")


# ---- services ---------------------------------------------------------------------------


class Answering:
    """Services over one frame in a buffer of 2048 bytes: `ask(frame) -> answer or None`.

    What lies behind the frame in the buffer is `rest`.
    """

    def __init__(self, *texts: str, names: tuple[str, ...], least: int = 60) -> None:
        patterns = patterns_of(*texts)
        services = tuple(patterns.services[name] for name in names)
        builder = Builder("00:03.0", "steady")
        base = builder.address("buffer", 0, (builder.load(64, "at"),))
        length = builder.zext(builder.load(16, "length"), 32)
        gate = builder.zext(builder.load(32, "gate"), 64)
        frame = Frame(base, length, gate, least)
        answered, count = Services(services, patterns.layouts, Mine(IP, "mac"))(builder, frame)
        builder.store(answered, "answered")
        builder.store(builder.resize(count, 32), "count")
        self.program = builder.finish()
        check(self.program)

    def ask(self, frame: bytes, *, rest: bytes = b"\xa5", gate: int = 0) -> bytes | None:
        regions = {
            "buffer": (0x200000, Ram((frame + rest * 2048)[:2048])),
            "at": (0x210000, Ram(8)),
            "length": (0x210010, Ram(len(frame).to_bytes(2, "little"))),
            "gate": (0x210020, Ram(gate.to_bytes(4, "little"))),
            "mac": (0x210030, Ram(MAC + b"\xee\xee")),
            "answered": (0x210040, Ram(8)),
            "count": (0x210050, Ram(4)),
        }
        before = bytes(regions["buffer"][1].data)
        interpret(self.program, Memory(regions))
        after = bytes(regions["buffer"][1].data)
        if number(regions, "answered"):
            assert after == before, "a frame that is not answered was changed"
            return None
        return after[: number(regions, "count")]


def problem_of(error: MetaosError) -> tuple[str, str]:
    """The code and the whole text of an error that has one problem."""
    (problem,) = error.problems
    return problem.code, error.render()


def service_of(patterns: Patterns, name: str) -> s.Service:
    return patterns.services[name]
