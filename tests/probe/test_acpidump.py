"""acpidump's text: what is whole is taken, what is not is named by line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos.errors import MetaosError
from metaos.probe.acpidump import parse_acpidump
from metaos.probe.check import check
from metaos.probe.machine import Machine
from metaos.probe.store import format_machine, parse_machine, read_machine
from tests.probe.tables import acpidump, fadt, madt, srat

MACHINES = Path(__file__).parent.parent / "data" / "machines"
TABLES = read_machine(MACHINES / "q35-bridge.json").acpi
TEXT = acpidump(TABLES)


def tables(machine: Machine) -> list[tuple[str, int, str]]:
    return [(t.signature, t.address, t.data) for t in machine.acpi]


def said(text: str) -> tuple[Machine, list[str]]:
    machine, problems = parse_acpidump(text, "a.txt")
    return machine, [problem.render() for problem in problems]


def test_every_table_is_taken() -> None:
    machine, problems = said(TEXT)
    assert problems == []
    assert tables(machine) == [(t.signature, t.address, t.data) for t in TABLES]
    assert [fact.what for fact in machine.unknown] == [
        "cpuid leaves", "memory map", "pci functions", "legacy ports",
    ]  # fmt: skip
    assert list(check(machine)) == []
    assert parse_machine(format_machine(machine)) == machine


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "$ sudo acpidump\n[    0.0000] ACPI: 8 tables\n" + text + "$ exit\n",
        lambda text: text.replace("\n    0", "\n  0").replace("@ 0x00000000", "@ 0x"),
        lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
        lambda text: text.replace("\n\n", "\n"),
        lambda text: "\x1b[1m" + text.replace("APIC @", "\x1b[31mAPIC\x1b[0m @"),
    ],
)
def test_what_stands_around_it_does_not_matter(change: object) -> None:
    assert callable(change)
    machine, problems = said(change(TEXT))
    assert problems == [] and tables(machine) == tables(said(TEXT)[0])


def test_letters_beside_the_bytes_are_no_bytes() -> None:
    text = acpidump([fadt()])
    last = text.splitlines()[-2]
    assert said(text.replace(last, last[:-4] + "AB C"))[1] == []


def test_a_damaged_row_costs_its_table_only() -> None:
    lines = TEXT.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("HPET")) + 2
    machine, problems = said("\n".join([*lines[:at], "    0010: 4x 00", *lines[at + 1 :]]))
    assert "HPET" not in [t.signature for t in machine.acpi]
    assert len(machine.acpi) == len(TABLES) - 1
    assert problems[0].startswith(f"a.txt:{at + 1}:11: error[E0804]: table HPET: expected up to")
    (fact,) = (x for x in machine.unknown if x.what == "acpi HPET")
    assert fact.reason.startswith(f"a.txt:{at + 1}:11: table HPET")
    assert list(check(machine)) == []


def test_a_missing_row_is_named() -> None:
    lines = acpidump([madt(), srat()]).splitlines()
    machine, problems = said("\n".join(lines[:3] + lines[4:]))
    assert [t.signature for t in machine.acpi] == ["SRAT"]
    assert "a.txt:4:5: error[E0804]: table APIC: offset 0x30, expected 0x20" in problems[0]


def test_a_changed_byte_and_a_cut_off_text_are_named() -> None:
    text = acpidump([madt(), srat()])
    machine, problems = said(text.replace("00 00 C0 FE", "00 10 C0 FE", 1))
    assert "a.txt:1:1: error[E0804]: table APIC: at 0x9: its bytes sum to 0x10" in problems[0]
    machine, problems = said("\n".join(text.splitlines()[:-4]))
    assert [t.signature for t in machine.acpi] == ["APIC"] and "table SRAT: at 0x4" in problems[0]


def test_no_table_at_all_is_one_error() -> None:
    for text in ("", "hello\n", "\0" * 1000, "APIC @ 0x10\n"):
        with pytest.raises(MetaosError) as caught:
            parse_acpidump(text, "a.txt")
        shown = caught.value.render()
        assert shown.startswith("a.txt:1:1: error[E0804]: ")
        assert "a.txt: no ACPI table can be read" in shown


def test_a_length_beyond_reason_is_refused_at_once() -> None:
    text = "DSDT @ 0x10\n    0000: 44 53 44 54 00 00 00 7F 01 02 03 04\n"
    with pytest.raises(MetaosError, match="no ACPI table") as caught:
        parse_acpidump(text, "a.txt")
    assert "its length field says 2130706432 bytes" in caught.value.render()
