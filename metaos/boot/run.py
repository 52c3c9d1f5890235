"""Boot an image: for a person (`run`), or to put its services to the test (`test`).

Entering: an image file and what is wanted of the network; leaving: an exit code, or a
`Result`. The machine is the one the image was made for, as its manifest says; other
arguments for QEMU come after that one's, another target replaces both.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from metaos.boot import found, network
from metaos.boot.accel import Choice, choose
from metaos.boot.acceptance import (
    ANSWER_SECONDS,
    Verdict,
    examine,
    given_of,
    heard,
    missing,
    plan,
)
from metaos.boot.qemu import Qemu
from metaos.boot.reached import forward_notes, shared
from metaos.boot.shown import OwnLine, copy_console
from metaos.boot.target import NO_TARGET, QEMU, command, load_target, open_chardevs
from metaos.boot.usage import Meter, process_seconds
from metaos.errors import Exit, MetaosError
from metaos.files import PCAP, demand_replaceable
from metaos.link.image import Image, read_image
from metaos.link.manifest import Manifest
from metaos.match.cards import Role, roles
from metaos.match.system import System
from metaos.resources import PATTERNS

if TYPE_CHECKING:
    from metaos.pattern.patterns import Patterns

_SERIAL = "metaos-serial"
_END_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_AGAIN = "build it again: metaos build"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asked for. `net` is user, dgram, none, or wire (the test's own).

    With `gdb`, a port, QEMU executes nothing before a debugger there says so.
    """

    image: Path
    net: str
    capture: Path | None
    accel: str
    target: str | None
    arguments: tuple[str, ...]
    forwards: tuple[str, ...] = ()
    patterns: tuple[Path, ...] = (PATTERNS,)
    gdb: int | None = None


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
    if wanted.capture:
        _create(wanted.capture)
    if wanted.net == "user":
        network.check_ports(map(network.parse_forward, wanted.forwards))
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, "rb", buffering=0) as console,
        os.fdopen(writer, "wb") as end,
        Qemu(plan.command, stdout=end) as vm,  # its greeting: the arguments are as QEMU wants them
    ):
        end.close()
        progress(f"{plan.accel.name}: {plan.accel.why}")
        for text in plan.notes:
            progress(text)
        progress("the machine's console follows; Ctrl-C ends it")
        meter = Meter(process_seconds(vm.pid), time.monotonic)
        own_line = OwnLine(progress)
        try:
            copy_console(console, meter, own_line)
        finally:
            if cost := meter.all():
                own_line.say(cost)
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
    served = roles_of(image, wanted.image)
    accel = choose(wanted.accel)
    progress(f"{accel.name}: {accel.why}")
    arguments, cards = machine_arguments(wanted, image), network.network_cards(QEMU)
    count = network.count_cards(arguments, cards)
    if not count:
        raise MetaosError(
            "the machine has no network card to test",
            hint="name one after --, as: metaos test IMAGE -- -device NAME",
        )
    with tempfile.TemporaryDirectory(prefix="metaos-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        said = folder / "console"
        wires = [stack.enter_context(network.open_wire(folder, n)) for n in range(count)]
        backends = [wire.backend for wire in wires]
        connected = network.connect_each(arguments, backends, cards)
        for number, file in enumerate(_captures(wanted.capture, count)):
            connected += network.capture(file, number)
        serial = f"file,path={network.quote(said)}"
        with Qemu(qemu_command(connected, wanted, accel, serial=serial)) as vm:
            progress("waiting for the machine to boot")
            known = _patterns(patterns, _system(image, wanted.image))
            verdicts = tuple(_verdicts(vm, image, wires, served, known, seed, boot_seconds))
            words = vm.stderr.strip()
        text = said.read_bytes().decode("utf-8", "replace") if said.exists() else ""
    return Result(
        image=str(wanted.image),
        passed=all(verdict.passed for verdict in verdicts),
        accelerator=accel.name,
        verdicts=verdicts,
        console=text + (f"\nQEMU: {words}" if words else ""),
    )


def _patterns(folders: Sequence[Path], system: System) -> Patterns:
    """The patterns, with the constants of services as the system sets them."""
    from metaos import resources
    from metaos.match.services import settled
    from metaos.pattern.patterns import load

    loaded = load([resources.PATTERNS, *folders])
    return replace(loaded, services=settled(loaded.services, system))


def _verdicts(
    vm: Qemu,
    image: Image,
    wires: Sequence[network.Wire],
    served: Sequence[Role],
    loaded: Patterns,
    seed: int,
    boot_seconds: float,
) -> Iterator[Verdict]:
    """Ask every card on its own wire, one after the other; all stay connected."""
    waiting = [f"{role.card} by '{role.giver}'" for role in served if role.giver]
    if waiting:
        raise MetaosError(
            f"nobody gives addresses on the wires of a test: {', '.join(waiting)} wait for one",
            hint="metaos run shows it on QEMU's own network; to test the rest, write its address",
        )
    named = dict.fromkeys(name for role in served for name in role.services)
    unknown = [name for name in named if name not in loaded.services]
    if unknown:
        raise MetaosError(
            f"the image has services without a pattern here: {', '.join(unknown)}",
            hint="name the folder of their patterns: --patterns DIR",
        )
    end = time.monotonic() + boot_seconds
    wire_of = wires_of(vm, wires, served, boot_seconds)
    for role in served:
        if role.card not in wire_of:
            yield missing(role.card, wire_of)
            continue
        wire = wire_of[role.card]
        address = found.card_address(vm.hmp("info network"), wire.netdev)
        if address is None:
            raise MetaosError("QEMU does not say which address the network card has")
        given = given_of(role.interface, address, role.gateway)
        known = role.services, loaded.services, loaded.layouts, given
        questions, control = plan(*known, seed=seed)
        left = max(min(ANSWER_SECONDS, boot_seconds), end - time.monotonic())
        for verdict in examine(
            wire,
            questions,
            control,
            sayings=heard(*known),
            beyond=wire_of.get(role.to),
            fate=lambda: _fate(vm, image.manifest),
            boot_seconds=left,
        ):
            yield msgspec.structs.replace(verdict, card=role.card)


def _fate(vm: Qemu, manifest: Manifest) -> str:
    """Why nothing more is to be waited for: nothing while there is."""
    if not manifest.phases:
        return ""
    place = manifest.symbol(manifest.next).physical
    try:
        words = vm.hmp(f"xp /1gx {place:#x}").split()
    except MetaosError:
        return "the machine ended"
    reports = words and int(words[-1], 16) == manifest.phase("report").root
    return "the machine reports what is wrong, on its consoles" if reports else ""


def wires_of(
    vm: Qemu, wires: Sequence[network.Wire], served: Sequence[Role], seconds: float
) -> dict[str, network.Wire]:
    """The wire of each card, by PCI address: as soon as the firmware has numbered the buses.

    An only card of both the machine and the image is that card. The result lacks cards that
    are not there in `seconds`.
    """
    if len(wires) == len(served) == 1:
        return {served[0].card: wires[0]}
    end = time.monotonic() + seconds
    while True:
        if vm.returncode is not None:
            raise vm.death("while it booted")
        netdevs = found.netdevs(vm.hmp("info network"))
        addresses = found.pci_addresses(vm.command("query-pci"))
        by_netdev = {netdevs[name]: at for name, at in addresses.items() if name in netdevs}
        wire_of = {by_netdev[w.netdev]: w for w in wires if w.netdev in by_netdev}
        if all(role.card in wire_of for role in served) or time.monotonic() > end:
            return wire_of
        time.sleep(_LOOK_SECONDS)


def _captures(path: Path | None, count: int) -> list[Path]:
    """A file for each network: a.pcap, a-1.pcap, ... Created, so that a wrong path is said."""
    if path is None:
        return []
    paths = [path, *(path.with_stem(f"{path.stem}-{n}") for n in range(1, count))]
    for file in paths:
        _create(file)
    return paths


def _person_plan(wanted: Wanted, image: Image) -> Plan:
    """The command for `run`, with the network that was asked for."""
    arguments = machine_arguments(wanted, image)
    backend, notes = _backend(wanted, image)
    if backend:
        connected = _connected(wanted, arguments, backend)
        if connected is None:
            notes = ("the machine has no network card: it runs without a network",)
        else:
            arguments = connected
    elif wanted.capture:
        raise MetaosError("--pcap needs a network", exit_code=Exit.USAGE)
    else:
        arguments = network.as_connected(arguments, QEMU)
    # Under KVM a breakpoint is written into the code, which is proved to be as it is.
    accel = choose("tcg" if wanted.gdb and wanted.accel == "auto" else wanted.accel)
    line = qemu_command(arguments, wanted, accel, serial="stdio,signal=off")
    if wanted.gdb:
        line += ["-S", "-gdb", f"tcp:{network.LOCALHOST}:{wanted.gdb}"]
    return Plan(tuple(line), notes, accel)


def _backend(wanted: Wanted, image: Image) -> tuple[str, tuple[str, ...]]:
    """QEMU's network backend, "" for none, and what a person may do with it."""
    if wanted.net == "user":
        forwards = [network.parse_forward(text) for text in wanted.forwards]
        served = roles_of(image, wanted.image)
        guests = [role.interface for role in served] or [_system(image, wanted.image).interface]
        backend = network.user_backend(guests, forwards)
        system = _system(image, wanted.image)
        return backend, forward_notes(forwards, served, system, wanted.patterns)
    if wanted.net == "dgram":
        ends = network.free_datagrams()
        note = (
            f"raw frames, one a datagram, on 127.0.0.1: send to port {ends.machine_port}, "
            f"answers come to port {ends.our_port}"
        )
        return ends.backend, (*shared(roles_of(image, wanted.image)), note)
    return "", ()


def machine_arguments(wanted: Wanted, image: Image) -> list[str]:
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
    return [*connected, *network.capture(wanted.capture)]


def _create(path: Path) -> None:
    demand_replaceable(path, PCAP)
    try:
        path.open("wb").close()
    except OSError as error:
        raise MetaosError(f"cannot write {path}: {error.strerror}") from error


def qemu_command(
    arguments: Sequence[str], wanted: Wanted, accel: Choice, *, serial: str
) -> list[str]:
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


def roles_of(image: Image, path: Path) -> tuple[Role, ...]:
    """The image's network cards, in the machine's order, and what each is to do."""
    offering = [device.address for device in image.manifest.provenance.devices if device.offers]
    return roles(_system(image, path), offering)
