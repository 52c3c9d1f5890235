"""gdb itself, on a machine that waits for it: lines, values, rows."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metaos.link.image import write_image
from metaos.match.serves import Made
from metaos.probe.store import write_machine
from tests.boot.started import free_port, read_until, start

pytestmark = pytest.mark.qemu
SECONDS = 90


def own_port() -> tuple[str, ...]:
    """The usual one is taken when QEMU starts: another test may have it by then."""
    return "--gdb", "--gdb-port", str(free_port(socket.SOCK_STREAM))


@contextmanager
def waiting(made: Made, folder: Path) -> Iterator[tuple[Path, int]]:
    """An image that waits for gdb; its script, and the port that leads to its UDP echo."""
    path, port = folder / "x.img", free_port()
    write_image(made.image, path)
    write_machine(made.lowered.bindings.machine, folder / "machine.json")
    machine = ("--machine", folder / "machine.json")
    with start("run", path, *own_port(), "-p", f"{port}:7/udp", *machine) as process:
        try:
            assert process.stderr is not None
            said = read_until(process.stderr, "Ctrl-C ends it")
            assert f"gdb -x {path}.gdb" in said
            yield folder / "x.img.gdb", port
        finally:
            process.kill()


def gdb(script: Path, *commands: str) -> str:
    """What gdb says, from its script on."""
    program = shutil.which("gdb")
    assert program is not None, "gdb is not installed: make setup"
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(
        [program, "-q", "-nx", "-batch", "-ex", "set height 0", "-x", str(script), *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )
    assert "Error" not in done.stderr and "No symbol" not in done.stderr, done.stderr
    return done.stdout


@contextmanager
def asked(port: int) -> Iterator[None]:
    """A datagram of five bytes every now and then, until the block is left."""
    over = threading.Event()

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            while not over.wait(0.3):
                end.sendto(b"hello", ("127.0.0.1", port))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_it_stops_on_pattern_lines_and_shows_what_lies_there(made: Made, tmp_path: Path) -> None:
    text = Path("patterns/net/i8254x.pattern").read_text().splitlines()
    number = text.index("      tail <- tail + 1") + 1
    at = f"net/i8254x.pattern:{number}"
    with waiting(made, tmp_path) as (script, port), asked(port):
        said = gdb(
            script,
            "phase steady",
            f"break {at} if rx[head].DD && rx[head].length == 60",
            "continue",
            "print head",
            "print rx[head]",
            "print tx[tail].DD",
            "print STATUS",
            "info symbol &tail",
            "bt",
            "next",
            "next",
            "delete",
            f"break {at} if '00:03.0'::head == 1",
            "continue",
            "print head",
        )
    assert f"Breakpoint 2, i82540em () at {at}\n{number}\t      tail <- tail + 1\n" in said
    assert "$1 = 0x0\n" in said
    assert re.search(r"\$2 = {addr = 0x\w+, length = 0x3c, DD = 0x1, EOP = 0x1, errors", said)
    assert "$4 = {value = 0x80080783, LU = 0x1}" in said
    assert "00:03.0.tail in section" in said
    assert said.count(f"#0  i82540em () at {at}\n") == 1 and "#1" not in said
    assert f"\n{number + 1}\t" in said, "next goes to the next line"
    assert "$5 = 0x1\n" in said


def test_it_stops_at_a_row(made: Made, tmp_path: Path) -> None:
    text = Path("patterns/net/i8254x.pattern").read_text().splitlines()
    number = next(n for n, line in enumerate(text, 1) if line.startswith("    TDBAL  <- &tx"))
    with waiting(made, tmp_path) as (script, _):
        said = gdb(
            script,
            "phase guard",
            "row guard",
            "phase init",
            f"break-row init net/i8254x.pattern:{number}",
            "continue",
            "row init",
            "print/x $cr3 == $init",
            "stepi 300",
            "delete",
            "phase wipe",
            "phase steady",
        )
    assert f"\nnet/i8254x.pattern:{number} in section" in said
    assert re.search(r"^console/ns16550\.pattern:\d+ in section", said, re.MULTILINE)
    assert said.index("generated () at") < said.index("i82540em () at")


def test_without_the_machine_file_places_are_shown_by_size(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    write_image(made.image, path)
    with start("run", path, *own_port(), "--net", "none") as process:
        try:
            assert process.stderr is not None
            said = read_until(process.stderr, "Ctrl-C ends it")
            assert "no machine.json: gdb is told of places without fields" in said
            shown = gdb(tmp_path / "x.img.gdb", "phase steady", "print head", "print sizeof(rx)")
        finally:
            process.kill()
    assert "$1 = 0x0\n$2 = 0x100\n" in shown
