"""The discoverer's image as a person boots it: from a disk or a stick, with no control socket
that it needs; its log, or its pages on the screen, give the machine that a probe gives."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec
import pytest

from metaos.boot.network import as_connected
from metaos.boot.qemu import Qemu
from metaos.boot.target import QEMU, Target, command, load_target
from metaos.probe.discover import read_discovered, write_discoverer
from metaos.probe.log import read_log
from metaos.probe.machine import Machine
from metaos.probe.qemu import probe_qemu
from metaos.probe.salvage import salvage

SECONDS = 40.0
SCREEN = ("-M", "pc", "-m", "64", "-nodefaults", "-vga", "std", "-device", "e1000")
pytestmark = pytest.mark.qemu


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stick") / "discover.img"
    write_discoverer(path)
    return path


def said(machine: Machine) -> dict[str, object]:
    """What the discoverer itself can know of a machine."""
    functions = [msgspec.structs.replace(f, name="", name_origin=None) for f in machine.functions]
    return {
        "cpu": machine.cpu,
        "memory": machine.memory,
        "functions": functions,
        "legacy": machine.legacy,
        "acpi": machine.acpi,
    }


def booted(arguments: list[str], log: Path) -> None:
    """Let a machine run until its log has the last line."""
    with Qemu(arguments, qmp=False) as vm:
        end = time.monotonic() + SECONDS
        while not (log.exists() and re.search(rb" end [0-9a-f]{4}\*[0-9a-f]{4}", log.read_bytes())):
            assert time.monotonic() < end and vm.returncode is None, vm.stderr
            time.sleep(0.1)


@pytest.mark.parametrize("name", ["pc-e1000", "q35-e1000e"])
def test_its_serial_log_gives_the_machine_that_a_probe_gives(
    name: str, image: Path, tmp_path: Path
) -> None:
    target, log = load_target(name), tmp_path / "serial.log"
    connected = Target(name, "", tuple(as_connected(target.args, QEMU)))
    booted(command(connected, image=image, accel="tcg", serial=f"file,path={log}"), log)
    machine, problems = read_discovered(log)
    assert problems == () and said(machine) == said(probe_qemu(target))
    assert [x.what for x in machine.unknown] == [
        f"{f.address} mac" for f in machine.functions if f.class_code >> 16 == 2
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-M", "pc", "-drive", "format=raw,snapshot=on,file={}"],
        ["-M", "q35", "-drive", "format=raw,snapshot=on,file={}"],
        ["-M", "q35", "-drive", "if=none,id=s,format=raw,snapshot=on,file={}",
         "-device", "qemu-xhci", "-device", "usb-storage,drive=s"],
    ],
)  # fmt: skip
def test_it_boots_from_disks_and_sticks(arguments: list[str], image: Path, tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    words = [QEMU, "-accel", "tcg", "-m", "64", "-display", "none", "-nic", "none", "-no-reboot"]
    booted([*words, *(x.format(image) for x in arguments), "-serial", f"file:{log}"], log)
    machine, problems = read_discovered(log)
    assert problems == () and len(machine.functions) >= 5


def rows(vm: Qemu) -> list[str]:
    """The screen's rows, out of text mode's memory: a character and its colour in each word."""
    dump = re.sub(r"^[0-9a-f]+:", "", vm.hmp("xp /4000hx 0xb8000"), flags=re.MULTILINE)
    shown = "".join(chr(int(word, 16) & 0xFF) for word in re.findall(r"0x([0-9a-f]{4})", dump))
    return [shown[at : at + 80].rstrip() for at in range(0, len(shown), 80)]


def pages(vm: Qemu) -> str:
    """All pages, a key after each."""
    end, texts = time.monotonic() + SECONDS, list[str]()
    while time.monotonic() < end:
        shown = rows(vm)
        # Before its first page the screen may still show the end of the run before.
        last = bool(texts) and any(row.startswith("-- the end") for row in shown)
        if last or any(row.startswith(f"-- page {len(texts) + 1:04x}") for row in shown):
            texts.append("\n".join(shown))
            if last:
                return "\n".join(texts)
            vm.hmp("sendkey ret")
        time.sleep(0.05)
    raise AssertionError("\n".join(texts))


def test_without_a_serial_port_the_screen_shows_it_page_by_page(image: Path) -> None:
    target = Target("none", "", SCREEN)
    with Qemu(command(target, image=image, accel="tcg")) as vm:
        text = pages(vm)
        vm.hmp("sendkey ret")  # once more
        again = pages(vm)
    log = read_log(text, "screen")
    assert log.problems == ()
    assert max(len(row) for row in text.splitlines()) < 80
    assert read_log(again, "screen").lines == log.lines
    assert said(salvage(log)) == said(probe_qemu(target))
