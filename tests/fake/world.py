"""All fake devices of one machine file, for the interpreter and for unicorn alike.

world = World(machine, bus)
world.ports, world.card, world.uart, world.nic
region = world.window("00:03.0", 0xFEBC0000)    # what answers there, if the BAR says so
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from metaos.ir.interpret import Cpuid
from metaos.probe.machine import Machine
from tests.fake import ne2000
from tests.fake.bus import Bus, PortSpace
from tests.fake.fault import FaultError, demand
from tests.fake.i8254x import Card
from tests.fake.nic import Nic
from tests.fake.platform import PciConfig, PciFunction, Pic, PmTimer, Uart16550
from tests.fake.virtio import Net
from tests.fake.virtio_pci import COMMON, DEVICE, NOTIFY, Legacy, Modern, structures

CARD, NE2000 = (0x8086, 0x100E), (0x10EC, 0x8029)
VIRTIO = ((0x1AF4, 0x1000), (0x1AF4, 0x1041))
PM_TIMER_PORT = 76
"""Offset of PM_TMR_BLK in the FADT. Source: ACPI 6.4, table 5.9."""


@dataclass
class World:
    """The devices of `machine`; they reach RAM through `bus`.

    `patience` is how often the card's reset and link are asked for before they are ready;
    `cable` False has no link at all.
    """

    machine: Machine
    bus: Bus
    cable: bool = True
    patience: int = 3
    uart: Uart16550 = field(default_factory=Uart16550)
    timer: PmTimer = field(default_factory=PmTimer)
    pics: tuple[Pic, Pic] = field(default_factory=lambda: (Pic(), Pic()))

    def __post_init__(self) -> None:
        self.pci = PciConfig(self.machine.functions)
        self.ports = self._ports()
        found = [f for f in self.machine.functions if (f.vendor, f.device) == CARD]
        demand(len(found) <= 1, f"there is a model of one card, the machine has {len(found)}")
        self.card_address = found[0].address if found else ""
        self.card = self._card()
        self.ne2000 = self._ne2000()
        self.virtio_bar = 0
        self.virtio_address = ""
        self.virtio = self._virtio()

    @property
    def nic(self) -> Nic:
        """The network card that the machine has."""
        return self.virtio or self.ne2000 or self.card

    def _ports(self) -> PortSpace:
        space = PortSpace()
        space.attach(0xCF8, 8, self.pci)
        for base, pic in zip((0x20, 0xA0), self.pics, strict=True):
            space.attach(base, 2, pic)
        for legacy in self.machine.legacy:
            if legacy.kind == "com" and legacy.index == 0:
                space.attach(legacy.port, 8, self.uart)
        for table in self.machine.acpi:
            if table.signature == "FACP":
                at = 2 * PM_TIMER_PORT
                port = int.from_bytes(bytes.fromhex(table.data[at : at + 8]), "little")
                space.attach(port, 4, self.timer)
        return space

    def _card(self) -> Card:
        """A card, even where the machine has none: then nothing reaches it."""
        macs = {n.address: n.mac for n in self.machine.networks}
        mac = bytes.fromhex(macs.get(self.card_address, "02:00:00:00:00:01").replace(":", ""))
        function = self.pci.functions.get(self.card_address)
        bus = _MasteredBus(self.bus, function)
        patience = {"reset_reads": self.patience, "link_reads": self.patience}
        return Card(bus, mac, cable=self.cable, **patience)

    def _ne2000(self) -> ne2000.Card | None:
        """A card at its ports, if the machine has one."""
        found = next((f for f in self.machine.functions if (f.vendor, f.device) == NE2000), None)
        if found is None:
            return None
        mac = next(n.mac for n in self.machine.networks if n.address == found.address)
        card = ne2000.Card(bytes.fromhex(mac.replace(":", "")), reset_reads=self.patience)
        base = next(bar.address for bar in found.bars if bar.index == 0)
        function = self.pci.functions[found.address]
        self.ports.attach(base, card.size, Decoded(card, function, base))
        return card

    def _virtio(self) -> Net | None:
        """A virtio device, modern if its capabilities say where, if the machine has one.

        What the device offers and how long its queues are is what was learnt of it.
        """
        found = next((f for f in self.machine.functions if (f.vendor, f.device) in VIRTIO), None)
        if found is None:
            return None
        learnt = {x.name: x.value for x in self.machine.learnt if x.device == found.address}
        mac = next(n.mac for n in self.machine.networks if n.address == found.address)
        function = self.pci.functions[found.address]
        known = structures(bytes(function.config))
        kind = Modern if COMMON in known else Legacy
        offered = learnt["offered"] | learnt.get("offered_high", 0) << 32
        card = kind(
            _MasteredBus(self.bus, function),
            bytes.fromhex(mac.replace(":", "")),
            offered,
            rooms=(learnt["rx.room"], learnt["tx.room"]),
            reset_reads=self.patience,
            link_reads=self.patience,
            cable=self.cable,
        )
        self.virtio_address, self.virtio_bar = found.address, 0
        if isinstance(card, Modern):
            self.virtio_bar = known[COMMON].bar
            card.places = {k: known[k].offset for k in (COMMON, NOTIFY, DEVICE)}
            card.multiplier = known[NOTIFY].extra
            card.bells = (learnt["rx.bell"], learnt["tx.bell"])
        else:
            base = next(bar.address for bar in found.bars if bar.index == 0)
            self.ports.attach(base, card.size, Decoded(card, function, base))
        return card

    def window(self, device: str, physical: int) -> Decoded:
        """What answers at the window of `device` that is placed at `physical`."""
        if isinstance(self.virtio, Modern) and device == self.virtio_address:
            function = self.pci.functions[device]
            return Decoded(self.virtio, function, physical, self.virtio_bar)
        demand(device == self.card_address, f"there is no model of {device}'s window")
        return Decoded(self.card, self.pci.functions[device], physical)

    def cpuid(self) -> Cpuid:
        """CPUID as the machine file has it: leaves without subleaves ignore ECX."""
        leaves = self.machine.cpu.leaves
        known = {(x.leaf, x.subleaf): (x.eax, x.ebx, x.ecx, x.edx) for x in leaves}

        def answer(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
            return known.get((leaf, subleaf)) or known.get((leaf, 0)) or (0, 0, 0, 0)

        return answer


class Registers(Protocol):
    """What every card shows: `offset` is in bytes, `width` in bits."""

    size: int

    def read(self, offset: int, width: int) -> int: ...

    def write(self, offset: int, width: int, value: int) -> None: ...


class Decoded:
    """A card's registers at an address or at ports, there only while its BAR says so."""

    def __init__(self, card: Registers, function: PciFunction, physical: int, bar: int = 0) -> None:
        self._card = card
        self._function = function
        self._physical = physical
        self._bar = bar
        self.size = card.size

    def read(self, offset: int, width: int) -> int:
        self._decoded()
        return self._card.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        self._decoded()
        self._card.write(offset, width, value)

    def _decoded(self) -> None:
        at = self._function.decodes(self._bar)
        if at != self._physical:
            raise FaultError(f"BAR {self._bar} answers at {at}, not at {self._physical:#x}")


class _MasteredBus:
    """RAM as a card sees it that may only act while its function masters the bus."""

    def __init__(self, bus: Bus, function: PciFunction | None) -> None:
        self._bus = bus
        self._function = function

    def read(self, address: int, length: int) -> bytes:
        self._masters()
        return self._bus.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        self._masters()
        self._bus.write(address, data)

    def _masters(self) -> None:
        masters = self._function is not None and self._function.masters
        demand(masters, "the card reaches for RAM while COMMAND.MASTER is 0")
