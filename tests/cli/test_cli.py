"""The command as a person meets it: a process, its two streams and its exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metaos import console
from metaos.errors import Exit, MetaosError
from tests.boot.stub import emulator, stub_image
from tests.command import START, metaos

pytestmark = pytest.mark.long

VERBS = (
    *("build", "probe", "show", "match", "config", "run", "test", "boot-chart"),
    *("audit", "why", "trace", "patterns", "explain", "init", "doctor", "version", "clean"),
)


def test_help_names_every_verb() -> None:
    result = metaos("--help")
    assert result.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    result = metaos(verb, "--help")
    assert result.returncode == 0 and result.stdout.startswith(f"Usage: metaos {verb}")


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["build", "--nosuch"],
        ["build", "--probe", "sysfs"],
        ["probe"],
        ["audit"],
        ["run", "--net", "tap", "x.img"],
        ["run", "--accel", "fast", "x.img"],
        ["show", "x.json", "--", "-m", "64"],
        ["build", "--machine", "x.json", "--target", "none"],
        ["build", "--machine", "x.json", "--probe", "qemu"],
        ["build", "--machine", "x.json", "--", "-m", "64"],
        ["build"],
        ["run"],
        ["test"],
        ["boot-chart"],
        ["why", "x.img"],
        ["why", "x.img", "steady+0x0", "--fact", "system.address"],
    ],
)
def test_wrong_usage_is_2_and_one_message(words: list[str], tmp_path: Path) -> None:
    result = metaos(*words, cwd=tmp_path)
    assert result.returncode == Exit.USAGE, result.stderr
    assert result.stdout == "" and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 5
    assert not list(tmp_path.iterdir())


def test_a_word_nearly_right_is_helped() -> None:
    assert "build" in metaos("biuld").stderr


@pytest.mark.parametrize("verb", ["show", "match"])
def test_a_missing_machine_file_is_one_message(verb: str, tmp_path: Path) -> None:
    result = metaos(verb, "none.json", cwd=tmp_path)
    assert result.returncode == Exit.FAILED
    assert result.stderr.startswith("error: none.json: No such file or directory\n")


@pytest.mark.parametrize("verb", ["audit", "run", "test"])
def test_what_is_no_image_is_refused(verb: str, tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(bytes(1024))
    result = metaos(verb, "x.img", cwd=tmp_path)
    assert result.returncode == Exit.LAW_BROKEN
    assert "not a MetaOS image" in result.stderr and "Traceback" not in result.stderr


def test_patterns_are_listed_and_checked() -> None:
    data = json.loads(metaos("patterns", "list", "--json").stdout)
    assert data["devices"] and data["services"]
    text = metaos("patterns", "list").stdout
    assert all(device["name"] in text for device in data["devices"])
    assert "no errors" in metaos("patterns", "check").stdout


def test_a_pattern_error_has_its_caret(tmp_path: Path) -> None:
    (tmp_path / "bad.pattern").write_text("service x over\n")
    result = metaos("patterns", "check", "--patterns", tmp_path)
    assert result.returncode == Exit.FAILED
    assert "bad.pattern:1:" in result.stderr and "^" in result.stderr


def test_a_pattern_folder_that_is_none_is_named(tmp_path: Path) -> None:
    result = metaos("patterns", "check", "--patterns", tmp_path / "no")
    assert result.returncode == Exit.FAILED and "no pattern folder" in result.stderr


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    result = metaos("doctor", "--json", PATH=str(tmp_path))
    assert result.returncode == Exit.TOOL_MISSING
    findings = {f["name"]: f for f in json.loads(result.stdout)}
    for name in ("qemu-system-x86_64", "nasm"):
        assert findings[name]["found"] == "" and "apt-get install" in findings[name]["install"]
    text = metaos("doctor", PATH=str(tmp_path))
    assert text.returncode == Exit.TOOL_MISSING
    assert "MISSING  nasm" in text.stdout and "sudo apt-get install nasm" in text.stdout


def test_versions_are_those_that_shape_the_bytes() -> None:
    versions = json.loads(metaos("version", "--json").stdout)
    assert {"metaos", "python", "llvmlite", "keystone-engine", "nasm"} <= set(versions)
    assert metaos("version").stdout.startswith("metaos ")


def test_clean_removes_images_and_nothing_else(tmp_path: Path) -> None:
    stub_image(tmp_path / "build" / "x.img")
    (tmp_path / "build" / "notes.txt").write_text("mine")
    for made in ("x.img.gdb", "x.img.steady.elf"):
        (tmp_path / "build" / made).write_bytes(b"")
    result = metaos("clean", cwd=tmp_path)
    assert result.returncode == 0
    assert [p.name for p in (tmp_path / "build").iterdir()] == ["notes.txt"]
    (tmp_path / "build" / "notes.txt").unlink()
    metaos("clean", cwd=tmp_path)
    assert not (tmp_path / "build").exists()
    assert metaos("clean", cwd=tmp_path).returncode == 0


def test_the_newest_image_is_meant_without_a_name(tmp_path: Path) -> None:
    older = stub_image(tmp_path / "build" / "b.img", emulator=emulator("-M", "pc"))
    stub_image(tmp_path / "build" / "a.img", emulator=emulator("-M", "pc"))
    os.utime(older, (1, 1))
    result = metaos("run", "--dry-run", "--accel", "tcg", "--net", "none", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "file=build/a.img" in result.stdout and result.stderr == "image: build/a.img\n"


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as end:
        result = subprocess.run(
            [*START, "patterns", "list"], stdout=end, stderr=subprocess.PIPE, timeout=60
        )
    assert result.stderr == b"" and result.returncode == Exit.FAILED


def test_a_full_disk_is_one_message() -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [*START, "patterns", "list"], stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert result.stderr == b"error: No space left on device\n"
    assert result.returncode == Exit.FAILED


def ended_with(capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[object, str]:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    try:
        with pytest.raises(SystemExit) as ended, console.one_message():
            raise error
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MetaosError("no", hint="yes", exit_code=Exit.TIMEOUT), 124, "error: no\n  hint: yes\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(28, "No space left on device", "x"), 1, "error: x: No space left on device\n"),
        (MemoryError(), 1, "error: out of memory\n"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_whatever_stops_it_is_one_message(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    assert ended_with(capsys, error) == (code, text)


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    terminal: object = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console.coloured(terminal)  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not console.coloured(terminal)  # type: ignore[arg-type]
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not console.coloured(terminal)  # type: ignore[arg-type]


def test_a_table_is_as_wide_as_its_cells() -> None:
    text = console.table(("a", "long"), [("wide cell", 1), ("x", 22)])
    assert text == "a          long\n---------  ----\nwide cell  1\nx          22\n"
    assert console.table(("a",), []) == ""


def test_help_is_quick() -> None:
    """Completion asks the command at every key: nothing heavy may be imported for it."""
    code = "import sys, metaos.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    heavy = {"llvmlite", "capstone", "keystone", "lark", "elftools", "qemu.qmp", "asyncio", "rich"}
    assert not heavy & set(loaded)
    start = time.monotonic()
    metaos("--help")
    assert time.monotonic() - start < 5
