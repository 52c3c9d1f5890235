"""Law 3: the loaded bytes hold no name, text or id of what is not there."""

from __future__ import annotations

from functools import cache

import pytest
from msgspec.structs import replace

from metaos.link.image import Image
from metaos.match.bind import Bindings
from metaos.verify.absent import check_absent, check_cited, foreign
from tests.verify.handmade import overwrite, reseal
from tests.verify.machines import made, recorded


@cache
def built() -> tuple[Image, Bindings]:
    stages = made(recorded("pc-e1000"))
    return stages.image, stages.lowered.bindings


def test_an_image_has_no_word_of_what_is_absent() -> None:
    assert list(check_absent(*built())) == []


def test_the_words_are_names_texts_and_ids_of_what_is_absent_alone() -> None:
    words = {word.shown: word.owner for word in foreign(built()[1])}
    assert words["the id 10ec:8029"] == "pattern ne2000"
    assert words["the text 'the card does not reset'"] == "pattern ne2000"
    assert words["the id 8086:10d3"] == "pattern i82574l"
    assert words["the text 'vmxnet3'"] == "pattern vmxnet3"
    assert "the id 8086:100e" not in words  # it is there
    assert "the text 'no link'" not in words  # what is there says so too


def recited(kind: str, phase: str, *facts: str) -> list[str]:
    """What is said of an image of which a datum cites these facts."""
    image = built()[0]
    at = next(i for i, e in enumerate(image.account) if (e.kind, e.phase) == (kind, phase))
    entry = replace(image.account[at], facts=facts)
    changed = (*image.account[:at], entry, *image.account[at + 1 :])
    return [v.message for v in check_cited(reseal(image, account=changed))]


@pytest.mark.parametrize(
    ("fact", "there"),
    [
        ("functions.00:03.0", True),
        ("functions.00:03.0.bars.0.address", True),
        ("functions.00:01.1.device", True),
        ("functions.00:05.0.device", False),
        ("functions.00:03.01", False),
        ("acpi.FACP", True),
        ("acpi.HPET", False),
        ("legacy.com1", False),
        ("memory", True),
    ],
)
def test_a_datum_cites_facts_of_what_is_there(fact: str, there: bool) -> None:
    found = recited("row", "init", fact)
    assert found == [] if there else found == [f"cites {fact}, which is not there"]
    assert bool(recited("text", "steady", fact)) != there


def test_guard_may_cite_a_free_slot() -> None:
    assert recited("row", "guard", "functions.00:05.0") == []


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"ne2000", "holds the text 'ne2000' of pattern ne2000, which is not in this image"),
        (b"the card does not reset\r\n\0", "of pattern ne2000"),
        (bytes.fromhex("ec102980"), "holds the id 10ec:8029 of pattern ne2000"),
    ],
)
@pytest.mark.parametrize("kind", ["text", "row", "code", "loader", "padding"])
def test_a_word_anywhere_in_the_loaded_bytes_is_seen(kind: str, raw: bytes, message: str) -> None:
    """Whatever the account says that the bytes are."""
    image, bindings = built()
    entry = next(e for e in image.account if e.kind == kind)
    start = min(entry.start, len(image.loaded) - len(raw))
    (violation,) = check_absent(overwrite(image, start, raw), bindings)
    assert message in violation.message and violation.place == f"file {start:#x}"
    assert violation.span is not None and violation.span.file.endswith("ne2000.pattern")


def test_what_is_not_loaded_is_not_the_machines_concern() -> None:
    """The manifest beside names the patterns that are there; nothing reads it when it boots."""
    image, bindings = built()
    assert image.data[: len(image.loaded)] == image.loaded
    (word,) = (w for w in foreign(bindings) if w.shown == "the text 'ne2000'")
    changed = Image(image.data[:-600] + word.raw + image.data[-594:], image.manifest, image.account)
    assert list(check_absent(changed, bindings)) == []
