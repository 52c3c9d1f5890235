"""`metaos patterns fmt` and the project that says which files are meant."""

import json
from pathlib import Path

import pytest

from metaos.errors import Exit
from tests.command import metaos

UGLY = 'source a  = "A" # @a 1\n'
TIDY = 'source a = "A"  # @a 1\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "metaos.toml").write_text('patterns = ["mine"]\n')
    (tmp_path / "mine" / "net").mkdir(parents=True)
    (tmp_path / "mine" / "net" / "x.pattern").write_text(UGLY)
    return tmp_path


def test_check_says_what_would_change_and_writes_nothing(project: Path) -> None:
    result = metaos("patterns", "fmt", "--check", cwd=project / "mine")
    assert result.returncode == Exit.FAILED
    assert result.stdout == "net/x.pattern:1: would be formatted\n" and not result.stderr
    assert (project / "mine" / "net" / "x.pattern").read_text() == UGLY


def test_it_is_formatted_once(project: Path) -> None:
    assert metaos("patterns", "fmt", cwd=project).stdout == "mine/net/x.pattern:1: formatted\n"
    assert (project / "mine" / "net" / "x.pattern").read_text() == TIDY
    again = metaos("patterns", "fmt", "--check", cwd=project)
    assert again.returncode == 0 and again.stdout == ""


def test_files_are_named_too(project: Path) -> None:
    result = metaos("patterns", "fmt", "--json", "mine/net/x.pattern", cwd=project)
    assert json.loads(result.stdout) == [{"file": "mine/net/x.pattern", "line": 1}]
    assert metaos("patterns", "fmt", "none.pattern", cwd=project).returncode == Exit.FAILED


def test_nothing_is_written_if_one_file_does_not_parse(project: Path) -> None:
    (project / "mine" / "bad.pattern").write_text("device\n")
    result = metaos("patterns", "fmt", cwd=project)
    assert result.returncode == Exit.FAILED and "bad.pattern:1:7: error[E0001]" in result.stderr
    assert (project / "mine" / "net" / "x.pattern").read_text() == UGLY


def test_without_a_project_files_must_be_named(tmp_path: Path) -> None:
    assert metaos("patterns", "fmt", cwd=tmp_path).returncode == Exit.USAGE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patern = []\n", "did you mean 'patterns'?"),
        ('patterns = "mine"\n', "metaos.toml:1:1: error[E0003]"),
        ("patterns = [\n", "not TOML"),
        ('patterns = ["none"]\n', "no pattern folder 'none'"),
    ],
)
def test_a_projects_file_is_checked(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "metaos.toml").write_text(text)
    result = metaos("patterns", "check", cwd=tmp_path)
    assert result.returncode == Exit.FAILED and said in result.stderr
    assert "Traceback" not in result.stderr
