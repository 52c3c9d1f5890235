"""Boot an image in QEMU with the counting plugin, on a network of two; QEMU is gone afterwards.

    with booted(Path("build/pc-e1000.img"), plugin=True) as machine:
        machine.wake(30)
        before = machine.counters()

The machine is the one the image was made for, as its manifest says; arguments can be appended.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from benchmarks.packets import Host
from metaos.boot.network import Datagrams, connect, free_datagrams, network_cards
from metaos.boot.qemu import Qemu
from metaos.boot.target import QEMU, command, load_target
from metaos.errors import MetaosError
from metaos.link.image import Image, read_image
from metaos.link.loader import LOW

SOURCE = Path(__file__).with_name("qemu_counter.c")
LOCALHOST = "127.0.0.1"
GUEST_IP = "10.0.2.15"
_COUNTER, _MAGIC = struct.Struct("<7Q"), 0x31544E434D455451
_CHANGES_AT, _SETTLED_AT, _COUNTERS_AT = 48, 64, 120
_SETTLE_SECONDS = 10.0
"""A look that falls into a change is taken again; one in a few does. Where the host lets QEMU wait
in the midst of one, so do we."""
_SILENCE = 0.2
"""Seconds without a frame after which none is on its way."""
_OWNERS = ("before", "firmware", "loader", "stray", "outside")


@dataclass(frozen=True)
class Counter:
    """What one owner executed; `turns` is 0 for what is no phase.

    The last four are counted for phases, and if they are asked for: accesses to the memory of
    devices, and how often an IN or INS, an OUT or OUTS was executed.
    """

    instructions: int
    branches: int
    turns: int
    reads: int
    writes: int
    port_reads: int
    port_writes: int


@dataclass(frozen=True)
class Counters:
    """One look at the plugin's counters. Times are of CLOCK_MONOTONIC, in nanoseconds.

    The steady phase's are those at the beginning of a turn, so that two looks differ by whole
    turns. The others' are only true once their owners have stopped.
    """

    steady_turns: int
    started_ns: int
    steady_ns: int
    owners: dict[str, Counter]

    @property
    def branches_after(self) -> int:
        """Conditional branches after the hand-over, of whatever ran then."""
        return sum(c.branches for n, c in self.owners.items() if n not in _OWNERS[:3])


def compile_plugin(folder: Path) -> Path:
    """Compile qemu_counter.c into `folder`. Raises MetaosError if gcc is missing or fails."""
    gcc = shutil.which("gcc") or shutil.which("cc")
    if gcc is None:
        raise MetaosError("gcc is not installed", hint="sudo apt-get install -y gcc libc6-dev")
    target = folder / "qemu_counter.so"
    done = subprocess.run(
        [gcc, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", str(target), str(SOURCE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise MetaosError(f"gcc refuses {SOURCE.name}:\n{done.stderr.strip()}")
    return target


def plugin_option(plugin: Path, image: Image, folder: Path) -> tuple[str, Path]:
    """QEMU's `-plugin` value for an image, and the file that the counters will be in."""
    phases, out = folder / "phases", folder / "counters"
    packed = b""
    for phase in image.manifest.phases:
        code = b"".join(image.data[part.start : part.end] for part in phase.code_file)
        packed += struct.pack("<II", len(code), phase.name == "steady") + code
    phases.write_bytes(packed)
    first = image.manifest.phases[0]
    end = first.code_linear + first.code_length
    start = min(phase.code_linear for phase in image.manifest.phases) // 4096 * 4096
    numbers = f"loader_end={LOW + image.manifest.loader.end:#x},code_start={start:#x}"
    return f"{plugin},out={out},phases={phases},{numbers},code_end={end:#x}", out


def mapped(counters: Path) -> mmap.mmap:
    """The counters' file, shared with the plugin."""
    with counters.open("rb") as file:
        return mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ)


def read_counters(view: mmap.mmap, names: Sequence[str]) -> Counters:
    """The counters as they are now; `names` are the phases in the manifest's order."""
    held = view[:]
    magic, _, _, _, started, steady = struct.unpack_from("<6Q", held, 0)
    if magic != _MAGIC:
        raise MetaosError("the counting plugin did not start")
    owners = {
        name: Counter(*_COUNTER.unpack_from(held, _COUNTERS_AT + _COUNTER.size * i))
        for i, name in enumerate((*_OWNERS, *names))
    }
    if "steady" in owners:
        owners["steady"] = _settled(view)
    turns = owners["steady"].turns if names else 0
    return Counters(turns, started, steady, owners)


def _settled(view: mmap.mmap) -> Counter:
    """The steady phase's counter, in one piece."""
    end = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < end:
        (before,) = struct.unpack_from("<Q", view, _CHANGES_AT)
        counter = Counter(*_COUNTER.unpack_from(view, _SETTLED_AT))
        (after,) = struct.unpack_from("<Q", view, _CHANGES_AT)
        if before == after and not before & 1:
            return counter
        time.sleep(0.0001)
    raise MetaosError("the counting plugin's counters never stand still")


class End(Protocol):
    """What a station holds: an end of some network."""

    def send(self, frame: bytes) -> bool: ...

    def receive(self, seconds: float) -> bytes | None: ...


class Wire:
    """Our end of a network of UDP datagrams, a frame in each.

    Not the test's Unix sockets: those hold ten datagrams, so that 32 echoes in flight would wait
    for each other and not for the machine.
    """

    def __init__(self, ends: Datagrams) -> None:
        self._to = (LOCALHOST, ends.machine_port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((LOCALHOST, ends.our_port))

    def send(self, frame: bytes) -> bool:
        """Hand a frame to QEMU; False while QEMU is not there yet."""
        try:
            self._socket.sendto(frame, self._to)
        except OSError:
            return False
        return True

    def receive(self, seconds: float) -> bytes | None:
        """The next frame from the machine, or None after `seconds`."""
        self._socket.settimeout(max(seconds, 0.0005))
        try:
            return self._socket.recv(1 << 16)
        except (TimeoutError, ConnectionError):
            return None

    @property
    def socket(self) -> socket.socket:
        """To wait on, with others."""
        return self._socket

    def close(self) -> None:
        self._socket.close()


class Guest:
    """A machine that runs, whatever its system, and its wire; with the plugin, what it executes."""

    def __init__(self, vm: Qemu, wire: End, counters: Path | None) -> None:
        self.vm, self.wire = vm, wire
        self.host = Host(GUEST_IP)
        self.started = time.monotonic()
        self._view = None if counters is None else mapped(counters)

    def executed(self) -> tuple[int, int]:
        """Instructions and conditional branches since its reset, of all that ran."""
        before = read_counters(self.view, ()).owners["before"]
        return before.instructions, before.branches

    @property
    def view(self) -> mmap.mmap:
        """The plugin's counters."""
        assert self._view is not None, "booted without the plugin"
        return self._view

    def ask(self, frame: bytes, right: Callable[[bytes], bool], seconds: float) -> float | None:
        """Send a frame; seconds until the right answer came, None if none did in time."""
        start = time.perf_counter()
        self.wire.send(frame)
        while (left := start + seconds - time.perf_counter()) > 0:
            answer = self.wire.receive(left)
            if answer is not None and right(answer):
                return time.perf_counter() - start
        return None

    def wake(self, seconds: float) -> float:
        """Ask by ARP until the machine answers; seconds since it was started.

        Raises MetaosError if QEMU ends or the time is over.
        """
        while time.monotonic() - self.started < seconds:
            if self.vm.returncode is not None:
                raise self.vm.death("while it booted")
            if self.ask(self.host.arp(), self.host.learn, 0.02) is not None:
                return time.monotonic() - self.started
        raise MetaosError(f"the machine did not answer within {seconds:.0f} s")

    def drain(self) -> None:
        """Take late answers from the wire, until it is silent."""
        while self.wire.receive(_SILENCE) is not None:
            pass

    def processor_seconds(self) -> float:
        """Time of the host's processors that QEMU has used, all its threads together."""
        words = Path(f"/proc/{self.vm.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Booted(Guest):
    """A machine that runs an image, and what its phases execute."""

    def __init__(self, vm: Qemu, wire: Wire, image: Image, counters: Path | None) -> None:
        super().__init__(vm, wire, counters)
        self.image = image
        self._names = [phase.name for phase in image.manifest.phases]

    def counters(self) -> Counters:
        """The counters now."""
        return read_counters(self.view, self._names)


@contextlib.contextmanager
def booted(
    path: Path,
    *,
    plugin: bool,
    accesses: bool = False,
    everything: bool = False,
    arguments: Sequence[str] = (),
) -> Iterator[Booted]:
    """Boot an image under TCG; leaving the block ends QEMU.

    `plugin` counts what is executed, `accesses` also what reaches devices; `everything` counts
    for `executed` instead of `counters`.
    """
    image = read_image(path)
    emulator = image.manifest.provenance.emulator
    if emulator is None:
        raise MetaosError(f"{path} was not made for a machine of QEMU's")
    line = command(
        load_target(emulator.target), (*emulator.arguments, *arguments), image=path, accel="tcg"
    )
    with on_a_wire(line) as (folder, wire, connected):
        counters = None
        if plugin and everything:
            option, counters = count_everything(folder)
            connected += option
        elif plugin:
            option_text, counters = plugin_option(compile_plugin(folder), image, folder)
            connected += ["-plugin", f"{option_text}{',accesses=on' if accesses else ''}"]
        with Qemu(connected) as vm:
            yield Booted(vm, wire, image, counters)


@contextlib.contextmanager
def on_a_wire(line: Sequence[str]) -> Iterator[tuple[Path, Wire, list[str]]]:
    """A folder, our end of a wire, and QEMU's `line` with all its cards at the other end."""
    with tempfile.TemporaryDirectory(prefix="metaos-") as name:
        ends = free_datagrams()
        with contextlib.closing(Wire(ends)) as wire:
            connected = connect(line, ends.backend, network_cards(QEMU))
            if connected is None:
                raise MetaosError("the machine has no network card")
            yield Path(name), wire, [*connected, "-monitor", "none", "-no-reboot"]


def count_everything(folder: Path) -> tuple[list[str], Path]:
    """QEMU's arguments that count for `Guest.executed`, and the file the counters will be in."""
    out = folder / "counters"
    return ["-plugin", f"{compile_plugin(folder)},out={out},everything=on"], out


def median(numbers: Sequence[float]) -> float:
    """The middle one; 0 of none."""
    return sorted(numbers)[len(numbers) // 2] if numbers else 0.0


def fail(error: MetaosError) -> NoReturn:
    """Say what is wrong, as the command line does, and end."""
    print(error.render(), file=sys.stderr)
    raise SystemExit(int(error.exit_code))
