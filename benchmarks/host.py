"""What the host did to an answer's time: waits for a processor, and processors that stood still.

What the benchmark itself does to it, Python's search for garbage, is kept off (`undisturbed`).
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import struct
import time
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

_NOTE_SECONDS, _RESCAN_SECONDS = 0.001, 0.1
_LATEST = 20_000
"""Notes of the host's delay that are kept: as old as an answer can be."""
_NAP_SECONDS, _LEAST_SECONDS = 0.002, 0.002
_STOOD = struct.Struct("=dd")


class Waits:
    """How long the threads of a process and ours waited for a processor, since some time.

    Linux's /proc/PID/schedstat, second number (Documentation/scheduler/sched-stats).
    """

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._tasks = [proc / str(one) / "task" for one in (pid, os.getpid())]
        self._notes: deque[tuple[float, float]] = deque(maxlen=_LATEST)
        self._threads: dict[str, int] = {}
        self._files: list[str] = []
        self._rescan = 0.0

    def note(self) -> None:
        """Remember the delay so far, once in a while."""
        now = time.perf_counter()
        if not self._notes or now - self._notes[-1][0] > _NOTE_SECONDS:
            self._notes.append((now, self._so_far()))

    def since(self, moment: float) -> float:
        """Seconds of delay from the last note before `moment` until now."""
        earlier = next((d for at, d in reversed(self._notes) if at <= moment), self._notes[0][1])
        return self._so_far() - earlier

    def _so_far(self) -> float:
        """Of threads that have ended too: QEMU's workers do."""
        now = time.perf_counter()
        if now >= self._rescan:
            self._files = [str(x) for tasks in self._tasks for x in tasks.glob("*/schedstat")]
            self._rescan = now + _RESCAN_SECONDS
        for file in self._files:
            with contextlib.suppress(OSError):
                self._threads[file] = _waited(file)
        return sum(self._threads.values()) / 1e9


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Without a search for garbage, which takes 70 ms where an image was built before."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def watched(path: Path) -> Iterator[None]:
    """Write to a file when one of the host's processors stood still, until the end of `with`.

    A host that is a virtual machine is stopped now and then by its own, which no thread's wait
    tells: who ran then seems to have run on. So on each processor a program sleeps for 2 ms, again
    and again, ahead of all others if we may ask for that. When it wakes late, and has not waited
    for the processor, that one did nothing for anybody.
    """
    path.touch()
    processors = sorted(os.sched_getaffinity(0))
    watchers = [
        multiprocessing.get_context("spawn").Process(target=_watch, args=(path, one), daemon=True)
        for one in processors
    ]
    for one in watchers:
        one.start()
    try:
        yield
    finally:
        for one in watchers:
            one.terminate()
            one.join()


def _watch(path: Path, processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    with path.open("ab", buffering=0) as file, contextlib.suppress(KeyboardInterrupt):
        waited = _waited("/proc/self/schedstat")
        while os.getppid() != 1:
            due = time.perf_counter() + _NAP_SECONDS
            time.sleep(_NAP_SECONDS)
            now, so_far = time.perf_counter(), _waited("/proc/self/schedstat")
            if now - due - (so_far - waited) / 1e9 > _LEAST_SECONDS:
                file.write(_STOOD.pack(due, now))
            waited = so_far


def _waited(file: str) -> int:
    """Nanoseconds."""
    with open(file, "rb") as stat:  # noqa: PTH123
        return int(stat.read().split()[1])


def stood_still(path: Path, start: float, end: float) -> float:
    """Seconds between two moments (time.perf_counter) in which a processor stood still."""
    raw = path.read_bytes()
    whole = raw[: len(raw) // _STOOD.size * _STOOD.size]
    spans = sorted((max(a, start), min(b, end)) for a, b in _STOOD.iter_unpack(whole))
    edges = [start]
    for first, last in spans:
        if first < last:
            edges += [max(first, edges[-1]), max(last, edges[-1])]
    return sum(b - a for a, b in list(pairwise(edges))[1::2])
