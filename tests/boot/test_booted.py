"""Real images, built and booted by the command, asked over every kind of network."""

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.utils import rdpcap

from metaos import resources
from metaos.boot.acceptance import given_of, plan
from metaos.boot.questions import judge
from metaos.errors import Exit
from metaos.match.system import read_system
from metaos.pattern.patterns import load
from tests.boot.started import METAOS, free_port, wait_for_line

MACHINES = Path(__file__).parents[1] / "data" / "machines"
ACCEL = ("--accel", "tcg")
SLOT_7 = (
    *("-M", "pc", "-m", "96", "-nodefaults", "-serial", "null"),
    *("-device", "e1000,mac=52:54:00:12:34:56,addr=7"),
)
CARD = 0x525400123456

pytestmark = pytest.mark.qemu


def metaos(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*METAOS, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of the default target, built from a machine file that is in the tree."""
    folder = tmp_path_factory.mktemp("image")
    done = metaos("build", "--machine", MACHINES / "pc-e1000.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "build" / "pc-e1000.img"


def every_answer(result: subprocess.CompletedProcess[str]) -> None:
    """The test passed, and asked what it has to."""
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert report["passed"] and all(v["passed"] for v in report["verdicts"])
    asked = {(v["service"], v["question"]) for v in report["verdicts"]}
    for service in ("icmp.echo", "udp.echo"):
        for size in (0, 1, 17, 56, 333, 1000, 1472):
            assert any(s == service and q.endswith(f", {size} bytes") for s, q in asked)
    assert sum(v["expected"] == "silence" for v in report["verdicts"]) >= 20


def test_every_example_of_every_service(image: Path, tmp_path: Path) -> None:
    every_answer(metaos("test", image, "--json", "--seed", "7", *ACCEL, cwd=tmp_path))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(SLOT_7, id="slot 7, 96 MiB, no screen"),
        pytest.param(("-M", "pc"), id="the default card and all default devices"),
        pytest.param(("-M", "pc", "-nodefaults", "-device", "e1000"), id="no serial port"),
        pytest.param((*SLOT_7, "-cpu", "Haswell"), id="another processor"),
    ],
)
def test_other_machines(arguments: tuple[str, ...], tmp_path: Path) -> None:
    words = ("build", "--probe", "qemu", "--target", "none", *ACCEL, "-o", "x.img")
    built = metaos(*words, "--", *arguments, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    every_answer(metaos("test", "x.img", "--json", *ACCEL, cwd=tmp_path))


def test_a_probed_machine_and_its_file_make_the_same_image(tmp_path: Path) -> None:
    assert metaos("build", "--probe", "qemu", *ACCEL, "-o", "a.img", cwd=tmp_path).returncode == 0
    assert metaos("probe", "qemu", *ACCEL, cwd=tmp_path).returncode == 0
    assert metaos("build", "-o", "b.img", cwd=tmp_path).returncode == 0
    assert (tmp_path / "a.img").read_bytes() == (tmp_path / "b.img").read_bytes()


def test_on_another_machine_the_failure_shows_what_the_guard_says(
    image: Path, tmp_path: Path
) -> None:
    words = ("test", image, "--json", "--timeout", "4", *ACCEL, "--", "-device", "e1000")
    result = metaos(*words, cwd=tmp_path)
    assert result.returncode == Exit.FAILED
    report = json.loads(result.stdout)
    assert "00:04.0 changed" in report["console"] and "build again" in report["console"]


@contextmanager
def running(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """`metaos run`, interrupted at the end, which must end it well."""
    with subprocess.Popen(
        [*METAOS, "run", *map(str, words), *ACCEL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(15) == Exit.INTERRUPTED
        finally:
            process.kill()


def until_answered(end: socket.socket, question: bytes, port: int, seconds: float = 30) -> bytes:
    """Send `question` again and again until something comes back."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        end.sendto(question, ("127.0.0.1", port))
        if select.select([end], [], [], 0.2)[0]:
            try:
                return end.recv(65536)
            except ConnectionRefusedError:  # QEMU is not there yet
                time.sleep(0.05)
    raise AssertionError("no answer")


def test_a_person_at_a_shell_is_answered(image: Path, tmp_path: Path) -> None:
    port = free_port()
    capture = tmp_path / "frames.pcap"
    with (
        running(image, "-p", f"{port}:7/udp", "--pcap", capture) as process,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end,
    ):
        assert until_answered(end, b"hi\n", port) == b"hi\n"
        wait_for_line(process, "MetaOS 10.0.2.15")
    echoed = [p for p in rdpcap(str(capture)) if UDP in p and p[IP].src == "10.0.2.15"]
    assert echoed and echoed[0][UDP].sport == 7 and bytes(echoed[0][UDP].payload)[:3] == b"hi\n"


def test_frames_over_datagrams(image: Path, tmp_path: Path) -> None:
    patterns = load([resources.PATTERNS])
    given = given_of(read_system().interface, CARD)
    questions, _ = plan(("udp.echo",), patterns.services, patterns.layouts, given, seed=1)
    question = next(q for q in questions if q.answers and q.payload == 333)
    capture = tmp_path / "frames.pcap"
    with running(image, "--net", "dgram", "--pcap", capture) as process:
        assert process.stderr is not None
        ports: list[int] = []
        while not ports:
            line = process.stderr.readline()
            assert line, "it ended without naming its ports"
            if "raw frames" in line:
                ports = [int(w.strip(",;:")) for w in line.split() if w.strip(",;:").isdigit()]
        theirs, ours = ports
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.bind(("127.0.0.1", ours))
            answered = until_answered(end, question.sent, theirs)
            assert judge(question, answered) == ""
    frames = [bytes(packet) for packet in rdpcap(str(capture))]
    assert frames.index(question.sent) < frames.index(answered)


def test_two_cards_on_one_network_for_a_person(tmp_path: Path) -> None:
    """Both cards are on it; a forward leads to the first, or to the address that it names."""
    words = ("build", "--probe", "qemu", "--target", "none", *ACCEL, "-o", "x.img", "--")
    cards = ("-M", "pc", "-m", "96", "-nodefaults", *("-device", "e1000") * 2)
    built = metaos(*words, *cards, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    first, second = free_port(), free_port()
    capture = tmp_path / "frames.pcap"
    forwards = ("-p", f"{first}:7/udp", "-p", f"{second}:10.0.2.16:7/udp", "--pcap", capture)
    with (
        running(tmp_path / "x.img", *forwards) as process,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        assert until_answered(one, b"to the first", first) == b"to the first"
        assert until_answered(other, b"to the second", second) == b"to the second"
        assert process.stderr is not None
        said = "".join(process.stderr.readline() for _ in range(4))
    assert "00:02.0 is 10.0.2.15, 00:03.0 is 10.0.2.16" in said
    assert f"port {first} leads to 00:02.0" in said and f"port {second} leads to 00:03.0" in said
    of = {p[IP].src: bytes(p[UDP].payload) for p in rdpcap(str(capture)) if UDP in p}
    assert of["10.0.2.15"].startswith(b"to the first")
    assert of["10.0.2.16"].startswith(b"to the second")


def test_every_card_has_a_capture_of_its_own(tmp_path: Path) -> None:
    words = ("build", "--probe", "qemu", "--target", "none", *ACCEL, "-o", "x.img", "--")
    cards = ("-M", "pc", "-m", "96", "-nodefaults", *("-device", "e1000") * 2)
    assert metaos(*words, *cards, cwd=tmp_path).returncode == 0
    result = metaos("test", "x.img", "--json", "--pcap", "a.pcap", *ACCEL, cwd=tmp_path)
    every_answer(result)
    for name, address in (("a.pcap", "10.0.2.15"), ("a-1.pcap", "10.0.2.16")):
        sources = {p[IP].src for p in rdpcap(str(tmp_path / name)) if UDP in p}
        assert address in sources and len(sources & {"10.0.2.15", "10.0.2.16"}) == 1
