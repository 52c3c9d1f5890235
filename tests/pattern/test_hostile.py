"""Whatever a text holds, reading and checking it ends soon: in patterns or in MetaosErrors."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from metaos.errors import MetaosError, Source
from metaos.pattern.parse import MAX_CHARACTERS, parse
from metaos.resources import PATTERNS
from tests.pattern.load import ERRORS, prelude, problems_of

pytestmark = pytest.mark.long

SEED = "metaos"
INPUTS, MANY = 1_000, 50_000
SECONDS = 10.0
"""Of processor time, of which each takes about one: more is a search that grows out of hand."""

ODD = "\0\t\r\n \"#'()[]{}\x7f\u00e9\u2028\ufeff\U0001f600"
NUMBERS = (0, 1, 63, 64, 65, 255, 256, 65_535, 65_536, 2**32, 2**63, 2**64 - 1, 2**64)
WORD = re.compile(r"[A-Za-z_]\w*")
NUMBER = re.compile(r"\b\d\w*")


@cache
def texts() -> tuple[str, ...]:
    paths = [*sorted(ERRORS.glob("*.pattern")), *sorted(PATTERNS.rglob("*.pattern"))]
    return tuple(path.read_text("utf-8") for path in paths)


@cache
def words() -> tuple[str, ...]:
    found = {t for text in texts() for t in re.findall(r"[A-Za-z_]\w*|\d+|[^\s\w]+", text)}
    return tuple(sorted(found))


def lines_changed(draw: random.Random, text: str) -> str:
    lines = text.split("\n")
    a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            lines[a], lines[b] = lines[b], lines[a]
        case 1:
            lines.insert(a, lines[b])
        case 2:
            del lines[a]
        case _:
            lines[a] = draw.choice(["", " ", "  ", "\t", "        "]) + lines[a].lstrip()
    return "\n".join(lines)


def cut(draw: random.Random, text: str) -> str:
    start = draw.randrange(len(text) + 1)
    return (
        text[:start] if draw.random() < 0.3 else text[:start] + text[start + draw.randint(1, 9) :]
    )


def repeated(draw: random.Random, text: str) -> str:
    start = draw.randrange(len(text) + 1)
    part = text[start : start + draw.randint(1, 12)]
    return text[:start] + part * draw.randint(2, 30) + text[start:]


def odd_character(draw: random.Random, text: str) -> str:
    start = draw.randrange(len(text) + 1)
    return text[:start] + draw.choice(ODD) + text[start:]


def other_word(draw: random.Random, text: str) -> str:
    return replaced(draw, WORD, text, draw.choice(words()))


def other_number(draw: random.Random, text: str) -> str:
    return replaced(draw, NUMBER, text, str(draw.choice(NUMBERS)))


def replaced(draw: random.Random, what: re.Pattern[str], text: str, by: str) -> str:
    found = list(what.finditer(text))
    if not found:
        return text
    one = draw.choice(found)
    return text[: one.start()] + by + text[one.end() :]


def windows_lines(draw: random.Random, text: str) -> str:
    return text.replace("\n", "\r\n")


CHANGES: tuple[Callable[[random.Random, str], str], ...] = (
    lines_changed, lines_changed, other_word, other_word, other_number, other_number,
    cut, repeated, odd_character, windows_lines,
)  # fmt: skip


def broken(number: int) -> str:
    """The `number`-th broken text; the same in every run."""
    draw = random.Random(f"{SEED}/{number}")
    if number % 50 == 0:
        return "".join(chr(draw.randrange(256)) for _ in range(draw.randrange(400)))
    text = draw.choice(texts())
    for _ in range(draw.randint(1, 4)):
        text = draw.choice(CHANGES)(draw, text)
    return text


def examined(text: str) -> tuple[str, ...]:
    """The codes of a text's problems; fails if anything else happens, or too late."""
    start = time.process_time()
    problems = problems_of(Source("broken.pattern", text))
    for problem in problems:
        assert problem.render()
    took = time.process_time() - start
    assert took < SECONDS, f"{took:.2f} s for {text[:200]!r}"
    return tuple(p.code for p in problems)


@pytest.mark.parametrize("inputs", [INPUTS, pytest.param(MANY, marks=pytest.mark.soak)])
def test_broken_texts(inputs: int) -> None:
    prelude()
    seen: dict[str, int] = {}
    for number in range(inputs):
        codes = examined(broken(number))
        for code in set(codes) or {"clean"}:
            seen[code] = seen.get(code, 0) + 1
    # The inputs are worth their time: the checks are reached, by many ways.
    assert len(seen) > 40
    assert seen["clean"] > inputs // 60
    assert sum(n for code, n in seen.items() if code >= "E02") > inputs // 10


DEVICE = 'source m = "M"   # as @m\ndevice d : interrupts\n  match platform part\n'
REGISTERS = DEVICE + "  registers r at 1 port 8 bits\n    9 P rw @m 1\n      7:0 F\n"
TURN = DEVICE + "  turn\n"


def filled(head: str, unit: str, size: int = MAX_CHARACTERS) -> str:
    """`head` and as many units as fit; `%d` in a unit is its number."""
    parts, left, number = [head], size - len(head), 0
    while True:
        part = unit.replace("%d", str(number))
        if len(part) > left:
            return "".join(parts)
        parts.append(part)
        left -= len(part)
        number += 1


HOSTILE = {
    "nothing": "",
    "only a mark": "\ufeff",
    "deep brackets": TURN + "    x = " + "(" * 900,
    "deep brackets in lines": TURN + "    x = " + "(\n" * 9_000,
    "deep indices": TURN + "    x = " + "a[" * 400,
    "deep blocks": TURN + "".join("  " * n + "when a\n" for n in range(2, 100)),
    "unknown families": filled("", "member f%d of f%d1\n  match pci vendor 1\n"),
    "a chain of families": "family f0 : interrupts\n  match pci vendor 1\n"
    + "".join(f"member f{n + 1} of f{n}\n  match pci device 1\n" for n in range(400)),
    "long line": TURN + "    x = " + "1" * 20_000,
    "long comment": "# " + "x" * 20_000,
    "many terms": TURN + "    x = (" + "a +\n" * 5_000 + "a)",
    "many complements": TURN + "    x = (" + "~\n" * 9_000 + "a)",
    "many members": TURN + "    x = (a" + "\n.a" * 9_000 + ")",
    "many primes": TURN + "    x = (a" + "\n'" * 9_000 + ")",
    "many arguments": TURN + "    x = f(" + "a,\n" * 9_000 + "a)",
    "many record fields": TURN + "    x = {" + "a,\n" * 9_000 + "a}",
    "empty lines": "\n" * 30_000,
    "spaces": " \n" * 15_000,
    "sources": filled("", 'source s%d="b"\n'),
    "states": filled(DEVICE, "  state s%d : u1\n"),
    "the same state": filled(DEVICE, "  state s : u1\n"),
    "registers": filled(REGISTERS, "    %d A%d rw @m 1\n"),
    "the same register": filled(REGISTERS, "    0 A rw @m 1\n"),
    "pages": filled(REGISTERS, "    0 A%d rw page P.F == 0 @m 1\n"),
    "fields": filled(REGISTERS, "      0 A%d\n"),
    "unknown names": filled(TURN, "    a%d = b%d\n"),
    "services": filled("", "service s%d over frame\n  header Arp\n"),
    "unknown headers": filled("", "service s%d over frame\n  header Q%d\n"),
    "devices": filled("", "device d%d : interrupts\n  match pci vendor %d\n"),
    "cites": filled("", "# @a%d\n"),
    "squares": DEVICE + "  state s : u64\n  turn\n    a0 = s * s\n"
    + "".join(f"    a{n + 1} = a{n} * a{n}\n" for n in range(800)),
    "huge table": DEVICE + "  table t[18446744073709551615] of bytes 18446744073709551615\n",
    "huge array": DEVICE + "  state s[18446744073709551615] : u1 = i\n",
    "huge layout": "layout L 18446744073709551615 bytes little\n  18446744073709551615:0 a\n",
    "huge registers": DEVICE + "  registers r at 1 port 18446744073709551615 bits\n"
    "    18446744073709551615 A[18446744073709551615] rw @m 1\n  turn\n    _x = A[0]\n",
    "huge shift": DEVICE + "  state s : u64 = 1 << 18446744073709551615\n",
    "too much text": "#" + "\n" * MAX_CHARACTERS,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text(name: str) -> None:
    codes = examined(HOSTILE[name])
    assert codes or name in ("nothing", "empty lines", "spaces", "devices", "registers")


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe\x00", b'source a = "\x80"\n', bytes(range(256))],
    ids=["a mark of UTF-16", "half a letter", "all bytes"],
)
def test_bytes_that_are_no_text(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pattern"
    path.write_bytes(data)
    with pytest.raises(MetaosError, match="not UTF-8"):
        parse(Source.read(path, "x.pattern"))


def test_windows_line_ends_mean_the_same() -> None:
    for text in texts():
        unix = problems_of(Source("x.pattern", text))
        windows = problems_of(Source("x.pattern", text.replace("\n", "\r\n")))
        assert [(p.code, p.span, p.message) for p in unix] == [
            (p.code, p.span, p.message) for p in windows
        ]
