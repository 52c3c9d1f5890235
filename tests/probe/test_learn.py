"""Learn rows: their encoding, and what becomes of their answers."""

from __future__ import annotations

import re

import pytest

from metaos.errors import MetaosError
from metaos.probe.learn import (
    ROW_SIZE,
    Access,
    Action,
    LearnRow,
    config_place,
    encode,
    kind,
    learnt,
)
from metaos.probe.lines import Dump, LearnLine, StuckLine
from metaos.probe.machine import Learnt, Origin
from metaos.resources import BOOTLOADER

KEEP = LearnRow(
    kind(Action.KEEP, Access.CONFIG16), 0x1800, id=7, device="00:03.0", pattern="p", name="ids"
)
WAIT = LearnRow(kind(Action.WAIT, Access.MEMORY32), 0xFEBC0008, 2, 3, limit_ms=10, device="00:03.0")


def dump(*, learnt: tuple[LearnLine, ...] = (), stuck: tuple[StuckLine, ...] = ()) -> Dump:
    return Dump((), (), (), (), (), learnt, stuck)


def test_encoding() -> None:
    row = LearnRow(kind(Action.WAIT, Access.MEMORY32), 0xFEBC0008, 0x2, 0x80000003, 5, 500)
    assert encode([row]).hex(" ", 4) == "0800bcfe 02000000 03000080 4605f401"
    assert len(encode([row, KEEP])) == 2 * ROW_SIZE
    assert encode([]) == b""


def test_the_constants_are_those_of_the_discoverer() -> None:
    source = (BOOTLOADER / "discover.asm").read_text()
    found = dict(re.findall(r"^((?:ACTION|ACCESS)_\w+)\s+equ (\d+)", source, re.MULTILINE))
    ours = {f"ACTION_{a.name}": str(a.value) for a in Action}
    ours |= {f"ACCESS_{a.name}": str(a.value) for a in Access}
    assert found == ours


def test_config_places() -> None:
    assert config_place("02:1f.7", 0x44) == 0x02FF44


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (LearnRow(0x00, 0), "unknown kind 0x00"),
        (LearnRow(0x57, 0), "unknown kind 0x57"),
        (LearnRow(0x39, 0), "unknown kind 0x39"),
        (LearnRow(0x30, 0, id=256), "id 0x100 is not from 0 to 0xff"),
        (LearnRow(0x30, 0, limit_ms=65536), "limit_ms 0x10000 is not from 0 to 0xffff"),
        (LearnRow(0x30, 0, value=1 << 32), "value 0x100000000 is not from 0 to 0xffffffff"),
        (LearnRow(0x30, 0x10000), "port 0x10000 is beyond 0xffff"),
        (LearnRow(0x32, 0xFFFD), "port 0xfffd is beyond 0xffff"),
        (LearnRow(0x34, 0x1801), "place 0x1801 is not a multiple of 2"),
        (LearnRow(0x35, 0x1000000), "configuration place 0x1000000 is beyond 0xffffff"),
        (LearnRow(0x36, 0xFEBC0002), "place 0xfebc0002 is not a multiple of 4"),
    ],
)
def test_wrong_rows_are_refused(row: LearnRow, message: str) -> None:
    with pytest.raises(MetaosError, match=re.escape(message)):
        encode([row])


def test_an_id_is_kept_once() -> None:
    with pytest.raises(MetaosError, match=r"learn row 1 .*: id 7 is kept twice"):
        encode([KEEP, KEEP])


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(MetaosError, match="1601 learn rows"):
        encode([WAIT] * 1601)


def test_answers_become_facts() -> None:
    facts = learnt([WAIT, KEEP], dump(learnt=(LearnLine(7, 0x8086),)))
    assert facts == (
        Learnt(device="00:03.0", pattern="p", name="ids", value=0x8086, origin=Origin.DISCOVERER),
    )


def test_a_row_that_waited_in_vain_is_named() -> None:
    with pytest.raises(
        MetaosError,
        match=r"learning from 00:03.0: after 10 ms memory32 0xfebc0008 & 0x3 is 0x1, not 0x2",
    ):
        learnt([KEEP, WAIT], dump(stuck=(StuckLine(1, 0, 1),)))


def test_a_lost_answer_is_named() -> None:
    with pytest.raises(MetaosError, match=r"did not print what 00:03.0 p ids is to learn"):
        learnt([KEEP], dump())
