"""Where a JSON path leads in a text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaos.errors import MetaosError
from metaos.probe.places import place
from metaos.probe.store import parse_machine
from tests.probe.test_store import TEXT

SAMPLE = """{
  "a": [ {"x": 1, "y\\"z": "],}{[\\\\" },
         {"x": 2}, [10,11]],
  "b":{"c":null}
}"""


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("", (1, 1)),
        ("a", (2, 3)),
        ("a[0]", (2, 10)),
        ("a[0].x", (2, 11)),
        ("a[1].x", (3, 11)),
        ("a[2]", (3, 20)),
        ("a[2][1]", (3, 24)),
        ("b.c", (4, 8)),
        ("b.missing", (4, 3)),
        ("a[9]", (2, 3)),
        ("b[0]", (4, 3)),
        ("nothing.at.all", (1, 1)),
    ],
)
def test_a_path_is_followed_as_far_as_it_leads(path: str, at: tuple[int, int]) -> None:
    assert place(SAMPLE, path) == at


JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=20,
)


@pytest.mark.long
@given(JSON, st.sampled_from([None, 1]), st.text("abc.[]0123", max_size=12))
def test_any_path_in_any_text_has_a_place(value: object, indent: int | None, path: str) -> None:
    text = json.dumps(value, indent=indent)
    line, column = place(text, path)
    lines = text.split("\n")
    assert 1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) + 1


def test_a_machine_files_fault_has_its_line_and_column() -> None:
    lines = TEXT.splitlines()
    at = next(i for i, line in enumerate(lines) if '"device": "0x100e"' in line)
    bad = TEXT.replace('"device": "0x100e"', '"device": 5')
    with pytest.raises(MetaosError) as caught:
        parse_machine(bad, "m.json")
    column = lines[at].index('"device"') + 1
    assert f"m.json:{at + 1}:{column}: error[E0802]: functions[" in caught.value.render()
