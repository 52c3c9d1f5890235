"""What is known when the image is built: capabilities, learnt registers, tables in tables, rows."""

from __future__ import annotations

import msgspec
import pytest

from metaos.errors import MetaosError
from metaos.link.parts import Fill
from metaos.lower.lower import Lowered, lower
from metaos.match.bind import bind
from metaos.match.system import System
from metaos.probe.machine import Capability, Learnt, Machine, Origin
from tests.lower.lowering import card, machine, patterns_of, problem_of

CARD = "00:03.0"
SYSTEM = System(name="test", address="10.0.2.15/24", services=())
REGISTERS = ("fact regs : window = bar[0]", "registers csr at regs mmio 32 bits")


def lowered(*lines: str, on: Machine | None = None) -> Lowered:
    rows = ("turn", "  order") if not any(x.startswith("turn") for x in lines) else ()
    return lower(bind(on or machine(), patterns_of(card(*lines, *rows)), SYSTEM))


def with_capabilities(*found: tuple[int, bytes]) -> Machine:
    """The machine, its card with these capabilities: id, and what follows id and link."""
    before = machine()
    at, config, listed = 0x40, None, []
    for function in before.functions:
        if function.address == CARD:
            config = bytearray.fromhex(function.config)
    assert config is not None
    for identity, rest in found:
        data = bytes((identity, 0)) + rest
        config[at : at + len(data)] = data
        listed.append(Capability(id=identity, offset=at))
        at += 0x20
    functions = tuple(
        msgspec.structs.replace(f, config=config.hex(), capabilities=tuple(listed))
        if f.address == CARD
        else f
        for f in before.functions
    )
    return msgspec.structs.replace(before, functions=functions)


def rows(made: Lowered) -> list[tuple[str, int, str, int, str]]:
    return [
        (r.kind, r.place.value, r.place.symbol, r.value.value, r.value.symbol)
        for r in made.init_rows
        if r.device == CARD and not r.kind.startswith("config")
    ]


def fills(made: Lowered, name: str) -> tuple[Fill, ...]:
    return next(p.fills for p in made.places if p.name == f"{CARD}.{name}")


# ---- capabilities -----------------------------------------------------------------------------

CAPABILITY = (
    "fact cap : capability = capability(0x09, u8[3] == 2)",
    "fact at : window = bar[cap.u8[4]] + cap.u32[8]",
    "registers csr at at + 4 * cap.u16[6] mmio 16 bits",
    "  0x10 R rw @m 1",
    "sequence init",
    "  R <- 7",
)


def capability(kind: int, bar: int, factor: int, offset: int) -> bytes:
    return bytes((16, kind, bar, 0)) + factor.to_bytes(2, "little") + offset.to_bytes(4, "little")


def test_registers_lie_where_a_capability_says() -> None:
    """Of two capabilities of the id, the one of which the condition holds."""
    first, second = capability(1, 5, 9, 0x100), capability(2, 0, 3, 0x2000)
    made = lowered(*CAPABILITY, on=with_capabilities((9, first), (9, second)))
    assert rows(made) == [("mem16.write", 0x2000 + 12 + 0x10, f"{CARD}.at", 7, "")]
    (window,) = made.windows
    assert window.pages == (0x2000,) and window.physical == 0xFEBC0000


def test_a_capability_that_is_not_there_is_said() -> None:
    with pytest.raises(MetaosError) as error:
        lowered(*CAPABILITY, on=with_capabilities((9, capability(1, 0, 0, 0))))
    assert f"{CARD} has no capability 0x09 with u8[3] == 2" in problem_of(error.value)[1]


def test_a_place_beyond_the_window_is_said() -> None:
    with pytest.raises(MetaosError) as error:
        lowered(*CAPABILITY, on=with_capabilities((9, capability(2, 0, 0, 0x20000))))
    assert "byte 0x20000 is beyond the window's 0x20000" in problem_of(error.value)[1]


# ---- learnt registers -------------------------------------------------------------------------

OFFERED = (
    *REGISTERS,
    "  0 CAPS ro @m 1",
    "    0 FAST",
    "    7:4 SPEED",
    "  4 CTRL rw @m 1",
    "    0 FAST",
    "    11:8 RATE",
    "learn",
    "  offered := CAPS else 0x20",
    "sequence init",
    '  expect CAPS == offered else "changed"',
    "  CTRL <- { FAST = offered.FAST, RATE = offered.SPEED }",
    "  CTRL <- 3 given offered.FAST",
)


@pytest.mark.parametrize(
    ("value", "ctrl"), [(None, [0x200]), (0x51, [0x501, 3]), (0x50, [0x500])], ids=str
)
def test_fields_of_a_learnt_register_are_facts(value: int | None, ctrl: list[int]) -> None:
    learnt = Learnt(
        device=CARD, pattern="card", name="offered", value=value or 0, origin=Origin.DISCOVERER
    )
    on = msgspec.structs.replace(machine(), learnt=(learnt,) if value is not None else ())
    made = lowered(*OFFERED, on=on)
    assert [row[3] for row in rows(made)] == [0x20 if value is None else value, *ctrl]
    fact = f"learnt.{CARD}.offered"
    assert all(fact in r.facts for r in made.init_rows if r.place.symbol == f"{CARD}.regs")


# ---- tables -----------------------------------------------------------------------------------

LAYOUTS = (
    "layout Pair 4 bytes little",
    "  15:0 low",
    "  31:16 high",
    "layout Slot 2 bytes little",
    "  15:0 id",
    "layout Wide 16 bytes little",
    "  63:0 addr",
    "  95:64 command",
    "  75:64 size",
    "  94 EOR",
    "  95 OWN",
)


def test_tables_in_a_table_are_its_bytes() -> None:
    made = lowered(
        *LAYOUTS,
        "fact n : u8 = 8",
        "table area[4 + 2 * n + 2] of bytes 1 align 16",
        "table head[1] of Pair at area = { low = 3, high = n }",
        "table ring[n] of Slot at area + 4 = { id = i }",
    )
    assert [p.name for p in made.places if p.device == CARD] == [f"{CARD}.area"]
    assert fills(made, "area") == (Fill(0, 1, 4, 0x80003), Fill(4, 8, 2, 0, 1))


def test_a_flag_in_the_last_element_alone() -> None:
    made = lowered(
        *LAYOUTS,
        "table buf[4] of bytes 64",
        "table t[4] of Wide align 16 = { addr = &buf[i], OWN, EOR = i == 3, size = 64 }",
    )
    assert fills(made, "t") == (
        Fill(0, 4, 16, 0, 64, f"{CARD}.buf"),
        Fill(8, 3, 16, 0x80000040),
        Fill(8 + 48, 1, 16, 0xC0000040),
    )


def test_a_field_is_written_by_its_parts_and_nothing_else_is() -> None:
    made = lowered(
        *LAYOUTS,
        "table t[4] of Wide align 16",
        "state n : u2",
        "turn",
        "  t[n].command <- { OWN, EOR = n == 3, size = 64 }",
    )
    program = next(p for p in made.programs if p.device == CARD and p.phase == "steady")
    (store,) = (op for op in program.ops if op.kind == "store")
    assert store.address is not None and store.address.offset == 8 and store.args[0].bits == 32


# ---- rows -------------------------------------------------------------------------------------


def test_rows_reach_fields_of_tables_and_high_bits_of_places() -> None:
    made = lowered(
        *LAYOUTS,
        *REGISTERS,
        "  0 R rw @m 1",
        "  4 WIDE rw 16 bits @m 1",
        "table t[4] of Wide align 4096",
        "table p[2] of Pair align 4",
        "sequence init",
        "  p[1].high <- WIDE",
        "  t[2].command <- 5",
        '  expect t[2].command == 5 else "no"',
        "  R <- &t",
        "  R <- &t >> 12",
        "  R <- &p >> 16",
    )
    assert rows(made) == [
        ("mem16.keep16", 4, f"{CARD}.regs", 6, f"{CARD}.p"),
        ("mem32.write", 40, f"{CARD}.t", 5, ""),
        ("mem32.test", 40, f"{CARD}.t", 5, ""),
        ("mem32.write", 0, f"{CARD}.regs", 0, f"{CARD}.t"),
        ("mem32.write", 0, f"{CARD}.regs", 0, f"{CARD}.t>>12"),
        ("mem32.write", 0, f"{CARD}.regs", 0, f"{CARD}.p>>16"),
    ]


def test_a_part_is_made_for_each_use() -> None:
    made = lowered(
        *REGISTERS,
        "  0 SELECT rw @m 1",
        "  4 SIZE rw @m 1",
        "part queue(number, n)",
        "  learn",
        "    SELECT <- number",
        "    room := SIZE else 64",
        "  table slots[n] of bytes 4 align 16",
        "  sequence setup",
        "    SELECT <- number",
        '    expect SIZE == room else "changed"',
        "    SIZE <- &slots",
        "use one = queue(3, 2)",
        "use two = queue(4, 8)",
        "sequence init",
        "  run two.setup",
        "  run one.setup",
    )
    assert [(row[1], row[3], row[4]) for row in rows(made)] == [
        (0, 4, ""), (4, 64, ""), (4, 0, f"{CARD}.two.slots"),
        (0, 3, ""), (4, 64, ""), (4, 0, f"{CARD}.one.slots"),
    ]  # fmt: skip
    sizes = {p.name: p.size for p in made.places if p.device == CARD}
    assert sizes == {f"{CARD}.one.slots": 8, f"{CARD}.two.slots": 32}
