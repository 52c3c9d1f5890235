"""QEMU for the linker's tests: start it, talk QMP to it, read its RAM, always end it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIMIT = 30.0
QUIET = ("-nodefaults", "-display", "none", "-accel", "tcg", "-no-reboot")


class Emulator:
    """A running QEMU with its QMP socket."""

    def __init__(self, process: subprocess.Popen[bytes], link: socket.socket, folder: Path) -> None:
        self._process = process
        self._file = link.makefile("rwb")
        self._folder = folder
        json.loads(self._file.readline())
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> Any:
        """Run a QMP command and return its answer; events in between are dropped."""
        message = {"execute": name, "arguments": arguments}
        self._file.write(json.dumps(message).encode() + b"\n")
        self._file.flush()
        while True:
            answer = json.loads(self._file.readline())
            assert "error" not in answer, answer
            if "return" in answer:
                return answer["return"]

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of physical memory."""
        target = self._folder / "dump"
        self.command("pmemsave", val=address, size=size, filename=str(target))
        return target.read_bytes()

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 4), "little")

    def wait_for(self, address: int, least: int) -> None:
        """Wait until the 32-bit word at `address` is at least `least` (and no wild value)."""
        end = time.monotonic() + LIMIT
        while True:
            value = self.word(address)
            if least <= value < 1 << 31:
                return
            assert self._process.poll() is None, "QEMU ended"
            assert time.monotonic() < end, f"{address:#x} is {value:#x} after {LIMIT} s"
            time.sleep(0.05)

    def registers(self) -> str:
        return str(self.command("human-monitor-command", **{"command-line": "info registers"}))


@contextmanager
def emulator(folder: Path, image: Path, arguments: Sequence[str]) -> Iterator[Emulator]:
    """Boot `image` from the first disk; QEMU is gone when the block ends."""
    path = folder / "qmp"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(LIMIT)
        process = subprocess.Popen(
            [*command(image, arguments), "-qmp", f"unix:{path}"],
            stdout=subprocess.DEVNULL,
            stderr=(folder / "errors").open("wb"),
        )
        try:
            link, _ = server.accept()
            link.settimeout(LIMIT)
            with link:
                yield Emulator(process, link, folder)
        finally:
            process.kill()
            process.wait()
            path.unlink(missing_ok=True)


def command(image: Path, arguments: Sequence[str]) -> list[str]:
    """The QEMU command for booting `image` read-only from the first disk."""
    drive = f"file={image},format=raw,if=none,id=disk,snapshot=on"
    disk = ["-drive", drive, "-device", "ide-hd,drive=disk,bootindex=0"]
    return ["qemu-system-x86_64", *QUIET, *disk, *arguments]


def serial_text(image: Path, arguments: Sequence[str], wanted: str) -> str:
    """Boot and return what came over the first serial port, up to and with `wanted`."""
    process = subprocess.Popen(
        [*command(image, arguments), "-serial", "stdio"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    text = b""
    end = time.monotonic() + LIMIT
    try:
        assert process.stdout is not None
        while wanted.encode() not in text and time.monotonic() < end:
            piece = process.stdout.read1(256)  # type: ignore[attr-defined]
            if not piece:
                break
            text += piece
        return text.decode("ascii", "replace")
    finally:
        process.kill()
        process.wait()
