"""The checker catches each thing that can be wrong with a program."""

from __future__ import annotations

import pytest

from metaos.errors import MetaosError, Span
from metaos.ir.check import SHAPES, check, check_pruned
from metaos.ir.program import Address, Op, Program

M = Address("m")
BYTE = Op("const", 8, value=3)
BIT = Op("const", 1, value=1)
WORD = Op("const", 16, value=3)
LONG = Op("const", 32, value=3)
QUAD = Op("const", 64, value=3)
CONSTANTS = (BYTE, BIT, WORD, LONG, QUAD)
NOTHING = Op("fence", 0, ordered=True)

BROKEN: list[tuple[Op, str]] = [
    (Op("jump", 0), "no such kind"),
    (Op("const", 0), "0 bits, not 1 to 64"),
    (Op("const", 65), "65 bits, not 1 to 64"),
    (Op("const", 8, value=256), "cannot have the value 256"),
    (Op("const", 8, value=-1), "cannot have the value -1"),
    (Op("const", 8, ordered=True), "cannot be ordered"),
    (Op("address", 64), "needs an address"),
    (Op("address", 32, address=M), "32 bits, not 64"),
    (Op("address", 64, address=Address("")), "no symbol"),
    (Op("address", 64, (BYTE,), address=M), "index 0 has 8 bits, not 64"),
    (Op("add", 8, (BYTE, WORD)), "second argument has 16 bits, not 8"),
    (Op("add", 16, (BYTE, BYTE)), "result has 16 bits, not 8"),
    (Op("add", 8, (BYTE,)), "takes 2 arguments, not 1"),
    (Op("add", 8, (BYTE, BYTE), value=1), "cannot have the value 1"),
    (Op("add", 8, (BYTE, BYTE), address=M), "takes no address"),
    (Op("shl", 1, (BIT, BIT)), "shifts 1 bits by 1"),
    (Op("eq", 8, (BYTE, BYTE)), "result has 8 bits, not 1"),
    (Op("carry", 1, (BYTE, BIT)), "second argument has 1 bits, not 8"),
    (Op("select", 8, (BYTE, BYTE, BYTE)), "condition has 8 bits, not 1"),
    (Op("select", 8, (BIT, WORD, BYTE)), "first choice has 16 bits, not 8"),
    (Op("select", 8, (BIT, BYTE, WORD)), "second choice has 16 bits, not 8"),
    (Op("zext", 8, (BYTE,)), "8 bits do not widen to 8"),
    (Op("trunc", 8, (BYTE,)), "8 bits do not narrow to 8"),
    (Op("bswap", 8, (BYTE,)), "result has 8 bits, not 16 or 32 or 64"),
    (Op("bswap", 16, (LONG,)), "argument has 32 bits, not 16"),
    (Op("load", 8), "needs an address"),
    (Op("load", 7, address=M), "result has 7 bits"),
    (Op("load", 24, address=M, ordered=True), "result has 24 bits"),
    (Op("load", 8, (WORD,), address=M), "index 0 has 16 bits"),
    (Op("store", 0, address=M), "takes a value"),
    (Op("store", 8, (BYTE,), address=M), "result has 8 bits, not 0"),
    (Op("store", 0, (BIT,), address=M), "value has 1 bits"),
    (Op("store", 0, (BYTE, BYTE), address=M), "index 0 has 8 bits"),
    (Op("in", 8, (WORD,)), "must be ordered"),
    (Op("in", 64, (WORD,), ordered=True), "result has 64 bits"),
    (Op("in", 8, (LONG,), ordered=True), "port has 32 bits, not 16"),
    (Op("out", 0, (WORD, QUAD), ordered=True), "value has 64 bits"),
    (Op("out", 0, (BYTE, BYTE), ordered=True), "port has 8 bits"),
    (Op("ins", 0, (WORD, QUAD, QUAD), 64, ordered=True), "cannot have the value 64"),
    (Op("outs", 0, (WORD, LONG, QUAD), 8, ordered=True), "count has 32 bits"),
    (Op("outs", 0, (WORD, QUAD, LONG), 8, ordered=True), "memory address has 32 bits"),
    (Op("cpuid", 32, (LONG, LONG), 4), "cannot have the value 4"),
    (Op("cpuid", 32, (LONG, QUAD), 0), "subleaf has 64 bits"),
    (Op("udiv", 8, (BYTE, Op("const", 8))), "its divisor may be 0"),
    (Op("udiv", 8, (BYTE, Op("add", 8, (BYTE, BYTE)))), "its divisor may be 0"),
    (Op("rdtsc", 32, ordered=True), "result has 32 bits, not 64"),
    (Op("rdtsc", 64), "must be ordered"),
    (Op("fill", 0, (QUAD, LONG)), "count has 32 bits"),
    (Op("copy", 0, (QUAD, LONG, QUAD), ordered=True), "where from has 32 bits"),
    (Op("copy", 0, (QUAD, QUAD, QUAD)), "must be ordered"),
    (Op("fence", 0), "must be ordered"),
    (Op("barrier", 8, ordered=True), "result has 8 bits, not 0"),
    (Op("add", 8, (BYTE, Op("const", 8))), "argument 1 (const) is not defined before"),
    (Op("zext", 8, (NOTHING,)), "argument 0 (fence) has no result"),
    (BYTE, "stands twice"),
]


@pytest.mark.parametrize(("op", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_broken(op: Op, message: str) -> None:
    with pytest.raises(MetaosError, match=r"00:03\.0, phase init") as caught:
        check(Program("00:03.0", "init", (*CONSTANTS, NOTHING, op)))
    assert message in caught.value.render()


def test_every_kind_has_a_broken_twin() -> None:
    assert set(SHAPES) - {op.kind for op, _ in BROKEN} == {
        *("sub", "mul", "mulh", "and", "or", "xor", "lshr", "ne", "ult", "ule")  # made as "add" is
    }


def test_argument_after_its_use() -> None:
    late = Op("const", 8, value=1)
    with pytest.raises(MetaosError) as caught:
        check(Program("d", "init", (Op("zext", 16, (late,)), late)))
    assert "is not defined before" in caught.value.render()


def test_all_faults_are_listed_with_their_place() -> None:
    span = Span("a.pattern", 7, 3, 5)
    ops = (Op("const", 0, span=span), Op("jump", 0, span=span))
    with pytest.raises(MetaosError) as caught:
        check(Program("d", "init", ops))
    assert [str(p.span) for p in caught.value.problems] == ["a.pattern:7:3"] * 2


def test_unused_ops_are_found() -> None:
    load = Op("load", 8, address=M)
    program = Program("d", "init", (BYTE, load, Op("store", 0, (BYTE,), address=M)))
    check(program)
    with pytest.raises(MetaosError) as caught:
        check_pruned(program)
    assert [p.message for p in caught.value.problems] == ["op 1, load: is unused"]
