"""`metaos audit --rebuild`, and `metaos build --lock` and `--locked`."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from metaos.errors import Exit
from metaos.link.image import pack_image, read_image
from metaos.resources import PATTERNS
from metaos.tools import MISSING, differing, tool_versions
from tests.command import metaos
from tests.lower.lowering import MACHINES

pytestmark = pytest.mark.long

MACHINE, OTHER = MACHINES / "pc-e1000.json", MACHINES / "pc-slot7.json"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "x.img"
    result = metaos("build", "-q", "--machine", MACHINE, "-o", path)
    assert result.returncode == 0, result.stderr
    return path


def rebuilt(image: Path, machine: Path = MACHINE, *more: str) -> tuple[int, dict[str, object]]:
    result = metaos("audit", image, "--rebuild", "--machine", machine, "--json", *more)
    assert "Traceback" not in result.stderr, result.stderr
    report = json.loads(result.stdout)
    return result.returncode, report


def resealed(image: Path, to: Path, **changes: object) -> Path:
    """The image with other contents, lengths and hashes made right."""
    old = read_image(image)
    parts = {"loaded": old.loaded, "manifest": old.manifest, "account": old.account} | changes
    to.write_bytes(pack_image(**parts).data)  # type: ignore[arg-type]
    return to


def test_an_image_is_what_its_sources_make(image: Path) -> None:
    code, report = rebuilt(image)
    assert code == Exit.DONE and report["violations"] == []
    assert report["rebuilt"] == {
        "same": True, "loaded_differing": 0, "parts": [], "more_parts": 0, "account": 0,
        "manifest": [], "tools": [],
    }  # fmt: skip
    said = metaos("audit", image, "--rebuild", "--machine", MACHINE).stdout
    assert said.endswith("rebuilt: the same bytes\nevery law holds\n")


def test_a_folded_unit_is_rebuilt_so(tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    assert metaos("build", "-q", "--bind", "unit", "--machine", MACHINE, "-o", path).returncode == 0
    assert rebuilt(path)[0] == Exit.DONE


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_another_machine_breaks_no_law(image: Path, more: tuple[str, ...]) -> None:
    result = metaos("audit", image, "--rebuild", "--machine", OTHER, *more)
    assert result.returncode == Exit.FAILED and result.stdout == ""
    assert result.stderr.startswith("error: the image is not what this machine file and these")
    assert "name the machine file it was built from" in result.stderr


def test_other_patterns_make_another_image(image: Path, tmp_path: Path) -> None:
    own = tmp_path / "services" / "banner.pattern"
    own.parent.mkdir()
    text = (PATTERNS / "services" / "banner.pattern").read_text("utf-8")
    own.write_text(text.replace('"MetaOS', '"SomeOS'), "utf-8")
    assert own.read_text("utf-8") != text
    code, report = rebuilt(image, MACHINE, "--patterns", str(tmp_path))
    assert code == Exit.LAW_BROKEN
    assert [v["law"] for v in report["violations"]] == [6]  # type: ignore[attr-defined]


def test_a_changed_byte_is_named_by_its_entry(image: Path, tmp_path: Path) -> None:
    old = read_image(image)
    text = next(e for e in old.account if e.kind == "text" and e.start < len(old.loaded))
    loaded = bytearray(old.loaded)
    loaded[text.start] ^= 1
    code, report = rebuilt(resealed(image, tmp_path / "y.img", loaded=bytes(loaded)))
    assert code == Exit.LAW_BROKEN
    found = report["rebuilt"]
    assert isinstance(found, dict) and found["loaded_differing"] == 1
    (part,) = found["parts"]
    assert (part["start"], part["end"], part["bytes"]) == (text.start, text.end, 1)
    assert (part["kind"], part["source"]) == ("text", f"{text.file}:{text.line}")


def test_an_account_that_says_something_else_is_noticed(image: Path, tmp_path: Path) -> None:
    old = read_image(image).account
    entry = next(e for e in old if e.kind == "code")
    changed = tuple(msgspec.structs.replace(e, line=e.line + 1) if e is entry else e for e in old)
    code, report = rebuilt(resealed(image, tmp_path / "y.img", account=changed))
    found = report["rebuilt"]
    assert code == Exit.LAW_BROKEN
    assert isinstance(found, dict) and (found["loaded_differing"], found["account"]) == (0, 2)


def test_another_tool_is_named_and_breaks_no_law(image: Path, tmp_path: Path) -> None:
    manifest = read_image(image).manifest
    tools = {**manifest.provenance.tools, "llvm": "21.1.0"}
    provenance = msgspec.structs.replace(manifest.provenance, tools=tools)
    other = msgspec.structs.replace(manifest, provenance=provenance)
    path = resealed(image, tmp_path / "y.img", manifest=other)
    code, report = rebuilt(path)
    assert code == Exit.FAILED and report["violations"] == []
    found = report["rebuilt"]
    assert isinstance(found, dict)
    assert found["manifest"] == ["provenance"] and found["loaded_differing"] == 0
    here = tool_versions()["llvm"]
    assert found["tools"] == [{"name": "llvm", "recorded": "21.1.0", "here": here}]
    said = metaos("audit", path, "--rebuild", "--machine", MACHINE).stdout
    assert f"  tool llvm: 21.1.0 then, {here} here\n" in said


def test_what_rebuild_is_not_given(image: Path, tmp_path: Path) -> None:
    result = metaos("audit", image, "--rebuild", cwd=tmp_path)
    assert result.returncode == Exit.USAGE and "--machine FILE" in result.stderr
    result = metaos("audit", image, "--machine", MACHINE)
    assert result.returncode == Exit.USAGE and "--rebuild" in result.stderr


# ---- the lock -----------------------------------------------------------------------------


def build(folder: Path, *flags: str) -> tuple[int, str]:
    result = metaos("build", "-q", *flags, "--machine", MACHINE, "-o", "x.img", cwd=folder)
    assert "Traceback" not in result.stderr
    return result.returncode, result.stderr


def test_a_lock_is_written_and_kept_to(tmp_path: Path) -> None:
    assert build(tmp_path, "--lock") == (Exit.DONE, "")
    text = (tmp_path / "metaos.lock").read_text()
    assert all(f'{name} = "{version}"\n' in text for name, version in tool_versions().items())
    assert build(tmp_path, "--locked") == (Exit.DONE, "")
    assert (tmp_path / "metaos.lock").read_text() == text


def test_a_projects_lock_lies_beside_its_file(tmp_path: Path) -> None:
    assert metaos("init", ".", cwd=tmp_path).returncode == 0
    assert build(tmp_path / "patterns", "--lock")[0] == Exit.DONE
    assert (tmp_path / "metaos.lock").exists()
    assert build(tmp_path / "patterns", "--locked")[0] == Exit.DONE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected missing, found"),
        ("[tools]\nllvm = 22\n", "Expected `str`"),
        ("[tools\n", "not TOML"),
        ("[tool]\n", "did you mean 'tools'"),
    ],
)
def test_a_lock_that_cannot_be_read_is_one_message(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "metaos.lock").write_text(text)
    code, said = build(tmp_path, "--locked")
    assert code == Exit.FAILED and not (tmp_path / "x.img").exists()
    assert says in said, said


def test_other_tools_than_the_locks_are_refused(tmp_path: Path) -> None:
    assert build(tmp_path, "--lock")[0] == Exit.DONE
    (tmp_path / "x.img").unlink()
    lock, here = tmp_path / "metaos.lock", tool_versions()
    text = lock.read_text()
    for name, version in here.items():
        lock.write_text(text.replace(f'{name} = "{version}"', f'{name} = "0.1"\nsed = "4.9"'))
        code, said = build(tmp_path, "--locked")
        assert code == Exit.FAILED and not (tmp_path / "x.img").exists()
        assert f"{name}: expected 0.1, found {version}" in said
        assert f"sed: expected 4.9, found {MISSING}" in said and "metaos build --lock" in said


def test_without_a_lock_locked_says_how_to_make_one(tmp_path: Path) -> None:
    code, said = build(tmp_path, "--locked")
    assert code == Exit.USAGE and "metaos.lock: not there" in said and "--lock" in said
    code, said = build(tmp_path, "--locked", "--lock")
    assert code == Exit.USAGE and "exclude each other" in said


def test_versions_differ_by_name() -> None:
    assert differing({"a": "1"}, {"a": "1"}) == ()
    found = differing({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    assert [str(x) for x in found] == [
        "a: 1 then, missing here",
        "b: 2 then, 3 here",
        "c: missing then, 4 here",
    ]
