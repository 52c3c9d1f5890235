"""Numbers that know their facts, and a machine file made of such."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaos.match.system import read_system
from metaos.probe.cite import cite
from metaos.probe.store import read_machine
from metaos.told import Told, big_endian, bytes_of, facts_of, little_endian, told
from tests.verify.changing import Facts

A, B = Told(6, ("a",)), Told(3, ("b",))


def test_it_is_the_number() -> None:
    assert A == 6 and hash(A) == hash(6) and f"{A:#x} {A}" == "0x6 6" and json.dumps(A) == "6"
    assert type(A < B) is bool and facts_of(int(A)) == ()


@pytest.mark.parametrize(
    ("value", "number", "facts"),
    [
        (A + 1, 7, ("a",)),
        (1 + A, 7, ("a",)),
        (A - B, 3, ("a", "b")),
        (1 << B, 8, ("b",)),
        (-(-A // 4) * 4, 8, ("a",)),
        (~A & 0xFF, 0xF9, ("a",)),
        (A | B, 7, ("a", "b")),
        (sum((A, 1, B)), 10, ("a", "b")),
        (A * 0, 0, ()),
        (A * Told(0, ("c",)), 0, ("c",)),
        (Told(8, ("a",)).bit_length(), 4, ("a",)),
    ],
)
def test_what_is_made_of_it_knows_it(value: int, number: int, facts: tuple[str, ...]) -> None:
    assert value == number and facts_of(value) == facts


@given(st.integers(0, (1 << 64) - 1))
def test_bytes_there_and_back(value: int) -> None:
    one = Told(value, ("a",))
    assert little_endian(bytes_of(one, 8)) == value
    assert big_endian(bytes_of(one, 8)) == int.from_bytes(value.to_bytes(8, "little"), "big")
    assert not value or facts_of(little_endian(bytes_of(one, 8))) == ("a",)


def test_told_without_facts_is_plain() -> None:
    assert type(told(3, 1, 2)) is int and facts_of(told(3, A, B, A)) == ("a", "b")


@pytest.mark.parametrize("name", ["pc-e1000", "pc-virtio", "q35-bridge"])
def test_every_path_leads_to_its_number(name: str) -> None:
    machine = read_machine(Path(f"tests/data/machines/{name}.json"))
    found: list[Told] = []

    def walk(value: object) -> None:
        if isinstance(value, Told):
            found.append(value)
        elif isinstance(value, msgspec.Struct):
            for key in value.__struct_fields__:
                walk(getattr(value, key))
        elif isinstance(value, tuple):
            for one in value:
                walk(one)

    walk(cite(machine))
    facts = Facts(machine, read_system(Path("images/default.toml")))
    apart = ("memory.", "capabilities")
    for number in found:
        (path,) = number.facts
        if not any(part in path for part in apart):
            assert facts.number(path) == number, path
    assert len(found) > 30 and cite(machine) == machine
