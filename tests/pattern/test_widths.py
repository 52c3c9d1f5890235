"""How wide an expression is, and how high its value can be."""

from __future__ import annotations

import pytest

from metaos.errors import Source
from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.names import names_of
from metaos.pattern.report import Report
from metaos.pattern.spell import spell
from metaos.pattern.widths import Typer, width_of
from tests.pattern.load import patterns_of

DEVICE = """source m = "A manual"   # as @m
device d : interrupts
  match platform part
  fact w : window = memory(0x1000, 0x80)
  registers r at w mmio 32 bits
    0 A rw  @m 1
      7:0 LOW
      8   FLAG
    8 B[4] rw  @m 1
  layout D 16 bytes little
    63:0  addr
    79:64 length
    96    DD
  table t[16] of D
  table b[32] of bytes 64
  state n : u4 = 0
  state m : u16 = 0
  state a[16] : u5 = i
  turn
    x = {expression}
"""


def typed(text: str) -> tuple[s.Expr, Typer, Report]:
    source = Source("x.pattern", DEVICE.replace("{expression}", text))
    patterns = patterns_of(source)
    pattern = patterns.devices["d"]
    turn = pattern.one(s.Turn)
    assert turn is not None
    (let,) = turn.steps
    assert isinstance(let, s.Let)
    report = Report(patterns)
    return let.value, Typer(names_of(pattern), report), report


@pytest.mark.parametrize(
    ("text", "bits", "top"),
    [
        ("0", 1, 0),
        ("255", 8, 255),
        ("3 + 4", 3, 7),
        ("~0", 1, 0),
        ("A", 32, 2**32 - 1),
        ("A.LOW", 8, 255),
        ("A.FLAG", 1, 1),
        ("A[7:4]", 4, 15),
        ("A[31]", 1, 1),
        ("B[3]", 32, 2**32 - 1),
        ("n", 4, 15),
        ("n + 1", 4, 16),
        ("n + m", 16, 2**16 + 14),
        ("n - 1", 4, 15),
        ("n * 2", 4, 30),
        ("n << 4", 4, 240),
        ("m >> 4", 12, 4095),
        ("m & 0xF", 4, 15),
        ("n | m", 16, 2**16 - 1),
        ("n == 3", 1, 1),
        ("!m", 1, 1),
        ("~n", 4, 15),
        ("a[n]", 5, 31),
        ("a'[n]", 5, 31),
        ("n'", 4, 15),
        ("t[n].length", 16, 2**16 - 1),
        ("t[n + 1].DD", 1, 1),
        ("&t", 32, 2**32 - 1),
        ("&b[a[n]]", 32, 2**32 - 1),
    ],
)
def test_width_and_highest_value(text: str, bits: int, top: int) -> None:
    node, typer, report = typed(text)
    found = typer.number(node)
    assert found is not None and not report.problems()
    assert (found.bits, found.top) == (bits, top)


def test_width_of_says_nothing() -> None:
    node, typer, report = typed("unknown + 1")
    assert width_of(node, typer.names, report) is None
    assert report.problems() == ()
    node, typer, report = typed("n + 1")
    assert width_of(node, typer.names, report) == 4


@pytest.mark.parametrize("text", ["t", "t[n]", "a", "b[n]", "B", "w"])
def test_what_is_no_number(text: str) -> None:
    node, typer, report = typed(text)
    assert typer.number(node) is None
    (problem,) = report.problems()
    assert problem.code == "E0206"


def test_registers_read_are_told() -> None:
    seen: list[str] = []
    node, typer, _ = typed("A.LOW + B[1] == 3")
    typer.read = lambda register, _: seen.append(register.node.name)
    typer.number(node)
    assert seen == ["A", "B"]
    assert {"A", "B"} <= typer.used


@pytest.mark.parametrize(
    "text", ["A.LOW + 1", "!(n == 3)", "~n", "t[n + 1].DD", "A[7:4]", "&b[a'[n]]", "sum16(n, m)"]
)
def test_spelled_as_written(text: str) -> None:
    assert spell(typed(text)[0]) == text


def test_constants_wider_than_any_number_are_reported() -> None:
    node, typer, report = typed("0xFFFFFFFFFFFFFFFF + 1")
    assert typer.kind(node) == k.UNKNOWN
    assert [p.code for p in report.problems()] == ["E0203"]
