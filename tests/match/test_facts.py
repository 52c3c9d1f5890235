"""Build-time expressions: what a rule says of the device it is bound to."""

from __future__ import annotations

import msgspec
import pytest

from metaos.errors import MetaosError, Source
from metaos.match.device import Device, devices
from metaos.match.facts import PortsFact, WindowFact, evaluate
from metaos.pattern import syntax as s
from metaos.pattern.parse import parse
from tests.lower.lowering import machine


def expression(text: str) -> s.Expr:
    source = Source("x.pattern", f"device d : c\n  match pci\n  fact f : u32 = {text}\n")
    (device,) = parse(source).devices
    (fact,) = (i for i in device.items if isinstance(i, s.Fact))
    return fact.value


def device(address: str) -> Device:
    return next(d for d in devices(machine()) if d.address == address)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("0x1F", 31), ("10.0.2.15", 0x0A00020F), ("2 + 3 * 4", 14), ("(2 + 3) * 4", 20),
        ("10 - 3 - 2", 5), ("1 << 4 | 1", 17), ("0xFF & 0x0F", 15), ("6 ^ 3", 5), ("256 >> 4", 16),
        ("3 == 3", 1), ("3 != 3", 0), ("2 < 3", 1), ("3 <= 2", 0), ("!0", 1), ("!5", 0), ("~0", -1),
        ("known + 1", 43), ("bar.size", 128), ("~(bar.size - 1)", ~127),
    ],
)  # fmt: skip
def test_numbers(text: str, value: int) -> None:
    names = {"known": 42, "bar.size": 128}
    assert evaluate(expression(text), device("00:03.0"), names) == value


def test_windows_and_ports() -> None:
    card = device("00:03.0")
    assert card.function is not None
    memory, ports = card.function.bars[:2]
    assert evaluate(expression("bar[0]"), card) == WindowFact(
        memory.address, memory.size, "functions.00:03.0.bars.0", 0
    )
    assert evaluate(expression("bar[1]"), card) == PortsFact(
        ports.address, "functions.00:03.0.bars.1", 1
    )
    text = evaluate(expression("memory(0xB8000, 2 * 0x4000)"), device("00:02.0"))
    assert text == WindowFact(0xB8000, 0x8000, "00:02.0.memory")


def test_a_legacy_port() -> None:
    assert evaluate(expression("legacy.port"), device("com0")) == 0x3F8


@pytest.mark.parametrize(("width", "size"), [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)])
def test_numbers_in_tables(width: str, size: int) -> None:
    table = device("FACP")
    assert table.table is not None
    data = bytes.fromhex(table.table.data)
    for at in (0, 4, 76, len(data) - size):
        found = evaluate(expression(f"acpi.{width}[{at}]"), table)
        assert found == int.from_bytes(data[at : at + size], "little")


@pytest.mark.parametrize(
    ("text", "address", "words"),
    [
        ("bar[5]", "00:03.0", "00:03.0 has no BAR 5"),
        ("bar[0]", "com0", "com0 has no BAR 0"),
        ("bar[0] + 0x20000", "00:03.0", "byte 0x20000 is beyond"),
        ("acpi.u8[0]", "com0", "com0 is no ACPI table"),
        ("acpi.u32[9999]", "FACP", "and byte 9999 is asked for"),
        ("legacy.port", "00:03.0", "not known when the image is built"),
        ("nobody", "00:03.0", "not known when the image is built"),
        ('"text"', "00:03.0", "not known when the image is built"),
    ],
)
def test_what_cannot_be_had(text: str, address: str, words: str) -> None:
    with pytest.raises(MetaosError) as refused:
        evaluate(expression(text), device(address))
    (problem,) = refused.value.problems
    assert problem.code == "E0303" and words in problem.message
    assert problem.span is not None and problem.span.line == 3


def test_a_card_without_windows_says_so() -> None:
    bridge = device("00:00.0")
    assert bridge.function is not None
    bare = msgspec.structs.replace(bridge.function, bars=())
    with pytest.raises(MetaosError) as refused:
        evaluate(expression("bar[0]"), Device("00:00.0", "pci", function=bare))
    assert refused.value.problems[0].hint == "it has: none"
