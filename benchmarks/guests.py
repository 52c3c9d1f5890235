"""Two systems asked the same, on one QEMU machine: an image of MetaOS, and Debian's Linux.

    with linux(kernel, line, modules, plugin=True) as guest:
        counted(guest, 5000)      # instructions and branches of all that ran
    with booted(image, plugin=False) as guest:
        timed(guest, 500)         # round trips, the host's processor when nothing arrives

Neither question knows which system it asks. Counts are of everything that the guest executed, its
idle time included, divided by the answers or by the seconds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.answers import in_flight, one_by_one
from benchmarks.harness import GUEST_IP, Guest, count_everything, on_a_wire
from benchmarks.linux import Kernel, Module, initramfs
from metaos.boot.qemu import Qemu
from metaos.boot.target import QEMU, open_chardevs
from metaos.errors import MetaosError

MEMORY = ("-m", "256")
"""What Debian's kernel and its RAM disk need; an image is measured with its target's own."""
CONSOLE = "console=ttyS0 quiet mitigations=off net.ifnames=0 panic=-1 no_timer_check"
"""The kernel tests its timer against a loop, and panics where the host was busy meanwhile."""
BOOT_SECONDS = 180.0
SETTLE_SECONDS, IDLE_SECONDS = 3.0, 5.0
"""After its first answer a system may have things to do; then nothing is sent for a while."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What one boot executed, by a plugin."""

    first_answer: int
    idle_a_second: float
    echoes: int
    lost: int
    echo: float
    echo_branches: float


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """Another boot without the plugin. Microseconds, and percent of one of the host's CPUs."""

    idle_cpu: float
    round_trip_p50: float
    round_trip_p99: float
    lost: int


def counted(guest: Guest, echoes: int) -> Counted:
    """Instructions to the first answer, idle for some seconds, and with 32 echoes in flight."""
    guest.wake(BOOT_SECONDS)
    first, _ = guest.executed()
    time.sleep(SETTLE_SECONDS)
    guest.drain()
    before, start = guest.executed(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    after, seconds = guest.executed(), time.monotonic() - start
    asked = guest.executed()
    answered, lost = in_flight(guest, echoes)
    done = guest.executed()
    return Counted(
        first_answer=first,
        idle_a_second=(after[0] - before[0]) / seconds,
        echoes=echoes,
        lost=lost,
        echo=(done[0] - asked[0]) / max(answered, 1),
        echo_branches=(done[1] - asked[1]) / max(answered, 1),
    )


def timed(guest: Guest, echoes: int) -> Timed:
    """The host's processor while the guest is idle, then one echo after the other."""
    guest.wake(BOOT_SECONDS)
    time.sleep(SETTLE_SECONDS)
    guest.drain()
    used, start = guest.processor_seconds(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    used, seconds = guest.processor_seconds() - used, time.monotonic() - start
    times, lost = one_by_one(guest, echoes)
    ordered = [1e6 * t for t in sorted(times)] or [0.0]
    return Timed(
        idle_cpu=100 * used / seconds,
        round_trip_p50=ordered[len(ordered) // 2],
        round_trip_p99=ordered[len(ordered) * 99 // 100],
        lost=lost,
    )


class Linux(Guest):
    """A machine that runs Debian's kernel. `driver` is the module that drives eth0."""

    console: Path

    @property
    def driver(self) -> str:
        """What init said. Raises MetaosError if it did not."""
        said = self.console.read_text("latin-1")
        words = next((x.split() for x in said.splitlines() if x.startswith("driver ")), [])
        if len(words) != 2:
            raise MetaosError("it named no driver")
        return words[1].rpartition("/")[2]


@contextlib.contextmanager
def linux(
    kernel: Kernel, line: Sequence[str], modules: Sequence[Module], *, plugin: bool
) -> Iterator[Linux]:
    """Boot Linux on the machine of QEMU's arguments `line`, which name no disk; end QEMU after."""
    with on_a_wire([QEMU, "-accel", "tcg", *line, *MEMORY, "-display", "none"]) as (
        folder,
        wire,
        connected,
    ):
        disk, console, counters = folder / "initramfs", folder / "console", None
        disk.write_bytes(initramfs(kernel.busybox.read_bytes(), modules, f"{GUEST_IP}/24"))
        for number, end in enumerate(open_chardevs(line)):
            where = "null" if number else f"file,path={console}"
            connected += ["-chardev", f"{where},id={end}"]
        connected += ["-kernel", str(kernel.image), "-initrd", str(disk), "-append", CONSOLE]
        if plugin:
            option, counters = count_everything(folder)
            connected += option
        with Qemu(connected) as vm:
            guest = Linux(vm, wire, counters)
            guest.console = console
            try:
                yield guest
            except MetaosError as error:
                said = console.read_text("latin-1") if console.exists() else ""
                raise MetaosError(
                    f"Linux: {error.message}; its console: {said[-500:]!r}"
                ) from error
