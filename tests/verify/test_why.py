"""`metaos why`: from a place to its facts, and from a fact to its places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaos import pipeline, resources
from metaos.errors import Exit, MetaosError
from metaos.link.image import Image, write_image
from metaos.link.lists import expand, read_lists
from metaos.match.system import read_system
from metaos.probe.store import read_machine
from metaos.verify.why import why, why_fact
from tests.command import metaos

pytestmark = pytest.mark.long

MACHINE = Path("tests/data/machines/pc-e1000.json").absolute()


@pytest.fixture(scope="module")
def image() -> Image:
    patterns = pipeline.read_patterns((resources.PATTERNS,))
    return pipeline._make(read_machine(MACHINE), patterns, read_system(), lambda _: None).image


@pytest.mark.parametrize(
    ("fact", "kinds"),
    [
        ("functions.00:03.0.bars.0.address", {"list", "row"}),
        ("00:03.0.bar0.address", {"list", "row"}),
        ("legacy.com0", {"row", "code"}),
        ("system.address", {"code", "text"}),
        ("acpi.FACP", {"code"}),
        ("functions.00:03.0.device", {"row"}),
        ("00:01.3.subsystem_vendor", {"row"}),
    ],
)
def test_a_fact_leads_to_its_bytes(image: Image, fact: str, kinds: set[str]) -> None:
    found = [o for o in why_fact(image, fact) if o.how == "value"]
    assert {o.entry.kind for o in found} == kinds
    assert all(o.fact in o.entry.facts and "made of" in o.render() for o in found)


@pytest.mark.parametrize("fact", ["memory", "functions.00:04.0"])
def test_a_fact_leads_to_what_is_there_because_of_it(image: Image, fact: str) -> None:
    found = why_fact(image, fact)
    assert found and {o.how for o in found} == {"because"}
    assert all("because of" in o.render() for o in found)


def test_all_of_a_device_is_there_because_of_its_ids(image: Image) -> None:
    found = why_fact(image, "00:03.0.device")
    mine = {(e.start, e.end) for e in image.account if e.device == "00:03.0"}
    assert mine <= {(o.entry.start, o.entry.end) for o in found if o.how == "because"}


def test_both_directions_agree(image: Image) -> None:
    """What `--fact` lists names that fact when it is asked for by its place."""
    for origin in why_fact(image, "system.address"):
        (answer,) = why(image, f"{origin.entry.start:#x}")
        assert answer.entry == origin.entry and "system.address" in answer.render()


def test_every_loaded_address_leads_to_what_puts_it_there(image: Image) -> None:
    """Page tables, descriptors, code and rows, at the physical addresses that the loader fills."""
    pieces, fills = read_lists(image.loaded)
    memory = expand(image)
    wanted = [fill.address for fill in fills] + [piece.destination for piece in pieces]
    for address in (a for a in wanted if a >= len(image.data) and a // 4096 * 4096 in memory):
        assert why(image, f"{address:#x}"), hex(address)


@pytest.mark.parametrize(
    ("fact", "hint"),
    [("system.adress", "did you mean 'system.address'"), ("00:03.0.bar7", "00:03.0.bar"), ("", "")],
)
def test_an_unknown_fact_is_refused(image: Image, fact: str, hint: str) -> None:
    with pytest.raises(MetaosError, match="no byte of this image depends on") as caught:
        why_fact(image, fact)
    assert hint in caught.value.hint


def test_the_verb(image: Image, tmp_path: Path) -> None:
    write_image(image, tmp_path / "x.img")
    done = metaos("why", "x.img", "--fact", "00:03.0.bar0", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    first = next(x for x in found if x["fact"] == "functions.00:03.0.bars.0.address")
    assert first["how"] == "value"
    assert first["entry"]["symbols"] == ["00:03.0.regs"] and first["chosen_by"]
    for wrong in (("why", "x.img"), ("why", "x.img", "0x0", "--fact", "memory")):
        assert metaos(*wrong, cwd=tmp_path).returncode == Exit.USAGE
    assert metaos("why", "x.img", "--fact", "memroy", cwd=tmp_path).returncode == Exit.FAILED
    cut = (tmp_path / "x.img").read_bytes()[:-512]
    (tmp_path / "x.img").write_bytes(cut)
    assert metaos("why", "x.img", "0x0", cwd=tmp_path).returncode == Exit.LAW_BROKEN
