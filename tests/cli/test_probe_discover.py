"""`metaos probe discover` and `acpidump` as processes: what is written, and what stops them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from metaos.errors import Exit
from tests import command
from tests.probe.tables import acpidump, madt, srat

pytestmark = pytest.mark.long

LOG = Path(__file__).parent.parent / "probe" / "data" / "pc-e1000.txt"


def metaos(
    cwd: Path, *words: str, given: str = "", path: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The command in a folder; `path` is all of its environment."""
    environment = None if path is None else {"PATH": path}
    return command.metaos(*words, cwd=cwd, given=given, environment=environment)


def test_the_image_is_written_whole(tmp_path: Path) -> None:
    result = metaos(tmp_path, "probe", "discover", "--write", "stick.img")
    assert result.returncode == Exit.DONE and result.stdout == ""
    assert "wrote stick.img; copy it to a stick: dd if=stick.img" in result.stderr
    raw = (tmp_path / "stick.img").read_bytes()
    assert len(raw) == 516_096 and raw[510:512] == b"\x55\xaa"
    # One active partition over the whole disk: some firmware wants it of a stick.
    assert raw[446] == 0x80 and raw[446 + 8 : 446 + 16] == b"\1\0\0\0" + (1007).to_bytes(
        4, "little"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["stick.img"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], Exit.USAGE, "one of the two"),
        (["log", "--write", "x.img"], Exit.USAGE, "one of the two"),
        (["--write", "."], Exit.USAGE, "not a file"),
        (["--write", "/dev/null"], Exit.USAGE, "dd if=discover.img of=/dev/null"),
        (["--write", "none/x.img"], Exit.FAILED, "none/x.img: No such file or directory"),
        (["nosuch.log"], Exit.FAILED, "nosuch.log: No such file or directory"),
        (["."], Exit.FAILED, ".: Is a directory"),
        (["/dev/null"], Exit.FAILED, "/dev/null:1:1: error[E0805]: no line"),
    ],
)
def test_what_cannot_be_is_one_message(
    words: list[str], code: Exit, said: str, tmp_path: Path
) -> None:
    result = metaos(tmp_path, "probe", "discover", *words)
    assert result.returncode == code and said in result.stderr, result.stderr
    assert result.stdout == "" and "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) <= 4 and not list(tmp_path.iterdir())


def test_without_nasm_the_line_that_installs_it_is_said(tmp_path: Path) -> None:
    result = metaos(tmp_path, "probe", "discover", "--write", "x.img", path="/nowhere")
    assert result.returncode == Exit.TOOL_MISSING and "apt-get install -y nasm" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_log_becomes_a_machine_file(tmp_path: Path) -> None:
    result = metaos(tmp_path, "probe", "discover", str(LOG), "-o", "m.json")
    assert result.returncode == Exit.DONE and "wrote m.json" in result.stderr
    machine = json.loads((tmp_path / "m.json").read_text())
    assert [x["what"] for x in machine["unknown"]] == ["00:03.0 mac"]
    piped = metaos(tmp_path, "probe", "discover", "-", "-o", "-", "-q", given=LOG.read_text())
    assert piped.stdout == (tmp_path / "m.json").read_text()


def test_losses_are_warnings_and_the_rest_is_used(tmp_path: Path) -> None:
    lines = LOG.read_text().splitlines()
    log = "\n".join([*lines[:9], *lines[11:-1]])
    result = metaos(tmp_path, "probe", "discover", "-", "-o", "m.json", given=log)
    assert result.returncode == Exit.DONE
    assert "-:10:1: warning[E0805]: missing: 0009 to 000a" in result.stderr
    assert "there is no 'end' line" in result.stderr
    machine = json.loads((tmp_path / "m.json").read_text())
    assert {x["what"] for x in machine["unknown"]} == {
        "cpuid leaves", "acpi tables", "00:03.0 mac",
    }  # fmt: skip


def test_acpidump_is_read_from_a_file_or_stdin(tmp_path: Path) -> None:
    text = acpidump([madt(), srat()])
    (tmp_path / "a.txt").write_text(text)
    result = metaos(tmp_path, "probe", "acpidump", "a.txt", "-o", "m.json")
    assert result.returncode == Exit.DONE, result.stderr
    piped = metaos(tmp_path, "probe", "acpidump", "-", "-o", "-", given=text)
    assert piped.stdout == (tmp_path / "m.json").read_text()
    shown = metaos(tmp_path, "show", "m.json").stdout
    assert "NUMA node 257: APIC ids 2, 256; memory 0x100000000 to 0x13fffffff" in shown
    assert "I/O APIC 9 at 0xfec01000, lines from 24" in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--qmp", "none.sock"], Exit.FAILED, "none.sock: no QEMU control socket: No such file"),
        (["--qmp", "s", "--target", "none"], Exit.USAGE, "takes no --target"),
        (["--qmp", "s", "--", "-m", "64"], Exit.USAGE, "no QEMU arguments"),
    ],
)
def test_a_running_machine_that_is_not_there(
    words: list[str], code: Exit, said: str, tmp_path: Path
) -> None:
    result = metaos(tmp_path, "probe", "qemu", *words)
    assert result.returncode == code and said in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and not list(tmp_path.iterdir())
