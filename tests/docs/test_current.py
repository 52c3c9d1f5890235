"""The documents' made parts are current, their links lead somewhere, their names exist."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from metaos import resources
from tests.docs.sessions import ROOT

pytestmark = pytest.mark.long

DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
_LINK = re.compile(r"(?<!!)\[[^]\n]*\]\(([^)\s]+)\)")
_NAME = re.compile(r"`(?!metaos\.toml)(metaos(?:\.\w+)+)")
_FILE = re.compile(
    r"`((?:metaos|tests|tools|docs|patterns|qemu|images|bootloader|benchmarks)/[\w./-]*)`"
)


def plain(text: str) -> str:
    """The text without fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    heads = re.findall(r"^#+ +(.+)$", plain(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_made_parts_are_current() -> None:
    words = [sys.executable, str(ROOT / "tools" / "docs.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_part_is_noticed(tmp_path: Path) -> None:
    tool = importlib.util.spec_from_file_location("docs", ROOT / "tools" / "docs.py")
    assert tool is not None and tool.loader is not None
    docs = importlib.util.module_from_spec(tool)
    tool.loader.exec_module(docs)
    stale = "a\n<!-- made: machines -->\nold\n<!-- end -->\nb\n"
    made = docs.current(stale)
    assert "old" not in made and "`pc-e1000`" in made
    assert docs.current(made) == made


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in _LINK.findall(plain(path.read_text("utf-8"))):
        if re.match(r"\w+://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_names_and_files_exist(path: Path) -> None:
    text = plain(path.read_text("utf-8"))
    missing = [name for name in _NAME.findall(text) if not exists(name)]
    for name in _FILE.findall(text):
        parts = name.split("...")[0]
        if not (ROOT / parts).exists():
            missing.append(name)
    assert not missing


def exists(name: str) -> bool:
    """Whether a dotted name is a module of MetaOS or something in one."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            found: object = importlib.import_module(".".join(words[:count]))
        except ImportError:
            continue
        for word in words[count:]:
            if not hasattr(found, word):
                return False
            found = getattr(found, word)
        return True
    return False


def test_names_are_looked_up() -> None:
    assert exists("metaos.pipeline.build") and exists("metaos.errors.Exit.USAGE")
    assert not exists("metaos.pipeline.bild") and not exists("metaos.nothing")
    assert anchors("# One `two`: three\n```\n# no\n```\n") == {"one-two-three"}
    assert resources.PATTERNS.is_dir()
