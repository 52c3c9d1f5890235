"""Hours of echoes, shortened: nothing lost, nothing late; and the judge that says so."""

from __future__ import annotations

import gc
import multiprocessing
import os
import struct
import time
from pathlib import Path
from typing import cast

import pytest

from benchmarks import host
from benchmarks.fairness import PAYLOAD, End
from benchmarks.host import Waits, stood_still, undisturbed, watched
from benchmarks.packets import OURS, Host
from benchmarks.soak import (
    LOST_SECONDS,
    MACHINES,
    TICK_SECONDS,
    Asked,
    Soaked,
    soaked,
    table,
)
from tests.model.reference import answer

MAC, IP = bytes.fromhex("525400123456"), bytes([10, 0, 2, 15])


class Answering:
    """A wire whose machine answers each frame after `delay` seconds, or the first `deaf` never."""

    def __init__(self, deaf: int = 0) -> None:
        self.deaf, self.answers = deaf, list[bytes]()

    def send(self, frame: bytes) -> bool:
        if self.deaf:
            self.deaf -= 1
            return True
        reply = answer(frame, MAC, IP)
        assert reply is not None
        self.answers.append(reply)
        return True


class Machine:
    pid = 1


def asked(wire: Answering, echoes: int, width: int = 1) -> Asked:
    ours = Host("10.0.2.15", guest=MAC)
    end = cast(End, type("E", (), {"wire": wire, "host": ours, "vm": Machine()})())
    return Asked(end, echoes, width, None)


def test_every_answer_is_judged() -> None:
    wire = Answering()
    one = asked(wire, 40, width=32)
    while not one.done:
        one.fill()
        for frame in wire.answers:
            one.take(frame)
        wire.answers.clear()
    assert (one.sent, one.lost, one.wrong, one.late) == (40, 0, 0, 0)


def test_a_wrong_and_a_second_answer_are_wrong() -> None:
    wire = Answering()
    one = asked(wire, 2)
    one.fill()
    (right,) = wire.answers
    one.take(right[:-1] + bytes([right[-1] ^ 1]))
    one.take(right)
    one.take(right)
    assert one.wrong == 2 and not one.late


def test_one_that_never_comes_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    one = asked(Answering(deaf=1), 1)
    one.fill()
    later = time.perf_counter() + LOST_SECONDS + 1
    monkeypatch.setattr("time.perf_counter", lambda: later)
    one.fill()
    assert one.lost == 1 and one.done


@pytest.mark.parametrize(
    ("waited", "stood", "late"), [(0.0, 0.0, 1), (0.005, 0.001, 1), (1.0, 0.0, 0), (0.0, 0.015, 0)]
)
def test_one_later_than_a_tick_is_late_unless_the_host_was(
    waited: float, stood: float, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Answering()
    one = asked(wire, 1)
    one.fill()
    later = time.perf_counter() + 2 * TICK_SECONDS
    monkeypatch.setattr("time.perf_counter", lambda: later)
    monkeypatch.setattr(one.waits, "since", lambda moment: waited)
    one.take(wire.answers[0])
    one.settle(lambda start, end: stood)
    assert one.late == late and one.longest_with_host >= 2 * TICK_SECONDS
    one.settle(lambda start, end: 0.0)
    assert one.late == late


def test_where_processors_stood_still_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "host"
    spans = [(1.0, 3.0), (2.0, 4.0), (2.5, 2.75), (8.0, 9.0), (9.5, 20.0)]
    path.write_bytes(b"".join(struct.pack("=dd", *x) for x in spans) + b"half a note")
    assert stood_still(path, 0.0, 10.0) == 3.0 + 1.0 + 0.5
    assert stood_still(path, 1.5, 2.0) == 0.5
    assert stood_still(path, 4.0, 8.0) == 0.0


def test_a_processor_that_stands_still_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it had been stopped while one who watches slept, and once while it waited."""
    path, naps = tmp_path / "host", iter([0.0, 0.030, 0.030])
    moment, waited = 100.0, 0

    def nap(seconds: float) -> None:
        nonlocal moment, waited
        stood = next(naps, None)
        if stood is None:
            raise KeyboardInterrupt
        moment += seconds + stood
        waited += 29_000_000 if moment > 100.05 else 0

    monkeypatch.setattr("os.sched_setaffinity", lambda pid, processors: None)
    monkeypatch.setattr("os.sched_setscheduler", lambda *told: None)
    monkeypatch.setattr("time.perf_counter", lambda: moment)
    monkeypatch.setattr("time.sleep", nap)
    monkeypatch.setattr("benchmarks.host._waited", lambda file: waited)
    host._watch(path, 0)
    (found,) = struct.iter_unpack("=dd", path.read_bytes())
    assert found == pytest.approx((100.004, 100.034))


def test_a_host_is_watched_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "host"
    with watched(path):
        assert path.exists()
        watchers = multiprocessing.active_children()
        assert len(watchers) == len(os.sched_getaffinity(0))
    assert not any(one.is_alive() for one in watchers)


def test_the_delay_of_a_thread_that_ended_is_kept(tmp_path: Path) -> None:
    def waited(thread: int, milliseconds: int) -> Path:
        folder = tmp_path / "7" / "task" / str(thread)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "schedstat"
        file.write_text(f"0 {milliseconds * 1_000_000} 0\n")
        return file

    worker = waited(8, 40)
    waited(7, 10)
    waits = Waits(7, tmp_path)
    waits.note()
    worker.unlink()
    waited(7, 15)
    assert waits.since(time.perf_counter()) == pytest.approx(0.005)


def test_a_result_with_anything_amiss_is_bad() -> None:
    whole = {"lost": 0, "wrong": 0, "late": 0}
    for name in ("", *whole):
        one = Soaked(
            machine="m", way="w", asked=1, longest_us=0, longest_with_host_us=0,
            **whole | ({name: 1} if name else {}),
        )  # fmt: skip
        assert one.bad is bool(name)
    assert OURS and PAYLOAD


def test_the_table_of_results() -> None:
    one = Soaked(
        machine="m", way="spaced", asked=1_000, lost=0, wrong=0, late=1, longest_us=12_340.0,
        longest_with_host_us=0,
    )  # fmt: skip
    assert table([one]).splitlines()[-1] == "| m | one by one | 1,000 | 0 | 0 | 1 | 12.3 |"


def test_nothing_looks_for_garbage_while_answers_are_awaited() -> None:
    with pytest.raises(ZeroDivisionError), undisturbed():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()


@pytest.mark.qemu
def test_a_soak_shortened() -> None:
    """Not how late answers came: the host is busy with other tests."""
    results = list(
        soaked(list(MACHINES), spaced=1_001, flood=10_000, batch=10_000, copies=2, jobs=4)
    )
    assert len(results) == 2 * len(MACHINES)
    for one in results:
        assert one.asked in (1_001, 1_002, 10_000) and (one.lost, one.wrong) == (0, 0), one
