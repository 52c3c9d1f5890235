"""Every shell session in the documents prints what the documents say."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.sessions import NEEDS_QEMU, ROOT, Shell, Step, matches, read_steps

pytestmark = pytest.mark.long

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def sessions() -> Sequence[object]:
    """A parameter for each document with commands, marked if one of them needs QEMU."""
    found = []
    for path in DOCUMENTS:
        steps = read_steps(path.read_text("utf-8"))
        if all(step.path for step in steps):
            continue
        boots = any(NEEDS_QEMU.search(step.text) for step in steps if not step.path)
        marks = [pytest.mark.qemu] if boots else []
        found.append(pytest.param(steps, id=path.name, marks=marks))
    return found


@pytest.mark.parametrize("steps", sessions())
def test_a_documents_session(steps: tuple[Step, ...], tmp_path: Path) -> None:
    with Shell(tmp_path) as shell:
        shell.play(steps)


def test_steps_are_read() -> None:
    text = "x\n```toml a/b.toml\nk = 1\n```\n```console\n$ one\nout\n$ two\n```\n```sh\n$ no\n```\n"
    assert read_steps(text) == (
        Step(2, "k = 1\n", path="a/b.toml"),
        Step(6, "one", "out\n"),
        Step(8, "two"),
    )


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\n...\nb\n", "a\nb\n", True),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("a ... b\n", "a whatever b\n", True),
        ("42 of 42 passed\n", "7 of 7 passed\n", True),
        ("took 0.4 ms\n", "took 12 ms\n", True),
        ("(code 1398, row 2)\n", "(code 7, row 451)\n", True),
        ("8086:100f at 10.0.2.15\n", "8086:100e at 10.0.2.15\n", False),
        ("8086:100f at 10.0.2.15\n", "8086:100f at 10.0.2.16\n", False),
        ("", "something\n", False),
        ("a\n", "a  \n", True),
        ("a\n", "a\nb\n", False),
    ],
)
def test_outputs_are_compared(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same


def test_a_wrong_session_is_noticed(tmp_path: Path) -> None:
    with Shell(tmp_path) as shell:
        with pytest.raises(AssertionError, match="the document says"):
            shell.play((Step(1, "echo yes", "no\n"),))
        with pytest.raises(AssertionError, match="exit 3"):
            shell.play((Step(1, "exit 3"),))
        shell.play((Step(1, "exit 3"), Step(2, "echo $?", "3\n")))
