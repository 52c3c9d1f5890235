"""The page tables that the lists write: walked as the processor does, held against the rules."""

from __future__ import annotations

import pytest

from metaos.link.image import Image
from metaos.link.layout import CODE_END, DATA_LINEAR
from metaos.link.link import link
from metaos.link.lists import expand
from tests.link.handmade import PROVENANCE, parts
from tests.link.walk import Mapped, promised, walk

GIB = 1 << 30
SLOT = 2 << 20


@pytest.fixture(scope="module")
def image() -> Image:
    return link(parts(), PROVENANCE)


def tables_of(image: Image, phase: str) -> dict[int, Mapped]:
    memory = expand(image)
    return walk(lambda at: memory.get(at, bytes(4096)), image.manifest.phase(phase).root)


PHASES = ("guard", "init", "wipe", "steady", "report")


@pytest.mark.parametrize("phase", PHASES)
def test_manifest_tells_all_that_is_mapped(image: Image, phase: str) -> None:
    assert tables_of(image, phase) == promised(image.manifest.mappings, phase)


@pytest.mark.parametrize("phase", PHASES)
def test_rights(image: Image, phase: str) -> None:
    """Code R-X, data R--, all else RW-; no page is both writable and executable."""
    manifest = image.manifest
    code = manifest.phase(phase)
    for linear, page in tables_of(image, phase).items():
        in_code = DATA_LINEAR <= linear < CODE_END
        runs = (*code.code_pages, manifest.gates.physical)
        assert page.executable == (in_code and page.physical in runs)
        assert page.writable != in_code


def test_only_what_is_needed_is_mapped(image: Image) -> None:
    symbol = image.manifest.symbol
    ram, shadow = {SLOT}, {GIB + SLOT}
    csr, screen = symbol("csr").linear, symbol("screen").linear
    screens, registers = {screen}, {csr, csr + 0x3000, csr + 0x5000}
    data = {name: {symbol(name).linear} for name in ("rows.guard", "rows.init", "text")}
    shadows = shadow | {GIB + window // SLOT * SLOT for window in (csr, screen)}
    all_phases = ram | shadows | {CODE_END - 4096, image.manifest.gates.linear}
    assert set(tables_of(image, "guard")) == all_phases | data["rows.guard"]
    assert set(tables_of(image, "init")) == all_phases | data["rows.init"] | screens | registers
    assert set(tables_of(image, "steady")) == all_phases | screens | registers
    assert set(tables_of(image, "report")) == all_phases | data["text"] | screens


def test_wipe_alone_sees_low_memory_and_what_it_clears(image: Image) -> None:
    code = {p: image.manifest.phase(p).code_pages for p in PHASES}
    low = {at for at in tables_of(image, "wipe") if at < SLOT}
    rows = {image.manifest.symbol(f"rows.{p}").physical for p in ("guard", "init")}
    assert low == {0x7000, 0x8000, *code["guard"], *code["init"], *rows}
    for phase in PHASES:
        assert phase == "wipe" or all(at >= SLOT for at in tables_of(image, phase))


def test_windows_are_uncached_and_ram_is_not(image: Image) -> None:
    for linear, page in tables_of(image, "steady").items():
        window = CODE_END <= linear < GIB
        assert page.cached != window


def test_shadows_lead_to_one_frame_of_no_place(image: Image) -> None:
    found = {p.physical for a, p in tables_of(image, "init").items() if GIB <= a < 2 * GIB}
    (scratch,) = found
    ends = [s.physical + s.size for s in image.manifest.symbols if s.kind == "place"]
    assert scratch >= max(ends)
    assert (scratch + SLOT - (1 << 20)) // 1024 == image.manifest.memory_needed_kib
