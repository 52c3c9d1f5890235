"""`metaos probe sysfs|lspci|cpuid|merge|scrub` and `show`: files, streams, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metaos.cli import main
from metaos.errors import Exit
from metaos.probe.store import read_machine
from tests.probe.linux import write_tree
from tests.probe.lspci_text import lspci

PC = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PC, tmp_path / "machine.json")
    return Run(capsys)


class Run:
    """Run the command in a folder with a machine.json."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        said = self.capsys.readouterr()
        assert (ended.value.code or 0) == code, said.err
        return said.out, said.err


def test_sysfs(run: Run, tmp_path: Path) -> None:
    write_tree(read_machine(PC), tmp_path / "tree")
    out, err = run("probe", "sysfs", "--root", "tree", "-o", "linux.json")
    assert out == "" and "wrote linux.json\n" in err and "facts are unknown: 'metaos show'" in err
    out, err = run("probe", "sysfs", "--root", "tree", "-o", "-", "-q")
    assert out == (tmp_path / "linux.json").read_text() and err == ""
    _, err = run("probe", "sysfs", "--root", "absent", code=Exit.FAILED)
    assert err.startswith("error: absent: no such folder\n  hint: --root names")


def test_lspci_and_cpuid_make_one_machine(run: Run, tmp_path: Path) -> None:
    machine = read_machine(PC)
    Path("lspci.txt").write_text(lspci(machine.functions, verbose=2, dump=256))
    shutil.copy(PC.parents[1] / "cpuid" / "xeon-e5345.txt", "cpuid.txt")
    out, err = run("probe", "lspci", "lspci.txt", "-o", "a.json")
    assert out == "" and err.startswith("6 functions, 6 with config bytes\nwrote a.json\n")
    out, err = run("probe", "cpuid", "cpuid.txt", "-o", "b.json")
    assert "2 packages, 8 cores, 8 threads\n" in err and "wrote b.json\n" in err
    run("probe", "merge", "a.json", "b.json", "-o", "both.json", "-q")
    both = read_machine(Path("both.json"))
    assert len(both.functions) == 6 and len(both.cpu.others) == 7
    out, _ = run("show", "both.json")
    assert "LLVM calls it core2" in out and "memory map: lspci shows PCI functions only" in out
    assert json.loads(run("show", "both.json", "--json")[0])["processor"]["llvm_cpu"] == "core2"
    out, _ = run("probe", "lspci", "lspci.txt", "-q", "-o", "-")
    assert out == Path("a.json").read_text()
    for verb in ("lspci", "cpuid"):
        _, err = run("probe", verb, "absent", code=Exit.FAILED)
        assert err == "error: absent: No such file or directory\n"
        _, err = run("probe", verb, "machine.json", code=Exit.FAILED)
        assert err.startswith("machine.json:1:1: error[E08") and "looked for lines such as" in err


def test_names_without_ids_are_shown_as_that(run: Run) -> None:
    Path("names.txt").write_text("00:00.0 Host bridge: Some Vendor Some bridge (rev 02)\n")
    _, err = run("probe", "lspci", "names.txt")
    assert "names without ids, which are unknown now: 00:00.0; run lspci -nn" in err
    out, _ = run("show")
    assert "00:00.0  ids unknown  class unknown revision 02  Some Vendor Some bridge\n" in out


def test_an_image_is_refused_or_made_by_what_is_known(run: Run, tmp_path: Path) -> None:
    write_tree(read_machine(PC), tmp_path / "tree")
    run("probe", "sysfs", "--root", "tree", "-o", "linux.json", "-q")
    run("build", "--machine", "linux.json", "-o", "x.img", "-q")
    shutil.rmtree(tmp_path / "tree/sys/firmware")
    run("probe", "sysfs", "--root", "tree", "-o", "linux.json", "-q")
    _, err = run("build", "--machine", "linux.json", "-q", code=Exit.FAILED)
    assert "error[E0307]: memory map: not known: sys/firmware/memmap: no such file" in err
    assert "error[E0307]: acpi tables: not known" in err and "Traceback" not in err


def test_merge(run: Run, tmp_path: Path) -> None:
    other = (
        (tmp_path / "machine.json").read_text().replace("52:54:00:12:34:56", "52:54:00:00:00:01")
    )
    (tmp_path / "other.json").write_text(other)
    out, err = run("probe", "merge", "machine.json", "other.json", "-o", "both.json")
    assert out.splitlines()[2].split() == [
        "00:03.0", "mac", "kept", "qemu", "machine.json", "52:54:00:12:34:56"
    ]  # fmt: skip
    assert (tmp_path / "both.json").read_text() == (tmp_path / "machine.json").read_text()
    out, _ = run("probe", "merge", "machine.json", "other.json", "-o", "b.json", "--json", "-q")
    assert json.loads(out)["conflicts"][0]["sides"][1]["file"] == "other.json"
    out, err = run("probe", "merge", "machine.json", "machine.json", "-o", "-")
    assert "no conflicts" in err and json.loads(out)["schema"] == 2
    run("probe", "merge", "machine.json", "-o", "x.json", code=Exit.USAGE)
    run("probe", "merge", "machine.json", "other.json", "-o", "-", "--json", code=Exit.USAGE)


def test_scrub(run: Run, tmp_path: Path) -> None:
    out, err = run("probe", "scrub", "machine.json")
    assert out == "removed: 00:03.0 mac\n" and "wrote machine.scrubbed.json" in err
    assert read_machine(tmp_path / "machine.scrubbed.json").networks[0].mac[:12] == "02:00:00:00:"
    out, _ = run("probe", "scrub", "machine.json", "--json", "-o", "x.json")
    assert json.loads(out) == {"removed": ["00:03.0 mac"]}
    out, err = run("probe", "scrub", "x.json", "-o", "-", "-q")
    assert out == (tmp_path / "x.json").read_text() and err == ""
    _, err = run("probe", "scrub", "absent.json", code=Exit.FAILED)
    assert "absent.json: No such file" in err


def test_show(run: Run) -> None:
    out, _ = run("show")
    assert "  00:03.0  8086:100e  class 020000 revision 03" in out and "bus 00\n" in out
    out, _ = run("show", "--json")
    assert json.loads(out)["buses"][0]["functions"][0]["ids"] == "8086:1237"
