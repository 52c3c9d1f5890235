"""Linux trees: one of a real server, ones made of machine files, and broken ones."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from metaos.errors import MetaosError
from metaos.probe import ask_cpuid
from metaos.probe.machine import Machine, Origin
from metaos.probe.store import format_machine, parse_machine, read_machine
from metaos.probe.sysfs.probe import probe_sysfs
from tests.conftest import Golden
from tests.probe.linux import put, write_tree

Fact = TypeVar("Fact", bound=msgspec.Struct)

DATA = Path(__file__).parents[1] / "data"
MACHINES = sorted((DATA / "machines").glob("*.json"))
SERVERS = sorted((DATA / "linux").glob("*.tar.xz"))
PC = DATA / "machines" / "pc-e1000.json"
CARD = "sys/devices/pci0000:00/0000:00:03.0"
BUS = "sys/bus/pci/devices/0000:00:03.0"


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder


def reasons(machine: Machine) -> dict[str, str]:
    return {fact.what: fact.reason for fact in machine.unknown}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The default target as Linux shows it to root."""
    write_tree(read_machine(PC), tmp_path)
    return tmp_path


@pytest.mark.parametrize("archive", SERVERS, ids=lambda path: path.name)
def test_a_real_server(archive: Path, tmp_path: Path, golden: Golden) -> None:
    text = format_machine(probe_sysfs(unpacked(archive, tmp_path)))
    golden(f"linux/{archive.name.partition('.')[0]}.json", text)
    assert parse_machine(text).functions


@pytest.mark.parametrize("file", MACHINES, ids=lambda path: path.stem)
def test_what_linux_shows_of_a_machine_is_what_the_discoverer_read(
    file: Path, tmp_path: Path
) -> None:
    theirs = read_machine(file)
    write_tree(theirs, tmp_path)
    ours = probe_sysfs(tmp_path)
    assert parse_machine(format_machine(ours)) == ours
    assert {fact.origin for fact in ours.functions + ours.memory} == {Origin.SYSFS}

    def same(machine: Machine) -> Machine:
        def plain(facts: tuple[Fact, ...], **more: object) -> tuple[Fact, ...]:
            return tuple(msgspec.structs.replace(f, origin=Origin.FILE, **more) for f in facts)

        functions = plain(machine.functions, name="", name_origin=None)
        shown = (t for t in machine.acpi if t.signature not in ("RSD PTR ", "RSDT", "XSDT"))
        return msgspec.structs.replace(
            machine,
            cpu=theirs.cpu,
            memory=plain(machine.memory),
            functions=tuple(
                msgspec.structs.replace(f, bars=plain(f.bars)) for f in functions
            ),
            legacy=plain(machine.legacy),
            acpi=plain(tuple(sorted(shown, key=lambda t: t.signature)), address=0),
            networks=plain(machine.networks),
            learnt=(),
            emulator=None,
            unknown=(),
        )  # fmt: skip

    assert same(ours) == same(theirs)
    lacking = {"cpuid leaves", "acpi addresses", "acpi root tables"}
    express = {f"{f.address} config from 0x100" for f in theirs.functions
               if any(c.id == 0x10 for c in f.capabilities)}  # fmt: skip
    assert set(reasons(ours)) - {"legacy lpt"} == lacking | express


@pytest.mark.parametrize("file", MACHINES, ids=lambda path: path.stem)
def test_the_leaves_asked_for_are_those_of_the_discoverer(file: Path) -> None:
    leaves = read_machine(file).cpu.leaves
    known = {(x.leaf, x.subleaf): (x.eax, x.ebx, x.ecx, x.edx) for x in leaves}
    assert ask_cpuid.leaves(lambda leaf, sub: known.get((leaf, sub), (0, 0, 0, 0))) == leaves


def test_leaves_end_where_the_processor_says_so() -> None:
    asked: list[tuple[int, int]] = []

    def ask(leaf: int, subleaf: int) -> ask_cpuid.Registers:
        asked.append((leaf, subleaf))
        return (4, 0, 0, 0) if (leaf, subleaf) == (0, 0) else (1, 0, 0x100, 0)

    found = ask_cpuid.leaves(ask)
    assert [(x.leaf, x.subleaf) for x in found if x.leaf < 4] == [(n, 0) for n in range(4)]
    assert sum(x.leaf == 4 for x in found) == 64  # never kind 0: the limit ends it
    assert max(leaf for leaf, _ in asked) == 0x8000_0000  # 1 is no leaf of that range


def test_the_instruction_can_be_executed_here() -> None:
    ask = ask_cpuid.instruction()
    known = ask(0, 0)
    assert known[0] >= 1 and known == ask(0, 0)
    assert ask_cpuid.leaves(ask)[0].eax == known[0]


def test_this_machine() -> None:
    machine = probe_sysfs(Path("/"))
    assert parse_machine(format_machine(machine)) == machine
    assert machine.cpu.leaves and machine.cpu.vendor


def test_without_root_much_is_unknown_and_nothing_is_guessed(tmp_path: Path) -> None:
    write_tree(read_machine(PC), tmp_path, privileged=False)
    shutil.rmtree(tmp_path / "sys/firmware")
    put(tmp_path, "proc/iomem", "00000000-00000000 : System RAM\n00000000-00000000 : Reserved\n")
    put(tmp_path, "proc/ioports", "0000-0000 : parport0\n")
    machine = probe_sysfs(tmp_path)
    assert parse_machine(format_machine(machine)) == machine
    assert machine.memory == () and machine.acpi == ()
    assert all(len(f.config) == 128 and not f.capabilities for f in machine.functions)
    why = reasons(machine)
    assert "proc/iomem: all addresses are zeros (not read as root)" in why["memory map"]
    assert "sys/firmware/acpi/tables: no such file" in why["acpi tables"]
    assert "config has 64 bytes: Linux shows" in why["00:03.0 config from 0x40"]
    assert "the address is zeros" in why["legacy lpt"]


def test_iomem_where_firmware_s_map_is_not_shown(tree: Path) -> None:
    shutil.rmtree(tree / "sys/firmware/memmap")
    put(
        tree,
        "proc/iomem",
        "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n"
        "000a0000-000bffff : PCI Bus 0000:00\n000f0000-000fffff : System ROM\n"
        "00100000-07fdffff : System RAM\n  01000000-01ffffff : Kernel code\n"
        "07fe0000-07ffffff : ACPI Tables\n",
    )
    found = [(r.base, r.size, r.kind) for r in probe_sysfs(tree).memory]
    assert found == [
        (0, 0x1000, 2), (0x1000, 0x9EC00, 1), (0x100000, 0x7EE0000, 1), (0x7FE0000, 0x20000, 3)
    ]  # fmt: skip


def test_processor_words_are_the_last_resort(tree: Path) -> None:
    first = "processor\t: 0\nvendor_id\t: Some\nmodel name\t: One  CPU\nflags\t\t: fpu abm popcnt\n"
    put(tree, "proc/cpuinfo", first + "\n" + first.replace("abm", "movbe"))
    machine = probe_sysfs(tree)
    assert (machine.cpu.vendor, machine.cpu.brand) == ("Some", "One  CPU")
    assert machine.cpu.flags == ("fpu", "popcnt")  # what all processors have
    why = reasons(machine)["cpuid leaves"]
    assert "dev/cpu: no such file" in why and "would ask the machine that reads the copy" in why


Break = Callable[[Path], object]


def config(content: bytes) -> Break:
    return lambda root: put(root, f"{CARD}/config", content)


def resource(line: int, text: str) -> Break:
    def change(root: Path) -> None:
        file = root / CARD / "resource"
        lines = file.read_text().splitlines()
        lines[line] = text
        file.write_text("\n".join(lines))

    return change


def pipe(path: str) -> Break:
    def change(root: Path) -> None:
        (root / path).unlink()
        os.mkfifo(root / path)

    return change


def away(path: str, target: str) -> Break:
    def change(root: Path) -> None:
        (root / path).unlink()
        (root / path).symlink_to(target)

    return change


ZEROS = " ".join(["0x" + "0" * 16] * 3)
BROKEN: list[tuple[Break, str, str]] = [
    (config(b""), "00:03.0 header type", f"{BUS}/config: 0 bytes, a header has 64"),
    (config(b"\xff" * 256), "00:03.0 header type", "switched off or was removed"),
    (pipe(f"{CARD}/config"), "00:03.0 header type", f"{BUS}/config: not a file"),
    (away(f"{CARD}/config", "config"), "00:03.0 header type", "config: too many levels"),
    (away(f"{CARD}/config", "/etc/passwd"), "00:03.0 header type", "a link out of the tree"),
    (away(f"{CARD}/resource", "gone"), "00:03.0 bar 0 size", f"{BUS}/resource: no such file"),
    (resource(0, "0x0 garbage \xff"), "00:03.0 bar 0 size", f"{BUS}/resource:1:1: expected start"),
    (resource(0, ZEROS), "00:03.0 bar 0 size", f"{BUS}/resource:1:1: Linux has no window for"),
    (
        resource(0, "0x00000000febc0000 0x00000000febdfffe 0x0000000000040200"),
        "00:03.0 bar 0 size",
        f"{BUS}/resource:1:1: 0x1ffff bytes are no window of mem32",
    ),
    (
        resource(0, "0x00000000febc0000 0x00000000febdffff 0x0000000000040101"),
        "00:03.0 bar 0 size",
        "flags 0x40101, but the register is mem32",
    ),
    (
        resource(0, "0x00000000c0000000 0x00000000ffffffff 0x0000000000040200"),
        "00:03.0 bar 0 size",
        "0x40000000 bytes, but the register is at 0xfebc0000",
    ),
    (
        resource(6, "0x00000000000c0000 0x00000000000dffff 0x0000000000000212"),
        "00:03.0 bar 6 size",
        "not what the register decodes",
    ),
    (
        lambda root: put(root, f"{CARD}/net/eth0/address", b"\xff\xfe:00\n"),
        "00:03.0 mac",
        r"net/eth0/address:1:1: '\xff\xfe:00' is no address",
    ),
    (
        lambda root: put(root, f"{CARD}/net/eth0/addr_assign_type", "3\n"),
        "00:03.0 mac",
        "software gave it another",
    ),
    (
        lambda root: put(root, f"{CARD}/net/eth0/type", "32\n"),
        "00:03.0 mac",
        "32: interfaces with a MAC address have 1",
    ),
    (
        lambda root: shutil.rmtree(root / "sys/class/net"),
        "00:03.0 mac",
        "sys/class/net: no such file",
    ),
    (
        lambda root: put(root, "sys/firmware/memmap/1/start", "many\n"),
        "memory map",
        "sys/firmware/memmap/1/start:1:1: expected a number, got 'many'",
    ),
    (
        lambda root: put(root, "sys/firmware/memmap/1/start", "0x10\n"),
        "memory map",
        "sys/firmware/memmap/1: 0x10 lies in the range before",
    ),
    (
        lambda root: put(root, "sys/firmware/acpi/tables/FACP", b"FACP\x10\0\0\0"),
        "acpi FACP",
        "tables/FACP: 8 bytes, but the table's length field says 16",
    ),
    (
        lambda root: put(root, "sys/class/tty/ttyS0/port", "none\n"),
        "legacy com",
        "sys/class/tty/ttyS0/port:1:1: expected a number, got 'none'",
    ),
    (
        lambda root: put(root, "proc/ioports", "0378-037a : parport0\nbogus\n"),
        "legacy lpt",
        "proc/ioports:2:1: expected a range of ports, got 'bogus'",
    ),
    (
        lambda root: put(root, "proc/cpuinfo", "Processor : ARMv8\n"),
        "cpuid leaves",
        "proc/cpuinfo: no line 'flags', which x86 processors have",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "what", "reason"), BROKEN, ids=[b[2][:48] for b in BROKEN])
def test_what_is_broken_is_unknown_with_its_file(
    change: Break, what: str, reason: str, tree: Path
) -> None:
    change(tree)
    machine = probe_sysfs(tree)
    assert parse_machine(format_machine(machine)) == machine
    assert reason in reasons(machine).get(what, f"{what} is known")


def test_a_function_without_config_bytes_has_its_ids_and_windows(tree: Path) -> None:
    (tree / CARD / "config").unlink()
    machine = probe_sysfs(tree)
    card = next(f for f in machine.functions if f.address == "00:03.0")
    whole = next(f for f in read_machine(PC).functions if f.address == "00:03.0")
    assert (card.vendor, card.device, card.config) == (whole.vendor, whole.device, "")
    assert [(b.index, b.kind, b.size, b.address) for b in card.bars] == [
        (b.index, b.kind, b.size, b.address) for b in whole.bars
    ]
    assert {"00:03.0 header type", "00:03.0 subsystem", "00:03.0 interrupt"} <= set(
        reasons(machine)
    )


def test_a_function_removed_while_it_is_read(tree: Path) -> None:
    shutil.rmtree(tree / CARD)  # the bus still names it: its link leads nowhere
    machine = probe_sysfs(tree)
    assert all(f.address != "00:03.0" for f in machine.functions)
    assert "removed while it was read" in reasons(machine)["00:03.0 config header"]


def test_functions_are_found_without_the_bus_folder(tree: Path) -> None:
    whole = probe_sysfs(tree).functions
    shutil.rmtree(tree / "sys/bus")
    assert probe_sysfs(tree).functions == whole


def test_other_domains_and_virtual_functions(tree: Path) -> None:
    for name in ("10000:e1:00.0", "0000:00:03.1", "0001:00:00.0"):
        shutil.copytree(tree / CARD, tree / "sys/bus/pci/devices" / name)
    (tree / "sys/bus/pci/devices/0000:00:03.1/physfn").symlink_to("../0000:00:03.0")
    addresses = [f.address for f in probe_sysfs(tree).functions]
    assert addresses[-2:] == ["0001:00:00.0", "10000:e1:00.0"] and "00:03.1" not in addresses


def test_names_that_are_no_text(tree: Path) -> None:
    (tree / "sys/bus/pci/devices" / os.fsdecode(b"0000:00:\xff")).mkdir()
    put(tree, os.fsdecode(b"sys/firmware/acpi/tables/\xffX"), b"no")
    machine = probe_sysfs(tree)
    assert parse_machine(format_machine(machine)) == machine
    assert any("udcff" in what for what in reasons(machine))


def test_what_holds_no_machine_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(MetaosError, match="no machine in it"):
        probe_sysfs(tmp_path)
    with pytest.raises(MetaosError, match="no such folder"):
        probe_sysfs(tmp_path / "absent")
    put(tmp_path, "file", "")
    with pytest.raises(MetaosError, match="not a folder"):
        probe_sysfs(tmp_path / "file")
