"""QEMU under control: its answers, its last words, and that none is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from qemu.qmp import QMPClient

from metaos.boot import accel
from metaos.boot.accel import choose
from metaos.boot.qemu import INSTALL, Qemu
from metaos.boot.target import QEMU
from metaos.errors import Exit, MetaosError

IDLE = (QEMU, "-accel", "tcg", "-M", "pc", "-m", "16", "-nodefaults", "-display", "none", "-S")


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether process `pid` ends (or is a zombie that nobody but its parent can see)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.qemu
def test_it_ends_as_soon_as_it_has_greeted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library then does is to fail an assertion of its own."""
    whole = QMPClient.connect

    async def connect(client: QMPClient, end: socket.socket) -> None:
        await whole(client, end)
        await client.execute("quit")
        with contextlib.suppress(EOFError):  # it has gone already
            await client.disconnect()
        raise AssertionError

    monkeypatch.setattr(QMPClient, "connect", connect)
    with Qemu(IDLE) as vm, pytest.raises(MetaosError, match="ended with exit status 0 during"):
        vm.command("query-status")


@pytest.mark.qemu
def test_commands_are_answered() -> None:
    with Qemu(IDLE) as vm:
        assert vm.command("query-status")["status"] == "prelaunch"
        assert "i440FX" in vm.hmp("info qtree")
        with pytest.raises(MetaosError, match="QEMU refuses 'no-such'"):
            vm.command("no-such")
        assert vm.wait(0) is None
        pid = vm.pid
    assert gone(pid, 0.1)
    assert vm.returncode == -signal.SIGKILL


@pytest.mark.qemu
def test_a_machine_that_ends_by_itself() -> None:
    with Qemu(IDLE) as vm:
        vm.command("quit")
        assert vm.wait(5) == 0
        with pytest.raises(
            MetaosError, match="QEMU ended with exit status 0 during 'query-status'"
        ):
            vm.command("query-status")


@pytest.mark.qemu
def test_one_that_is_killed_says_so() -> None:
    with Qemu(IDLE) as vm:
        os.kill(vm.pid, signal.SIGKILL)
        with pytest.raises(MetaosError, match="QEMU was ended by SIGKILL during 'query-status'"):
            vm.command("query-status")


@pytest.mark.qemu
def test_one_that_dies_at_start_has_its_message_shown() -> None:
    vm = Qemu([*IDLE, "-device", "no-such-card"])
    with pytest.raises(MetaosError) as caught, vm:
        pytest.fail("it started")
    assert caught.value.message.startswith("QEMU ended with exit status 1 at start:\n")
    assert "'no-such-card' is not a valid device model name" in caught.value.message
    assert vm.stderr.count("no-such-card") == 2


@pytest.mark.qemu
def test_none_is_left_when_the_block_is_left_by_an_exception() -> None:
    vm = Qemu(IDLE)
    with pytest.raises(KeyboardInterrupt), vm:
        pid = vm.pid
        raise KeyboardInterrupt
    assert gone(pid, 0.1)


SCRIPT = f"""
import sys, time
from metaos.boot.qemu import Qemu
try:
    with Qemu({list(IDLE)!r}) as vm:
        print(vm.pid, flush=True)
        vm.wait(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, 130)]
)
def test_none_is_left_when_metaos_is_ended(number: signal.Signals, status: int) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.send_signal(number)
        assert owner.wait(10) == status
    assert gone(pid)


def test_a_missing_qemu_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MetaosError, match="qemu-system-x86_64 is not installed") as caught:
        Qemu(IDLE).__enter__()
    assert caught.value.exit_code is Exit.TOOL_MISSING
    assert caught.value.hint == INSTALL == "sudo apt-get install -y qemu-system-x86"


def test_a_program_that_is_no_qemu_and_dies(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho cannot map memory >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(MetaosError, match=r"exit status 3 at start:\n    cannot map memory"):
        Qemu([str(program)]).__enter__()


def test_a_silent_one_is_ended_after_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaos.boot.qemu._GREETING_SECONDS", 0.2)
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    vm = Qemu([str(program)])
    with pytest.raises(MetaosError, match="QEMU does not greet within 0 s") as caught:
        vm.__enter__()
    assert caught.value.exit_code is Exit.TIMEOUT
    assert gone(vm.pid, 0.1)


def test_without_kvm_auto_is_tcg_and_says_why(tmp_path: Path) -> None:
    choice = choose("auto", cache=tmp_path, kvm=tmp_path / "kvm")
    assert (choice.name, choice.why) == ("tcg", f"{tmp_path / 'kvm'}: No such file or directory")
    with pytest.raises(MetaosError, match=r"KVM cannot be used: .*No such file"):
        choose("kvm", kvm=tmp_path / "kvm")
    assert choose("tcg").name == "tcg"
    with pytest.raises(MetaosError, match="no accelerator 'kmv'") as caught:
        choose("kmv")
    assert caught.value.hint == "did you mean 'kvm'?"


@pytest.mark.parametrize(
    ("seconds", "name", "why"),
    [
        ({"tcg": 0.2, "kvm": 1.5}, "tcg", "KVM 1.50 s, TCG 0.20 s"),
        ({"tcg": 0.2, "kvm": 0.1}, "kvm", "KVM 0.10 s, TCG 0.20 s"),
        ({"tcg": 0.2, "kvm": None}, "tcg", "KVM boots no firmware in 5 s"),
        ({"tcg": None, "kvm": 0.1}, "kvm", "TCG too slow"),
    ],
)
def test_auto_takes_what_measures_faster_and_remembers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[str, float | None],
    name: str,
    why: str,
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    asked: list[str] = []

    def measure(which: str) -> float | None:
        asked.append(which)
        return seconds[which]

    monkeypatch.setattr(accel, "firmware_seconds", measure)
    monkeypatch.setattr(accel, "_host", lambda: ["this host"])
    first = choose("auto", cache=tmp_path / "cache", kvm=device)
    assert first.name == name
    assert why in first.why
    assert choose("auto", cache=tmp_path / "cache", kvm=device) == first
    assert asked == ["tcg", "kvm"]
    monkeypatch.setattr(accel, "_host", lambda: ["another"])
    choose("auto", cache=tmp_path / "cache", kvm=device)
    assert len(asked) == 4


def test_a_damaged_cache_only_means_measuring_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kvm").touch()
    (tmp_path / "accel.json").write_text("{")
    monkeypatch.setattr(accel, "firmware_seconds", {"tcg": 1.0, "kvm": 2.0}.__getitem__)
    monkeypatch.setattr(accel, "_host", lambda: ["this host"])
    assert choose("auto", cache=tmp_path, kvm=tmp_path / "kvm").name == "tcg"
    assert "TCG 1.00 s" in (tmp_path / "accel.json").read_text()


@pytest.mark.qemu
def test_the_firmware_is_measured() -> None:
    seconds = accel.firmware_seconds("tcg")
    assert seconds is not None
    assert 0.01 < seconds < 5
