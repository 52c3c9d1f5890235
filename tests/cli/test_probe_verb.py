"""`metaos probe` and `build --probe` as processes: what is written, and what stops them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metaos.errors import Exit

START = [sys.executable, "-c", "from metaos.cli import main; main()"]
MACHINE = ("--target", "none", "--accel", "tcg")

pytestmark = pytest.mark.qemu


def metaos(cwd: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*START, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env=os.environ | more,
        stdin=subprocess.DEVNULL,
    )


def children_of(group: int) -> list[str]:
    """Command names of what still runs in a process group."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "stat").read_text().rpartition(")")
        except OSError:
            continue
        if int(words[2].split()[2]) == group:
            found.append(words[0].partition("(")[2])
    return found


def test_a_probe_is_written_and_shown(tmp_path: Path) -> None:
    result = metaos(tmp_path, "probe", "qemu", "--accel", "tcg")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "" and "wrote machine.json" in result.stderr
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert machine["emulator"] == {"target": "pc-e1000", "arguments": [], "origin": "qemu"}
    shown = metaos(tmp_path, "show")
    assert shown.returncode == 0 and "QEMU       --target pc-e1000" in shown.stdout
    again = metaos(tmp_path, "probe", "qemu", "--accel", "tcg", "-o", "-", "-q")
    assert (tmp_path / "machine.json").read_text() == again.stdout and again.stderr == ""


def test_a_qemu_that_dies_says_why(tmp_path: Path) -> None:
    result = metaos(tmp_path, "build", "--probe", "qemu", *MACHINE, "--", "-M", "nosuch")
    assert result.returncode == Exit.FAILED
    assert "unsupported machine type" in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def hanging(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A machine whose firmware halts at its first instruction."""
    bios = tmp_path_factory.mktemp("bios") / "bios.bin"
    bios.write_bytes(bytes(0xFFF0) + b"\xf4\xeb\xfd".ljust(16, b"\0"))
    return (*MACHINE, "--", "-M", "pc", "-nodefaults", "-bios", str(bios))


def test_a_probe_that_hangs_is_given_up(tmp_path: Path, hanging: tuple[str, ...]) -> None:
    result = metaos(tmp_path, "probe", "qemu", "--timeout", "1", *hanging)
    assert result.returncode == Exit.TIMEOUT, result.stderr
    assert "the probe is not done after 1 s" in result.stderr
    assert not list(tmp_path.iterdir())


def test_without_qemu_the_line_that_installs_it_is_said(tmp_path: Path) -> None:
    result = metaos(tmp_path, "probe", "qemu", *MACHINE, "--", "-M", "pc", PATH="/nowhere")
    assert result.returncode == Exit.TOOL_MISSING
    assert "apt-get install" in result.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["probe", "build"])
def test_an_interrupted_probe_leaves_nothing(
    tmp_path: Path, hanging: tuple[str, ...], verb: str
) -> None:
    words = ("probe", "qemu") if verb == "probe" else ("build", "--probe", "qemu")
    with subprocess.Popen(
        [*START, *words, *hanging],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + 30
        while not any("qemu" in name for name in children_of(process.pid)):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(15) == Exit.INTERRUPTED
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
    assert said[-1] == "interrupted" and not any("Traceback" in line for line in said)
    assert not list(tmp_path.iterdir())
    assert children_of(process.pid) == []
