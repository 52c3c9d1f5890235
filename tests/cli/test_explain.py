"""`metaos explain` as a person meets it."""

import json
from pathlib import Path

from metaos.errors import Exit
from tests.command import metaos


def test_a_code_is_explained(tmp_path: Path) -> None:
    result = metaos("explain", "e0104", cwd=tmp_path)
    assert result.returncode == 0 and result.stdout.startswith("E0104: an unknown class\n\n")
    data = json.loads(metaos("explain", "E0104", "--json", cwd=tmp_path).stdout)
    assert data["code"] == "E0104" and data["text"] in result.stdout


def test_all_codes_are_listed(tmp_path: Path) -> None:
    lines = metaos("explain", cwd=tmp_path).stdout.splitlines()
    assert "E0104  an unknown class" in lines and len(lines) > 100
    assert len(json.loads(metaos("explain", "--json", cwd=tmp_path).stdout)) == len(lines)


def test_an_unknown_code_is_helped(tmp_path: Path) -> None:
    result = metaos("explain", "E1004", cwd=tmp_path)
    assert result.returncode == Exit.FAILED and "did you mean 'E0" in result.stderr
