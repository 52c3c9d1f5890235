"""Machine files of one machine made one: what fills what, and who is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from metaos.errors import MetaosError
from metaos.probe.check import check
from metaos.probe.machine import (
    Cpu,
    Function,
    Learnt,
    Legacy,
    Machine,
    Network,
    Origin,
    Unknown,
)
from metaos.probe.merge import Merged, merge
from metaos.probe.store import read_machine
from metaos.probe.sysfs.probe import probe_sysfs
from tests.probe.linux import write_tree

MACHINES = sorted((Path(__file__).parents[1] / "data" / "machines").glob("*.json"))
PC = read_machine(next(path for path in MACHINES if path.stem == "pc-e1000"))
CARD = next(f for f in PC.functions if f.address == "00:03.0")
replace = msgspec.structs.replace


def gap(*whats: str) -> tuple[Unknown, ...]:
    return tuple(Unknown(what=w, reason="it hid", origin=Origin.SYSFS) for w in whats)


def said_by(machine: Machine, origin: Origin) -> Machine:
    """The same facts, from another origin."""

    def change(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(change(item) for item in value)
        if not isinstance(value, msgspec.Struct):
            return value
        fields = {name: change(getattr(value, name)) for name in value.__struct_fields__}
        return type(value)(**fields | ({"origin": origin} if "origin" in fields else {}))

    changed = change(machine)
    assert isinstance(changed, Machine)
    return changed


def with_card(machine: Machine, **more: Any) -> Machine:
    functions = tuple(
        replace(f, **more) if f.address == CARD.address else f for f in machine.functions
    )
    return replace(machine, functions=functions)


def merged(*machines: Machine) -> Merged:
    return merge([(f"{chr(97 + i)}.json", m) for i, m in enumerate(machines)])


def conflicts(result: Merged) -> dict[str, list[tuple[str, str]]]:
    return {c.fact: [(s.file, s.value) for s in c.sides] for c in result.conflicts}


def card(result: Merged) -> Function:
    return next(f for f in result.machine.functions if f.address == CARD.address)


@pytest.mark.parametrize("file", MACHINES, ids=lambda path: path.stem)
def test_a_machine_merged_with_itself_is_itself(file: Path) -> None:
    machine = read_machine(file)
    result = merged(machine, said_by(machine, Origin.SYSFS), machine)
    assert result.conflicts == () and result.filled == ()
    assert result.machine == replace(machine, emulator=result.machine.emulator)


@pytest.mark.parametrize("file", MACHINES, ids=lambda path: path.stem)
def test_linux_as_a_user_and_the_discoverer_make_the_whole_machine(
    file: Path, tmp_path: Path
) -> None:
    machine = read_machine(file)
    write_tree(machine, tmp_path, privileged=False)
    linux = probe_sysfs(tmp_path)
    for files in ((linux, machine), (machine, linux)):
        result = merged(*files)
        assert result.conflicts == ()
        assert {x.fact for x in result.filled} >= {"cpuid leaves", "00:00.0 config from 0x40"}
        left = {u.what for u in result.machine.unknown}
        assert left <= {"legacy lpt"}
        assert result.machine.functions == machine.functions
        assert result.machine.cpu == machine.cpu and result.machine.memory == machine.memory
        assert {t.signature: t for t in result.machine.acpi}.items() >= {
            t.signature: t for t in machine.acpi
        }.items()


def test_the_origin_decides_and_both_sides_are_said() -> None:
    sysfs = said_by(with_card(PC, config=""), Origin.SYSFS)
    sysfs = with_card(sysfs, revision=9, interrupt_line=5)
    for files in ((PC, sysfs), (sysfs, PC)):
        result = merged(*files)
        assert card(result) == CARD
        name = {Origin.DISCOVERER: "a.json", Origin.SYSFS: "b.json"}
        if files[0] is sysfs:
            name = {Origin.DISCOVERER: "b.json", Origin.SYSFS: "a.json"}
        assert conflicts(result)["00:03.0 revision"] == [
            (name[Origin.DISCOVERER], "0x0003"), (name[Origin.SYSFS], "0x0009")
        ]  # fmt: skip
        assert [s.origin for s in result.conflicts[0].sides] == [Origin.DISCOVERER, Origin.SYSFS]


def test_of_equal_origins_the_first_file_counts() -> None:
    other = replace(PC, networks=(replace(PC.networks[0], mac="52:54:00:00:00:01"),))
    result = merged(other, PC)
    assert result.machine.networks == other.networks
    assert conflicts(result) == {
        "00:03.0 mac": [("a.json", "52:54:00:00:00:01"), ("b.json", PC.networks[0].mac)]
    }


def test_a_longer_config_space_continues_a_shorter_one() -> None:
    tail = bytes(range(256)) * 15
    text = said_by(with_card(PC, config=CARD.config + tail.hex()), Origin.LSPCI)
    result = merged(PC, text)
    assert card(result).config == CARD.config + tail.hex() and card(result).origin == CARD.origin
    short = said_by(with_card(PC, config=CARD.config[:128], capabilities=()), Origin.SYSFS)
    lacking = replace(short, unknown=gap("00:03.0 config from 0x40", "00:03.0 capabilities"))
    result = merged(lacking, said_by(PC, Origin.LSPCI))
    assert card(result).config == CARD.config and card(result).origin is Origin.SYSFS
    assert card(result).capabilities == CARD.capabilities
    assert {x.fact for x in result.filled} == {"00:03.0 config from 0x40", "00:03.0 capabilities"}


def test_config_bytes_that_differ_are_one_conflict() -> None:
    config = bytearray.fromhex(CARD.config)
    config[4] ^= 4
    config[0xDC] ^= 1
    result = merged(PC, said_by(with_card(PC, config=bytes(config).hex()), Origin.SYSFS))
    old = bytes.fromhex(CARD.config)
    assert conflicts(result) == {
        "00:03.0 config bytes": [
            ("a.json", f"04:{old[4]:02x} dc:{old[0xDC]:02x}"),
            ("b.json", f"04:{config[4]:02x} dc:{config[0xDC]:02x}"),
        ]
    }


def test_who_counts_more_decides_whether_a_function_is_there() -> None:
    without = replace(PC, functions=tuple(f for f in PC.functions if f != CARD), networks=())
    less = merged(without, said_by(PC, Origin.SYSFS))
    assert CARD.address not in [f.address for f in less.machine.functions]
    assert conflicts(less)["00:03.0"][0] == ("a.json", "not there")
    more = merged(said_by(without, Origin.SYSFS), PC)
    assert card(more) == CARD
    for what in ("pci functions", "00:03.0 config header"):
        partial = replace(without, unknown=gap(what))
        result = merged(partial, said_by(PC, Origin.LSPCI))
        assert card(result).vendor == CARD.vendor and not result.conflicts
        assert [x.fact for x in result.filled] == [what]
    far = replace(CARD, address="0001:00:03.0", origin=Origin.SYSFS)
    both = merged(PC, replace(said_by(PC, Origin.SYSFS), functions=(*PC.functions, far)))
    assert far in both.machine.functions  # the discoverer does not look there


def test_windows() -> None:
    bars = CARD.bars
    lacking = replace(with_card(PC, bars=bars[1:]), unknown=gap("00:03.0 bar 0 size"))
    result = merged(lacking, said_by(PC, Origin.LSPCI))
    assert [b.size for b in card(result).bars] == [b.size for b in bars]
    assert card(result).bars[0].origin is Origin.LSPCI and not result.conflicts
    lspci = said_by(PC, Origin.LSPCI)
    small = replace(bars[0], size=0x1000, origin=Origin.LSPCI)
    unnumbered = replace(with_card(lspci, bars=(), config=""), unknown=gap("00:03.0 bars"))
    for files in ((unnumbered, PC), (PC, unnumbered)):
        result = merged(*files)
        assert card(result) == CARD and not result.conflicts and not result.machine.unknown
    smaller = with_card(lspci, bars=(small, *bars[1:]))
    result = merged(smaller, PC)
    assert card(result).bars == bars
    assert conflicts(result)["00:03.0 bar 0"] == [
        ("b.json", "mem32, 0x20000 bytes at 0xfebc0000"),
        ("a.json", "mem32, 0x1000 bytes at 0xfebc0000"),
    ]


def test_a_window_that_the_register_cannot_have_stays_unknown() -> None:
    lacking = replace(with_card(PC, bars=CARD.bars[1:]), unknown=gap("00:03.0 bar 0 size"))
    huge = replace(CARD.bars[0], size=1 << 30, address=0xC0000000, origin=Origin.LSPCI)
    text = with_card(said_by(PC, Origin.LSPCI), bars=(huge, *CARD.bars[1:]), config="")
    result = merged(lacking, text)
    assert [u.what for u in result.machine.unknown] == ["00:03.0 bar 0 size"]
    assert "b.json: mem32, 0x40000000 bytes" in result.machine.unknown[0].reason


def test_a_processor_s_leaves_are_taken_whole() -> None:
    words = Cpu(vendor="V", brand="B", leaves=(), flags=("fpu",), origin=Origin.SYSFS)
    bare = replace(PC, cpu=words, unknown=gap("cpuid leaves"))
    result = merged(bare, said_by(PC, Origin.CPUID))
    assert result.machine.cpu.leaves == PC.cpu.leaves and result.machine.cpu.flags == ("fpu",)
    assert [x.fact for x in result.filled] == ["cpuid leaves"] and not result.conflicts
    leaves = (*PC.cpu.leaves[:1], replace(PC.cpu.leaves[1], eax=0), *PC.cpu.leaves[2:])
    result = merged(replace(PC, cpu=replace(PC.cpu, leaves=leaves, origin=Origin.SYSFS)), PC)
    assert result.machine.cpu == PC.cpu and "others at 0x1" in conflicts(result)["cpu"][0][1]


def test_ports_tables_and_learnt_facts() -> None:
    other = said_by(PC, Origin.SYSFS)
    port = Legacy(kind="com", index=1, port=0x2F8, origin=Origin.SYSFS)
    moved = replace(other.legacy[0], port=0x2E8)
    facp = next(t for t in other.acpi if t.signature == "FACP")
    data = bytearray.fromhex(facp.data)
    data[9] ^= 1
    extra = replace(facp, signature="DSDT", data=facp.data.replace("46414350", "44534454", 1))
    mine = Learnt(device="00:03.0", pattern="p", name="n", value=1, origin=Origin.DISCOVERER)
    other = replace(
        other,
        legacy=(moved, port),
        acpi=(replace(facp, data=bytes(data).hex()), extra),
        learnt=(replace(mine, value=2, origin=Origin.FILE),),
    )
    result = merged(other, replace(PC, learnt=(mine,)))
    assert set(conflicts(result)) == {
        "legacy com0", "legacy com1", "legacy lpt0", "acpi FACP", "00:03.0 learnt p.n"
    } - ({"legacy lpt0"} if all(x.kind == "com" for x in PC.legacy) else set())  # fmt: skip
    assert result.machine.legacy == tuple(sorted(PC.legacy, key=lambda x: (x.kind, x.index)))
    assert result.machine.learnt == (mine,)
    assert {t.signature for t in result.machine.acpi} == {"DSDT", *(t.signature for t in PC.acpi)}
    unseen = merged(replace(PC, unknown=gap("legacy com")), replace(PC, legacy=(port,)))
    assert {f"{x.kind}{x.index}" for x in unseen.machine.legacy} >= {"com0"}


def test_memory_is_taken_whole() -> None:
    less = tuple(replace(r, origin=Origin.SYSFS) for r in PC.memory[:-1])
    result = merged(replace(PC, memory=less), PC)
    assert result.machine.memory == PC.memory and "memory map" in conflicts(result)


def test_what_nobody_knows_stays_unknown() -> None:
    unknown = gap("memory map", "00:03.0 mac")
    poor = replace(PC, memory=(), networks=(), unknown=unknown)
    result = merged(poor, poor)
    assert result.machine.unknown == unknown and result.filled == ()
    network = Network(address="00:03.0", mac="52:54:00:12:34:56", origin=Origin.SYSFS)
    result = merged(poor, replace(poor, networks=(network,), unknown=unknown[:1]))
    assert [u.what for u in result.machine.unknown] == ["memory map"]
    assert result.machine.networks == (network,)


def test_every_pair_of_machines_merges_to_one_that_can_be_true() -> None:
    machines = [read_machine(path) for path in MACHINES]
    for a in machines:
        for b in machines:
            try:
                result = merged(a, said_by(b, Origin.SYSFS))
            except MetaosError as error:
                assert error.problems
            else:
                assert not list(check(result.machine))
