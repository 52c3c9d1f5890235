"""`metaos patterns list` and `show`, with folders of one's own."""

import json
from pathlib import Path

from metaos.errors import Exit
from metaos.resources import PATTERNS
from tests.cli.test_diff_verb import MACHINES
from tests.command import metaos

TEXT = "console/vga_text.pattern"
QUIRK = """\
source m = "My board's notes"

overlay my_text of vga_text
  because "its text begins a page later" @m 1
  match pci class 0x030000 vendor 0x1234
  fact text : window = memory(0xB8000, 0x4000)

  layout Cell 2 bytes little
    7:0  char
    15:8 attribute
  table cells[1024] of Cell at text
  turn
    take text -> char, some, position
    cells[position + 1].char <- char when 0x20 <= char
    advance text when some
"""


def own(folder: Path) -> Path:
    """A folder with one file of MetaOS's, changed, and an overlay of it."""
    (folder / "mine" / "console").mkdir(parents=True)
    text = (PATTERNS / TEXT).read_text("utf-8")
    (folder / "mine" / TEXT).write_text(f"# Changed.\n{text}")
    return folder


def test_show_says_where_each_line_is_from(tmp_path: Path) -> None:
    result = metaos("patterns", "show", "vga_text", "--patterns", "mine", cwd=own(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "\nmine/console/vga_text.pattern:7" in result.stdout
    assert "this file replaces one of the same path" in result.stdout
    plain = metaos("patterns", "show", "vga_text", cwd=tmp_path)
    assert "\nconsole/vga_text.pattern:6" in plain.stdout


def test_show_writes_json_and_knows_what_was_meant(tmp_path: Path) -> None:
    data = json.loads(metaos("patterns", "show", "uart16550", "--json", cwd=tmp_path).stdout)
    assert [o["name"] for o in data["origins"]] == ["uart16550", "ns16550", "console"]
    assert {"file", "line", "text", "first"} == set(data["lines"][0])
    missing = metaos("patterns", "show", "uart1655", cwd=tmp_path)
    assert missing.returncode == Exit.FAILED and "did you mean 'uart16550'?" in missing.stderr


def test_list_and_match_say_what_was_replaced(tmp_path: Path) -> None:
    own(tmp_path)
    said = f"mine/{TEXT} replaces MetaOS's {TEXT}"
    assert said in metaos("patterns", "list", "--patterns", "mine", cwd=tmp_path).stdout
    machine = MACHINES / "pc-e1000.json"
    result = metaos("match", machine, "--patterns", "mine", cwd=tmp_path)
    assert said in result.stdout
    data = json.loads(metaos("match", machine, "--patterns", "mine", "--json", cwd=tmp_path).stdout)
    assert data["replaced"] == [said]


def test_an_overlay_wins_over_what_it_lies_over(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "quirk.pattern").write_text(QUIRK)
    machine = MACHINES / "pc-e1000.json"
    data = json.loads(metaos("match", machine, "--patterns", "mine", "--json", cwd=tmp_path).stdout)
    (screen,) = [d for d in data["devices"] if d["pattern"] == "my_text"]
    assert screen["file"] == "mine/quirk.pattern"
    assert next(x["pattern"] for x in screen["losers"]) == "vga_text"
    assert data["replaced"] == []


def test_a_problem_names_the_file_as_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.pattern").write_text('source a = "A"\n')
    result = metaos("patterns", "check", "--patterns", "mine", cwd=tmp_path)
    assert result.stderr.startswith("mine/x.pattern:1:8: error[E0226]")
    (tmp_path / "mine" / "x.pattern").write_text("device d : nothing\n  turn\n    order\n")
    result = metaos("patterns", "check", "--patterns", "mine", cwd=tmp_path)
    assert result.stderr.startswith("mine/x.pattern:1:8: error[E0104]")
    (tmp_path / "mine" / "x.pattern").write_text("device d\n")
    result = metaos("patterns", "check", "--patterns", "mine", cwd=tmp_path)
    assert result.stderr.startswith("mine/x.pattern:1:9: error[E0001]")
