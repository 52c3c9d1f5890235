"""A machine asked for hours. `python -m benchmarks.soak [--spaced N] [--flood N] [--only WORD]`

Each of MACHINES is asked N echoes one after the other, each 0 to 20 ms after the last answer, and
N with 32 in flight on every card. None may be lost, and none may come later than a tick: what an
interrupt forgot would be found by the next tick at best, and by nobody else. Every batch boots
anew. With `--copies C` so many of each machine share its spaced echoes, which are 10 ms apart and
leave the host idle. Exit 1 if an echo was lost, wrong or late.

An answer's time is the machine's and the host's. Time in which a thread of QEMU's, or we, could
have run and found no processor free is the host's, and so is time in which one of its processors
stood still (`benchmarks/host.py`): a round trip is late if it is longer than a tick without it.
"""

from __future__ import annotations

import argparse
import random
import selectors
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgspec

from benchmarks.cards import probed
from benchmarks.document import markdown, write_measured
from benchmarks.fairness import IN_FLIGHT, PAYLOAD, End, booted
from benchmarks.harness import fail
from benchmarks.host import Waits, stood_still, undisturbed, watched
from metaos import pipeline
from metaos.boot.target import NO_TARGET
from metaos.errors import MetaosError
from metaos.link.image import write_image
from metaos.match.system import read_system

TWO = ("-M", "pc", "-m", "96", "-nodefaults", "-serial", "chardev:s0")
MACHINES = {
    "e1000": ("pc-e1000", ()),
    "e1000e": ("q35-e1000e", ()),
    "virtio": ("pc-virtio", ()),
    "two cards": (NO_TARGET, (*TWO, "-device", "e1000", "-device", "virtio-net-pci")),
}
TICK_SECONDS, PAUSE_SECONDS = 0.010, 0.020
"""The tick of a system of 100 Hz; echoes that are not in flight are at most a pause apart."""
LOST_SECONDS = 5.0
SPACED = "spaced"
_HOST = "host"
"""The file in which it stands when the host stood still."""


class Soaked(msgspec.Struct, frozen=True, kw_only=True):
    """One machine asked in one way. The longest waits are without the host's, and with them."""

    machine: str
    way: str
    asked: int
    lost: int
    wrong: int
    late: int
    longest_us: float
    longest_with_host_us: float

    @property
    def bad(self) -> bool:
        return bool(self.lost or self.wrong or self.late)


class Asked:
    """One card's echoes: what is under way, and how the others fared."""

    def __init__(self, end: End, echoes: int, width: int, pick: random.Random | None) -> None:
        self.end, self.echoes, self.width, self.pick = end, echoes, width, pick
        self.waits = Waits(end.vm.pid)
        self.sent = self.lost = self.wrong = self.late = 0
        self.longest = self.longest_with_host = 0.0
        self.next = self._heard = 0.0
        self._waiting: dict[int, float] = {}
        self._long: list[tuple[float, float, float]] = []

    @property
    def done(self) -> bool:
        return self.sent == self.echoes and not self._waiting

    def fill(self) -> None:
        """Send what may be under way now; give up what is too late to come."""
        now = time.perf_counter()
        while self._waiting and now - next(iter(self._waiting.values())) > LOST_SECONDS:
            del self._waiting[next(iter(self._waiting))]  # the one that waits longest
            self.lost += 1
        while len(self._waiting) < self.width and self.sent < self.echoes and now >= self.next:
            self.waits.note()
            number = self.sent & 0xFFFF
            if not self.end.wire.send(self.end.host.icmp(number, PAYLOAD)):
                return
            self._waiting[number] = time.perf_counter()
            self.sent += 1

    def take(self, frame: bytes) -> None:
        """Judge an answer; one that took long is judged in the end."""
        number, now = int.from_bytes(frame[40:42], "big"), time.perf_counter()
        if number not in self._waiting or not self.end.host.answers_icmp(frame, number, PAYLOAD):
            self.wrong += 1
            return
        start = max(self._waiting.pop(number), self._heard)
        self._heard, took = now, now - start
        self.longest_with_host = max(self.longest_with_host, took)
        if took > TICK_SECONDS:
            self._long.append((start, now, self.waits.since(start)))
        else:
            self.longest = max(self.longest, took)
        if self.pick is not None:
            self.next = now + self.pick.uniform(0, PAUSE_SECONDS)

    def settle(self, stood: Callable[[float, float], float]) -> None:
        """Judge what took long; `stood`: seconds between two moments that no processor gave."""
        for start, end, waited in self._long:
            took = max(0.0, end - start - waited - stood(start, end))
            self.late += took > TICK_SECONDS
            self.longest = max(self.longest, took)
        self._long.clear()

    def rest(self) -> float:
        """Seconds until there is something to do without an answer."""
        ready = len(self._waiting) < self.width and self.sent < self.echoes
        return max(0.0, self.next - time.perf_counter()) if ready else TICK_SECONDS


def ask(ends: Sequence[End], echoes: int, host: Path, *, spaced: bool, seed: int) -> list[Asked]:
    """Ask all cards at the same time, `echoes` in all. `host`: when the host stood still."""
    each = -(-echoes // len(ends))
    width = 1 if spaced else IN_FLIGHT
    askers = [
        Asked(end, each, width, random.Random(seed + n) if spaced else None)
        for n, end in enumerate(ends)
    ]
    with undisturbed(), selectors.DefaultSelector() as ready:
        for one in askers:
            ready.register(one.end.wire.socket, selectors.EVENT_READ, one)
        while not all(one.done for one in askers):
            for one in askers:
                one.fill()
                if one.end.vm.returncode is not None:
                    raise one.end.vm.death("under echoes")
            for key, _ in ready.select(min(one.rest() for one in askers)):
                frame = key.data.end.wire.receive(0)
                if frame is not None:
                    key.data.take(frame)
    time.sleep(PAUSE_SECONDS)  # until what is to be noted of the host is
    for one in askers:
        one.settle(partial(stood_still, host))
    return askers


def soak(
    machine: str, echoes: int, batch: int, host: Path, *, spaced: bool, first: int = 0
) -> Soaked:
    """Ask one of MACHINES; every `batch` echoes it boots anew. `first` numbers the echoes."""
    target, arguments = MACHINES[machine]
    way = SPACED if spaced else f"{IN_FLIGHT} in flight"
    asked: list[Asked] = []
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        path = Path(folder) / "x.img"
        write_image(pipeline.build(probed(target, arguments), system=read_system()), path)
        for start in range(0, echoes, batch):
            with booted(path) as ends:
                count = min(batch, echoes - start)
                asked += ask(ends, count, host, spaced=spaced, seed=first + start)
            told = _summed(machine, way, asked)
            print(msgspec.json.encode(told).decode(), file=sys.stderr, flush=True)
    return _summed(machine, way, asked)


def _summed(machine: str, way: str, asked: Sequence[Asked]) -> Soaked:
    return _together(machine, way, [_judged(machine, way, one) for one in asked])


def _judged(machine: str, way: str, one: Asked) -> Soaked:
    return Soaked(
        machine=machine,
        way=way,
        asked=one.sent,
        lost=one.lost,
        wrong=one.wrong,
        late=one.late,
        longest_us=round(1e6 * one.longest, 1),
        longest_with_host_us=round(1e6 * one.longest_with_host, 1),
    )


def _together(machine: str, way: str, parts: Sequence[Soaked]) -> Soaked:
    """What cards, boots and copies of one machine found."""
    return Soaked(
        machine=machine,
        way=way,
        asked=sum(one.asked for one in parts),
        lost=sum(one.lost for one in parts),
        wrong=sum(one.wrong for one in parts),
        late=sum(one.late for one in parts),
        longest_us=max((one.longest_us for one in parts), default=0.0),
        longest_with_host_us=max((one.longest_with_host_us for one in parts), default=0.0),
    )


def soaked(
    machines: Sequence[str], *, spaced: int, flood: int, batch: int, copies: int, jobs: int
) -> Iterator[Soaked]:
    """Every machine in both ways; `jobs` are asked spaced echoes at the same time."""
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        host = Path(folder) / _HOST
        with watched(host):
            if spaced:
                yield from _spaced(machines, spaced, batch, host, copies, jobs)
            if flood:
                for one in machines:
                    yield soak(one, flood, batch, host, spaced=False)


def _spaced(
    machines: Sequence[str], echoes: int, batch: int, host: Path, copies: int, jobs: int
) -> Iterator[Soaked]:
    starts = [echoes * n // copies for n in range(copies + 1)]
    with ProcessPoolExecutor(jobs or len(machines) * copies) as pool:
        work = [
            [
                pool.submit(soak, one, end - first, batch, host, spaced=True, first=first)
                for first, end in pairwise(starts)
            ]
            for one in machines
        ]
        for machine, parts in zip(machines, work, strict=True):
            yield _together(machine, SPACED, [part.result() for part in parts])


def table(results: Sequence[Soaked]) -> str:
    """Results as Markdown."""
    header = ("machine", "asked", "echoes", "lost", "wrong", "late", "the longest wait (ms)")
    rows = (
        (
            one.machine,
            "one by one" if one.way == SPACED else one.way,
            f"{one.asked:,}",
            one.lost,
            one.wrong,
            one.late,
            f"{one.longest_us / 1e3:.1f}",
        )
        for one in results
    )
    return markdown(header, rows)


def _count(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text.replace("_", "").replace(",", ""))
        if value < least:
            raise argparse.ArgumentTypeError(f"at least {least}")
        return value

    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spaced", type=_count(0), default=2_000, help="echoes of each machine")
    parser.add_argument("--flood", type=_count(0), default=20_000, help="echoes of each machine")
    parser.add_argument("--batch", type=_count(1), default=100_000, help="echoes from boot to boot")
    parser.add_argument("--copies", type=_count(1), default=1, help="of each machine")
    parser.add_argument("--jobs", type=_count(0), default=0, help="at the same time; 0: all")
    parser.add_argument("--only", default="", help="machines whose name has this word")
    parser.add_argument(
        "--write", action="store_true", help="write the table of docs/benchmarks.md"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machines = [name for name in MACHINES if options.only in name]
    if not machines:
        parser.error(f"no machine with '{options.only}'; there are {', '.join(MACHINES)}")
    try:
        results = list(
            soaked(
                machines,
                spaced=options.spaced,
                flood=options.flood,
                batch=options.batch,
                copies=options.copies,
                jobs=options.jobs,
            )
        )
    except MetaosError as error:
        fail(error)
    if options.write:
        write_measured("soak", table(results))
    if options.json:
        print(msgspec.json.encode(results).decode())
    for one in () if options.json else results:
        print(
            f"{one.machine}, {one.way}: {one.asked} asked, {one.lost} lost, {one.wrong} wrong, "
            f"{one.late} late; the longest {one.longest_us} us, {one.longest_with_host_us} us "
            "with the host's delays"
        )
    bad = [f"{one.machine}, {one.way}" for one in results if one.bad]
    raise SystemExit(f"lost, wrong or late: {'; '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
