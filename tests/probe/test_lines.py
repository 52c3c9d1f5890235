"""The line format: whole dumps are read, damaged and missing lines are named."""

from __future__ import annotations

import binascii
from pathlib import Path

import pytest

from metaos.errors import MetaosError
from metaos.probe.lines import CpuidLine, Dump, MemoryLine, PortLine, finished, parse

DATA = Path(__file__).parent / "data" / "pc-e1000.txt"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return DATA.read_text().splitlines()


def sealed(*bodies: str) -> str:
    """Lines with numbers and checksums, as the discoverer makes them."""
    numbered = [f"{number:04x} {body}" for number, body in enumerate(bodies)]
    return "\n".join(f"{t}*{binascii.crc_hqx(t.encode(), 0xFFFF):04x}" for t in numbered)


def fault(text: str) -> str:
    with pytest.raises(MetaosError) as caught:
        parse(text, "dump.txt")
    return caught.value.render()


def test_a_real_dump_is_read(lines: list[str]) -> None:
    dump = parse("\n".join(lines))
    assert dump.cpuid[0] == CpuidLine(0, 0, (0xD, 0x68747541, 0x444D4163, 0x69746E65))
    assert dump.memory[3] == MemoryLine(0x100000, 0x3EE0000, 1, 1)
    assert dump.ports == (PortLine("com", 0, 0x3F8),)
    card = dump.functions[-1]
    assert card.address == "00:03.0"
    assert card.config[:4].hex() == "86800e10"
    assert card.sizing == (0xFFFE0000, 0xFFFFFFC1, 0, 0, 0, 0, 0xFFFC0000)
    assert [table.data[:4] for table in dump.tables][:3] == [b"RSD ", b"RSDT", b"FACP"]
    assert all(sum(table.data) % 256 == 0 for table in dump.tables)


def test_what_the_firmware_says_before_is_ignored(lines: list[str]) -> None:
    text = "SeaBIOS (version 1.16)\r\nBooting from Hard Disk...\r\n" + "\r\n".join(lines)
    assert parse(text) == parse("\n".join(lines))


def test_finished_wants_the_whole_last_line(lines: list[str]) -> None:
    raw = "".join(f"{line}\r\n" for line in lines).encode()
    assert finished(raw)
    assert not any(finished(raw[:-n]) for n in range(1, len(lines[-1]) + 2))


@pytest.mark.parametrize("number", [1, 0x23, 0x60])
def test_a_damaged_line_is_named(lines: list[str], number: int) -> None:
    bad = lines[number][:20] + ("0" if lines[number][20] != "0" else "1") + lines[number][21:]
    message = fault("\n".join([*lines[:number], bad, *lines[number + 1 :]]))
    assert f"line {number:04x} is damaged: checksum {lines[number][-4:]}" in message
    assert message.count("E0801") == 1


def test_every_flipped_character_is_noticed(lines: list[str]) -> None:
    line = lines[0x24]
    for place in range(len(line)):
        bad = line[:place] + chr(ord(line[place]) ^ 1) + line[place + 1 :]
        assert "0024" in fault("\n".join([*lines[:0x24], bad, *lines[0x25:]]))


def test_missing_lines_are_named(lines: list[str]) -> None:
    assert "missing: 0005, before '0006 cpuid" in fault("\n".join([*lines[:5], *lines[6:]]))
    assert "missing: 0010 to 001f, before" in fault("\n".join([*lines[:0x10], *lines[0x20:]]))


def test_a_line_that_comes_twice_is_named(lines: list[str]) -> None:
    assert "line 0004 comes after 0004" in fault("\n".join([*lines[:5], *lines[4:]]))


def test_a_dump_cut_off_is_one_error(lines: list[str]) -> None:
    message = fault("\n".join(lines[:40]))
    assert "cut off after 40 lines: there is no 'end' line" in message
    assert message.count("E0801") == 1


def test_a_dump_without_header_is_refused(lines: list[str]) -> None:
    assert "no line '0000 metaos-discoverer ...'" in fault("\n".join(lines[1:]))
    assert "no line '0000 metaos-discoverer ...'" in fault("")


def test_another_version_is_refused() -> None:
    message = fault(sealed("metaos-discoverer 01", "end 0002"))
    assert "line format 01, this metaos reads 02" in message


def test_a_wrong_count_is_refused() -> None:
    message = fault(sealed("metaos-discoverer 02", "end 0007"))
    assert "line 0001 counts 0007 lines, there are 0002" in message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("gpio 00", "line 0001: unknown kind 'gpio'"),
        ("cpuid 00000000 00000000", "line 0001: bad fields of 'cpuid'"),
        ("com 00 3f8", "line 0001: bad fields of 'com'"),
        ("pci 00:00.0 20 " + "00" * 16, "line 0001: offset 20 after 0"),
        ("pci 00:00.0 00 " + "00" * 16, "pci 00:00.0: 16 config bytes instead of 256"),
    ],
)
def test_wrong_fields_are_named(body: str, message: str) -> None:
    assert message in fault(sealed("metaos-discoverer 02", body, "end 0003"))


def test_an_empty_machine_is_read() -> None:
    assert parse(sealed("metaos-discoverer 02", "end 0002")) == Dump(*((),) * 7)


def test_only_so_many_problems_are_shown(lines: list[str]) -> None:
    bad = [line.replace("0", "1", 1) if i else line for i, line in enumerate(lines)]
    assert fault("\n".join(bad)).count("E0801") == 10


def test_the_excerpt_in_the_docs_is_of_this_dump(lines: list[str]) -> None:
    docs = Path(__file__).parent.parent.parent / "docs" / "discoverer.md"
    excerpt = docs.read_text().split("```text\n")[1].split("```")[0].splitlines()
    assert len(excerpt) > 10
    assert [line for line in excerpt if line != "..." and line not in lines] == []
