"""The counting plugin against a boot sector whose every instruction is known."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import cast

import pytest

from benchmarks import harness
from benchmarks.harness import Counters, compile_plugin, mapped, read_counters
from metaos.boot.qemu import Qemu
from metaos.boot.target import QEMU, boot_disk
from metaos.errors import MetaosError

STORED, ROUNDS = 1000, 10
SECTOR = f"""
    bits 16
    org 0x7C00
        cli                     ; 1
        xor ax, ax              ; 2
        mov es, ax              ; 3
        mov di, 0x8000          ; 4
        cld                     ; 5
        mov cx, {STORED}        ; 6
        rep stosb               ; {STORED} times, and once to see that CX is 0
        rep stosb               ; a count of 0: once
        mov cx, {ROUNDS}        ; 7
    again:
        dec cx                  ; {ROUNDS} times
        jnz again               ; {ROUNDS} times, a conditional branch
    stop:
        hlt                     ; 8
        jmp stop
        times 510-($-$$) db 0
        dw 0xAA55
"""
INSTRUCTIONS = 8 + STORED + 1 + 1 + 2 * ROUNDS
SECONDS = 20.0


def settled(path: Path, vm: Qemu) -> Counters:
    """The counters once the sector has run and they no longer change."""
    end, before = time.monotonic() + SECONDS, None
    while time.monotonic() < end:
        if path.exists():
            now = read_counters(mapped(path), ())
            if now.owners["loader"].instructions and now == before:
                return now
            before = now
        if vm.wait(0.05) is not None:
            raise vm.death("while it counted")
    raise AssertionError(f"the counters do not come to rest: {before}")


@pytest.mark.qemu
def test_every_iteration_and_every_branch_of_a_loader_is_counted(tmp_path: Path) -> None:
    (tmp_path / "sector.asm").write_text(SECTOR)
    subprocess.run(
        ["nasm", "-f", "bin", "-o", "sector.img", "sector.asm"],
        cwd=tmp_path,
        check=True,
        timeout=20,
    )
    out = tmp_path / "counters"
    plugin = f"{compile_plugin(tmp_path)},out={out},loader_end=0x7E00"
    line = [QEMU, "-accel", "tcg", "-M", "pc", "-m", "16", "-nodefaults", "-display", "none"]
    line += [*boot_disk(tmp_path / "sector.img"), "-plugin", plugin]
    with Qemu(line) as vm:
        counters = settled(out, vm)
    loader = counters.owners["loader"]
    assert loader.instructions == INSTRUCTIONS
    assert loader.branches == ROUNDS
    assert counters.owners["before"].instructions > 100_000, "the firmware ran before"
    assert counters.steady_turns == 0 and counters.branches_after == 0


@pytest.mark.qemu
def test_a_plugin_without_its_file_ends_qemu_with_a_message(tmp_path: Path) -> None:
    plugin = compile_plugin(tmp_path)
    line = [QEMU, "-accel", "tcg", "-M", "none", "-display", "none", "-plugin", str(plugin)]
    with pytest.raises(MetaosError, match="needs out=FILE"), Qemu(line) as vm:
        vm.command("query-status")


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MetaosError, match="gcc is not installed"):
        compile_plugin(tmp_path)


class Changing:
    """Shared memory of the plugin that is in the midst of a change for so many naps of ours."""

    def __init__(self, naps: int) -> None:
        self.naps, self.view = naps, bytearray(4096)
        self.moment = 0.0
        struct.pack_into("<Q", self.view, harness._CHANGES_AT, 1)
        struct.pack_into("<Q", self.view, harness._SETTLED_AT, 7)

    def nap(self, seconds: float) -> None:
        self.moment += seconds
        self.naps -= 1
        if not self.naps:
            struct.pack_into("<Q", self.view, harness._CHANGES_AT, 2)


@pytest.mark.parametrize(("naps", "settles"), [(0, False), (1, True), (50_000, True)])
def test_a_change_that_the_host_holds_up_is_waited_for(
    naps: int, settles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Changing(naps)
    monkeypatch.setattr("time.sleep", memory.nap)
    monkeypatch.setattr("time.monotonic", lambda: memory.moment)
    if settles:
        assert harness._settled(cast(mmap.mmap, memory.view)).instructions == 7
        return
    with pytest.raises(MetaosError, match="never stand still"):
        harness._settled(cast(mmap.mmap, memory.view))
