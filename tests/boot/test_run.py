"""The command lines of `run` and `test`, and their behaviour in QEMU with a talking stub."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from metaos.boot import network
from metaos.boot.reached import answers_at
from metaos.boot.run import Wanted, command_text, run
from metaos.boot.run import test as examine
from metaos.errors import Exit, MetaosError
from metaos.match.system import System
from metaos.resources import PATTERNS
from tests.boot.started import free_port, processes, start, wait_for_line
from tests.boot.stub import emulator, stub_image

CARD = next(iter(sorted(network.parse_cards('Network devices:\nname "e1000", bus PCI\n'))))
MACHINE = ("-M", "pc", "-m", "32", "-nodefaults", "-device", CARD)


@pytest.fixture(autouse=True)
def no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cards QEMU has, without asking it."""
    monkeypatch.setattr(network, "network_cards", lambda _: frozenset({CARD}))


def wanted(image: Path, *arguments: str, net: str = "user", **more: object) -> Wanted:
    values = {"capture": None, "accel": "tcg", "target": None, "forwards": ("7007:7/udp",)} | more
    return Wanted(image=image, net=net, arguments=arguments, **values)  # type: ignore[arg-type]


def words(of: Wanted) -> list[str]:
    return command_text(of).split()


def test_the_machine_is_the_one_it_was_made_for(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE))
    line = command_text(wanted(image, "-m", "96"))
    assert f"-M pc -m 32 -nodefaults -device {CARD},netdev=net0 -m 96" in line
    assert "hostfwd=udp:127.0.0.1:7007-10.0.2.15:7" in line
    assert f"file={image}" in line


def test_another_target_replaces_machine_and_arguments(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE))
    line = command_text(wanted(image, "-M", "q35", target="none", net="none"))
    assert "-M q35" in line and "-m 32" not in line and "netdev" not in line


def test_a_target_by_name_is_read(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator("-m", "96", target="pc-e1000"))
    line = words(wanted(image))
    assert "chardev:s0" in line and line.index("96") > line.index("chardev:s0")
    assert "stdio,signal=off,id=s0" in line


def test_without_a_machine_of_its_own_a_target_is_needed(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img")
    with pytest.raises(MetaosError, match="not made for a machine of QEMU's") as refused:
        command_text(wanted(image))
    assert refused.value.exit_code is Exit.USAGE and "--target" in refused.value.hint
    assert "-M" in words(wanted(image, target="pc-e1000"))


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        (("-nodefaults", "-serial", "null"), True),
        (("-nodefaults", "-serial", "none"), False),
        (("-nodefaults",), False),
        (("-serial", "file:x"), False),
        (("-nographic",), False),
        ((), True),
        (("-nodefaults", "-serial", "chardev:mine"), True),
    ],
)
def test_the_serial_port_is_shown_if_there_is_one_to_show(
    tmp_path: Path, arguments: tuple[str, ...], ours: bool
) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator("-M", "pc", *arguments))
    assert ("stdio,signal=off" in command_text(wanted(image, net="none"))) is ours


def test_the_user_network_follows_the_system(tmp_path: Path) -> None:
    import msgspec

    from tests.boot.stub import SYSTEM

    system = msgspec.structs.replace(SYSTEM, address="192.168.77.9/24")
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE), system=system)
    line = command_text(wanted(image, forwards=("8080:80/tcp",)))
    assert "net=192.168.77.0/24" in line and "tcp:127.0.0.1:8080-192.168.77.9:80" in line


def test_frames_are_captured(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE))
    line = command_text(wanted(image, capture=tmp_path / "a.pcap"))
    assert f"filter-dump,id=capture0,netdev=net0,file={tmp_path}/a.pcap" in line
    with pytest.raises(MetaosError, match="needs a network"):
        command_text(wanted(image, net="none", capture=tmp_path / "a.pcap"))
    assert not (tmp_path / "a.pcap").exists(), "a dry run writes nothing"
    with pytest.raises(MetaosError, match="cannot write"):
        run(wanted(image, capture=tmp_path / "no" / "a.pcap"), lambda _: None)


def test_a_machine_can_wait_for_a_debugger(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE))
    line = command_text(wanted(image, gdb=4321, accel="auto"))
    assert line.endswith("-S -gdb tcp:127.0.0.1:4321") and "-accel tcg" in line
    assert "-gdb" not in words(wanted(image))


def test_a_machine_without_a_card_runs_without_a_network(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator("-M", "pc", "-nodefaults"))
    assert "-netdev" not in words(wanted(image))


def test_a_machine_without_a_card_cannot_be_tested(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator("-M", "pc", "-nodefaults"))
    with pytest.raises(MetaosError, match="no network card to test"):
        examine(
            wanted(image, net="wire"),
            patterns=(),
            seed=0,
            boot_seconds=1,
            progress=lambda _: None,
        )


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, ""), (signal.SIGKILL, -9, "")],
)
def test_run_shows_the_console_and_leaves_no_qemu(
    tmp_path: Path, number: int, code: int, says: str
) -> None:
    port = free_port()
    machine = emulator(*MACHINE, "-serial", "null")
    system = System(name="stub", address="10.0.2.15/24", services=("arp", "udp.echo"))
    image = stub_image(tmp_path / "x.img", emulator=machine, system=system)
    with start("run", image, "--accel", "tcg", "-p", f"{port}:7/udp") as process:
        wait_for_line(process, "hello from the guest")
        assert len(processes(image)) == 2
        os.kill(process.pid, number)
        assert process.wait(10) == code
        assert process.stderr is not None
        said = process.stderr.read()
    assert f"try: echo hi | nc -u -w1 127.0.0.1 {port}\n" in said
    assert not says or said.splitlines()[-1] == says
    if number != signal.SIGKILL:
        assert re.search(r"^QEMU used [\d.]+% of a processor in [\d.]+ s$", said, re.MULTILINE)
    end = time.monotonic() + 5
    while processes(image):
        assert time.monotonic() < end, "QEMU was left behind"
        time.sleep(0.02)


@pytest.mark.qemu
def test_what_qemu_refuses_is_said_before_all_else(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE))
    with start("run", image, "--accel", "tcg", "--net", "none", "--", "-devcie", "x") as process:
        out, said = process.communicate(timeout=30)
    assert process.returncode == Exit.FAILED and out == ""
    assert said.startswith("error: QEMU ended with exit status 1 at start:\n")
    assert "-devcie: invalid option" in said


@pytest.mark.parametrize(
    ("port", "protocol", "services", "answers"),
    [
        (7, "udp", ("arp", "udp.echo"), True),
        (4004, "udp", ("udp.tally",), True),
        (9, "udp", ("arp", "udp.echo"), False),
        (7, "udp", ("arp", "icmp.echo"), False),
        (7, "tcp", ("udp.echo",), False),
    ],
)
def test_a_port_is_tried_where_a_service_answers(
    port: int, protocol: str, services: tuple[str, ...], answers: bool
) -> None:
    system = System(name="s", address="10.0.2.15/24", services=services)
    assert answers_at(port, protocol, services, system, [PATTERNS]) == answers


@pytest.mark.qemu
def test_a_taken_port_is_one_message(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.bind(("127.0.0.1", 0))
        port = taker.getsockname()[1]
        with start("run", image, "--accel", "tcg", "-p", f"{port}:7/udp") as process:
            out, said = process.communicate(timeout=30)
    assert process.returncode == Exit.FAILED and out == ""
    assert said.startswith(f"error: udp port {port} of 127.0.0.1 is taken")


@pytest.mark.qemu
def test_a_machine_that_resets_ends(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE), reset=True)
    with start("run", image, "--accel", "tcg", "--net", "none") as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.FAILED
    assert "the machine ended" in said


@pytest.mark.qemu
def test_qemus_own_message_is_shown(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator("-M", "pc", "-device", "nosuch"))
    with start("run", image, "--accel", "tcg", "--net", "none") as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.FAILED
    assert "'nosuch' is not a valid device model name" in said and "Traceback" not in said


@pytest.mark.qemu
def test_a_silent_machine_fails_the_test_with_its_console(tmp_path: Path) -> None:
    image = stub_image(tmp_path / "x.img", emulator=emulator(*MACHINE, "-serial", "null"))
    capture = tmp_path / "frames.pcap"
    with start("test", image, "--accel", "tcg", "--timeout", "2", "--pcap", capture) as process:
        out, said = process.communicate(timeout=60)
    assert process.returncode == Exit.FAILED, said
    assert "no answer in 2 s" in out and "  hello from the guest" in out
    assert capture.stat().st_size > 24 + 42, "our questions are in the capture"
    assert not processes(image)
