"""The same bytes from a clone elsewhere, at another time, for another user; both JSONs too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from metaos import resources
from metaos.tools import tool_versions
from tests.lower.lowering import MACHINES
from tests.pipeline.test_pipeline import built

pytestmark = pytest.mark.long

SECONDS = 120
PARTS = ("metaos", "patterns", "bootloader", "qemu", "images")
WRITTEN = ("", ".account.json", ".manifest.json")
LATER = """
import sys, time
shift, now = int(sys.argv.pop(1)), time.time
time.time = lambda: now() + shift
sys.path.insert(0, sys.argv.pop(1))
from metaos.cli import main
main()
"""


def made(
    clone: Path, folder: Path, environment: Mapping[str, str], shift: int = 0
) -> tuple[bytes, ...]:
    """What `metaos build` of a clone writes into a folder, `shift` seconds from now."""
    folder.mkdir(parents=True)
    words = [sys.executable, "-I", "-c", LATER, str(shift), str(clone)]
    if "PYTHONHASHSEED" in environment:
        words.remove("-I")  # which takes no notice of it
    words += ["build", "-q", "--machine", str(MACHINES / "pc-bare.json"), "-o", "x.img"]
    variables = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run(
        words, cwd=folder, env=variables, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    return tuple((folder / f"x.img{end}").read_bytes() for end in WRITTEN)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources whose path is much longer than this one's, and no plain one."""
    place = tmp_path_factory.mktemp("elsewhere") / ("long " * 12 + "ünïcode") / "metaos-copy"
    for part in PARTS:
        shutil.copytree(
            resources.ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    return place


@pytest.mark.parametrize(
    ("environment", "shift"),
    [
        (
            {
                "PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "USER": "somebody",
                "HOME": "/nonexistent", "SOURCE_DATE_EPOCH": "0",
            },
            0,
        ),
        (
            {
                "PYTHONHASHSEED": "77", "TZ": "America/St_Johns", "LC_ALL": "C.UTF-8",
                "USER": "root", "LOGNAME": "x", "SOURCE_DATE_EPOCH": "2000000000", "COLUMNS": "9",
            },
            400_000_000,
        ),
    ],
    ids=["in 1970", "years from now"],
)  # fmt: skip
def test_a_clone_makes_the_same_bytes(
    clone: Path, environment: dict[str, str], shift: int, tmp_path: Path
) -> None:
    found = made(clone, tmp_path / "a" / "b", environment, shift)
    assert found[0] == built("pc-bare").data
    here = made(resources.ROOT, tmp_path / "here", {})
    assert found == here


def test_another_pattern_in_the_clone_is_another_image(clone: Path, tmp_path: Path) -> None:
    """The clone's own sources are what is built."""
    copy = tmp_path / "copy"
    shutil.copytree(clone, copy)
    for path in (copy / "patterns").rglob("banner.pattern"):
        path.write_text(path.read_text("utf-8").replace("MetaOS", "Other"))
    (copy / "patterns" / "platform" / "more.pattern").write_text("# nothing\n")
    bare = made(copy, tmp_path / "x", {})
    assert bare[0] == built("pc-bare").data, "it has no console to say it on"
    config = copy / "patterns" / "platform" / "pci_config1.pattern"
    config.write_text(config.read_text("utf-8").replace("source pci", "\nsource pci"))
    assert made(copy, tmp_path / "y", {})[0] != built("pc-bare").data, "lines are accounted for"


def test_the_manifest_names_every_tool() -> None:
    tools = built("pc-bare").manifest.provenance.tools
    assert tools == tool_versions()
    assert set(tools) >= {"metaos", "llvm", "llvmlite", "nasm", "keystone-engine", "zlib"}
