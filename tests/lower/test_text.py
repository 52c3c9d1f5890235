"""Texts of reports: encoded, then written a byte a turn by the report's writer."""

from __future__ import annotations

import random
import re

import pytest

from metaos.errors import MetaosError
from metaos.ir.build import Builder
from metaos.ir.check import check
from metaos.ir.interpret import Memory, Ram, run
from metaos.lower.text import (
    DIGITS,
    FAULT,
    FAULT_SITE,
    FAULT_SIZE,
    FAULT_WORDS,
    REPORT,
    TEXT_SIZE,
    TEXTS,
    WRITTEN,
    Shown,
    Texts,
    literal,
    write_report,
)
from tests.lower.lowering import NOWHERE, problem_of

HOLE = re.compile(r"\{(place|wanted|found)(?:\[(\d+):(\d+)\])?(?::x(\d+))?\}")


def shown(template: str, words: dict[str, int]) -> str:
    """What a person should read."""

    def fill(match: re.Match[str]) -> str:
        high, low = int(match[2] or 31), int(match[3] or 0)
        value = words[match[1]] >> low & (1 << high - low + 1) - 1
        digits = int(match[4] or -(-(high - low + 1) // 4))
        return f"{value:0{digits}x}"[-digits:]

    return HOLE.sub(fill, template) + "\r\n"


def written(texts: Texts, site: int, words: dict[str, int]) -> str:
    """What the report's writer leaves, turn by turn, as long as it goes on."""
    builder = Builder("platform", "report")
    write_report(builder)
    program = builder.finish()
    check(program)
    fault = Ram(FAULT_SIZE)
    for name, value in words.items():
        fault.write(FAULT_WORDS[name], 32, value)
    fault.write(FAULT_SITE, 32, site)
    report, count = Ram(TEXT_SIZE), Ram(1)
    regions = {
        FAULT: (0x200000, fault), REPORT: (0x210000, report), WRITTEN: (0x220000, count),
        TEXTS: (0x800000, Ram(bytes(texts.data), writable=False)),
        DIGITS: (0x810000, Ram(texts.digit_bytes() or bytes(4), writable=False)),
    }  # fmt: skip
    memory = Memory(regions)
    for _ in range(TEXT_SIZE + 20):
        run(program, memory)
    assert count.read(0, 8) == bytes(report.data).index(0)
    return bytes(report.data).split(b"\0")[0].decode("ascii")


@pytest.mark.parametrize(
    "template",
    [
        "no link",
        "",
        "{found}",
        "found {found:x8}, expected {wanted:x8} at {place:x8}",
        "{place[23:16]:x2}:{place[15:11]:x2}.{place[10:8]:x1} changed: {found[15:0]:x4}",
        "{found[0:0]}",
        "{found[6:2]} of five bits",
        "{found[31:29]:x1}{found:x1}",
        "{found:x4} the low half",
        "{found[7:0]:x6} more digits than bits",
        "{a} {unknown.name} stays",
    ],
)
def test_numbers_are_filled_in(template: str) -> None:
    source = random.Random(template)
    for _ in range(6):
        edges = (0, 0xFFFFFFFF, source.randrange(1 << 32))
        words = {name: source.choice(edges) for name in FAULT_WORDS}
        texts = Texts()
        texts.add("some other text first {place}", {}, "dev", NOWHERE)
        if "unknown" in template:
            with pytest.raises(MetaosError):
                texts.add(template, {}, "dev", NOWHERE)
            return
        site = texts.add(template, {}, "dev", NOWHERE)
        assert written(texts, site, words) == shown(template, words)


def test_names_known_when_the_image_is_built() -> None:
    texts = Texts()
    site = texts.add("{who} is {found:x2}", {"who": "BAR 0"}, "dev", NOWHERE)
    assert written(texts, site, {"found": 0xAB}) == "BAR 0 is ab\r\n"


def test_equal_texts_are_one() -> None:
    texts = Texts()
    first = texts.add("no {found}", {}, "a", NOWHERE)
    other = texts.add("other", {}, "a", NOWHERE)
    assert texts.add("no {found}", {}, "b", NOWHERE) == first != other
    assert len(texts.said) == 2
    assert [(said.start, said.end) for said in texts.said] == [(0, other), (other, len(texts.data))]


def test_equal_digits_are_one() -> None:
    texts = Texts()
    texts.add("{found:x4}", {}, "a", NOWHERE)
    texts.add("{found[15:0]} and {found[7:0]}", {}, "a", NOWHERE)
    assert len(texts.digits) == 4


def test_a_text_as_long_as_may_be() -> None:
    texts = Texts()
    site = texts.add("x" * (TEXT_SIZE - 3), {}, "a", NOWHERE)
    assert written(texts, site, {}) == "x" * (TEXT_SIZE - 3) + "\r\n"
    with pytest.raises(MetaosError) as refused:
        texts.add("y" * (TEXT_SIZE - 2), {}, "a", NOWHERE)
    assert problem_of(refused.value)[0] == "E0452"


def test_too_many_digits() -> None:
    texts = Texts()
    with pytest.raises(MetaosError) as refused:
        for low in range(32):
            for high in range(low, 32):
                texts.add(f"{{place[{high}:{low}]}}{{found[{high}:{low}]}}", {}, "a", NOWHERE)
    assert problem_of(refused.value)[0] == "E0451"
    assert len(texts.digits) in range(129, 129 + 16)


def test_other_alphabets_are_marked() -> None:
    texts = Texts()
    assert written(texts, texts.add("größer", {}, "a", NOWHERE), {}) == "gr??er\r\n"


def test_literals() -> None:
    assert literal("MetaOS {my.ip}", {"my.ip": "10.0.2.15"}, NOWHERE) == "MetaOS 10.0.2.15"
    with pytest.raises(MetaosError) as refused:
        literal("{my.IP} {my.ipp}", {"my.ip": "x", "my.name": "y"}, NOWHERE)
    code, text = problem_of(refused.value)
    assert code == "E0450" and "my.ipp" in text and "known: my.ip, my.name" in text


def test_what_is_shown_ends() -> None:
    """A console takes each character once, then none, however long it turns."""
    builder = Builder("com0", "steady")
    text = Shown("text", "at")
    char, some, position = text.take(builder)
    builder.store(char, "char")
    builder.store(builder.zext(some, 8), "some")
    builder.store(position, "position")
    text.advance(builder, some)
    program = builder.finish()
    cells = {name: Ram(1) for name in ("char", "some", "position", "at")}
    regions = {name: (0x200000 + 16 * i, ram) for i, (name, ram) in enumerate(cells.items())}
    regions["text"] = 0x800000, Ram(b"hi!\0".ljust(TEXT_SIZE, b"?"), writable=False)
    seen = []
    for _ in range(7):
        run(program, Memory(regions))
        seen.append(tuple(cells[name].data[0] for name in ("char", "some", "position")))
    assert seen[:3] == [(ord("h"), 1, 0), (ord("i"), 1, 1), (ord("!"), 1, 2)]
    assert seen[3:] == [(0, 0, 3)] * 4
