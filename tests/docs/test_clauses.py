"""The table of a standard's clauses: it is in order, and what it says cannot be stale."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from metaos.errors import MetaosError
from tests.docs.sessions import ROOT

DATA = ROOT / "docs" / "virtio.toml"
FAMILIES = ("net/virtio_net.pattern", "net/virtio_net_pci.pattern", "net/virtio_net_legacy.pattern")
GOOD = '[[clause]]\nnumber = "2.7.13.4.1"\ndemand = "a barrier"\n'
TEST = 'tests = ["tests/docs/test_clauses.py::test_a_table_is_made"]\n'


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    found = importlib.util.spec_from_file_location("docs", ROOT / "tools" / "docs.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def made(docs: ModuleType, folder: Path, text: str) -> str:
    path = folder / "clauses.toml"
    path.write_text(text)
    return "\n".join(docs.clauses(path, "virtio", *FAMILIES))


def test_a_table_is_made(docs: ModuleType, tmp_path: Path) -> None:
    assert "`virtio_net.pattern:" in made(docs, tmp_path, GOOD + TEST)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD, "shown by no test"),
        (GOOD + TEST + 'line = ["no such line"]\n', "cited by no such line"),
        (GOOD.replace("2.7.13.4.1", "2.99") + TEST, "cited by no such line"),
        (GOOD + TEST.replace("made", "done"), "there is no test"),
        (GOOD + TEST.replace("docs/test", "docs/toast"), "there is no test"),
    ],
)
def test_what_is_stale_is_an_error(docs: ModuleType, tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(MetaosError, match=says):
        made(docs, tmp_path, text)


def test_the_clauses_are_in_order_and_said_once() -> None:
    rows = tomllib.loads(DATA.read_text("utf-8"))["clause"]
    numbers = [tuple(map(int, row["number"].split("."))) for row in rows]
    assert numbers == sorted(numbers)
    assert len({(row["number"], row["demand"]) for row in rows}) == len(rows) > 70
    assert all(set(row) <= {"number", "demand", "line", "tests", "why"} for row in rows)
