"""What a machine costs its host, and when that is said."""

from __future__ import annotations

import os
import time

from metaos.boot.shown import OwnLine, copy_console
from metaos.boot.usage import QUIET_SECONDS, Meter, process_seconds


class Host:
    """A clock and a process that only move when a test says so."""

    def __init__(self) -> None:
        self.now, self.spent = 100.0, 3.0

    def meter(self) -> Meter:
        return Meter(lambda: self.spent, lambda: self.now)

    def passes(self, seconds: float, used: float) -> None:
        self.now, self.spent = self.now + seconds, self.spent + used


def test_a_quiet_machine_is_spoken_of_once() -> None:
    host = Host()
    meter = host.meter()
    assert meter.left is None, "it boots"
    host.passes(4, 2.0)
    meter.heard()
    assert meter.left == QUIET_SECONDS
    host.passes(9, 0.9)
    assert meter.left == 1
    host.passes(1, 0.1)
    assert meter.left == 0
    assert meter.quiet() == "quiet for 10 s, in which QEMU used 10.0% of a processor"
    assert meter.left is None
    host.passes(60, 0.0)
    meter.heard()
    assert meter.left == QUIET_SECONDS
    host.passes(10, 0.013)
    assert meter.quiet() == "quiet for 10 s, in which QEMU used 0.1% of a processor"
    assert meter.all() == "QEMU used 3.6% of a processor in 84.0 s"


def test_a_machine_that_is_gone_is_not_spoken_of() -> None:
    def gone() -> float:
        raise FileNotFoundError

    host = Host()
    meter = host.meter()
    meter._used = gone
    host.passes(1, 0)
    assert meter.all() == ""


def test_a_process_that_works_has_used_what_passed() -> None:
    used = process_seconds(os.getpid())
    before, began = used(), time.process_time()
    while time.process_time() - began < 0.1:
        pass
    assert 0.08 < used() - before < 0.5


def test_the_console_is_copied_and_its_silence_measured(capfdbinary: object) -> None:
    """The clock stands at the end of the quiet time: said at once, and once."""
    reader, writer = os.pipe()
    host, said = Host(), list[str]()
    meter = host.meter()
    meter.heard()
    host.passes(QUIET_SECONDS, 0.05)

    def note(text: str) -> None:
        said.append(text)
        os.write(writer, b"hello")
        os.close(writer)

    with os.fdopen(reader, "rb", buffering=0) as console:
        copy_console(console, meter, OwnLine(note))
    assert said == ["quiet for 10 s, in which QEMU used 0.5% of a processor"]
    assert capfdbinary.readouterr().out == b"hello"  # type: ignore[attr-defined]


def test_what_is_said_begins_a_line_and_leaves_none_empty(capfdbinary: object) -> None:
    said: list[str] = []
    line = OwnLine(said.append)
    for shown in (b"", b"MetaOS", b" 10.0.2.15\r\n", b"an", b"other"):
        if shown:
            line.shown(shown)
        line.say("quiet")
        line.say("still quiet")
    assert said == ["quiet", "still quiet"] * 5
    assert capfdbinary.readouterr().out == b"\n\n\n"  # type: ignore[attr-defined]
