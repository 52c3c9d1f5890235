"""A linked image in QEMU: it boots, its phases follow each other, and the laws hold in RAM."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from metaos.link.image import Image, write_image
from metaos.link.layout import CODE_END, DATA_LINEAR
from metaos.link.link import link
from tests.link.emulator import Emulator, emulator, serial_text
from tests.link.handmade import PROVENANCE, RAM_48M, ROW_DATA, TRAP, Assembly, codes, parts
from tests.link.walk import promised, walk

pytestmark = pytest.mark.qemu

PC = ("-M", "pc", "-m", "48", "-device", "VGA")
Q35 = ("-M", "q35", "-m", "6G")
TURNS = 1000
PAGE_FAULT = 14


@pytest.fixture(scope="module")
def image() -> Image:
    return link(parts(), PROVENANCE)


@pytest.fixture
def path(tmp_path: Path, image: Image) -> Path:
    write_image(image, tmp_path / "x.img")
    return tmp_path / "x.img"


def trace(machine: Emulator, image: Image, word: int) -> int:
    return machine.word(image.manifest.symbol("trace").physical + 4 * word)


def steady(machine: Emulator, image: Image) -> None:
    machine.wait_for(image.manifest.symbol("trace").physical + 8, TURNS)


@pytest.mark.parametrize(
    ("arguments", "memory_kib"),
    [(PC, range(47 * 1024 - 256, 47 * 1024 + 1)), (Q35, range(1 << 20, 6 << 20))],
    ids=["pc", "q35"],
)
def test_boots_through_all_phases(
    tmp_path: Path, image: Image, path: Path, arguments: tuple[str, ...], memory_kib: range
) -> None:
    symbol = image.manifest.symbol
    with emulator(tmp_path, path, arguments) as machine:
        steady(machine, image)
        assert trace(machine, image, 0) == 1, "guard took one turn"
        assert trace(machine, image, 1) == 1, "init took one turn"
        assert trace(machine, image, 3) == 0, "report never ran"
        stack = symbol("stack")
        assert trace(machine, image, 4) == stack.linear + stack.size
        rows = int.from_bytes(ROW_DATA[:4], "little")
        assert trace(machine, image, 6) == trace(machine, image, 7) == rows
        assert machine.word(symbol("memory_kib").physical) in memory_kib
        machine.command("stop")
        assert machine.word(symbol("next").physical) == symbol("root.steady").physical
        check_registers(machine, image)
        check_tables(machine, image)
        check_wiped(machine, image)


def check_registers(machine: Emulator, image: Image) -> None:
    text = machine.registers()
    found = dict(re.findall(r"\b(CR0|CR3|CR4|EFER)=([0-9a-f]+)", text))
    assert int(found["CR0"], 16) & 0x80010001 == 0x80010001, "paging, write protection"
    assert int(found["EFER"], 16) & 0xD00 == 0xD00, "NXE, LMA, LME"
    assert int(found["CR3"], 16) == image.manifest.phase("steady").root


def check_tables(machine: Emulator, image: Image) -> None:
    """Every root as it stands in RAM after the run, against the manifest and the rules."""
    base = min(image.manifest.roots)
    frames = image.manifest.gates.physical
    tables = machine.read(base, frames - base)

    def page(at: int) -> bytes:
        assert base <= at < frames, f"a table outside the tables: {at:#x}"
        return tables[at - base : at - base + 4096]

    for phase in image.manifest.phases:
        found = walk(page, phase.root)
        assert found == promised(image.manifest.mappings, phase.name)
        for linear, one in found.items():
            in_code = DATA_LINEAR <= linear < CODE_END
            runs = (*phase.code_pages, image.manifest.gates.physical)
            assert one.executable == (in_code and one.physical in runs)
            assert one.writable != in_code
            assert linear >= 2 << 20 or phase.name == "wipe"


def check_wiped(machine: Emulator, image: Image) -> None:
    wiped = [s for s in image.manifest.symbols if s.name.startswith("wiped.")]
    assert len(wiped) >= 2
    for one in wiped:
        assert not any(machine.read(one.physical, one.size)), one.name
    for name in ("guard", "init"):
        for frame in image.manifest.phase(name).code_pages:
            assert not any(machine.read(frame, 4096)), f"a frame of {name}"
    (frame,) = image.manifest.phase("steady").code_pages
    assert any(machine.read(frame, 4096))


def test_leaves_through_report(tmp_path: Path) -> None:
    guard = Assembly().count("trace").store("next", "root.report").code("guard")
    image = link(parts(codes=(guard, *codes()[1:])), PROVENANCE)
    write_image(image, tmp_path / "x.img")
    with emulator(tmp_path, tmp_path / "x.img", PC) as machine:
        at = image.manifest.symbol("trace").physical
        machine.wait_for(at + 12, TURNS)
        assert (machine.word(at), machine.word(at + 4), machine.word(at + 8)) == (1, 0, 0)
        assert machine.word(at + 36) == int.from_bytes(b"stop", "little")


def fault(folder: Path, guard: Assembly, **fields: object) -> tuple[int, int, int]:
    """Vector, RIP and CR2 of the exception that guard ends in, once report shows it."""
    image = link(parts(codes=(guard.code("guard"), *codes()[1:]), **fields), PROVENANCE)
    write_image(image, folder / "x.img")
    with emulator(folder, folder / "x.img", PC) as machine:
        machine.wait_for(image.manifest.symbol("trace").physical + 12, TURNS)
        at = image.manifest.symbol("fault").physical
        assert machine.word(at + TRAP.site) == TRAP.elsewhere
        return (
            machine.word(at + TRAP.found),
            machine.word(at + TRAP.place),
            machine.word(at + TRAP.wanted),
        )


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(0x7C00, id="low memory"),
        pytest.param(CODE_END - 4, id="its own code"),
        pytest.param(DATA_LINEAR, id="the trap"),
        pytest.param(DATA_LINEAR + 0x1000, id="read-only data"),
        pytest.param(0, id="a window of other phases"),
    ],
)
def test_forbidden_stores_end_in_report(tmp_path: Path, image: Image, address: int) -> None:
    """In guard's very first turn."""
    address = address or image.manifest.symbol("screen").linear
    raw = b"\xbf" + address.to_bytes(4, "little") + b"\x89\x3f"  # mov edi, it; mov [rdi], edi
    vector, rip, touched = fault(tmp_path, Assembly().add(raw).store("next", "root.init"))
    assert (vector, touched) == (PAGE_FAULT, address)
    assert CODE_END - 4096 <= rip < CODE_END


@pytest.mark.parametrize("target", [DATA_LINEAR + 0x1000, 0x200000], ids=["data", "places"])
def test_data_and_places_do_not_execute(tmp_path: Path, target: int) -> None:
    """Guard jumps to an endless loop put there: if it could run, there would be no report."""
    loop = b"\xeb\xfe"
    rows = parts().data[0]
    data = (replace(rows, data=loop + rows.data[2:]), *parts().data[1:])
    store = b"\x66\xc7\x04\x25" + (0x200000).to_bytes(4, "little") + loop
    jump = b"\xb8" + target.to_bytes(4, "little") + b"\xff\xe0"  # mov eax, target; jmp rax
    guard = Assembly().add(store + jump).store("next", "root.init")
    assert fault(tmp_path, guard, data=data) == (PAGE_FAULT, target, target)


def test_no_long_mode(path: Path) -> None:
    wanted = "MetaOS: CPU lacks 64-bit mode or NX"
    text = serial_text(path, ("-M", "pc", "-m", "48", "-cpu", "pentium3"), wanted)
    assert wanted in text


def test_no_nx(path: Path) -> None:
    wanted = "MetaOS: CPU lacks 64-bit mode or NX"
    assert wanted in serial_text(path, ("-M", "pc", "-m", "48", "-cpu", "qemu64,-nx"), wanted)


def test_failed_disk_read(tmp_path: Path, path: Path) -> None:
    short = tmp_path / "short.img"
    short.write_bytes(path.read_bytes()[:1024])
    wanted = "MetaOS: disk read failed"
    assert wanted in serial_text(short, ("-M", "pc", "-m", "48"), wanted)


def test_message_is_on_the_screen(tmp_path: Path, path: Path) -> None:
    with emulator(tmp_path, path, (*PC, "-cpu", "pentium3")) as machine:
        wanted = b"MetaOS: CPU lacks"
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if wanted in machine.read(0xB8000, 4000)[::2]:
                return
            time.sleep(0.1)
        raise AssertionError("no message in text memory")


def test_smallest_memory_boots(tmp_path: Path, image: Image) -> None:
    """As much RAM as the manifest says it needs, and 128 KiB for the firmware's own tables."""
    need = image.manifest.memory_needed_kib
    memory = (RAM_48M[0], (1 << 20, need << 10))
    small = link(parts(memory=memory), PROVENANCE)
    write_image(small, tmp_path / "x.img")
    with emulator(
        tmp_path, tmp_path / "x.img", ("-M", "pc", "-m", str(need // 1024 + 2))
    ) as machine:
        steady(machine, small)
