"""A machine whose start is looked at from outside, by reading its memory.

    with watched(wanted, image, accel, 60.0, counting=False) as machine:
        machine.vm.command("cont")
        machine.position()          # (1, 98): init, the row at byte 98 of its table

QEMU says where the machine's memory lies in its own; Linux lets a parent read that. So nothing
is changed and nothing is stopped.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaos.boot import found, network
from metaos.boot.accel import Choice
from metaos.boot.acceptance import given_of, plan
from metaos.boot.qemu import Qemu
from metaos.boot.questions import Question, judge
from metaos.boot.remote import Remote
from metaos.boot.run import Wanted, machine_arguments, qemu_command, wires_of
from metaos.boot.segments import Position
from metaos.boot.target import QEMU
from metaos.errors import Exit, MetaosError
from metaos.link.image import Image
from metaos.link.loader import LOW
from metaos.match.cards import Role
from metaos.pattern.patterns import Patterns
from metaos.verify.form import check_form

COUNTING = ("-icount", "shift=3")
"""An instruction takes 2^3 ns of the machine's time, about what TCG needs for one."""
CURSOR = "rows.cursor"
_STEPPED = ("guard", "init")
_SIGNATURE = 16
_KNOCK_SECONDS = 0.02
_CARD_SECONDS = 5.0
_HOST_ADDRESS = re.compile(r" is 0x([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the machine's cards are to do, and the patterns whose examples are asked."""

    served: Sequence[Role]
    patterns: Patterns


@dataclass(frozen=True)
class Watched:
    """It stands before its first instruction. `hosts` are addresses in QEMU of physical ones."""

    vm: Qemu
    image: Image
    stub: Remote
    memory: int
    hosts: dict[int, int]
    phases: dict[int, int]
    wires: Sequence[network.Wire]
    console: Path
    end: float

    def position(self) -> Position:
        """The phase that runs and the cursor of its row."""
        manifest = self.image.manifest
        phase = self.phases.get(self._word(manifest.symbol(manifest.next).physical, 8), -1)
        name = manifest.phases[phase].name if phase >= 0 else ""
        if name == "report":
            raise self._failed()
        return phase, self._word(manifest.symbol(CURSOR).physical, 4) if name in _STEPPED else 0

    def loaded(self) -> bool:
        """Whether the firmware has read the boot sector."""
        return os.pread(self.memory, _SIGNATURE, self.hosts[LOW]) == self.image.data[:_SIGNATURE]

    def left(self, what: str) -> float:
        """Seconds that are left for the whole start; raises if none are."""
        if self.vm.returncode is not None:
            raise self.vm.death(f"before {what}")
        left = self.end - time.monotonic()
        if left <= 0:
            raise MetaosError(
                f"the machine did not come to {what} in the time given",
                hint="metaos run shows its console; --timeout SECONDS gives it longer",
                exit_code=Exit.TIMEOUT,
            )
        return left

    def question(self, asked: Asked) -> tuple[network.Wire, Question] | None:
        """What is asked of the first card, and its wire; None if nothing there answers."""
        wire_of = wires_of(self.vm, self.wires, asked.served, _CARD_SECONDS) if self.wires else {}
        role = next((role for role in asked.served if role.card in wire_of), None)
        if role is None:
            return None
        address = found.card_address(self.vm.hmp("info network"), wire_of[role.card].netdev)
        if address is None:
            return None
        services, layouts = asked.patterns.services, asked.patterns.layouts
        try:
            _, control = plan(
                role.services,
                services,
                layouts,
                given_of(role.interface, address, role.gateway),
                seed=0,
            )
        except MetaosError:  # no service of it answers
            return None
        return wire_of[role.card], control(0)

    def answer(self, wire: network.Wire, question: Question) -> None:
        """Ask until the right answer has come."""
        while True:
            wire.send(question.sent)
            quiet = time.monotonic() + min(_KNOCK_SECONDS, self.left("its first answer"))
            while (left := quiet - time.monotonic()) > 0:
                frame = wire.receive(left)
                if frame is not None and not judge(question, frame):
                    return

    def _word(self, physical: int, size: int) -> int:
        return int.from_bytes(os.pread(self.memory, size, self.hosts[physical]), "little")

    def _failed(self) -> MetaosError:
        said = self.console.read_text("utf-8", "replace") if self.console.exists() else ""
        shown = f": {said.strip().splitlines()[-1]}" if said.strip() else ""
        return MetaosError(
            f"the machine went to its report phase instead of steady{shown}",
            hint="metaos run shows what it reports",
        )


@contextlib.contextmanager
def watched(
    wanted: Wanted, image: Image, accel: Choice, seconds: float, *, counting: bool
) -> Iterator[Watched]:
    """Start QEMU, and stop before the machine's first instruction; QEMU is gone afterwards.

    Raises:
        MetaosError: the image is damaged, or QEMU's memory cannot be read.
    """
    wrong = check_form(image)
    if wrong:
        raise MetaosError(f"the image is damaged: {wrong[0].message}", hint="metaos audit IMAGE")
    arguments, cards = machine_arguments(wanted, image), network.network_cards(QEMU)
    with tempfile.TemporaryDirectory(prefix="metaos-") as name, contextlib.ExitStack() as stack:
        folder, count = Path(name), network.count_cards(arguments, cards)
        wires = [stack.enter_context(network.open_wire(folder, n)) for n in range(count)]
        if wires:
            backends = [wire.backend for wire in wires]
            arguments = network.connect_each(arguments, backends, cards)
        console = folder / "console"
        ours, theirs = socket.socketpair()
        stub = stack.enter_context(Remote(ours))
        with theirs:
            line = [
                *qemu_command(arguments, wanted, accel, serial=f"file,path={console}"),
                *("-S", "-chardev", f"socket,id=metaos-gdb,fd={theirs.fileno()}"),
                *("-gdb", "chardev:metaos-gdb", *(COUNTING if counting else ())),
            ]
            vm = stack.enter_context(Qemu(line, pass_fds=(theirs.fileno(),)))
        memory, hosts = _memory(vm, image)
        stack.callback(os.close, memory)
        phases = {phase.root: number for number, phase in enumerate(image.manifest.phases)}
        end = time.monotonic() + seconds
        yield Watched(vm, image, stub, memory, hosts, phases, wires, console, end)


def _memory(vm: Qemu, image: Image) -> tuple[int, dict[int, int]]:
    """A descriptor of QEMU's memory, and where in it what is looked at lies."""
    manifest = image.manifest
    names = [s.name for s in manifest.symbols]
    wanted = [LOW, *(manifest.symbol(n).physical for n in (manifest.next, CURSOR) if n in names)]
    hosts = {}
    for physical in wanted:
        said = vm.hmp(f"gpa2hva {physical:#x}")
        address = _HOST_ADDRESS.search(said)
        if address is None:
            raise MetaosError(f"QEMU does not say where its machine's memory is: {said.strip()}")
        hosts[physical] = int(address[1], 16)
    try:
        return os.open(f"/proc/{vm.pid}/mem", os.O_RDONLY | os.O_CLOEXEC), hosts
    except OSError as error:
        raise MetaosError(
            f"cannot read QEMU's memory: {error.strerror}",
            hint="boot-chart needs /proc, and a kernel that lets a process read its own child",
            exit_code=Exit.TOOL_MISSING,
        ) from error
