"""`metaos init`: a project that builds as it is."""

import json
from pathlib import Path

from metaos.errors import Exit
from metaos.match.system import read_system
from metaos.project import project
from tests.cli.test_diff_verb import CARD
from tests.cli.test_patterns_show import QUIRK
from tests.command import metaos

FILES = ["metaos.toml", "patterns/README.md", "system.toml"]


def files(folder: Path) -> list[str]:
    return sorted(x.relative_to(folder).as_posix() for x in folder.rglob("*") if x.is_file())


def test_a_project_is_made_and_builds(tmp_path: Path) -> None:
    result = metaos("init", "Demo House", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "Demo House") == FILES
    assert result.stdout.endswith("next: cd 'Demo House' && metaos build --probe qemu\n")
    folder = tmp_path / "Demo House"
    made = project(folder)
    assert made is not None and made.system is not None
    system = read_system(made.system)
    assert system.name == "demo-house" and system.services == read_system().services
    (folder / "patterns" / "quirk.pattern").write_text(QUIRK)
    built = metaos("build", "-q", "--machine", CARD, "-o", "x.img", cwd=folder / "patterns")
    assert built.returncode == 0, built.stderr
    assert "my_text" in built.stdout and (folder / "patterns" / "x.img").exists()
    said = json.loads(metaos("config", "--json", cwd=folder).stdout)
    assert said["name"] == "demo-house"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "system.toml").write_text("mine")
    result = metaos("init", ".", cwd=tmp_path)
    assert result.returncode == Exit.USAGE and "system.toml" in result.stderr
    assert files(tmp_path) == ["system.toml"]
    assert (tmp_path / "system.toml").read_text() == "mine"


def test_a_folder_may_be_there_already(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    result = metaos("init", ".", "--json", cwd=tmp_path)
    assert result.returncode == 0 and json.loads(result.stdout) == FILES
    assert metaos("init", ".", cwd=tmp_path).returncode == Exit.USAGE


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = metaos("init", "file/demo", cwd=tmp_path)
    assert result.returncode == Exit.FAILED and "Traceback" not in result.stderr


def test_names_that_no_system_can_have(tmp_path: Path) -> None:
    result = metaos("init", "---", cwd=tmp_path)
    assert result.returncode == Exit.USAGE  # an option, to the command line
    assert metaos("init", "./_", cwd=tmp_path).returncode == 0
    assert read_system(tmp_path / "_" / "system.toml").name == "system"
