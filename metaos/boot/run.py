"""Boot an image: for a person (`run`), or to put its services to the test (`test`).

Entering: an image file and what is wanted of the network; leaving: an exit code, or a
`Result`. The machine is the one the image was made for, as its manifest says; other
arguments for QEMU come after that one's, another target replaces both.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from metaos.boot import network
from metaos.boot.accel import Choice, choose
from metaos.boot.acceptance import Verdict, examine, given_of, plan
from metaos.boot.qemu import Qemu
from metaos.boot.target import NO_TARGET, QEMU, command, load_target, open_chardevs
from metaos.errors import Exit, MetaosError
from metaos.link.image import Image, read_image
from metaos.match.system import System

_SERIAL = "metaos-serial"
_BUFFER = 1 << 16
_END_SECONDS = 5.0
_AGAIN = "build it again: metaos build"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asked for. `net` is user, dgram, none, or wire (the test's own)."""

    image: Path
    net: str
    capture: Path | None
    accel: str
    target: str | None
    arguments: tuple[str, ...]
    forwards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A command line for QEMU, and what a person should know of it."""

    command: tuple[str, ...]
    notes: tuple[str, ...]
    accel: Choice


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What `metaos test` found. `console` is all that the machine's serial port said."""

    image: str
    passed: bool
    accelerator: str
    verdicts: tuple[Verdict, ...]
    console: str


def command_text(wanted: Wanted) -> str:
    """The command that `run` would start, as a line for a shell."""
    return shlex.join(_person_plan(wanted, read_image(wanted.image)).command)


def run(wanted: Wanted, progress: Progress) -> Exit:
    """Boot the image, show its serial console on stdout until QEMU ends or Ctrl-C.

    Raises:
        MetaosError: the image, the network or QEMU is not as it should be.
    """
    plan = _person_plan(wanted, read_image(wanted.image))
    if wanted.net == "user":
        network.check_ports(map(network.parse_forward, wanted.forwards))
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, "rb", buffering=0) as console,
        os.fdopen(writer, "wb") as end,
        Qemu(plan.command, qmp=False, stdout=end) as vm,
    ):
        end.close()
        progress(f"{plan.accel.name}: {plan.accel.why}")
        for text in plan.notes:
            progress(text)
        progress("the machine's console follows; Ctrl-C ends it")
        _copy(console)
        if vm.wait(_END_SECONDS):
            raise vm.death("while it ran")
    progress("the machine ended: it was reset or switched itself off")
    return Exit.FAILED


def test(
    wanted: Wanted,
    *,
    patterns: Sequence[Path],
    seed: int,
    boot_seconds: float,
    progress: Progress,
) -> Result:
    """Boot the image on a network of two and ask it every example of its services.

    Raises:
        MetaosError: the image or QEMU is not as it should be, or nothing can be asked.
    """
    image = read_image(wanted.image)
    system = _system(image, wanted.image)
    accel = choose(wanted.accel)
    progress(f"{accel.name}: {accel.why}")
    with tempfile.TemporaryDirectory(prefix="metaos-") as name:
        folder = Path(name)
        said = folder / "console"
        with network.open_wire(folder) as wire:
            arguments = _connected(wanted, _arguments(wanted, image), wire.backend)
            if arguments is None:
                raise MetaosError(
                    "the machine has no network card to test",
                    hint="name one after --, as: metaos test IMAGE -- -device NAME",
                )
            serial = f"file,path={network.quote(said)}"
            line = _command(arguments, wanted, accel, serial=serial)
            with Qemu(line) as vm:
                progress("waiting for the machine to boot")
                verdicts = tuple(_verdicts(vm, wire, system, patterns, seed, boot_seconds))
                words = vm.stderr.strip()
        text = said.read_bytes().decode("utf-8", "replace") if said.exists() else ""
    return Result(
        image=str(wanted.image),
        passed=all(verdict.passed for verdict in verdicts),
        accelerator=accel.name,
        verdicts=verdicts,
        console=text + (f"\nQEMU: {words}" if words else ""),
    )


def _verdicts(
    vm: Qemu,
    wire: network.Wire,
    system: System,
    patterns: Sequence[Path],
    seed: int,
    boot_seconds: float,
) -> Iterator[Verdict]:
    from metaos import resources
    from metaos.pattern.patterns import load

    address = network.card_address(vm.hmp("info network"))
    if address is None:
        raise MetaosError("QEMU does not say which address the network card has")
    given = given_of(system.interface, address)
    loaded = load([resources.PATTERNS, *patterns])
    unknown = [name for name in system.services if name not in loaded.services]
    if unknown:
        raise MetaosError(
            f"the image has services without a pattern here: {', '.join(unknown)}",
            hint="name the folder of their patterns: --patterns DIR",
        )
    questions, control = plan(system.services, loaded.services, loaded.layouts, given, seed=seed)
    yield from examine(
        wire, questions, control, alive=lambda: vm.returncode is None, boot_seconds=boot_seconds
    )


def _person_plan(wanted: Wanted, image: Image) -> Plan:
    """The command for `run`, with the network that was asked for."""
    arguments = _arguments(wanted, image)
    backend, notes = _backend(wanted, image)
    if backend:
        connected = _connected(wanted, arguments, backend)
        if connected is None:
            notes = ("the machine has no network card: it runs without a network",)
        else:
            arguments = connected
    elif wanted.capture:
        raise MetaosError("--pcap needs a network", exit_code=Exit.USAGE)
    accel = choose(wanted.accel)
    serial = "stdio,signal=off"
    return Plan(tuple(_command(arguments, wanted, accel, serial=serial)), notes, accel)


def _backend(wanted: Wanted, image: Image) -> tuple[str, tuple[str, ...]]:
    """QEMU's network backend, "" for none, and what a person may do with it."""
    if wanted.net == "user":
        forwards = [network.parse_forward(text) for text in wanted.forwards]
        interface = _system(image, wanted.image).interface
        return network.user_backend(interface, forwards), tuple(map(_line_to_try, forwards))
    if wanted.net == "dgram":
        ends = network.free_datagrams()
        note = (
            f"raw frames, one a datagram, on 127.0.0.1: send to port {ends.machine_port}, "
            f"answers come to port {ends.our_port}"
        )
        return ends.backend, (note,)
    return "", ()


def _line_to_try(forward: network.Forward) -> str:
    option = "-u " if forward.protocol == network.DATAGRAM else ""
    return f"try: echo hi | nc {option}-w1 127.0.0.1 {forward.host_port}"


def _arguments(wanted: Wanted, image: Image) -> list[str]:
    """The machine's own arguments: those it was probed with, or another target's."""
    emulator = image.manifest.provenance.emulator
    if wanted.target is not None:
        first, own = wanted.target, tuple[str, ...]()
    elif emulator is not None:
        first, own = emulator.target, emulator.arguments
    else:
        raise MetaosError(
            f"{wanted.image} was not made for a machine of QEMU's",
            hint="name a similar one: --target NAME",
            exit_code=Exit.USAGE,
        )
    return _serial_end([*load_target(first).args, *own, *wanted.arguments])


def _serial_end(arguments: list[str]) -> list[str]:
    """Leave the first serial port's end to us, if the machine has one and nobody uses it."""
    if open_chardevs(arguments):
        return arguments
    options = [f"-{word.lstrip('-')}" if word.startswith("-") else word for word in arguments]
    if "-serial" in options:
        at = options.index("-serial") + 1
        if arguments[at : at + 1] == ["null"]:
            return [*arguments[:at], f"chardev:{_SERIAL}", *arguments[at + 1 :]]
        return arguments
    if {"-nodefaults", "-nographic"} & set(options):
        return arguments
    return [*arguments, "-serial", f"chardev:{_SERIAL}"]


def _connected(wanted: Wanted, arguments: Sequence[str], backend: str) -> list[str] | None:
    connected = network.connect(arguments, backend, network.network_cards(QEMU))
    if connected is None or wanted.capture is None:
        return connected
    try:
        wanted.capture.open("wb").close()
    except OSError as error:
        raise MetaosError(f"cannot write {wanted.capture}: {error.strerror}") from error
    return [*connected, *network.capture(wanted.capture)]


def _command(arguments: Sequence[str], wanted: Wanted, accel: Choice, *, serial: str) -> list[str]:
    """The whole command. A machine that is reset ends, so that a fault is no endless loop."""
    line = command(
        load_target(NO_TARGET), arguments, image=wanted.image, accel=accel.name, serial=serial
    )
    return [*line, "-monitor", "none", "-no-reboot"]


def _system(image: Image, path: Path) -> System:
    system = image.manifest.provenance.system
    if system is None:
        raise MetaosError(f"{path} does not say what it is to do", hint=_AGAIN)
    return system


def _copy(console: IO[bytes]) -> None:
    """Copy the machine's console to stdout until QEMU closes it."""
    while data := console.read(_BUFFER):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
