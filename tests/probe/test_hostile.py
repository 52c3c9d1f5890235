"""Damaged dumps: one clear error with its place, or a machine that is consistent; never a
traceback, never long.

The quick run takes some hundreds of each; `pytest -m soak tests/probe/test_hostile.py` 20,000.
"""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaos.errors import MetaosError
from metaos.probe.acpi import read_acpi
from metaos.probe.acpi_text import acpi_lines
from metaos.probe.acpidump import parse_acpidump
from metaos.probe.check import check
from metaos.probe.lines import parse
from metaos.probe.log import read_log
from metaos.probe.machine import AcpiTable, Machine
from metaos.probe.salvage import salvage
from metaos.probe.store import format_machine, parse_machine, read_machine
from tests.probe.mutations import mutated, resealed
from tests.probe.tables import acpidump, fadt, hpet, madt, mcfg, spcr, srat, stored

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
LOG = (HERE / "data" / "pc-e1000.txt").read_bytes()
MACHINE = (HERE.parent / "data" / "machines" / "q35-bridge.json").read_bytes()
HANDMADE = [madt(), mcfg((0xE0000000, 0, 0, 255)), hpet(), spcr(), srat(), fadt()]
TABLES = [*read_machine(HERE.parent / "data" / "machines" / "q35-bridge.json").acpi, *HANDMADE]
DUMP = acpidump(TABLES).encode()
QUICK, MANY = 300, 20_000
SECONDS = 1.0
MEBIBYTES = 200
"""What 20,000 damaged dumps may add to the process at most."""

PLACE = re.compile(r"^d\.txt:\d+:\d+: ", re.MULTILINE)
"""Where: file, line and column."""
PATH = re.compile(r"d\.txt:\d+:\d+: |d\.txt: not |d\.txt: schema: ")
"""Of a machine file; one that is no JSON object, or of another version, has no place."""


def text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def usable(machine: Machine) -> None:
    """What is taken from damage can be kept and read again."""
    assert list(check(machine)) == []
    assert parse_machine(format_machine(machine)) == machine


def a_log(seed: int) -> None:
    log = read_log(text(mutated(LOG, Random(seed))), "d.txt")
    assert all(PLACE.match(problem.render()) for problem in log.problems)
    machine = salvage(log)
    if seed % 10 == 0:
        usable(machine)


def a_sealed_log(seed: int) -> None:
    machine = salvage(read_log(resealed(text(LOG), Random(seed)), "d.txt"))
    if seed % 10 == 0:
        usable(machine)


def a_live_probe(seed: int) -> None:
    changed = resealed(text(LOG), Random(seed)) if seed % 2 else text(mutated(LOG, Random(seed)))
    parse(changed, "d.txt")


def an_acpidump(seed: int) -> None:
    machine, problems = parse_acpidump(text(mutated(DUMP, Random(seed))), "d.txt")
    if seed % 10 == 0:
        usable(machine)
    assert all(PLACE.match(problem.render()) for problem in problems)


def a_machine_file(seed: int) -> None:
    try:
        machine = parse_machine(text(mutated(MACHINE, Random(seed))), "d.txt")
    except MetaosError as error:
        assert all(PLACE.match(problem.render()) for problem in error.problems)
        raise
    usable(machine)


def tables(seed: int) -> None:
    one = TABLES[seed % len(TABLES)]
    raw = bytearray(mutated(bytes.fromhex(one.data), Random(seed))[: 1 << 16])
    if seed % 3 and len(raw) > 36:  # such that its contents are looked at
        raw[4:8] = len(raw).to_bytes(4, "little")
        raw[9] = (raw[9] - sum(raw)) & 0xFF
    found = read_acpi([stored(one.signature, bytes(raw))])
    lines = acpi_lines(found)
    assert all(len(line) < 2000 for line in lines[:3])
    for fault in found.faults:
        assert fault.table == one.signature.strip() and 0 <= fault.offset <= len(raw)


PARSERS: list[tuple[Callable[[int], None], re.Pattern[str] | None]] = [
    (a_log, re.compile(r"d\.txt:\d+|^error\[E0803\]: \S", re.MULTILINE)),
    (a_sealed_log, re.compile(r"d\.txt:\d+|^error\[E0803\]: \S", re.MULTILINE)),
    (
        a_live_probe,
        re.compile(r"line [0-9a-f]{4}|missing: [0-9a-f]{4}|line format|cut off|pci \S|no line"),
    ),
    (an_acpidump, PLACE),
    (a_machine_file, PATH),
    (tables, None),
]


def stands(parser: Callable[[int], None], place: re.Pattern[str] | None, count: int) -> None:
    """Feed a parser so many damaged dumps; every error says where."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for seed in range(count):
        begin = time.process_time()
        try:
            parser(seed)
        except MetaosError as error:
            refused += 1
            said = error.render()
            assert place is not None and place.search(said), f"seed {seed}: {said}"
            assert len(said) < 20_000, f"seed {seed}: {len(said)} characters"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        took = time.process_time() - begin
        assert took < SECONDS, f"seed {seed}: {took:.1f} s"
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < MEBIBYTES << 10, f"{(after - before) >> 10} MiB more"
    assert refused < count


@pytest.mark.parametrize(("parser", "place"), PARSERS)
def test_damage_is_one_error_or_a_machine(
    parser: Callable[[int], None], place: re.Pattern[str] | None
) -> None:
    stands(parser, place, QUICK)


@pytest.mark.soak
@pytest.mark.parametrize(("parser", "place"), PARSERS)
def test_damage_of_20000_kinds_is_one_error_or_a_machine(
    parser: Callable[[int], None], place: re.Pattern[str] | None
) -> None:
    stands(parser, place, MANY)


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=1000)
def test_any_text_is_one_error(said: str) -> None:
    for parser in (
        lambda: salvage(read_log(said, "d.txt")),
        lambda: parse_acpidump(said, "d.txt"),
        lambda: parse(said, "d.txt"),
        lambda: parse_machine(said, "d.txt"),
    ):
        with pytest.raises(MetaosError):
            parser()


@given(st.sampled_from(HANDMADE), st.binary(max_size=300))
@settings(max_examples=200, deadline=1000)
def test_any_bytes_after_a_header_are_read_or_named(one: AcpiTable, body: bytes) -> None:
    raw = bytearray(bytes.fromhex(one.data)[:36] + body)
    raw[4:8] = len(raw).to_bytes(4, "little")
    raw[9] = (raw[9] - sum(raw)) & 0xFF
    found = read_acpi([stored(one.signature, bytes(raw))])
    assert acpi_lines(found)
    assert all(fault.offset <= len(raw) for fault in found.faults)


@pytest.mark.parametrize(
    "flood",
    [
        LOG * 100,
        b"0000 " * 200_000,
        b"0001 cpuid 00000000 " * 50_000,
        b"0001 cpuid 00000000\n" * 50_000,
        b"\x1b[" * 500_000,
        b"\r" * 1_000_000,
        b"APIC @ 0x10\n    0000: 41 50 49 43 FF FF 3F 00\n" * 20_000,
        b"    0000: 41\n" * 50_000,
        b"[" * 1_000_000,
        b'{"schema":' * 100_000,
    ],
)
def test_a_flood_ends_soon(flood: bytes) -> None:
    for parser in (
        lambda: salvage(read_log(text(flood), "d.txt")),
        lambda: parse_acpidump(text(flood), "d.txt"),
        lambda: parse_machine(text(flood), "d.txt"),
    ):
        begin = time.process_time()
        try:
            parser()
        except MetaosError as error:
            assert len(error.render()) < 20_000
        assert time.process_time() - begin < 5
