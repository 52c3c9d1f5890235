"""A machine that runs already, read over its control socket, and left as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from metaos.boot.monitor import Monitor
from metaos.boot.qemu import Qemu
from metaos.boot.target import QEMU
from metaos.errors import Exit, MetaosError
from metaos.probe.discover import read_discovered, write_discoverer
from metaos.probe.machine import Function, Machine, Origin
from metaos.probe.running import probe_running

pytestmark = pytest.mark.qemu
SECONDS = 40.0
MACHINE = [
    *("-accel", "tcg", "-M", "q35", "-m", "64", "-display", "none", "-nic", "none"),
    *("-netdev", "hubport,id=n,hubid=0", "-device", "virtio-net-pci,netdev=n"),
    *("-device", "pcie-root-port,id=rp"),
    *("-netdev", "hubport,id=e,hubid=0", "-device", "e1000e,bus=rp,netdev=e"),
]


class Guest:
    """A machine with the discoverer in it, its log, and the socket to talk to it."""

    def __init__(self, folder: Path) -> None:
        self.socket = str(folder / "vm.sock")
        self.log = folder / "serial.log"
        image = folder / "discover.img"
        write_discoverer(image)
        self.arguments = [
            *(QEMU, *MACHINE, "-drive", f"format=raw,snapshot=on,file={image}"),
            *("-serial", f"file:{self.log}", "-qmp", f"unix:{self.socket},server=on,wait=off"),
        ]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    one = Guest(tmp_path_factory.mktemp("running"))
    with Qemu(one.arguments, qmp=False) as vm:
        end = time.monotonic() + SECONDS
        while not (one.log.exists() and " end " in one.log.read_text("latin-1")):
            assert time.monotonic() < end and vm.returncode is None, vm.stderr
            time.sleep(0.1)
        yield one


def said(function: Function) -> Function:
    bars = tuple(msgspec.structs.replace(bar, origin=Origin.FILE) for bar in function.bars)
    return msgspec.structs.replace(
        function, name="", name_origin=None, origin=Origin.FILE, bars=bars
    )


def test_it_reads_what_the_machine_says_itself(guest: Guest) -> None:
    itself, _ = read_discovered(guest.log)
    machine = probe_running(guest.socket)
    assert [said(f) for f in machine.functions] == [said(f) for f in itself.functions]
    assert [(t.signature, t.address, t.data) for t in machine.acpi] == [
        (t.signature, t.address, t.data) for t in itself.acpi
    ]
    assert {(x.kind, x.index, x.port) for x in machine.legacy} == {
        (x.kind, x.index, x.port) for x in itself.legacy
    }
    assert [n.address for n in machine.networks] == ["00:02.0", "01:00.0"]
    assert [x.what for x in machine.unknown] == ["cpuid leaves", "memory map"]
    assert machine.cpu.vendor == "AuthenticAMD" and machine.cpu.brand.startswith("QEMU")


def state(guest: Guest) -> tuple[str, str]:
    with Monitor(guest.socket) as vm:
        return vm.command("query-status")["status"], vm.hmp("i /w 0xcf8").strip()


def test_the_machine_is_left_as_it_was(guest: Guest) -> None:
    with Monitor(guest.socket) as vm:
        vm.hmp("o /w 0xcf8 0x80001234")
    before = state(guest)
    probe_running(guest.socket)
    assert state(guest) == before == ("running", "portl[0x0cf8] = 0x80001234")
    with Monitor(guest.socket) as vm:
        vm.command("stop")
    probe_running(guest.socket)
    assert state(guest)[0] == "paused"
    with Monitor(guest.socket) as vm:
        vm.command("cont")


def test_a_socket_that_another_program_holds_is_one_error(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaos.boot.monitor.GREETING_SECONDS", 0.5)
    with Monitor(guest.socket), pytest.raises(MetaosError, match="nothing greets") as caught:
        probe_running(guest.socket)
    assert caught.value.exit_code is Exit.TIMEOUT
    machine: Machine = probe_running(guest.socket)
    assert machine.functions


def test_a_machine_that_was_never_started_is_refused(tmp_path: Path) -> None:
    one = Guest(tmp_path)
    with Qemu([*one.arguments, "-S"], qmp=False) as vm:
        end = time.monotonic() + SECONDS
        while not Path(one.socket).exists():
            assert time.monotonic() < end and vm.returncode is None, vm.stderr
            time.sleep(0.05)
        with pytest.raises(MetaosError, match=r"has not started \(prelaunch\)"):
            probe_running(one.socket)
