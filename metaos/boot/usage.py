"""How much of a processor a machine costs its host: `metaos run` says so when it is quiet.

meter = Meter(process_seconds(vm.pid), time.monotonic)
meter.left                # seconds until it has been quiet for long enough
meter.quiet()             # "quiet for 10 s, in which QEMU used 0.3 % of a processor"
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

QUIET_SECONDS = 10.0
_USER, _SYSTEM = 11, 12
"""Fields of /proc/PID/stat, counted from the one behind the name. Source: proc(5), 14 and 15."""


def process_seconds(pid: int) -> Callable[[], float]:
    """What reads how many seconds of processor time all threads of a process have had."""
    path, ticks = Path(f"/proc/{pid}/stat"), os.sysconf("SC_CLK_TCK")

    def read() -> float:
        fields = path.read_text().rpartition(")")[2].split()
        return (int(fields[_USER]) + int(fields[_SYSTEM])) / ticks

    return read


class Meter:
    """Processor time since the start, and since the machine last said something, if it did."""

    def __init__(self, used: Callable[[], float], clock: Callable[[], float]) -> None:
        self._used, self._clock = used, clock
        self._start = self._since = (clock(), used())
        self._said = True  # a machine that has not said a word yet is booting

    @property
    def left(self) -> float | None:
        """Seconds until it has been quiet for long enough; None if nothing will be said of it."""
        return None if self._said else max(0.0, self._since[0] + QUIET_SECONDS - self._clock())

    def heard(self) -> None:
        """The machine said something: it is quiet from now on."""
        self._since, self._said = (self._clock(), self._used()), False

    def quiet(self) -> str:
        """What the quiet time cost."""
        self._said = True
        seconds, share = self._share(self._since)
        return f"quiet for {seconds:.0f} s, in which QEMU used {share:.1%} of a processor"

    def all(self) -> str:
        """What all of it cost; empty if the process is gone."""
        try:
            seconds, share = self._share(self._start)
        except OSError:
            return ""
        return f"QEMU used {share:.1%} of a processor in {seconds:.1f} s"

    def _share(self, since: tuple[float, float]) -> tuple[float, float]:
        seconds = self._clock() - since[0]
        return seconds, (self._used() - since[1]) / seconds if seconds > 0 else 0.0
