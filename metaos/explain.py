"""What the error codes mean: `explained("E0203")`, out of explanations.md beside this module.

A section there begins with `## CODE what it is`; text and examples follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from metaos.errors import MetaosError, did_you_mean

_SECTION = re.compile(r"^## (\w+) (.+)$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a code means in a few words, and the text about it, examples indented by four."""

    code: str
    title: str
    text: str


@cache
def explanations() -> dict[str, Explanation]:
    """Every code's, in the order of the codes."""
    text = Path(__file__).with_name("explanations.md").read_text("utf-8")
    _, *parts = _SECTION.split(text)
    return {
        code: Explanation(code, title, "\n".join(_plain(body)).strip("\n"))
        for code, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


def explained(code: str) -> Explanation:
    """What a code means, in capitals or not.

    Raises:
        MetaosError: there is no such code.
    """
    known = explanations()
    if code.upper() not in known:
        raise MetaosError(f"no error has the code '{code}'", hint=_near(code.upper(), known))
    return known[code.upper()]


def _near(code: str, known: dict[str, Explanation]) -> str:
    hint = did_you_mean(code, known)
    return hint if hint.startswith("did") else "metaos explain lists all codes"


def _plain(body: str) -> Iterator[str]:
    """Markdown's lines for a terminal: fences taken away, what is in them indented."""
    fenced, empty = False, True
    for line in _COMMENT.sub("", body).split("\n"):
        if line.startswith("```"):
            fenced = not fenced
        elif line or not empty:
            empty = not line
            yield f"    {line}".rstrip() if fenced else line
