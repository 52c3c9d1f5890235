"""What tells one unit from another is gone, everything else is not, and the file is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from metaos import pipeline, resources
from metaos.match.system import read_system
from metaos.probe.header import read_extended, read_function
from metaos.probe.machine import (
    AcpiTable,
    CpuidLeaf,
    Emulator,
    Learnt,
    Machine,
    Origin,
    Processor,
    Unknown,
)
from metaos.probe.scrub import scrub
from metaos.probe.store import format_machine, parse_machine, read_machine

pytestmark = pytest.mark.long

MACHINES = sorted((Path(__file__).parents[1] / "data" / "machines").glob("*.json"))
PC = read_machine(next(path for path in MACHINES if path.stem == "pc-e1000"))
CARD = next(f for f in PC.functions if f.address == "00:03.0")
MAC = bytes.fromhex("d8bbc1aabbcc")
replace = msgspec.structs.replace


def table(signature: str, body: bytes) -> AcpiTable:
    head = (
        signature.encode()
        + (36 + len(body)).to_bytes(4, "little")
        + b"\1\0"
        + b"OEMOEM"
        + b"\0" * 20
    )
    data = bytearray(head + body)
    data[9] = -sum(data) & 0xFF
    return AcpiTable(signature=signature, address=0, data=data.hex(), origin=Origin.SYSFS)


def private() -> Machine:
    """The good machine with one of everything that must go."""
    config = bytearray.fromhex(CARD.config).ljust(4096, b"\0")
    vpd = CARD.capabilities[-1].offset if CARD.capabilities else 0xE0
    config[0x06] |= 0x10
    config[0x34], config[vpd : vpd + 8] = vpd, bytes([3, 0, 4, 0x80]) + b"SN42"
    config[0x100:0x10C] = (0x15010001).to_bytes(4, "little") + bytes(8)
    config[0x150:0x15C] = (0x00010003).to_bytes(4, "little") + MAC[:3] + b"\xff\xfe" + MAC[3:]
    config[0x200:0x20C] = MAC[::-1] + MAC
    card = replace(
        read_function(CARD.address, bytes(config), (), origin=Origin.SYSFS), bars=CARD.bars
    )
    leaf = CpuidLeaf(leaf=3, subleaf=0, eax=0, ebx=0, ecx=0x1234, edx=0x5678)
    leaves = tuple(leaf if x.leaf == 3 else x for x in PC.cpu.leaves)
    learnt = [("mac_low", 7), ("word1", 0xAAC1), ("features", 0x130), ("whole", 0xCCBBAAC1BBD8)]
    return replace(
        PC,
        cpu=replace(PC.cpu, leaves=leaves, others=(Processor(number=1, leaves=(leaf,)),)),
        functions=tuple(card if f.address == CARD.address else f for f in PC.functions),
        networks=(replace(PC.networks[0], mac=MAC.hex(":")),),
        acpi=(
            *PC.acpi,
            table("MSDM", b"\1\0\0\0XXXXX-YYYYY-ZZZZZ-AAAAA-BBBBB"),
            table("OEM1", b"Serial 4711"),
            table("SSDT", b"\x10\x20_AUXMAC_#D8BBC1AABBCC#\0"),
            table("DSDT", b"\x0d" + MAC.hex(":").upper().encode() + b"\0"),
        ),
        learnt=tuple(
            Learnt(device="00:03.0", pattern="p", name=n, value=v, origin=Origin.DISCOVERER)
            for n, v in learnt
        ),
        emulator=Emulator(
            target="none",
            arguments=(
                "-device", "e1000,mac=D8:BB:C1:AA:BB:CC,addr=3", "-m", "64",
                "-uuid", "4c4c4544-0042-3510-8053-b4c04f4d3332",
                "-smbios", "type=1,serial=4711,uuid=4c4c4544-0042-3510-8053-b4c04f4d3332",
                "-drive", "serial=XK-1",
            ),
            origin=Origin.QEMU,
        ),
        unknown=(Unknown(what="x", reason="not d8-bb-c1-aa-bb-cc", origin=Origin.SYSFS),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def text() -> str:
    return format_machine(scrub(private()).machine)


def test_what_was_removed_is_named_without_its_value() -> None:
    assert scrub(private()).removed == (
        "00:03.0 mac",
        "emulator arguments",
        "cpu serial number (leaf 3)",
        f"00:03.0 vital product data at {CARD_VPD:#x}",
        "00:03.0 device serial number at 0x154",
        "00:03.0 mac in config space",
        "acpi MSDM",
        "acpi OEM1",
        "acpi SSDT mac",
        "acpi DSDT mac",
        "00:03.0 learnt p.mac_low",
        "00:03.0 learnt p.word1",
        "00:03.0 learnt p.whole",
        "why x is unknown",
    )


CARD_VPD = (CARD.capabilities[-1].offset if CARD.capabilities else 0xE0) + 2


@pytest.mark.parametrize(
    "secret",
    [
        "d8bbc1aabbcc", "ccbbaac1bbd8", "d8:bb:c1", "D8:BB:C1", "d8-bb-c1", "4711", "XK-1",
        "4c4c4544", b"SN42".hex(), b"YYYYY".hex(), b"4711".hex(), b"D8BBC1".hex(), b"D8:BB".hex(),
        '"0xaac1"', '"0x00001234"', (MAC[:3] + b"\xff\xfe" + MAC[3:]).hex(),
    ],
)  # fmt: skip
def test_no_secret_is_left(secret: str, text: str) -> None:
    assert secret in format_machine(private()), "the test's machine has it"
    assert secret not in text


def test_the_file_is_valid_and_the_rest_is_kept(text: str) -> None:
    before, after = private(), parse_machine(text)
    assert after.networks[0].mac == "02:00:00:00:00:01"
    assert after.networks[0].origin is Origin.PLACEHOLDER
    assert after.emulator is not None
    assert after.emulator.arguments == (
        "-device", "e1000,mac=02:00:00:00:00:01,addr=3", "-m", "64",
        "-uuid", "00000000-0000-0000-0000-000000000000",
        "-smbios", "type=1,serial=placeholder,uuid=00000000-0000-0000-0000-000000000000",
        "-drive", "serial=placeholder",
    )  # fmt: skip
    assert [f.value for f in after.learnt] == [0, 0, 0x130, 0x010000000002]
    for old, new in zip(before.acpi, after.acpi, strict=True):
        assert len(old.data) == len(new.data) and old.signature == new.signature
        assert not sum(bytes.fromhex(new.data)) & 0xFF or sum(bytes.fromhex(old.data)) & 0xFF
        assert (old == new) == (old.signature not in ("MSDM", "OEM1", "SSDT", "DSDT"))
    card = next(f for f in after.functions if f.address == CARD.address)
    listed = [(x.id, x.offset) for x in read_extended(bytes.fromhex(card.config))]
    assert listed == [(1, 0x100), (3, 0x150)]
    assert after.memory == before.memory and after.legacy == before.legacy


def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    again = scrub(parse_machine(text))
    assert format_machine(again.machine) == text and again.removed == ()


def test_two_cards_keep_two_addresses() -> None:
    other = replace(CARD, address="00:04.0")
    networks = (
        replace(PC.networks[0], mac="52:54:00:00:00:01"),
        replace(PC.networks[0], mac="52:54:00:00:00:02", address="00:04.0"),
    )
    two = replace(PC, functions=(*PC.functions, other), networks=networks)
    assert [n.mac[-2:] for n in scrub(two).machine.networks] == ["01", "02"]


@pytest.mark.parametrize("file", MACHINES, ids=lambda path: path.stem)
def test_an_image_for_a_scrubbed_file_is_the_image(file: Path) -> None:
    machine = read_machine(file)
    clean = scrub(machine).machine
    assert {n.origin for n in clean.networks} == {Origin.PLACEHOLDER}

    def program(m: Machine) -> Any:
        return pipeline.dump("ir", m, system=read_system(), pattern_dirs=FOLDERS)

    assert program(clean) == program(machine)


FOLDERS = [resources.PATTERNS]
