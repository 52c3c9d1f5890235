"""Facts and lines of single instructions: what LLVM keeps, folds, and makes up."""

from __future__ import annotations

from metaos.emit.code import Code, Line
from metaos.emit.emit import emit
from metaos.emit.lines import Step, user
from metaos.errors import Span
from metaos.ir.build import Builder
from metaos.told import Told
from tests.emit.test_emit import decoded

PORT, OTHER = Told(0x3F8, ("legacy.com0.port",)), Told(0x3F8, ("legacy.com1.port",))


def at(line: int) -> Span:
    return Span("x.pattern", line, 1, 2)


def with_facts(code: Code) -> dict[str, tuple[str, ...]]:
    """The instructions that have facts."""
    lines = {line.start: line for line in code.lines}
    texts = ((f"{i.mnemonic} {i.op_str}", lines[i.address]) for i in decoded(code))
    return {text: line.facts for text, line in texts if line.facts}


def test_a_number_has_its_fact_where_it_is_in_the_bytes() -> None:
    b = Builder("dev", "steady")
    with b.at(at(1)):
        b.output(b.const(PORT + 2, 16), b.trunc(b.load(32, "dev.state"), 8))
    assert with_facts(emit(b.finish(), ())) == {"mov dx, 0x3fa": ("legacy.com0.port",)}


def test_facts_go_through_folding_and_into_displacements() -> None:
    b = Builder("dev", "steady")
    with b.at(at(1)):
        wanted = b.bswap(b.const(Told(0x0A00020F, ("system.address",)), 32))
        same = b.eq(b.load(32, "dev.frame", Told(12, ("functions.a",))), wanted)
        b.store(b.zext(same, 8), "dev.out", 0)
    found = with_facts(emit(b.finish(), ()))
    (facts,) = found.values()
    assert set(facts) == {"system.address", "functions.a"}
    assert "0xf02000a" in next(iter(found))


def test_numbers_equal_by_chance_keep_their_own_facts() -> None:
    b = Builder("dev", "steady")
    with b.at(at(1)):
        b.store(b.const(PORT, 32), "dev.a")
        b.store(b.const(OTHER, 32), "dev.b")
        b.store(b.const(0x3F8, 32), "dev.c")
    code = emit(b.finish(), ())
    facts = [line.facts for line in code.lines]
    assert facts == [("legacy.com0.port",), ("legacy.com1.port",), ()]


def test_a_feature_is_why_an_instruction_is_the_one_it_is() -> None:
    b = Builder("dev", "steady")
    with b.at(at(1)):
        b.store(b.bswap(b.load(32, "dev.a")), "dev.b")
    plain, rich = emit(b.finish(), ()), emit(b.finish(), ("movbe",))
    assert {line.because for line in plain.lines} == {()}
    assert ("cpu.leaves.0x1",) in {line.because for line in rich.lines}


def step(start: int, op: int, reads: str = "", writes: str = "") -> Step:
    words = frozenset(reads.split()), frozenset(writes.split())
    return Step(start, start + 1, op, *words, frozenset())


def test_an_instruction_that_llvm_made_up_is_its_users() -> None:
    made_up = step(0, 0, "", "rax")
    steps = (made_up, step(1, 3, "rcx", "rdx"), step(2, 5, "rax", "rbx"), step(3, 7, "rax"))
    assert user(steps, 0) == 5
    over = (made_up, step(1, 3, "rcx", "rax"), step(2, 5, "rax"))
    assert user(over, 0) == 0, "what is overwritten first is nobody's"
    spill = (step(0, 4, "", "rdi"), step(1, 0, "rdi", ""), step(2, 9, "rsi"))
    assert user(spill, 1) == 4


def test_it_is_inferred_and_has_the_users_line() -> None:
    b = Builder("dev", "steady")
    with b.at(at(1)):
        first = b.load(16, "dev.port")
    with b.at(at(2)):
        b.output(first, b.trunc(b.load(32, "dev.state"), 8))
    lines: tuple[Line, ...] = emit(b.finish(), ()).lines
    assert {line.span.line for line in lines} == {1, 2}
    assert all(line.exact or line.span.line in (1, 2) for line in lines)
