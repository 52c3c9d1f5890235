"""Real probes of QEMU machines, and the ways in which a probe can fail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metaos.boot.target import QEMU, load_target
from metaos.errors import Exit, MetaosError
from metaos.probe.join import Named
from metaos.probe.learn import MOST_ROWS, Access, Action, LearnRow, config_place, kind
from metaos.probe.machine import BarKind, Emulator, Function, Machine, Origin
from metaos.probe.qemu import assemble, parse_tree, probe_qemu
from metaos.probe.store import parse_machine, read_machine
from tests.qemu.booted import children

MACHINES = Path(__file__).parent.parent / "data" / "machines"
Arguments = tuple[str, ...]
BARE: Arguments = ("-M", "pc", "-m", "32", "-nodefaults")

TREE = """bus: main-system-bus
  type System
  dev: i440FX-pcihost, id ""
    bus: pci.0
      type PCI
      dev: virtio-net-pci, id "n"
        addr = 03.0
        class Ethernet controller, addr 00:03.0, pci id 1af4:1000 (sub 1af4:0001)
        bus: virtio-bus
          type virtio-pci-bus
          dev: virtio-net-device, id ""
            mac = "52:54:00:12:34:57"
      dev: e1000, id "foo"
        mac = "52:54:00:12:34:56"
        addr = 04.0
        class Ethernet controller, addr 00:04.0, pci id 8086:100e (sub 1af4:1100)
      dev: PIIX3, id ""
        addr = 01.0
        class ISA bridge, addr 00:01.0, pci id 8086:7000 (sub 1af4:1100)
        bus: isa.0
          type ISA
          dev: isa-serial, id ""
            iobase = 1016 (0x3f8)
  dev: ne2k-somewhere, id ""
    mac = "52:54:00:12:34:58"
"""


def function(machine: Machine, address: str) -> Function:
    (found,) = (f for f in machine.functions if f.address == address)
    return found


def test_names_and_addresses_come_from_the_device_tree() -> None:
    assert parse_tree(TREE) == {
        "00:03.0": Named("virtio-net-pci", "52:54:00:12:34:57"),
        "00:04.0": Named("e1000", "52:54:00:12:34:56"),
        "00:01.0": Named("PIIX3"),
    }


def test_the_discoverer_is_large_enough_to_boot_everywhere(tmp_path: Path) -> None:
    image = tmp_path / "discover.img"
    assemble(image)
    assert image.stat().st_size == 516_096
    row = LearnRow(kind(Action.KEEP, Access.PORT8), 0x71)
    waits = LearnRow(kind(Action.WAIT, Access.PORT8), 0x71)
    assemble(image, [row, *[waits] * (MOST_ROWS - 1)])
    assert image.stat().st_size == 516_096


def test_a_missing_nasm_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetaosError, match="nasm is not installed") as caught:
        probe_qemu("pc-e1000")
    assert caught.value.exit_code is Exit.TOOL_MISSING
    assert caught.value.hint == "sudo apt-get install -y nasm"


def test_a_missing_qemu_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nasm = shutil.which("nasm")
    assert nasm is not None
    (tmp_path / "nasm").symlink_to(nasm)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetaosError, match=f"{QEMU} is not installed") as caught:
        probe_qemu("pc-e1000")
    assert caught.value.exit_code is Exit.TOOL_MISSING


@pytest.mark.qemu
def test_the_target_as_it_was_recorded() -> None:
    machine = probe_qemu("pc-e1000")
    recorded = read_machine(MACHINES / "pc-e1000.json")
    card = function(machine, "00:03.0")
    assert card.name == "e1000"
    assert card.name_origin is Origin.QEMU
    assert (card.vendor, card.device, card.class_code) == (0x8086, 0x100E, 0x020000)
    assert [(bar.kind, bar.size) for bar in card.bars] == [
        (BarKind.MEM32, 0x20000),
        (BarKind.IO, 0x40),
        (BarKind.MEM32, 0x40000),
    ]
    assert [(f.address, f.name) for f in machine.functions] == [
        (f.address, f.name) for f in recorded.functions
    ]
    assert [network.mac for network in machine.networks] == ["52:54:00:12:34:56"]
    assert [(port.kind, port.port) for port in machine.legacy] == [("com", 0x3F8)]
    assert {table.signature for table in machine.acpi} >= {"RSD PTR ", "RSDT", "FACP", "APIC"}
    assert machine.cpu.vendor == "AuthenticAMD"
    assert machine.emulator == Emulator(target="pc-e1000", arguments=(), origin=Origin.QEMU)


@pytest.mark.qemu
def test_two_probes_give_the_same_machine() -> None:
    assert probe_qemu("pc-e1000", ("-m", "80")) == probe_qemu("pc-e1000", ("-m", "80"))


@pytest.mark.qemu
def test_no_target_another_slot_no_screen_no_serial_line() -> None:
    args: Arguments = ("-M", "pc", "-m", "96", "-nodefaults", "-serial", "null")
    args += ("-device", "e1000,mac=52:54:00:12:34:56,addr=7")
    machine = probe_qemu("none", args)
    card = function(machine, "00:07.0")
    assert (card.name, card.device) == ("e1000", 0x100E)
    assert not [f for f in machine.functions if f.class_code >> 16 == 3]
    assert machine.networks[0].address == "00:07.0"
    assert max(r.base + r.size for r in machine.memory if r.kind == 1) <= 96 << 20
    assert machine.emulator is not None
    assert machine.emulator.arguments == args


@pytest.mark.qemu
def test_neither_screen_nor_serial_port() -> None:
    machine = probe_qemu("none", BARE)
    assert machine.legacy == ()
    assert machine.networks == ()


@pytest.mark.qemu
def test_a_device_behind_a_root_port_of_q35() -> None:
    port = ("-device", "pcie-root-port,id=rp,chassis=1,slot=1")
    card = ("-device", "virtio-net-pci,bus=rp,mac=52:54:00:00:00:01")
    machine = probe_qemu("none", ("-M", "q35", "-m", "64", "-nodefaults", *port, *card))
    found = function(machine, "01:00.0")
    assert (found.name, found.vendor, found.device) == ("virtio-net-pci", 0x1AF4, 0x1041)
    assert [(b.index, b.kind, b.size) for b in found.bars][1] == (4, BarKind.MEM64, 0x4000)
    assert 0x10 in [capability.id for capability in function(machine, "00:01.0").capabilities]
    assert [(n.address, n.mac) for n in machine.networks] == [("01:00.0", "52:54:00:00:00:01")]
    assert "MCFG" in {table.signature for table in machine.acpi}


@pytest.mark.qemu
def test_bridges_behind_bridges_and_a_second_root_bus() -> None:
    bridges: Arguments = ("-device", "pci-bridge,id=b1,chassis_nr=1")
    bridges += ("-device", "pci-bridge,id=b2,chassis_nr=2,bus=b1", "-device", "e1000,bus=b2,addr=3")
    root = ("-device", "pxb,bus_nr=128,id=px", "-device", "rtl8139,bus=px,addr=1")
    machine = probe_qemu("none", (*BARE, *bridges, *root))
    assert {f.address: f.name for f in machine.functions if f.class_code >> 16 == 2} == {
        "02:03.0": "e1000",
        "81:01.0": "rtl8139",
    }


@pytest.mark.qemu
def test_the_users_own_disk_and_multifunction_devices() -> None:
    disk: Arguments = ("-blockdev", "null-co,node-name=z,size=1048576,read-zeroes=on")
    disk += ("-device", "ide-hd,drive=z,bus=ide.0,unit=0")
    many = ("-device", "e1000,addr=5.0,multifunction=on", "-device", "rtl8139,addr=5.7")
    machine = probe_qemu("none", (*BARE, *disk, *many))
    assert function(machine, "00:05.0").header_type == 0x80
    assert function(machine, "00:05.7").name == "rtl8139"


@pytest.mark.qemu
def test_a_backend_for_the_card_does_not_change_the_machine() -> None:
    card = "e1000,mac=52:54:00:12:34:56"
    alone = probe_qemu("none", (*BARE, "-device", card))
    net = ("-netdev", "hubport,id=n0,hubid=0", "-device", f"{card},netdev=n0")
    connected = probe_qemu("none", (*BARE, *net))
    assert connected.functions == alone.functions
    assert connected.networks == alone.networks


@pytest.mark.qemu
def test_subleaves_of_a_rich_processor() -> None:
    machine = probe_qemu("none", (*BARE, "-cpu", "max"))
    asked = [(leaf.leaf, leaf.subleaf) for leaf in machine.cpu.leaves]
    assert {(0xB, 0), (0xB, 1), (0xD, 0), (0xD, 1), (0xD, 2), (0x80000008, 0)} <= set(asked)
    assert (0xB, 2) not in asked
    assert len(asked) < 64


def keep(access: Access, place: int, number: int, name: str, mask: int = 0xFFFFFFFF) -> LearnRow:
    row = kind(Action.KEEP, access)
    return LearnRow(row, place, mask=mask, id=number, device="00:03.0", pattern="p", name=name)


@pytest.mark.qemu
def test_learn_rows_of_every_access() -> None:
    recorded = read_machine(MACHINES / "pc-e1000.json")
    table = recorded.acpi[0]
    ids = config_place("00:03.0", 0)
    rows = (
        keep(Access.CONFIG32, ids, 1, "ids"),
        keep(Access.CONFIG16, ids + 2, 2, "device"),
        keep(Access.CONFIG8, ids + 3, 3, "high"),
        keep(Access.MEMORY32, table.address, 4, "signature"),
        LearnRow(kind(Action.WRITE, Access.CONFIG8), ids + 0x3C, 0x5A),
        keep(Access.CONFIG32, ids + 0x3C, 5, "line", mask=0xFF),
        LearnRow(kind(Action.MODIFY, Access.CONFIG16), ids + 0x3C, 0x01, mask=0x0F),
        keep(Access.CONFIG8, ids + 0x3C, 6, "changed"),
        # The selected configuration address is itself a 32-bit port.
        LearnRow(kind(Action.WRITE, Access.PORT32), 0xCF8, 0x80001800),
        keep(Access.PORT32, 0xCFC, 7, "port32"),
        keep(Access.PORT16, 0xCFE, 8, "port16"),
        keep(Access.PORT8, 0xCFF, 9, "port8"),
        LearnRow(kind(Action.WRITE, Access.MEMORY32), 0x00300000, 0xDEADBEEF),
        LearnRow(kind(Action.WAIT, Access.MEMORY32), 0x00300000, 0xBEEF, 0xFFFF, limit_ms=1),
        keep(Access.MEMORY32, 0x00300000, 255, "memory"),
    )
    machine = probe_qemu("pc-e1000", learn=rows)
    assert {fact.name: fact.value for fact in machine.learnt} == {
        "ids": 0x100E8086,
        "device": 0x100E,
        "high": 0x10,
        "signature": int.from_bytes(b"RSD ", "little"),
        "line": 0x5A,
        "changed": 0x51,
        "port32": 0x100E8086,
        "port16": 0x100E,
        "port8": 0x10,
        "memory": 0xDEADBEEF,
    }
    assert all(fact.origin is Origin.DISCOVERER for fact in machine.learnt)
    assert parse_machine((MACHINES / "pc-e1000.json").read_text()).learnt == ()


@pytest.mark.qemu
def test_a_wait_for_something_that_happens_later() -> None:
    tick = LearnRow(kind(Action.WRITE, Access.MEMORY32), 0x46C, 0)  # the BIOS counts here
    wait = LearnRow(kind(Action.WAIT, Access.MEMORY32), 0x46C, 2, limit_ms=5000)
    machine = probe_qemu("none", BARE, learn=(tick, wait, keep(Access.PORT8, 0x71, 1, "end")))
    assert [fact.name for fact in machine.learnt] == ["end"]


@pytest.mark.qemu
def test_a_wait_in_vain_ends_after_its_limit() -> None:
    row = LearnRow(
        kind(Action.WAIT, Access.CONFIG16), 0, 0x1234, 0xFFFF, limit_ms=300, device="00:00.0"
    )
    start = time.monotonic()
    with pytest.raises(MetaosError) as caught:
        probe_qemu("none", BARE, learn=(row, keep(Access.PORT8, 0x71, 1, "never")))
    assert time.monotonic() - start > 0.3
    assert caught.value.message == (
        "learning from 00:00.0: after 300 ms config16 0x0 & 0xffff is 0x8086, not 0x1234"
    )


@pytest.mark.qemu
def test_a_qemu_that_dies_at_start_has_its_message_shown() -> None:
    with pytest.raises(MetaosError, match="'nope' is not a valid device model name"):
        probe_qemu("pc-e1000", ("-device", "nope"))
    assert children() == []


@pytest.mark.qemu
def test_a_probe_that_is_not_done_in_time() -> None:
    with pytest.raises(MetaosError, match=r"the probe is not done after 0\.02 s") as caught:
        probe_qemu("pc-e1000", timeout=0.02)
    assert caught.value.exit_code is Exit.TIMEOUT
    assert children() == []


@pytest.mark.qemu
def test_a_firmware_that_never_boots(tmp_path: Path) -> None:
    (tmp_path / "bios.bin").write_bytes(b"\xf4" * 0x10000)  # hlt
    with pytest.raises(MetaosError, match="the discoverer printed nothing") as caught:
        probe_qemu("none", (*BARE, "-bios", str(tmp_path / "bios.bin")), timeout=0.5)
    assert caught.value.exit_code is Exit.TIMEOUT
    assert "does the machine boot from a disk?" in caught.value.hint
    assert children() == []


@pytest.mark.qemu
def test_a_machine_that_resets_itself(tmp_path: Path) -> None:
    # lidt of an empty table, then an interrupt: a triple fault.
    start = bytes.fromhex("2e0f011efeff cd03").ljust(16, b"\0")
    (tmp_path / "bios.bin").write_bytes(bytes(0xFFF0) + start)
    with pytest.raises(MetaosError, match="ended with exit status 0 before the probe was done"):
        probe_qemu("none", (*BARE, "-bios", str(tmp_path / "bios.bin")), timeout=5)


SCRIPT = """
import sys
from metaos.probe.qemu import probe_qemu
try:
    slow = ("-M", "pc", "-m", "16", "-nodefaults", "-boot", "menu=on,splash-time=60000")
    probe_qemu("none", slow)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.qemu
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment) as prober:
        deadline = time.monotonic() + 20
        started: list[str] = []
        while not started and time.monotonic() < deadline:
            time.sleep(0.05)
            started = children(prober.pid)
        assert started, "QEMU was never started"
        prober.send_signal(signal.SIGINT)
        assert prober.wait(20) == 130
    assert not Path(f"/proc/{started[0]}").exists()
    assert list(tmp_path.iterdir()) == []


def test_the_target_that_none_names_is_empty() -> None:
    assert load_target("none").args == ()
