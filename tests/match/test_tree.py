"""A machine as a tree: what is behind which bridge, in words and as data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from metaos.cli_tree import tree_text
from metaos.match import names
from metaos.match.tree import ShownBus, tree
from metaos.probe.bridge import Forwarded, read_bridge
from metaos.probe.header import read_extended, read_function
from metaos.probe.machine import Function, Machine, Origin, Unknown
from metaos.probe.store import read_machine
from tests.conftest import Golden

TESTS = Path(__file__).parents[1]
SERVER = TESTS / "golden" / "linux" / "intel64-2g2n4c.json"
FILES = [*sorted((TESTS / "data" / "machines").glob("*.json")), SERVER]
GOLDEN_FILES = [path for path in FILES if path.stem in ("pc-e1000", "q35-bridge")] + [SERVER]
PC = read_machine(TESTS / "data" / "machines" / "pc-e1000.json")


@pytest.fixture(autouse=True)
def nameless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where pci.ids is not installed: its names differ from one Debian to another."""
    caches = (names._names, names._classes)
    monkeypatch.setattr(names, "PCI_IDS", ())
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize("file", GOLDEN_FILES, ids=lambda path: path.stem)
def test_text(file: Path, golden: Golden) -> None:
    machine = read_machine(file)
    golden(f"show/{file.stem}.txt", tree_text(tree(machine), machine.acpi) + "\n")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_function_is_shown_once(file: Path) -> None:
    machine = read_machine(file)
    assert sorted(addresses(tree(machine).buses)) == sorted(f.address for f in machine.functions)
    assert msgspec.json.decode(msgspec.json.encode(tree(machine)))["buses"]


def addresses(buses: tuple[ShownBus, ...]) -> list[str]:
    return [
        address
        for bus in buses
        for f in bus.functions
        for address in (f.address, *addresses(f.behind))
    ]


def bridge(address: str, secondary: int, **words: int) -> Function:
    config = bytearray(64)
    config[0:4], config[0x0E] = b"\x34\x12\x78\x56", 1
    config[0x18:0x1B] = bytes([int(address[-7:-5], 16), secondary, 0xFF])
    for place, value in words.items():
        at = int(place[1:], 16)
        config[at : at + 2] = value.to_bytes(2, "little")
    return read_function(address, bytes(config), (), origin=Origin.FILE)


def having(*functions: Function) -> Machine:
    return msgspec.structs.replace(PC, functions=functions, networks=())


def test_bridges_that_lead_in_circles_and_to_each_other() -> None:
    functions = (bridge("00:01.0", 1), bridge("01:00.0", 0), bridge("02:00.0", 2),
                 bridge("02:01.0", 1), bridge("10000:01:00.0", 2))  # fmt: skip
    shown = tree(having(*functions))
    assert sorted(addresses(shown.buses)) == sorted(f.address for f in functions)
    assert [(bus.domain, bus.number) for bus in shown.buses] == [(0, 0), (0, 2), (0x10000, 1)]


def test_bridges_above_bridges_without_end() -> None:
    machine = having(*(bridge(f"{bus:02x}:00.0", bus + 1) for bus in range(255)))
    shown = tree(machine)
    assert len(addresses(shown.buses)) == 255
    assert "bus fe" in tree_text(shown, ())


def test_what_a_bridge_forwards() -> None:
    wide = bridge(
        "00:01.0", 1, x1c=0x3121, x20=0xFE80, x22=0xFE90, x24=0x0001, x26=0x0011, x28=4, x2c=4,
        x30=1, x32=1,
    )  # fmt: skip
    found = read_bridge(bytes.fromhex(wide.config))
    assert found is not None and (found.primary, found.secondary, found.subordinate) == (0, 1, 255)
    assert found.forwards == (
        Forwarded("ports", 0x12000, 0x14000),
        Forwarded("memory", 0xFE800000, 0xFEA00000),
        Forwarded("prefetchable", 4 << 32, (4 << 32) + 0x200000),
    )
    closed = bridge("00:01.0", 1, x1c=0x01F1, x20=0xFFF0, x24=0xFFF1, x26=0x0001)
    shut = read_bridge(bytes.fromhex(closed.config))
    assert shut is not None and shut.forwards == ()
    assert read_bridge(b"") is None and read_bridge(bytes(64)) is None


def test_extended_capabilities_end_and_never_go_round() -> None:
    config = bytearray(4096)
    config[0x100:0x104] = (0x14810001).to_bytes(4, "little")
    config[0x148:0x14C] = (0x10010003).to_bytes(4, "little")
    assert [(x.id, x.offset) for x in read_extended(bytes(config))] == [(1, 0x100), (3, 0x148)]
    assert list(read_extended(bytes(256))) == [] == list(read_extended(b"\xff" * 4096))
    config[0x148:0x14C] = (0xFFF10003).to_bytes(4, "little")
    assert [x.offset for x in read_extended(bytes(config))] == [0x100, 0x148]


def test_unknown_facts_of_many_functions_are_one_line() -> None:
    facts = [
        Unknown(what=f"{f.address} mac", reason=f"x/{f.address}/y", origin=Origin.SYSFS)
        for f in PC.functions[:2]
    ] + [Unknown(what="memory map", reason="\x1b[31m", origin=Origin.FILE)]
    text = tree_text(tree(msgspec.structs.replace(PC, unknown=tuple(facts))), ())
    assert "unknown\n  mac of 2 functions: x/*/y (sysfs)\n  memory map: ?[31m (file)" in text
    alone = tree_text(tree(msgspec.structs.replace(PC, unknown=tuple(facts[:1]))), ())
    assert "  00:00.0 mac: x/00:00.0/y (sysfs)" in alone
