"""From a program to bytes: what they do, where they come from, what they may use."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest
from capstone import CS_ARCH_X86, CS_GRP_CALL, CS_GRP_JUMP, CS_GRP_RET, CS_MODE_64, Cs, CsInsn

from metaos import resources
from metaos.emit import emit as emitting
from metaos.emit.code import Code
from metaos.emit.emit import RELOCATIONS, emit, mnemonics
from metaos.emit.target import FEATURES, cpu_features, used_features
from metaos.errors import MetaosError, Span
from metaos.ir.build import Builder
from metaos.ir.program import ABSOLUTE, Program
from metaos.ir.text import render
from metaos.lower.lower import guard, lower
from metaos.match.bind import bind
from metaos.match.system import read_system
from metaos.pattern.patterns import load
from tests.lower.lowering import MACHINES, machine

pytestmark = pytest.mark.long

ALL = tuple(f.name for f in FEATURES)


def at(line: int, column: int = 1) -> Span:
    return Span("net/x.pattern", line, column, column + 1)


def decoded(code: Code) -> list[CsInsn]:
    engine = Cs(CS_ARCH_X86, CS_MODE_64)
    engine.detail = True
    found = list(engine.disasm(code.text, 0))
    assert sum(i.size for i in found) == len(code.text), "bytes that are no instructions"
    return found


def programs() -> Iterator[tuple[str, Program]]:
    """Of all recorded machines, each that differs from those before it."""
    seen = set()
    for path in sorted(MACHINES.glob("*.json")):
        lowered = lower(bind(machine(path.stem), load([resources.PATTERNS]), read_system()))
        for program in (*lowered.programs, guard(lowered, FEATURES)[0]):
            if program.ops and (text := render(program)) not in seen:
                seen.add(text)
                yield f"{path.stem} {program.device} {program.phase}", program


PROGRAMS = dict(programs())


@cache
def emitted(name: str, features: tuple[str, ...] = ()) -> Code:
    return emit(PROGRAMS[name], features)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("features", [(), ALL], ids=["baseline", "everything"])
def test_a_straight_line_that_falls_through(name: str, features: tuple[str, ...]) -> None:
    for one in decoded(emitted(name, features)):
        assert not {CS_GRP_JUMP, CS_GRP_CALL, CS_GRP_RET} & set(one.groups), one


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_byte_has_a_line_and_one_only(name: str) -> None:
    program = PROGRAMS[name]
    code = emit(program, ())
    edges = [(line.start, line.end) for line in code.lines]
    assert edges[0][0] == 0 and edges[-1][1] == len(code.text)
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    known = {(op.span.file, op.span.line, op.span.column) for op in program.ops if op.span}
    for line in code.lines:
        assert (line.span.file, line.span.line, line.span.column) in known
    starts = {one.address for one in decoded(code)}
    assert {line.start for line in code.lines} <= starts


@pytest.mark.parametrize("name", PROGRAMS)
def test_most_lines_are_exact(name: str) -> None:
    code = emitted(name)
    exact = sum(line.end - line.start for line in code.lines if line.exact)
    assert exact >= len(code.text) // 2


@pytest.mark.parametrize("name", PROGRAMS)
def test_relocations_are_of_known_kinds_and_lie_inside(name: str) -> None:
    program, code = PROGRAMS[name], emitted(name)
    places = {op.address.symbol for op in program.ops if op.address is not None} - {ABSOLUTE}
    assert {r.symbol for r in code.relocations} <= places
    taken: set[int] = set()
    for r in code.relocations:
        assert r.kind in RELOCATIONS.values()
        size = 8 if r.kind == "64" else 4
        assert r.offset + size <= len(code.text)
        room = set(range(r.offset, r.offset + size))
        assert not room & taken and not any(code.text[r.offset : r.offset + size])
        taken |= room


def test_lines_are_those_of_the_steps() -> None:
    b = Builder("dev", "steady")
    with b.at(at(10)):
        one = b.load(32, "one")
    with b.at(at(20)):
        b.store(b.const(7, 32), "two")
    with b.at(at(30)):
        b.store(b.mul(one, b.const(77, 32)), "three")
    code = emit(b.finish(), ())
    of_line: dict[int, set[str]] = {}
    lines = {byte: x.span.line for x in code.lines for byte in range(x.start, x.end)}
    for r in code.relocations:
        of_line.setdefault(lines[r.offset], set()).add(r.symbol)
    assert of_line[20] == {"two"} and "three" in of_line[30]


def test_columns_and_files_come_through() -> None:
    b = Builder("dev", "steady")
    for number, file in enumerate(("a/one.pattern", "b/two.pattern")):
        with b.at(Span(file, 5 + number, 40 + number, 50)):
            b.store(b.const(number, 32), f"place{number}")
    found = [(x.span.file, x.span.line, x.span.column) for x in emit(b.finish(), ()).lines]
    assert found == [("a/one.pattern", 5, 40), ("b/two.pattern", 6, 41)]


def test_a_step_without_a_line_takes_the_one_before() -> None:
    b = Builder("dev", "steady")
    with b.at(at(10)):
        b.store(b.const(1, 32), "one")
    b.store(b.const(2, 32), "two")
    lines = emit(b.finish(), ()).lines
    assert [(x.span.line, x.exact) for x in lines] == [(10, True), (10, False)]


def test_nothing_makes_no_code() -> None:
    code = emit(Program("dev", "report", ()), ALL)
    assert code == Code("dev", "report", b"", (), ())


# ---- what the processor has ---------------------------------------------------------------


def shifting() -> Program:
    """Steps for which every feature has a shorter instruction."""
    b = Builder("dev", "steady")
    with b.at(at(1)):
        a, c = b.load(64, "a"), b.load(64, "c")
        b.store(b.bswap(b.load(64, "d")), "e")
        amount = b.and_(c, b.const(63, 64))
        b.store(b.shl(a, amount), "f")
        b.store(b.lshr(a, amount), "g")
        b.store(b.and_(a, b.not_(c)), "h")
    return b.finish()


def test_features_are_used_where_they_are_allowed() -> None:
    program = shifting()
    assert not used_features(mnemonics([emit(program, ()).text]))
    used = {f.name for f in used_features(mnemonics([emit(program, ALL).text]))}
    assert {"movbe", "bmi", "bmi2"} <= used


@pytest.mark.parametrize("feature", FEATURES, ids=lambda f: f.name)
def test_no_other_feature_is_used_than_the_one_allowed(feature: object) -> None:
    name = feature.name  # type: ignore[attr-defined]
    used = used_features(mnemonics([emit(shifting(), (name,)).text]))
    assert {f.name for f in used} <= {name}


@pytest.mark.parametrize("name", PROGRAMS)
def test_baseline_code_runs_everywhere(name: str) -> None:
    text = emitted(name).text
    assert not used_features(mnemonics([text]))
    for one in decoded(emitted(name)):
        assert "xmm" not in one.op_str and "ymm" not in one.op_str and " st(" not in one.op_str


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_vector_registers_whatever_the_processor_has(name: str) -> None:
    for one in decoded(emitted(name, ALL)):
        assert not any(r in one.op_str for r in ("xmm", "ymm", "zmm", "mm0", "st(")), one


def test_features_are_read_from_the_leaves() -> None:
    assert cpu_features(machine("pc-e1000").cpu) == ()
    assert "movbe" in cpu_features(machine("pc-bare").cpu)


# ---- what LLVM might do -------------------------------------------------------------------


def test_an_unknown_relocation_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Builder("dev", "steady")
    with b.at(at(1)):
        b.store(b.load(32, "some.place"), "other")
    program = b.finish()
    kinds = {r.kind for r in emit(program, ()).relocations}
    others = {number: kind for number, kind in RELOCATIONS.items() if kind not in kinds}
    monkeypatch.setattr(emitting, "RELOCATIONS", others)
    with pytest.raises(MetaosError) as refused:
        emit(program, ())
    said = refused.value.render()
    assert "dev, phase steady" in said and "relocation type" in said and "some.place" in said


def test_a_section_beside_the_code_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'target triple = "x86_64-unknown-none-elf"\n'
    text += "@table = internal constant [4 x i32] [i32 1, i32 2, i32 3, i32 9]\n"
    text += "define i32 @turn(i64 %i) {\n  %p = getelementptr i32, ptr @table, i64 %i\n"
    text += "  %v = load i32, ptr %p\n  ret i32 %v\n}\n"
    monkeypatch.setattr(emitting, "module", lambda program: text)
    with pytest.raises(MetaosError) as refused:
        emit(shifting(), ())
    said = refused.value.render()
    assert "rodata" in said and "nothing but code is expected" in said


def test_what_llvm_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitting, "module", lambda program: "define void @turn() { nonsense }")
    with pytest.raises(MetaosError) as refused:
        emit(shifting(), ())
    said = refused.value.render()
    assert "LLVM refuses the code of dev, phase steady" in said and "hint" in said


def test_a_look_at_the_counter_is_one_instruction_in_its_place() -> None:
    """And a division makes no branch, whatever the processor has."""
    b = Builder("dev", "init")
    with b.at(at(1)):
        before = b.counted()
        b.store(b.const(0, 8), "command", ordered=True)
        passed = b.sub(b.counted(), before)
        b.store(b.udiv(b.load(64, "ticks"), b.or_(passed, b.const(1, 64))), "out")
    for features in ((), ALL):
        decoder = Cs(CS_ARCH_X86, CS_MODE_64)
        found = [x.mnemonic for x in decoder.disasm(emit(b.finish(), features).text, 0)]
        kept = [x for x in found if x in ("rdtsc", "div") or x.startswith("j")]
        assert kept == ["rdtsc", "rdtsc", "div"]
        between = found[found.index("rdtsc") + 1 : len(found) - found[::-1].index("rdtsc") - 1]
        assert "mov" in between


# ---- machine code is the IR ---------------------------------------------------------------


def random_program(seed: int) -> tuple[Program, dict[str, int]]:
    """Pure steps over four numbers in memory, each result stored."""
    source = random.Random(seed)
    b = Builder("dev", "steady")
    edges = (0, 1, (1 << 64) - 1)
    places = {f"in{i}": source.choice((*edges, source.getrandbits(64))) for i in range(4)}
    with b.at(at(1)):
        values = [b.load(64, name) for name in places]
        for _ in range(12):
            x, y = source.choice(values), source.choice(values)
            kind = source.choice(
                ("add", "sub", "mul", "mulh", "udiv", "and", "or", "xor", "select", "bswap", "cut")
            )
            if kind == "select":
                test = source.choice((b.eq, b.ne, b.ult, b.ule, b.carry))(x, y)
                values.append(b.select(test, x, source.choice(values)))
            elif kind == "bswap":
                values.append(b.bswap(x))
            elif kind == "cut":
                bits = source.choice((1, 3, 8, 13, 16, 32, 47))
                values.append(b.zext(b.trunc(x, bits), 64))
            elif kind == "udiv":
                values.append(b.udiv(x, b.or_(y, b.const(1, 64))))
            else:
                values.append(b.two(kind, x, y))
        for number, value in enumerate(values[4:]):
            b.store(value, f"out{number}")
    return b.finish(), places


@pytest.mark.parametrize("features", [(), ALL], ids=["baseline", "everything"])
def test_code_does_what_the_ir_says(features: tuple[str, ...]) -> None:
    """Linked by hand, run in unicorn, compared with the interpreter."""
    from metaos.ir.interpret import Memory, Ram, run
    from tests.emit.machine import executed

    for seed in range(60):
        program, places = random_program(seed)
        names = {op.address.symbol for op in program.ops if op.address is not None}
        where = {name: 0x200000 + 16 * i for i, name in enumerate(sorted(names))}
        cells = {name: Ram(places.get(name, 0).to_bytes(8, "little")) for name in where}
        run(program, Memory({name: (where[name], ram) for name, ram in cells.items()}))
        given = {name: value for name, value in places.items() if name in where}
        found = executed(emit(program, features), where, given)
        assert found == {name: ram.read(0, 64) for name, ram in cells.items()}, seed
