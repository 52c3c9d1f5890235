"""Debian's packages unpacked, modules chosen and counted, the RAM disk, and a card's goals."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import pytest

from benchmarks import cards
from benchmarks.beside_linux import Peer, Result, beside, device_names, table, unmet
from benchmarks.guests import Counted, Timed, counted, linux, timed
from benchmarks.linux import Kernel, Module, Package, fetch, initramfs
from metaos.boot.target import load_target
from metaos.errors import Exit, MetaosError
from metaos.probe.store import read_machine

RECORDED = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"
CODE = bytes.fromhex("7402 0f8500000000 e2fe eb00 e800000000 c3")
"""je, jne, loop; then jmp, call, ret, which are not conditional."""


def elf(text: bytes, info: str) -> bytes:
    """The least module: an ELF file with .text and .modinfo."""
    names = b"\0.text\0.modinfo\0.shstrtab\0"
    parts = [text, b"\0" + info.encode().replace(b"|", b"\0") + b"\0", names]
    starts, at = [], 64
    for part in parts:
        starts.append(at)
        at += len(part)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, at, 0, 64, 0, 0, 64, 4, 3)
    sections = bytes(64)
    for name, start, part in zip((1, 7, 16), starts, parts, strict=True):
        kind = 3 if name == 16 else 1
        sections += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, start, len(part), 0, 0, 1, 0)
    return head + b"".join(parts) + sections


def kernel(folder: Path, **modules: tuple[str, str]) -> Kernel:
    """A kernel whose modules have a folder below kernel/ and a text of `modinfo`."""
    made = {}
    for name, (where, info) in modules.items():
        path = folder / "kernel" / where / f"{name}.ko"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(elf(CODE, info))
        made[name] = Module(name, path)
    packages = (Package("linux-image-6.1", "6.1.1-1", "ab"), Package("busybox-static", "1", "cd"))
    return Kernel(packages, folder / "vmlinuz", folder / "busybox", made)


NET = "drivers/net/ethernet"


def test_a_module_says_its_code_its_branches_and_its_needs(tmp_path: Path) -> None:
    one = kernel(tmp_path, a=(NET, "alias=pci:v1*|depends=b-c,d|alias=pci:v2*")).modules["a"]
    assert one.depends == ("b-c", "d") and one.aliases == ("pci:v1*", "pci:v2*")
    assert one.text == CODE and one.conditional_branches == 3


def test_modules_come_after_what_they_depend_on(tmp_path: Path) -> None:
    made = kernel(
        tmp_path,
        old=(NET, "alias=pci:v000010ECd00008139sv*|depends=mii"),
        new=(NET, "alias=pci:v000010ECd00008139sv*|depends=mii,crc-x"),
        mii=("drivers/net", "depends="),
        crc_x=("lib", "depends="),
        other=(NET, "alias=pci:v00008086d*|depends="),
        sound=("sound", "alias=pci:v000010ECd*|depends="),
    )
    chosen = made.modules_for(["pci:v000010ECd00008139sv0sd0bc02sc00i00"])
    assert [m.name for m in chosen] == ["mii", "crc_x", "new", "old"]
    assert [m.name for m in beside(made.modules["new"], chosen)] == ["mii", "crc_x"]
    with pytest.raises(MetaosError, match=r"Linux 6\.1\.1-1 has no module for pci:vAA"):
        made.modules_for(["pci:vAA"])


def test_a_cards_name_is_the_one_that_linux_looks_for() -> None:
    machine = read_machine(RECORDED)
    (card,) = (f for f in machine.functions if f.address == "00:03.0")
    assert device_names(card) == ("pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",)
    virtio = msgspec.structs.replace(card, vendor=0x1AF4)
    assert len(device_names(virtio)) == 2


def test_the_ram_disk_is_an_archive_that_cpio_reads(tmp_path: Path) -> None:
    """Read back by the format's definition: names, modes, data, all of it aligned."""
    module = kernel(tmp_path, a=(NET, "depends=")).modules["a"]
    found: dict[str, tuple[int, bytes]] = {}
    data, at = initramfs(b"busybox", [module], "10.0.2.15/24"), 0
    while not found.get("TRAILER!!!"):
        assert data[at : at + 6] == b"070701" and at % 4 == 0
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        start = at + (110 + fields[11] + 3) // 4 * 4
        found[name] = (fields[1], data[start : start + fields[6]])
        at = start + (fields[6] + 3) // 4 * 4
    assert at == len(data)
    assert found["bin/busybox"] == (0o100755, b"busybox") and found["a.ko"][1] == module.data
    init = found["init"][1].decode()
    assert "insmod /a.ko" in init and "ip addr add 10.0.2.15/24 dev eth0" in init


def test_a_host_without_debians_programs_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MetaosError, match="apt-get is not installed") as refused:
        fetch(tmp_path)
    assert refused.value.exit_code is Exit.TOOL_MISSING and "Debian" in refused.value.hint


def test_packages_that_cannot_be_had_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program, does in {
        "apt-cache": 'echo "Depends: linux-image-x (= 1)"; echo "Version: 1"',
        "apt-get": 'echo "E: Temporary failure" >&2; exit 100',
        "dpkg-deb": "exit 1",
    }.items():
        (tmp_path / program).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(MetaosError, match="E: Temporary failure") as refused:
        fetch(tmp_path / "cache")
    assert "network" in refused.value.hint
    assert list((tmp_path / "cache").iterdir()) == []


# ---- goals --------------------------------------------------------------------------------

ASKED = cards.Asked(
    echoes=100, lost=0, instructions=148.0, reads=0.0, writes=2.0, idle_reads=0.0,
    idle_writes=0.0, branches=0,
)  # fmt: skip
ROW = cards.Row(
    pattern="i82574l", machine="m", turn=121, content=890, driver_content=472, driver_loaded=887,
    branches=0, boot=18_000, asked=ASKED,
)  # fmt: skip
OURS = Counted(
    first_answer=7_000_000, idle_a_second=0.0, echoes=100, lost=0, echo=150.0, echo_branches=0.0
)
TIMES = Timed(idle_cpu=0.1, round_trip_p50=40.0, round_trip_p99=80.0, lost=0)
LINUX = Peer(
    driver="e1000e", text=158_603, branches=3_528, others=20_000,
    counted=msgspec.structs.replace(OURS, first_answer=6_300_000_000, echo=8_599.0,
                                    echo_branches=1_025.0, idle_a_second=97_195.0),
    timed=msgspec.structs.replace(TIMES, round_trip_p50=140.0),
)  # fmt: skip
RESULT = Result(row=ROW, counted=OURS, timed=TIMES, linux=LINUX)


def other(**changes: object) -> Result:
    """RESULT with other fields of its row, of what was asked, or of what was counted and timed."""
    row, asked, ours, times = ROW, ASKED, OURS, TIMES
    for name, value in changes.items():
        if hasattr(row, name):
            row = msgspec.structs.replace(row, **{name: value})
        elif hasattr(times, name) and name != "lost":
            times = msgspec.structs.replace(times, **{name: value})
        elif hasattr(ours, name):
            ours = msgspec.structs.replace(ours, **{name: value})
    return Result(
        row=msgspec.structs.replace(row, asked=asked), counted=ours, timed=times, linux=LINUX
    )


def test_a_card_that_meets_its_goals(tmp_path: Path) -> None:
    assert list(unmet(RESULT)) == []
    assert RESULT.times_fewer == pytest.approx(8_599 / 150)
    text = table([RESULT], kernel(tmp_path))
    assert "| 150, 8,599 | 57.3 |" in text and "busybox-static 1, SHA-256 `cd`" in text
    assert "| none |" in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"echo": 300.0}, "28.7 times fewer instructions, not 40"),
        ({"driver_content": 8_000}, "19.8 times smaller, not 20"),
        ({"idle_a_second": 2_000.0}, "2,000 idle instructions a second"),
        ({"idle_cpu": 2.0}, "2.0 % of a host CPU when idle, not under 2"),
        ({"round_trip_p50": 141.0}, "a longer round trip"),
        ({"branches": 1}, "1 conditional branches, 0 executed"),
        ({"lost": 2}, "2 echoes lost"),
    ],
)
def test_a_missed_goal_is_said(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    result = other(**changes)
    assert list(unmet(result)) == [says]
    assert f"| {says} |" in table([result], kernel(tmp_path))


@pytest.mark.qemu
@pytest.mark.soak
def test_linux_answers_and_says_its_driver() -> None:
    """Needs the network once: the packages stay in build/linux/."""
    debian = fetch()
    (card,) = (f for f in read_machine(RECORDED).functions if f.address == "00:03.0")
    modules = debian.modules_for(device_names(card))
    with linux(debian, load_target("pc-e1000").args, modules, plugin=True) as guest:
        found = counted(guest, 500)
        assert guest.driver == "e1000"
    assert found.lost == 0 and found.first_answer > 1e9
    assert 2_000 < found.echo < 50_000 and 100 < found.echo_branches < found.echo / 3
    with linux(debian, load_target("pc-e1000").args, modules, plugin=False) as guest:
        assert timed(guest, 50).lost == 0
