"""One image booted in QEMU, its consoles read, its memory looked at, its network end held.

    with booted(image, (*TARGET, CARD)) as machine:
        machine.wait_for("MetaOS")
        machine.screen(), machine.physical(0x100000, 4096)
        machine.ask(frame)

Every wait has a limit and says what it waited for; QEMU is gone when the block is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaos.boot import network
from metaos.boot.qemu import Qemu
from metaos.boot.target import NO_TARGET, QEMU, command, load_target

LIMIT_SECONDS = 20.0
"""Far more than any start needs, even where QEMU gets a tenth of a processor."""
TEXT_MEMORY, COLUMNS, ROWS = 0xB8000, 80, 25
MAC = bytes.fromhex("525400123456")
IP = bytes([10, 0, 2, 15])
CARD = "e1000,mac=52:54:00:12:34:56"
BARE = ("-M", "pc", "-m", "64", "-nodefaults")
SERIAL = ("-serial", "chardev:s0")
SCREEN = ("-vga", "std")
TARGET = (*BARE, *SCREEN, *SERIAL)
"""The default target without its card."""
_POLL_SECONDS = 0.02


@dataclass
class Booted:
    """A running machine. `said` is what its serial port has said so far."""

    vm: Qemu
    wire: network.Wire
    folder: Path
    serial: int
    said: str = ""

    def wait_for(self, text: str, seconds: float = LIMIT_SECONDS) -> str:
        """Read the serial console until `text` has come and its line is whole; that line."""
        end = time.monotonic() + seconds
        while (line := self._line_with(text)) is None:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.serial], [], [], left)[0]:
                raise AssertionError(f"no '{text}' in {seconds} s; the console said: {self.said!r}")
            piece = os.read(self.serial, 1 << 16)
            if not piece:
                raise self.vm.death(f"before it said '{text}', saying {self.said!r}")
            self.said += piece.decode("latin-1")
        return line

    def read_all(self) -> None:
        """Read what the serial console has said, without waiting for more."""
        while select.select([self.serial], [], [], 0)[0]:
            piece = os.read(self.serial, 1 << 16)
            if not piece:
                return
            self.said += piece.decode("latin-1")

    def _line_with(self, text: str) -> str | None:
        whole = self.said.rpartition("\n")[0]
        return next((x.strip("\r") for x in whole.split("\n") if text in x), None)

    def physical(self, address: int, size: int) -> bytes:
        """`size` bytes of the machine's memory at a physical address."""
        file = self.folder / "memory"
        self.vm.command("pmemsave", val=address, size=size, filename=str(file))
        return file.read_bytes()

    def screen(self) -> list[str]:
        """The lines of text memory, without spaces at the ends."""
        cells = self.physical(TEXT_MEMORY, 2 * COLUMNS * ROWS)[::2].decode("latin-1")
        rows = [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
        return [row.replace("\0", " ").rstrip() for row in rows]

    def root(self) -> int:
        """The page-table root that the processor has loaded: CR3."""
        found = re.search(r"CR3=([0-9a-f]+)", self.vm.hmp("info registers"))
        assert found is not None, "QEMU shows no CR3"
        return int(found[1], 16)

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Look again and again until `holds()`."""
        end = time.monotonic() + LIMIT_SECONDS
        while not holds():
            assert time.monotonic() < end, f"{what}: not in {LIMIT_SECONDS} s"
            assert self.vm.returncode is None, f"{what}: QEMU ended"
            time.sleep(_POLL_SECONDS)

    def ask(self, frame: bytes, seconds: float = LIMIT_SECONDS) -> bytes:
        """Send `frame` again and again until something comes back."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.wire.send(frame)
            reply = self.wire.receive(0.2)
            if reply is not None:
                return reply
            assert self.vm.returncode is None, "QEMU ended"
        raise AssertionError(f"no answer in {seconds} s; the console said: {self.said!r}")


@contextlib.contextmanager
def booted(
    image: Path, arguments: Sequence[str], *, card: str = CARD, paused: bool = False
) -> Iterator[Booted]:
    """Boot `image` on the machine of `arguments` and, if given, one network card on our wire.

    `paused` machines run after `vm.command("cont")`.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metaos-")))
        wire = stack.enter_context(network.open_wire(folder))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        with os.fdopen(writer, "wb") as end:
            words = [*arguments, *(["-device", f"{card},netdev={network.NETDEV}"] if card else [])]
            line = command(
                load_target(NO_TARGET),
                words,
                image=image,
                accel="tcg",
                serial=f"file,path=/dev/fd/{end.fileno()}",
            )
            backend = ["-netdev", wire.backend] if card else []
            more = [*backend, "-no-reboot", *(["-S"] if paused else [])]
            vm = stack.enter_context(Qemu([*line, *more], pass_fds=(end.fileno(),)))
        yield Booted(vm, wire, folder, reader)


def children(parent: int | None = None) -> list[str]:
    """The QEMU processes that `parent`, or this process, has started and that still run."""
    mine = str(os.getpid() if parent is None else parent)
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            words = dict(x.split(":\t", 1) for x in status.read_text().splitlines() if ":\t" in x)
            ours = words.get("PPid") == mine and not words.get("State", "").startswith("Z")
            if ours and words.get("Name", "").startswith(QEMU[:15]):
                found.append(words["Pid"])
    return found
