"""Logs that people keep: what stands around the lines, what is lost, what that leaves unknown."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from metaos.errors import MetaosError
from metaos.probe.check import check
from metaos.probe.join import join
from metaos.probe.lines import checksum, parse
from metaos.probe.log import Log, read_log
from metaos.probe.machine import Function, Machine
from metaos.probe.salvage import salvage
from metaos.probe.store import format_machine, parse_machine, read_machine
from tests.probe.discovered import printed

LINES = (Path(__file__).parent / "data" / "pc-e1000.txt").read_text().splitlines()
FILES = sorted((Path(__file__).parent.parent / "data" / "machines").glob("*.json"))
NO_MAC = {"00:03.0 mac"}


def machine(text: str) -> Machine:
    found = salvage(log(text))
    assert list(check(found)) == []
    assert parse_machine(format_machine(found)) == found
    return found


def log(text: str) -> Log:
    return read_log(text, "s.log")


def whole() -> Machine:
    return join(parse("\n".join(LINES)))


def facts(found: Machine) -> tuple[object, ...]:
    """All that a machine file has but what is unknown."""
    return (found.cpu, found.memory, found.functions, found.legacy, found.acpi)


def unknown(found: Machine) -> set[str]:
    return {fact.what for fact in found.unknown} - NO_MAC


def where(what: str) -> int:
    return next(i for i, line in enumerate(LINES) if what in line)


def without(*places: int) -> str:
    return "\n".join(line for i, line in enumerate(LINES) if i not in places)


def function(found: Machine, address: str) -> Function:
    return next(f for f in found.functions if f.address == address)


def wrapped(text: str, columns: int) -> str:
    return "\n".join(
        line[at : at + columns] for line in text.splitlines() for at in range(0, len(line), columns)
    )


def test_a_whole_log_is_the_strict_readers_machine() -> None:
    found = machine("\n".join(LINES))
    assert facts(found) == facts(whole()) and log("\n".join(LINES)).problems == ()
    assert {fact.what for fact in found.unknown} == NO_MAC


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r\r\n"),
        lambda text: "SeaBIOS (version 1.16)\r\nBooting from Hard Disk...\r\n" + text + "\r\n# ",
        lambda text: "".join(f"[2026-11-21 05:00:{i % 60:02}] {x}\n" for i, x in enumerate(
            text.splitlines())),
        lambda text: "".join(f"\x1b[2;37m{line}\x1b[0m\x1b[K\n" for line in text.splitlines()),
        lambda text: "".join(f"{line}\n{line}\n" for line in text.splitlines()),
        lambda text: "\n".join(reversed(text.splitlines())),
        lambda text: text + "\n" + text,
        lambda text: text.upper(),
        lambda text: text.replace(" ", "  "),
        lambda text: wrapped(text, 40),
        lambda text: wrapped(text, 60),
        lambda text: "\n\n".join(text.splitlines()),
        lambda text: "".join(f"{line}\n-- page 0001: take a photograph, then\n" if i % 49 == 48
                             else f"{line}\n" for i, line in enumerate(text.splitlines())),
        lambda text: "\x00\x00" + text.replace("\n", "\x00\n"),
    ],
)  # fmt: skip
def test_what_stands_around_the_lines_does_not_matter(change: Callable[[str], str]) -> None:
    text = change("\n".join(LINES))
    assert facts(machine(text)) == facts(whole())
    assert log(text).problems == ()


def test_letters_that_look_like_digits_are_read_by_the_checksum() -> None:
    typed = "\n".join(
        f"{x[:5]}{x[5:].replace('0', 'O').replace('1', 'l')}" if " cpuid " in x else x
        for x in LINES
    )
    assert facts(machine(typed)) == facts(whole())


def test_a_row_with_a_wrong_digit_is_named_with_both_checksums() -> None:
    at = where("pci 00:03.0 80")
    bad = LINES[at].replace("00000", "00001", 1)
    found = log("\n".join([*LINES[:at], f"xx {bad}", *LINES[at + 1 :]]))
    (problem,) = found.problems
    crc = checksum(bad[: bad.index("*")])
    assert problem.render() == (
        f"s.log:{at + 1}:4: error[E0805]: line {at:04x} is damaged: "
        f"its checksum is {bad[-4:]}, but its text has {crc}"
    )
    assert unknown(salvage(found)) == {"00:03.0 config from 0x80", "00:03.0 capabilities"} - {
        "00:03.0 config from 0x80"
    } | {"00:03.0 config from 0x80"}


@pytest.mark.parametrize(
    ("lost", "facts_lost"),
    [
        ("0003 cpuid", {"cpuid leaves"}),
        (" e820 0000000003fe0000", {"memory map"}),
        (" com 00", {"memory map", "legacy ports", "pci functions"}),
        ("pci 00:02.0 f0", {"00:02.0 config from 0x80", "00:02.0 capabilities"}),
        ("bars 00:03.0", {f"00:03.0 bar {i} size" for i in range(6)}),
        ("rom 00:03.0", {"00:03.0 bar 6 size"}),
        ("pci 00:03.0 00", {"00:03.0 config header"}),
    ],
)
def test_a_lost_line_leaves_its_facts_unknown(lost: str, facts_lost: set[str]) -> None:
    at = where(lost)
    found = machine(without(at))
    assert unknown(found) == facts_lost
    reason = next(f.reason for f in found.unknown if f.what in facts_lost)
    assert reason == f"s.log:{at + 1}:1: line {at:04x} is missing before this"


def test_a_function_without_its_whole_header_keeps_its_ids() -> None:
    found = machine(without(where("pci 00:03.0 20")))
    card = function(found, "00:03.0")
    assert (card.vendor, card.device, card.class_code, card.config) == (0x8086, 0x100E, 0x20000, "")
    assert {"00:03.0 subsystem", "00:03.0 bar 0 size", "00:03.0 config from 0x0"} <= unknown(found)


def test_a_lost_line_of_a_table_costs_that_table() -> None:
    at = where("41504943")  # "APIC"
    found = machine(without(at + 2))
    assert unknown(found) == {"acpi APIC"} and len(found.acpi) == len(whole().acpi) - 1
    assert unknown(machine(without(at))) == {f"acpi table at 0x{LINES[at].split()[2].lstrip('0')}"}


def test_a_gap_that_may_hide_a_function_says_so() -> None:
    first, last = where("pci 00:01.1 00"), where("rom 00:01.1")
    assert unknown(machine(without(*range(first, last + 1)))) == {"pci functions"}
    # Just what belongs to two functions that are there hides no third.
    assert unknown(machine(without(last, last + 1))) == {
        "00:01.1 bar 6 size", "00:01.3 config header",
    }  # fmt: skip


def test_a_log_cut_anywhere_is_used() -> None:
    text = "\n".join(LINES)
    for cut in range(30, len(text) - 1, 331):
        found = machine(text[:cut])
        assert "acpi tables" in unknown(found), cut
        for f in found.functions:
            assert f.address in {x.address for x in whole().functions}
    for cut in range(30, len(text) - 200, 331):
        assert unknown(machine(text[cut:])), cut


def test_random_losses_never_invent_anything() -> None:
    chance = random.Random(7)
    known = whole()
    for _ in range(60):
        lost = set(chance.sample(range(len(LINES)), chance.randint(1, 60)))
        found = machine(without(*lost))
        assert set(found.cpu.leaves) <= set(known.cpu.leaves)
        assert set(found.memory) <= set(known.memory)
        assert set(found.acpi) <= set(known.acpi)
        for f in found.functions:
            true = function(known, f.address)
            assert true.config.startswith(f.config) and f.device == true.device
            missing = {b.index for b in true.bars} - {b.index for b in f.bars}
            assert {f"{f.address} bar {i} size" for i in missing} <= unknown(found)
        gone = {f.address for f in known.functions} - {f.address for f in found.functions}
        named = {f"{address} config header" for address in gone} & unknown(found)
        assert len(named) == len(gone) or "pci functions" in unknown(found)
        if {t.signature for t in known.acpi} != {t.signature for t in found.acpi}:
            assert any(what.startswith("acpi ") for what in unknown(found))
        if len(found.memory) < len(known.memory):
            assert "memory map" in unknown(found)
        if len(found.cpu.leaves) < len(known.cpu.leaves):
            assert "cpuid leaves" in unknown(found)
        if len(found.legacy) < len(known.legacy):
            assert "legacy ports" in unknown(found)


def test_two_runs_fill_each_others_gaps() -> None:
    text = without(3, 60, 90) + "\n" + without(4, 61, 120)
    found = log(text)
    assert found.problems == () and facts(salvage(found)) == facts(whole())


def other(line: str) -> str:
    body = line[: line.index("*")].replace("68747541", "756e6547")
    return f"{body}*{checksum(body)}"


def test_two_machines_are_not_mixed() -> None:
    theirs = [other(line) for line in LINES[:60]]
    found = log("\n".join(theirs) + "\n" + without(9))
    assert 9 not in found.lines and len(found.lines) == len(LINES) - 1
    assert any("another machine" in p.message for p in found.problems)


def test_another_format_and_no_line_at_all_are_one_error() -> None:
    old = "0000 metaos-discoverer 01"
    with pytest.raises(MetaosError, match=r"s\.log:1: line format 01, this metaos reads 02"):
        log(f"{old}*{checksum(old)}\n")
    for text in ("", "hello", "0001 cpuid 00000000", "\x1b[" * 50, "*" * 5000):
        with pytest.raises(MetaosError) as caught:
            log(text)
        assert caught.value.render().startswith("s.log:1:1: error[E0805]: ")


def test_lines_that_cannot_be_are_one_error() -> None:
    end = LINES[-1]
    body = "0022 e820 fffffffffffff000 0000000000002000 00000001 00000001"
    forged = [*LINES[:0x22], f"{body}*{checksum(body)}", *LINES[0x23:-1], end]
    assert machine("\n".join(forged)).memory[-1].base == 0xFFFF_FFFF_FFFF_F000
    short = "0023 pci 00:00.0 00 8680"
    forged = [*LINES[:0x23], f"{short}*{checksum(short)}", *LINES[0x24:]]
    assert "00:00.0 config header" in unknown(machine("\n".join(forged)))


def test_ranges_that_overlap_are_cut() -> None:
    body = "0022 e820 0000000003f00000 0000000000200000 00000002 00000001"
    ours = machine("\n".join([*LINES[:0x22], f"{body}*{checksum(body)}", *LINES[0x23:]]))
    assert [(r.base, r.size, r.kind) for r in ours.memory if 0x100000 <= r.base < 0x10000000] == [
        (0x100000, 0x3E00000, 1),
        (0x3F00000, 0x200000, 2),
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_machine_that_is_printed_is_read_back(file: Path) -> None:
    known = read_machine(file)
    found = machine(printed(known))
    assert parse(printed(known)).functions
    told = [msgspec.structs.replace(f, name="", name_origin=None) for f in known.functions]
    assert list(found.functions) == told
    assert (found.cpu, found.memory, found.legacy) == (known.cpu, known.memory, known.legacy)
    assert found.acpi == known.acpi
