"""A finished image at work in unicorn, among fake devices made from a machine file.

    station = Station(image, machine)
    station.boot()                        # boot sector, loader, guard, init, wipe
    turn = station.turn(frame)            # one turn of the steady phase
    turn.sent, turn.writes, turn.trace

Nothing of the image is replaced or skipped: its own loader reads it through BIOS calls,
makes the page tables and enters guard; phases change as its code loads CR3; memory
protection, shadows and unmapped memory are what its page tables say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from unicorn import UC_HOOK_BLOCK, UC_HOOK_CODE
from unicorn import x86_const as x86

from metaos.link.image import Image
from metaos.link.manifest import PhaseMap, WindowMap
from metaos.probe.machine import Machine
from tests.fake.fault import FaultError
from tests.fake.platform import PmTimer, Uart16550
from tests.fake.world import World
from tests.image.bios import Bios
from tests.image.engine import Engine
from tests.image.pc import Pc
from tests.image.trace import blocks, instructions, string_instructions

TEXT_MEMORY, TEXT_CELLS = 0xB8000, 80 * 25


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of the steady phase did.

    `reads` and `writes` are register accesses of the card, `ports` port accesses of all.
    `trace` are the addresses executed, if asked for: of instructions, or of the blocks
    that unicorn translates. A string instruction counts once, whatever its count.
    """

    delivered: bool
    sent: tuple[bytes, ...]
    reads: int
    writes: int
    ports: int
    trace: tuple[int, ...]


@dataclass
class Station:
    """One image on one machine, which need not be the one it was built for.

    `patience`, `cable`, `uart` and `timer` are as `World` has them; with `count` the
    instructions of each phase before steady are counted in `instructions`.
    """

    image: Image
    machine: Machine
    cable: bool = True
    patience: int = 3
    count: bool = False
    disk_fails: bool = False
    uart: Uart16550 = field(default_factory=Uart16550)
    timer: PmTimer = field(default_factory=PmTimer)

    def __post_init__(self) -> None:
        memory = tuple((r.base, r.size, int(r.kind)) for r in self.machine.memory)
        self.bios = Bios(self.image.data, memory, self.disk_fails)
        top = max(base + size for base, size, kind in memory if kind == 1 and base < 1 << 32)
        self.pc = Pc(min(top, 1 << 32), self.bios)
        self.world = World(self.machine, self.pc, self.cable, self.patience, self.uart, self.timer)
        self.card, self.nic, self.ports = self.world.card, self.world.nic, self.world.ports
        self.pc.ports, self.pc.cpuid = self.ports, self.world.cpuid()
        for window in self.image.manifest.windows:
            self._attach(window)
        self.turns: dict[str, int] = {}
        self.instructions: dict[str, int] = {}
        self.phase = "guard"
        self._queue: deque[bytes | None] = deque()
        self._done: list[Turn] = []
        self._open = False
        self._trace: list[int] = []
        self._strings = string_instructions(self.image, "steady")
        self._normal = blocks
        self._before = (0, 0, 0, 0)
        self._delivered = False

    def _attach(self, window: WindowMap) -> None:
        """Text memory is plain RAM here; everything else is the card's."""
        if window.physical == TEXT_MEMORY:
            return
        region = self.world.window(window.device, window.physical)
        size = -(-window.size // 4096) * 4096
        self.pc.attach(window.physical, size, region.read, region.write)

    # Start

    def boot(self, limit: int = 100_000) -> None:
        """Run from the boot sector to the first turn of the steady phase.

        Raises FaultError if a phase takes over `limit` turns or the report phase parks;
        what it says is in the message.
        """
        self.until("steady", limit)

    def until(self, phase: str, limit: int = 100_000) -> None:
        """Run from the boot sector until a phase begins; see `boot`."""
        self._wanted, self._limit = phase, limit
        if not self.turns:
            self.pc.start(until=self.image.manifest.entry)
            self._hook_phases()
        self._go()
        if self.phase != phase:
            raise FaultError(f"in {self.phase} after {self.turns} turns: {self.said}")

    def _hook_phases(self) -> None:
        self._roots = {p.root: p for p in self.image.manifest.phases}
        for start in {p.code_linear for p in self.image.manifest.phases}:
            self._uc.hook_add(UC_HOOK_CODE, self._at_start, None, start, start)
        if self.count:
            self._uc.hook_add(UC_HOOK_CODE, self._count)

    @property
    def _uc(self) -> Engine:
        assert self.pc.uc is not None, "boot comes first"
        return self.pc.uc

    def _here(self) -> PhaseMap:
        return self._roots[self._uc.reg_read(x86.UC_X86_REG_CR3)]

    def _go(self) -> None:
        entry = self.image.manifest.entry
        self.pc.go(self._here().code_linear if self.turns else entry)

    def _at_start(self, uc: Engine, address: int, size: int, data: object) -> None:
        """A phase's first instruction, maybe: another phase's code may lie there too."""
        steady = self.phase == "steady"  # which is never left
        here = self.image.manifest.phase("steady") if steady else self._here()
        if address != here.code_linear:
            return
        self.phase = here.name
        if self.phase == "steady" == self._wanted:
            self._turn_over(uc)
            return
        self.turns[self.phase] = self.turns.get(self.phase, 0) + 1
        lost = self.phase == "report" != self._wanted and self.turns["report"] > 4000
        if self.phase == self._wanted or lost or self.turns[self.phase] > self._limit:
            uc.emu_stop()

    def _count(self, uc: Engine, address: int, size: int, data: object) -> None:
        """Runs after `_at_start`, so the first instruction counts for its own phase."""
        self.instructions[self.phase] = self.instructions.get(self.phase, 0) + 1

    # Turns

    def turn(self, frame: bytes | None = None, trace: str = "") -> Turn:
        """One turn of the steady phase, `frame` having come before it."""
        return next(self.run([frame], trace))

    def run(self, frames: Iterable[bytes | None], trace: str = "") -> Iterator[Turn]:
        """A turn for each of `frames` in one go; `trace` is "", "blocks" or "instructions"."""
        self._queue.extend(frames)
        kinds = {"blocks": UC_HOOK_BLOCK, "instructions": UC_HOOK_CODE}
        hook = self._uc.hook_add(kinds[trace], self._executed) if trace else None
        self._uc.ctl_flush_tb()  # what is translated already has not this hook
        self._normal = blocks if trace == "blocks" else instructions
        try:
            self._go()
        finally:
            self._open = False
            self._queue.clear()
            if hook is not None:
                self._uc.hook_del(hook)
                self._uc.ctl_flush_tb()
        done, self._done = self._done, []
        yield from done

    def _turn_over(self, uc: Engine) -> None:
        if self._open:
            self._done.append(self._result())
            self.turns["steady"] += 1
        else:
            self.turns.setdefault("steady", 0)
        self._open = bool(self._queue)
        if not self._open:
            uc.emu_stop()
            return
        frame = self._queue.popleft()
        self._delivered = frame is not None and self.nic.deliver(frame)
        self._trace.clear()
        card = self.nic
        self._before = (card.reads, card.writes, len(self.ports.log), len(card.sent))

    def _result(self) -> Turn:
        card, (reads, writes, ports, sent) = self.nic, self._before
        return Turn(
            self._delivered,
            tuple(card.sent[sent:]),
            card.reads - reads,
            card.writes - writes,
            len(self.ports.log) - ports,
            self._normal(self._trace, self._strings),
        )

    def _executed(self, uc: Engine, address: int, size: int, data: object) -> None:
        self._trace.append(address)

    # What people see

    @property
    def said(self) -> str:
        """What came out of the serial port, and the BIOS's before it."""
        return (bytes(self.bios.serial) + bytes(self.uart.output)).decode("latin-1")

    @property
    def screen(self) -> str:
        """The characters in text memory, 80 a line, without spaces at the ends."""
        cells = self.pc.read(TEXT_MEMORY, 2 * TEXT_CELLS)[::2].decode("latin-1")
        lines = [cells[i : i + 80].replace("\0", " ").rstrip() for i in range(0, TEXT_CELLS, 80)]
        return "\n".join(lines).rstrip()

    def place(self, name: str) -> bytes:
        """The bytes of a RAM place by its symbol."""
        symbol = self.image.manifest.symbol(name)
        return self.pc.read(symbol.physical, symbol.size)
