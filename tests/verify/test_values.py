"""The walk against the processor: what unicorn computes is always among what the walk says."""

from __future__ import annotations

import random
from typing import Any

import pytest
import unicorn
from unicorn import x86_const as ux

from metaos.link.layout import CODE_END
from metaos.verify.decode import ledger, straight_lines
from metaos.verify.explore import explore
from metaos.verify.flow import check_divisions
from metaos.verify.memory import atlas_of
from metaos.verify.values import (
    Value,
    both,
    either,
    join,
    known,
    minus,
    narrow,
    plus,
    right,
    times,
    unknown,
    widen_signed,
)
from metaos.verify.walk import Ground, Walker, walk
from tests.verify.handmade import (
    NEXT,
    ROOTS,
    ROW_LIST,
    ROWS,
    SHADOW,
    TABLE,
    WINDOW,
    assemble,
    handmade,
    placed,
)

pytestmark = pytest.mark.long

WHOLE = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9")
PARTS = {
    64: WHOLE,
    32: ("eax", "ebx", "ecx", "edx", "esi", "edi", "r8d", "r9d"),
    16: ("ax", "bx", "cx", "dx", "si", "di", "r8w", "r9w"),
    8: ("al", "bl", "cl", "dl", "sil", "dil", "r8b", "r9b"),
}
CONSTANTS = (0, 1, 3, 7, 8, 15, 16, 0x7F, 0xFF, 0xFFF0, 1 << 30)


def line(pick: random.Random) -> str:
    """One random instruction that has a rule."""
    bits = pick.choice((64, 64, 32, 32, 16, 8))
    a, b = pick.choice(PARTS[bits]), pick.choice(PARTS[bits])
    narrower = pick.choice(PARTS[pick.choice((8, 16))])
    constant = pick.choice([c for c in CONSTANTS if c < 1 << (bits - 1)])
    two = pick.choice(("add", "sub", "and", "or", "xor", "adc", "sbb", "mov", "cmp", "test"))
    wide = pick.choice(PARTS[pick.choice((32, 64))])
    condition = pick.choice(("e", "ne", "b", "ae", "s", "ns", "be", "a", "l", "ge", "le", "g"))
    forms = (
        f"{two} {a}, {constant}",
        f"{two} {a}, {b}",
        f"mov {a}, {constant}",
        f"{pick.choice(('shl', 'shr'))} {a}, {pick.randrange(1, 9)}",
        f"{pick.choice(('not', 'neg', 'inc', 'dec'))} {a}",
        f"{pick.choice(('movzx', 'movsx'))} {wide}, {narrower}",
        f"set{condition} {pick.choice(PARTS[8])}",
        f"cmov{condition} {pick.choice(PARTS[64])}, {pick.choice(PARTS[64])}",
        f"cmov{condition} {pick.choice(PARTS[32])}, {pick.choice(PARTS[32])}",
        f"lea {pick.choice(PARTS[64])}, [{pick.choice(WHOLE)} + {pick.choice(WHOLE)}*4 + 16]",
        f"imul {pick.choice(PARTS[64])}, {pick.choice(WHOLE)}, {pick.choice((3, 16, 48))}",
        f"bswap {pick.choice(PARTS[32])}",
        f"xchg {a}, {b}",
        f"movsxd {pick.choice(PARTS[64])}, {pick.choice(PARTS[32])}",
        f"shl {pick.choice(PARTS[64])}, cl",
        f"bt {pick.choice(PARTS[64])}, {pick.randrange(64)}",
    )
    return pick.choice(forms)


@pytest.mark.parametrize("seed", range(150))
def test_every_register_is_what_the_walk_says_it_can_be(seed: int) -> None:
    pick = random.Random(seed)
    sets = [f"mov {name}, {pick.choice(CONSTANTS)}" for name in pick.sample(WHOLE, seed % 9)]
    text = "\n".join([*sets, *(line(pick) for _ in range(25))])
    image = handmade(steady_bytes=assemble(text, CODE_END - 0x1000))
    steady = next(x for x in straight_lines(image) if x.name == "steady")
    walker = Walker(atlas_of(image, "steady"), Ground(image.manifest.roots, NEXT))
    engine: Any = unicorn
    machine = engine.Uc(engine.UC_ARCH_X86, engine.UC_MODE_64)
    start = steady.phase.code_linear
    machine.mem_map(start // 4096 * 4096, 0x1000)
    machine.mem_write(start, steady.code)
    ids = [getattr(ux, f"UC_X86_REG_{name.upper()}") for name in WHOLE]
    for register in ids:
        machine.reg_write(register, pick.choice((pick.getrandbits(64), pick.getrandbits(7))))
    for step in steady.steps[:-1]:
        machine.emu_start(start + step.offset, start + step.end, count=1)
        walker.take(step)
        for name, register in zip(WHOLE, ids, strict=True):
            said, is_so = walker.registers.read(name), machine.reg_read(register)
            assert said.holds(is_so), f"{step.text}: {name} = {is_so:#x}, walk says {said}"


def members(value: Value) -> list[int]:
    """All members of a small value."""
    return [b + k for b in value.bases for k in range(0, value.high + 1, value.step)]


SMALL = (known(3), known(0, 1 << 30), known(0, 255), unknown(3), times(unknown(4), 16))


@pytest.mark.parametrize("bits", [8, 32, 64])
@pytest.mark.parametrize("a", SMALL)
@pytest.mark.parametrize("b", SMALL)
def test_every_operation_yields_a_superset(a: Value, b: Value, bits: int) -> None:
    mask = (1 << bits) - 1
    a, b = narrow(a, bits), narrow(b, bits)
    for x in members(a):
        for y in members(b):
            assert plus(a, b, bits).holds((x + y) & mask)
            assert minus(a, b, bits).holds((x - y) & mask)
            assert both(a, b, bits).holds(x & y)
            assert either(a, b, bits).holds(x | y)
            assert join(a, b).holds(x) and join(a, b).holds(y)
        assert times(a, 48, bits).holds(x * 48 & mask)
        assert right(a, 2, bits).holds(x >> 2)
        signed = x - (x >> (bits - 1) << bits)
        assert widen_signed(a, bits, 64).holds(signed & ((1 << 64) - 1))


@pytest.mark.parametrize("constant", [1, 3, 5, 8])
@pytest.mark.parametrize("a", SMALL)
def test_a_number_with_a_bit_set_is_not_0(a: Value, constant: int) -> None:
    result = either(a, known(constant), 64)
    assert all(result.holds(x | constant) for x in members(a))
    assert constant % 2 == 0 or not result.holds(0)


def test_a_division_is_safe_where_its_divisor_and_its_upper_half_are_known() -> None:
    def faulting(text: str) -> list[str]:
        image = handmade(steady=text)
        steady = next(x for x in straight_lines(image) if x.name == "steady")
        walked = walk(steady, atlas_of(image, "steady"), Ground(image.manifest.roots, NEXT))
        return [v.message for v in check_divisions(steady, walked, ledger(image))]

    assert faulting("mov rcx, [0x200110]\nor rcx, 1\nxor edx, edx\ndiv rcx") == []
    assert faulting("mov ecx, 7\nmov edx, 0\ndiv ecx") == []
    unknown_divisor = faulting("mov rcx, [0x200110]\nxor edx, edx\ndiv rcx")
    assert unknown_divisor == ["divides by what may be 0, or more than fits: div rcx"]
    assert faulting("mov rdx, [0x200110]\nmov rcx, 1\ndiv rcx")
    assert faulting("mov rcx, [0x200110]\nor rcx, 2\nxor edx, edx\ndiv cl")


def test_a_gate_stays_apart_from_an_index() -> None:
    address = plus(plus(known(0x200000), known(0, 1 << 30)), times(unknown(8), 16))
    assert address == Value(frozenset({0x200000, 0x40200000}), 4080, 16)


def test_each_row_is_walked_by_itself() -> None:
    image = handmade()
    guard = straight_lines(image)[0]
    found = explore(guard, atlas_of(image, "guard"), Ground(tuple(ROOTS.values()), NEXT))
    assert found.rows == len(ROW_LIST)
    stores = [a for a in found.accesses if a.write and a.step.text.startswith("mov dword ptr [rdi")]
    assert {(*a.address.bases, *a.stored.bases) for a in stores} == {
        (WINDOW, TABLE),
        (TABLE + SHADOW, 0x41),
        (WINDOW + 0x3818, 2),
    }
    ports = [a for a in found.accesses if a.kind == "port" and a.count == known(1)]
    assert [a.address for a in ports] == [known(0x3F8)]
    assert frozenset().union(*(v.bases for _, v in found.roots)) == {ROOTS["guard"], ROOTS["wipe"]}


def test_a_spilled_value_is_known_when_it_is_loaded_again() -> None:
    image = handmade(steady="mov ecx, 0x200000\nmov [0x200110], ecx\nmov edx, [0x200110]")
    steady = next(x for x in straight_lines(image) if x.name == "steady")
    walker = Walker(atlas_of(image, "steady"), Ground(image.manifest.roots, NEXT))
    for step in steady.steps:
        walker.take(step)
    assert walker.registers.read("rdx") == known(0x200000)


@pytest.mark.parametrize(
    ("kind", "shift", "said"),
    [
        (4, "shr ecx, 2", known(7)),
        (3, "shr ecx, 2", known(5)),
        (4, "shl cl, 6", known(5)),
        (4, "shr ecx, 32", Value(frozenset({5, 7}))),  # no shift at all: the flags before it
    ],
)
def test_a_condition_follows_a_shift(kind: int, shift: str, said: Value) -> None:
    """As a row's kind is tested where its bit has become a count."""
    text = f"mov ecx, {kind}\nmov edx, 5\nmov esi, 7\n{shift}\nmov edi, 0x200110\ncmovne edx, esi"
    image = handmade(steady=text)
    steady = next(x for x in straight_lines(image) if x.name == "steady")
    walker = Walker(atlas_of(image, "steady"), Ground(image.manifest.roots, NEXT))
    for step in steady.steps:
        walker.take(step)
    assert walker.registers.read("rdx") == said


def test_a_truth_stays_one_when_its_whole_register_is_copied() -> None:
    """As where the count of a string instruction is made of two comparisons."""
    text = "cmp byte ptr [0x200110], 5\nsetne r13b\nsete r15b\n"
    text += "mov ecx, r13d\nor cl, r15b\nmovzx ecx, cl"
    image = handmade(steady=text)
    steady = next(x for x in straight_lines(image) if x.name == "steady")
    walker = Walker(atlas_of(image, "steady"), Ground(image.manifest.roots, NEXT))
    for step in steady.steps:
        walker.take(step)
    assert walker.registers.read("rcx") == known(0, 1)


def test_code_is_assembled_where_it_stands() -> None:
    assert len(placed(f"mov eax, dword ptr [{ROWS:#x}]", 5)) in (6, 9)
