"""The HTML page stands alone, and shows what it was given and nothing else."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from metaos.trace.html import page
from metaos.trace.records import Trace
from tests.trace.conftest import Built

LOADS = {"src", "href", "srcset", "data", "action", "background", "poster", "style"}
VOID = {"meta"}
NASTY = "<script>alert('x')</script>&\"'"


class Page(HTMLParser):
    """Tags in order, attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("phase", ["steady", "guard", "init"])
def test_a_page_needs_nothing_else(e1000: Built, phase: str) -> None:
    text = page(e1000.trace("icmp.echo" if phase == "steady" else "", phase=phase))
    read = Page(text)
    assert not read.open
    assert not set(read.tags) & {"script", "link", "img", "iframe", "object", "embed", "base", "a"}
    assert not read.attributes & LOADS
    assert not any(word in text for word in ("http:", "https:", "url(", "@import"))


def test_a_page_shows_line_op_instruction_and_change(e1000: Built) -> None:
    read = Page(page(e1000.trace("icmp.echo")))
    for shown in ("accept when type == 8 & code == 0", "eq u16", "cmp word ptr [r8 + 0x22], 8",
                  "00:03.0.tx[0].length: 0 -> 0x2a", "66 41 83 78 0c 08"):  # fmt: skip
        assert shown in read.text, shown


def spoiled(value: object) -> object:
    """The same record with every text made of characters that HTML has a use for."""
    if isinstance(value, str):
        return value + NASTY
    if isinstance(value, tuple):
        return tuple(spoiled(item) for item in value)
    return value


def test_everything_is_escaped(e1000: Built) -> None:
    from msgspec.structs import asdict, replace

    def nasty(record: object) -> object:
        fields: dict[str, object] = {}
        for name, value in asdict(record).items():  # type: ignore[arg-type]
            if name in ("phase", "frame", "answer", "flags"):
                continue
            if isinstance(value, tuple) and value and not isinstance(value[0], str):
                fields[name] = tuple(nasty(item) for item in value)
            elif isinstance(value, dict):
                continue
            else:
                fields[name] = spoiled(value)
        return replace(record, **fields)  # type: ignore[type-var]

    for found in (e1000.trace("arp"), e1000.trace(phase="guard", sets=("com0.LSR=1",))):
        sources = {f"{place}{NASTY}": line + NASTY for place, line in found.sources.items()}
        bad = nasty(found)
        assert isinstance(bad, Trace)
        text = page(replace(bad, sources=sources))
        assert "<script" not in text
        assert NASTY in Page(text).text
