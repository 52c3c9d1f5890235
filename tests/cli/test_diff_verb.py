"""`metaos diff` as a process: its two streams and its exit code."""

import json
from pathlib import Path

import pytest

from metaos.errors import Exit
from tests.command import metaos

pytestmark = pytest.mark.long

MACHINES = Path(__file__).parents[1] / "data" / "machines"
CARD, MOVED = MACHINES / "pc-e1000.json", MACHINES / "pc-slot7.json"


def test_equal_machines_are_0() -> None:
    result = metaos("diff", CARD, CARD)
    assert (result.returncode, result.stdout, result.stderr) == (0, "the machines are equal\n", "")


def test_another_mac_is_0_and_shown(tmp_path: Path) -> None:
    other = tmp_path / "b.json"
    other.write_text(CARD.read_text().replace("52:54:00:12:34:56", "52:54:00:ab:cd:ef"))
    result = metaos("diff", CARD, other)
    assert result.returncode == 0
    assert "00:03.0 mac changed: 52:54:00:12:34:56 -> 52:54:00:ab:cd:ef\n" in result.stdout
    assert "    unit: same image: unit fact\n" in result.stdout


def test_a_refused_machine_is_1_and_the_result_is_on_stdout() -> None:
    result = metaos("diff", CARD, MOVED)
    assert result.returncode == Exit.FAILED and result.stderr == ""
    assert result.stdout.startswith("an image made for A is refused on B by its guard; build again")
    assert "00:03.0 moved: 8086:100e class 020000 revision 03 at 00:07.0\n" in result.stdout
    assert "Traceback" not in result.stdout


def test_json_has_everything() -> None:
    result = metaos("diff", CARD, MOVED, "--json")
    said = json.loads(result.stdout)
    assert result.returncode == Exit.FAILED and said["serves"] is False
    assert said["obstacles"][0]["by"] == "guard"
    assert {"subject", "fact", "how", "kind", "a", "b", "means"} <= said["changes"][0].keys()
    assert {e["unit"] for e in said["effects"]} == {"bytes", "rows"}


@pytest.mark.parametrize("text", [None, "", '{"schema": 1,', "{}", "\0\0", "[" * 100_000])
def test_a_file_that_is_none_is_one_error(text: str | None, tmp_path: Path) -> None:
    other = tmp_path / "b.json"
    if text is not None:
        other.write_text(text)
    for pair in ((CARD, other), (other, CARD)):
        result = metaos("diff", *pair)
        assert result.returncode == Exit.FAILED and result.stdout == ""
        assert result.stderr.count("error: ") == 1 and "b.json" in result.stderr
        assert "Traceback" not in result.stderr


def test_one_file_is_not_enough() -> None:
    assert metaos("diff", CARD).returncode == Exit.USAGE
    assert metaos("diff", "--help").stdout.startswith("Usage: metaos diff")
