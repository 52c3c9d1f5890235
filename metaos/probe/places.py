"""Where in a JSON text a path leads: `place(text, "functions[3].bars[0].size") -> (line, column)`.

A path that leads nowhere has the place of the last of its steps that is there.
"""

from __future__ import annotations

import json
import re

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(strict=False)


def place(text: str, path: str) -> tuple[int, int]:
    """Line and column, from 1, of a field's name or a list's item; `text` is valid JSON."""
    at = found = _blank(text, 0)
    for index, name in _STEP.findall(path):
        step = _item(text, at, int(index)) if index else _field(text, at, name)
        if step is None:
            break
        found, at = step
    line = text.count("\n", 0, found) + 1
    return line, found - (text.rfind("\n", 0, found) + 1) + 1


def _field(text: str, at: int, name: str) -> tuple[int, int] | None:
    """Where an object's field of this name and its value begin."""
    if text[at : at + 1] != "{":
        return None
    at = _blank(text, at + 1)
    while text[at : at + 1] == '"':
        key, end = _DECODER.raw_decode(text, at)
        value = _blank(text, _blank(text, end) + 1)
        if key == name:
            return at, value
        at = _after(text, value)
    return None


def _item(text: str, at: int, index: int) -> tuple[int, int] | None:
    """Where a list's item begins, twice: it has no name."""
    if text[at : at + 1] != "[":
        return None
    at = _blank(text, at + 1)
    while text[at : at + 1] not in ("]", ""):
        if index == 0:
            return at, at
        index -= 1
        at = _after(text, at)
    return None


def _after(text: str, at: int) -> int:
    """Behind the value at `at`, and the comma if one follows."""
    _, end = _DECODER.raw_decode(text, at)
    end = _blank(text, end)
    return _blank(text, end + 1) if text[end : end + 1] == "," else end


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
