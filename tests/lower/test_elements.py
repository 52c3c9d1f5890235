"""Elements of tables: written whole, field by field, and as they begin."""

from __future__ import annotations

import random

import pytest

from metaos.errors import MetaosError
from metaos.link.parts import Fill
from metaos.lower.initial import fills
from metaos.lower.plan import DevicePlan
from tests.lower.lowering import number, placed, planned, problem_of, run, turned

COUNT = 4
Fields = dict[str, tuple[int, int]]

LAYOUTS: dict[str, tuple[int, Fields]] = {
    "cells": (2, {"char": (7, 0), "colour": (15, 8)}),
    "three bytes": (3, {"a": (7, 0), "b": (23, 8)}),
    "six bytes": (6, {"a": (31, 0), "b": (47, 32)}),
    "ten bytes": (10, {"a": (63, 0), "b": (79, 64)}),
    "twelve bytes": (12, {"a": (31, 0), "b": (63, 32), "c": (71, 64), "d": (95, 88)}),
    "a field over a word's end": (16, {"a": (31, 0), "b": (95, 32), "c": (96, 96)}),
    "odd fields": (8, {"a": (2, 0), "b": (36, 3), "c": (63, 61)}),
    "descriptors": (16, {"addr": (63, 0), "n": (79, 64), "DONE": (96, 96), "err": (111, 104)}),
    "halves": (8, {"a": (15, 0), "b": (31, 16)}),
    "five words": (20, {"a": (31, 0), "e": (159, 128)}),
}


def layout(name: str) -> tuple[tuple[str, ...], int, Fields]:
    size, fields = LAYOUTS[name]
    rows = [f"  {high}:{low} {field}" for field, (high, low) in fields.items()]
    return (f"layout L {size} bytes little", *rows), size, fields


def encoded(fields: Fields, values: dict[str, int], size: int) -> bytes:
    word = sum(values[name] << fields[name][1] for name in values)
    return word.to_bytes(size, "little")


def top(field: tuple[int, int]) -> int:
    return (1 << field[0] - field[1] + 1) - 1


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("at", range(COUNT))
def test_an_element_is_written_whole_and_alone(name: str, at: int) -> None:
    rows, size, fields = layout(name)
    source = random.Random(name + str(at))
    given = {f: source.choice((top(x), source.randrange(top(x) + 1))) for f, x in fields.items()}
    said = ", ".join(f"{field} = {value:#x}" for field, value in given.items())
    device = planned(
        *rows, f"table t[{COUNT}] of L align 16", "state n : u2", "turn", f"  t[n] <- {{ {said} }}"
    )
    before = b"\xcc" * size * COUNT
    regions = placed(device, {"t": before})
    state = device.states["n"]
    regions[state.symbol][1].write(0, state.storage, at << state.scale)
    run(turned(device), regions)
    element = encoded(fields, given, size)
    assert regions["00:03.0.t"][1].data == before[: at * size] + element + before[(at + 1) * size :]


@pytest.mark.parametrize("name", LAYOUTS)
def test_variables_go_into_fields(name: str) -> None:
    """Numbers that the machine works out, as wide as the field."""
    rows, size, fields = layout(name)
    source = random.Random(name)
    states = [f"state s_{f} : u{high - low + 1}" for f, (high, low) in fields.items()]
    said = ", ".join(f"{field} = s_{field}" for field in fields)
    device = planned(*rows, "table t[2] of L align 16", *states, "turn", f"  t[1] <- {{ {said} }}")
    given = {f: source.randrange(top(x) + 1) for f, x in fields.items()}
    content = {f"s_{f}": value.to_bytes(8, "little") for f, value in given.items()}
    regions = placed(device, content | {"t": b"\xcc" * 2 * size})
    run(turned(device), regions)
    assert regions["00:03.0.t"][1].data == b"\xcc" * size + encoded(fields, given, size)


@pytest.mark.parametrize("name", [n for n in LAYOUTS if n != "a field over a word's end"])
def test_fields_are_read(name: str) -> None:
    rows, size, fields = layout(name)
    source = random.Random(name)
    states = [f"state s_{f} : u{high - low + 1}" for f, (high, low) in fields.items()]
    steps = [f"  s_{field} <- e.{field}" for field in fields]
    device = planned(
        *rows, "table t[2] of L align 16", *states, "turn", "  e = t[1]", *steps
    )  # fmt: skip
    given = {f: source.randrange(top(x) + 1) for f, x in fields.items()}
    regions = placed(device, {"t": b"\xff" * size + encoded(fields, given, size) + b"\xff" * 8})
    run(turned(device), regions)
    for field, value in given.items():
        assert number(regions, f"00:03.0.s_{field}") == value, field


def test_a_single_field_is_written_alone() -> None:
    rows, size, _ = layout("descriptors")
    device = planned(*rows, "table t[2] of L align 16", "turn", "  t[1].n <- 0x1234")
    regions = placed(device, {"t": b"\xcc" * 2 * size})
    run(turned(device), regions)
    wanted = bytearray(b"\xcc" * 2 * size)
    wanted[size + 8 : size + 10] = b"\x34\x12"
    assert regions["00:03.0.t"][1].data == wanted


@pytest.mark.parametrize("write", ["t[1] <- { n = 1 }", "t[0].n <- 1"])
@pytest.mark.parametrize("read", ["e.n", "t[1].n"])
def test_a_table_is_not_read_after_it_is_written(write: str, read: str) -> None:
    """It would show the new value, where everything else shows the old."""
    rows, *_ = layout("descriptors")
    device = planned(
        *rows, "table t[2] of L align 16", "state got : u16",
        "turn", "  e = t[1]", f"  {write}", f"  got <- {read}",
    )  # fmt: skip
    with pytest.raises(MetaosError) as refused:
        turned(device)
    code, text = problem_of(refused.value)
    assert code == "E0425" and "hint" in text


# ---- as they begin ------------------------------------------------------------------------


def filled(device: DevicePlan, name: str) -> bytes:
    """What the loader writes into a table: each fill as `Fill` says; symbols are at 0x300000."""
    table = device.tables[name]
    made = fills(device, table.node.initial, table.count, table.stride, table.layout)
    return applied(made, table.count * table.stride)


def applied(made: tuple[Fill, ...], size: int) -> bytes:
    memory = bytearray(size)
    for fill in made:
        base = fill.value + (0x300000 if fill.symbol else 0)
        for i in range(fill.count):
            at = fill.offset + i * fill.stride
            assert at + 4 <= size, "a fill beyond its place"
            assert not any(memory[at : at + 4]), "a fill over another"
            memory[at : at + 4] = (base + i * fill.step).to_bytes(4, "little")
    return bytes(memory)


@pytest.mark.parametrize(
    ("initial", "wanted"),
    [
        pytest.param("{ addr = &buf[i] }", lambda i: {"addr": 0x300000 + 64 * i}, id="addresses"),
        pytest.param(
            "{ addr = &buf[i + 4], DONE }", lambda i: {"addr": 0x300100 + 64 * i, "DONE": 1},
            id="addresses and a flag",
        ),
        pytest.param("{ addr = &buf }", lambda i: {"addr": 0x300000}, id="one address"),
        pytest.param("{ addr = 3 * i + 7 }", lambda i: {"addr": 3 * i + 7}, id="a progression"),
        pytest.param("{ addr = 5, n = 0x1234 }", lambda i: {"addr": 5, "n": 0x1234}, id="numbers"),
        pytest.param("{ DONE = 1, err = 255 }", lambda i: {"DONE": 1, "err": 255}, id="one word"),
        pytest.param("{ addr = 0x123456789A }", lambda i: {"addr": 0x123456789A}, id="64 bits"),
        pytest.param("{ n = 0, DONE = 0 }", lambda i: {}, id="zeros"),
    ],
)  # fmt: skip
def test_elements_begin_as_said(initial: str, wanted: object) -> None:
    assert callable(wanted)
    rows, size, fields = layout("descriptors")
    device = planned(
        *rows, f"table t[{COUNT}] of L align 16 = {initial}", "table buf[8] of bytes 64"
    )
    elements = [encoded(fields, wanted(i), size) for i in range(COUNT)]
    assert filled(device, "t") == b"".join(elements)


@pytest.mark.parametrize("initial", ["{ a = i + 1, b = 7 }", "{ b = 7, a = i + 1 }"])
def test_a_constant_beside_what_varies(initial: str) -> None:
    rows, size, fields = layout("halves")
    device = planned(*rows, f"table t[{COUNT}] of L align 16 = {initial}")
    elements = [encoded(fields, {"a": i + 1, "b": 7}, size) for i in range(COUNT)]
    assert filled(device, "t") == b"".join(elements)


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        ("a[4] : u3 = i", (0, 1, 2, 3)), ("a[4] : u5 = i + 16", (16, 17, 18, 19)),
        ("a[4] : u8 = 9", (9, 9, 9, 9)), ("a[4] : u8 = 2 * i + 1", (1, 3, 5, 7)),
        ("a[4] : u32 = &buf[i]", (0x300000, 0x300040, 0x300080, 0x3000C0)),
        ("a[4] : u8", (0, 0, 0, 0)), ("a : u8 = 7", (7,)),
        ("a : u64 = 0x123456789ABCDEF0", (0x123456789ABCDEF0,)),
        ("a[2] : u48 = 0xFFFFFFFFFFFF", (0xFFFFFFFFFFFF, 0xFFFFFFFFFFFF)),
    ],
)  # fmt: skip
def test_states_begin_as_said(state: str, wanted: tuple[int, ...]) -> None:
    device = planned(f"state {state}", "table buf[8] of bytes 64")
    plan = device.states["a"]
    step = plan.stride if plan.count else plan.storage // 8
    made = fills(device, plan.node.initial, max(1, plan.count), step, None, plan.scale)
    memory = applied(made, max(4, (plan.count or 1) * max(step, plan.storage // 8)))
    cells = [memory[i * step :][: plan.storage // 8] for i in range(len(wanted))]
    assert tuple(int.from_bytes(x, "little") >> plan.scale for x in cells) == wanted
