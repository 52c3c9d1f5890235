"""Linking: addresses, relocations, account, and one clear message for what cannot be linked."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from metaos.emit.code import Code, Relocation
from metaos.errors import Exit, MetaosError
from metaos.link.image import SECTOR, Image, uncovered
from metaos.link.layout import CODE_END, DATA_LINEAR
from metaos.link.link import link
from metaos.link.lists import expand
from metaos.link.parts import Fill, Parts, Window
from metaos.link.phases import CHANGE_LENGTH
from tests.link.handmade import (
    CARD,
    DATA,
    PLACES,
    PROVENANCE,
    ROW_DATA,
    SPAN,
    Assembly,
    codes,
    parts,
    place,
)


@pytest.fixture(scope="module")
def image() -> Image:
    return link(parts(), PROVENANCE)


def refused(what: Parts) -> MetaosError:
    with pytest.raises(MetaosError) as caught:
        link(what, PROVENANCE)
    return caught.value


def with_code(code: Code) -> Parts:
    """The hand-made parts with `code` in place of the steady phase."""
    return parts(codes=(*(c for c in codes() if c.phase != "steady"), code))


def in_ram(image: Image, phase: str) -> bytes:
    """A phase's code as the loader's lists put it into its frames."""
    one = image.manifest.phase(phase)
    memory = expand(image)
    pages = b"".join(memory[page] for page in one.code_pages)
    return pages[-one.code_length :]


def test_file_and_ram_hold_the_same_code(image: Image) -> None:
    for phase in image.manifest.phases:
        (part,) = phase.code_file
        code = image.data[part.start : part.end]
        assert code == in_ram(image, phase.name)
        assert phase.code_linear + len(code) == CODE_END
        assert code[-5] == 0xE9
        assert int.from_bytes(code[-4:], "little", signed=True) == -len(code)


def test_every_change_but_steady_loads_next(image: Image) -> None:
    for phase in image.manifest.phases:
        change = bytes.fromhex("0f22d8")
        assert (in_ram(image, phase.name)[-8:-5] == change) == (phase.name != "steady")


def test_relocations_become_addresses(image: Image) -> None:
    symbol = image.manifest.symbol
    code = in_ram(image, "guard")
    counted = int.from_bytes(code[2:6], "little", signed=True)
    assert image.manifest.entry + 6 + counted == symbol("trace").linear
    assert code[14 + 2 : 14 + 10] == symbol("rows.guard").linear.to_bytes(8, "little")
    stored = code[-CHANGE_LENGTH - 8 : -CHANGE_LENGTH]
    assert stored == b"".join(
        symbol(name).linear.to_bytes(4, "little") for name in ("next", "root.init")
    )


def test_ram_holds_data_and_initial_values(image: Image) -> None:
    memory, symbol = expand(image), image.manifest.symbol
    rows = symbol("rows.guard")
    assert memory[rows.physical][: len(ROW_DATA)] == ROW_DATA
    page, offset = divmod(symbol("ring").physical, 4096)
    ring = memory[page * 4096][offset:]
    for i in range(16):
        assert int.from_bytes(ring[16 * i :][:4], "little") == symbol("buffers").linear + 2048 * i
        assert ring[16 * i + 8] == 0xA0 + i
    page, offset = divmod(symbol("next").physical, 4096)
    root = image.manifest.phase("guard").root
    assert memory[page * 4096][offset:][:8] == root.to_bytes(8, "little")


def test_account(image: Image) -> None:
    assert uncovered(image.account, len(image.data)) == ()
    code = [e for e in image.account if e.kind == "code" and e.phase == "init"]
    assert {(e.device, e.file) for e in code} == {(CARD, SPAN.file)}
    assert [e.exact for e in code] == [True, False]
    assert "csr" in {name for e in code for name in e.symbols}
    rows = [e for e in image.account if e.kind == "row"]
    assert sum(e.end - e.start for e in rows) == sum(len(d.data) for d in DATA)
    assert all(e.facts == ("functions.00:03.0.device",) for e in rows)
    loader = [e for e in image.account if e.kind == "loader"]
    assert all(e.file == "boot.asm" and e.line for e in loader)
    lists = [e for e in image.account if e.kind == "list"]
    initial = [e for e in lists if e.note == "how ring begins"]
    assert len(initial) == 2 and all(e.line == SPAN.line for e in initial)
    windows = [e for e in lists if e.note == "page tables: window"]
    assert windows and all(e.device and e.file and e.symbols for e in windows)
    assert all(e.note for e in image.account if e.kind in ("list", "padding"))
    assert {e.kind for e in image.account} == {
        *("loader", "list", "code", "row", "wipe", "phase change", "padding"),
        *("trap", "descriptor"),
        *("manifest", "account", "trailer"),
    }


def test_nothing_of_the_host_reaches_the_bytes(image: Image) -> None:
    assert b"/work" not in image.data and b"/tmp" not in image.data
    for entry in image.account:
        assert not entry.file.startswith("/")


def test_same_parts_same_bytes(tmp_path: Path, image: Image) -> None:
    """In another process, folder and hash seed too."""
    script = (
        "import sys, hashlib; from metaos.link.link import link;"
        "from tests.link.handmade import PROVENANCE, parts;"
        "print(hashlib.sha256(link(parts(), PROVENANCE).data).hexdigest())"
    )
    import hashlib

    root = str(Path(__file__).parent.parent.parent)
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == hashlib.sha256(image.data).hexdigest()


def test_only_the_sectors_needed_are_loaded(image: Image) -> None:
    manifest = image.manifest
    assert manifest.loaded_sectors == -(-manifest.loaded_bytes // SECTOR)
    assert image.data[510:512] == b"\x55\xaa"


def test_wipe_covers_loader_guard_and_init(image: Image) -> None:
    manifest = image.manifest
    wiped = [s for s in manifest.symbols if s.name.startswith("wiped.")]
    assert all(s.phases == ("wipe",) for s in wiped)

    def covered(start: int, size: int) -> bool:
        return any(s.physical <= start and start + size <= s.physical + s.size for s in wiped)

    assert covered(0x7C00, 512) and covered(0x8000, manifest.loaded_bytes - 512)
    for name in ("guard", "init", "steady", "report", "wipe"):
        phase = manifest.phase(name)
        at = phase.code_pages[-1] + 4096 - phase.code_length
        assert covered(at, phase.code_length) == (name in ("guard", "init"))
    for name, size in (("rows.guard", 48), ("rows.init", 32), ("text", 8)):
        assert covered(manifest.symbol(name).physical, size) == name.startswith("rows")


def test_code_of_many_pages() -> None:
    long = Assembly().add(b"\x90" * 10000).count("trace").code("steady")
    image = link(with_code(long), PROVENANCE)
    phase = image.manifest.phase("steady")
    assert len(phase.code_pages) == 3
    assert in_ram(image, "steady")[:10000] == b"\x90" * 10000


def test_phases_without_code_have_no_root() -> None:
    few = tuple(c for c in codes() if c.phase in ("guard", "steady"))
    guard = Assembly().store("next", "root.wipe").code("guard")
    image = link(parts(codes=(guard, few[1]), windows=(), data=()), PROVENANCE)
    assert [p.name for p in image.manifest.phases] == ["guard", "wipe", "steady", "report"]


def test_memory_needed_is_a_symbol() -> None:
    code = Assembly().add(b"\xb8" + bytes(4), (1, "32", "memory_needed_kib", 0)).code("steady")
    image = link(with_code(code), PROVENANCE)
    need = image.manifest.memory_needed_kib
    assert in_ram(image, "steady")[1:5] == need.to_bytes(4, "little")
    assert need == 5 * 1024  # places from 2 MiB, scratch from 4 MiB


@pytest.mark.parametrize(
    ("kind", "symbol", "addend", "message", "hint"),
    [
        ("GOTPCREL", "trace", 0, "is of no kind that is known", "PC32"),
        ("32", "trce", 0, "names nothing that is in the image", "did you mean 'trace'?"),
        ("32S", "rows.init", 0, "names what steady does not map", "mapped in: init"),
        ("32S", "trace", 0x7FFFFFFF, "overflows", ""),
        ("32", "trace", -0x80000000, "overflows", ""),
        ("PC32", "trace", -0x80000000, "overflows", ""),
        ("64", "trace", 0, "lies outside its 5 bytes", ""),
    ],
)
def test_bad_relocations(kind: str, symbol: str, addend: int, message: str, hint: str) -> None:
    code = Assembly().add(b"\xb8" + bytes(4), (1, kind, symbol, addend)).code("steady")
    error = refused(with_code(code))
    (problem,) = error.problems
    assert f"{CARD} in steady: relocation {kind} to '{symbol}' at byte 1 {message}" in (
        problem.message
    )
    assert hint in problem.hint
    assert problem.span is not None and problem.span.file == SPAN.file


def test_all_problems_come_at_once() -> None:
    bad = Assembly().add(bytes(8), (0, "32", "a", 0), (4, "32", "b", 0)).code("steady")
    fills = place("more", 8, fills=(Fill(8, 1, 0, 1), Fill(0, 1, 0, 0, symbol="c")))
    error = refused(replace(with_code(bad), places=(*PLACES, fills)))
    assert len(error.problems) == 4
    assert "passes the end of its 8 bytes" in error.problems[0].message


def test_datum_relocations() -> None:
    relocation = Relocation(4, "32", "csr", 8)
    rows = replace(DATA[1], relocations=(relocation,))
    image = link(parts(data=(DATA[0], rows, DATA[2])), PROVENANCE)
    symbol = image.manifest.symbol("rows.init")
    data = expand(image)[symbol.physical][:32]
    csr = image.manifest.symbol("csr").linear + 8
    assert data == ROW_DATA[:4] + csr.to_bytes(4, "little") + ROW_DATA[8:32]
    (part,) = symbol.file
    assert image.data[part.start : part.end] == data


def test_too_little_ram() -> None:
    error = refused(parts(memory=((0, 0xA0000), (0x100000, 4 << 20))))
    assert "needs 5120 KiB of RAM above 1 MiB, the machine has 4096 KiB" in error.message


def test_ram_that_begins_late() -> None:
    assert "no room for" in refused(parts(memory=((32 << 20, 32 << 20),))).message
    assert "no usable RAM above 1 MiB" in refused(parts(memory=((0, 0xA0000),))).message


@pytest.mark.parametrize("first", range(1, 12))
def test_late_ram_keeps_clear_of_the_code_region(first: int) -> None:
    manifest = link(parts(memory=((first << 20, 32 << 20),)), PROVENANCE).manifest
    assert min(manifest.roots) >= first << 20
    for one in manifest.mappings:
        assert not one.writable or one.linear >= CODE_END or one.linear + one.size <= DATA_LINEAR


def test_unaligned_windows() -> None:
    odd = Window("odd", CARD, 0xFEBC1040, 0x20, (0,), ("steady",), SPAN)
    image = link(parts(windows=(*parts().windows, odd)), PROVENANCE)
    assert image.manifest.symbol("odd").linear % 4096 == 0x40


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (parts(deposits=("time",)), "the loader cannot deposit 'time'"),
        (parts(places=PLACES[:1] + PLACES[2:]), "no 4-byte place 'memory_kib'"),
        (parts(places=(*PLACES, place("ring", 8))), "two places of the image are called 'ring'"),
        (parts(places=(*PLACES, place("stack", 8))), "the name 'stack' is the linker's own"),
        (parts(places=(*PLACES, place("none", 0))), "the place 'none' is empty"),
        (parts(next="trace"), "'trace', which holds the next root"),
        (parts(codes=codes()[1:]), "no code for the phase 'guard'"),
        (parts(codes=(*codes(), Assembly().code("warp"))), "there is no phase 'warp'"),
        (
            parts(windows=(Window("huge", CARD, 0xC0000000, 1 << 30, (0,), ("steady",), SPAN),)),
            "no linear address below 1 GiB is left for the window 'huge'",
        ),
        (
            with_code(Assembly().add(b"\x90" * (2 << 20)).code("steady")),
            "do not fit in 2097152 bytes",
        ),
        (
            with_code(Assembly().add(b"\x90" * (66 << 10)).code("steady")),
            "one disk read gives the loader 127",
        ),
    ],
)
def test_one_message(what: Parts, message: str) -> None:
    error = refused(what)
    assert message in error.message


def test_nasm_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refused(parts())
    assert error.exit_code == Exit.TOOL_MISSING and "apt-get install nasm" in error.hint


def test_nasm_refuses(tmp_path: Path) -> None:
    broken = tmp_path / "boot.asm"
    broken.write_text("bits 16\nfly me\n")
    with pytest.raises(MetaosError, match=r"nasm refuses the boot loader:\nboot\.asm:2: error"):
        link(parts(), PROVENANCE, broken)
    broken.write_text("db 0\n")
    with pytest.raises(MetaosError, match=r"yields 1 bytes, the linker needs 576"):
        link(parts(), PROVENANCE, broken)
    with pytest.raises(MetaosError, match="cannot read the boot loader"):
        link(parts(), PROVENANCE, tmp_path / "none.asm")
