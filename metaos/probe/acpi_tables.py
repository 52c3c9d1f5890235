"""What is read from ACPI tables, as frozen structs; `acpi.py` reads them.

Numbers are as the tables have them: addresses are physical, `line` is a global system
interrupt, `uid` an ACPI processor's own number.
"""

from __future__ import annotations

import msgspec


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """What every record here is."""


class Fault(_Read, frozen=True, kw_only=True):
    """What is wrong with a table, at a byte offset; a fatal one leaves the table unread."""

    table: str
    offset: int
    text: str
    fatal: bool = False


class Table(_Read, frozen=True, kw_only=True):
    """A table as a whole; `sound` if its length and checksum are right."""

    signature: str
    address: int
    length: int
    revision: int
    maker: str
    sound: bool


class GenericAddress(_Read, frozen=True, kw_only=True):
    """A register: `space` is "memory", "port", "config" or "space 0x..."; `bits` its width."""

    space: str
    bits: int
    address: int

    def __str__(self) -> str:
        return f"{self.space} {self.address:#x}"


class Rsdp(_Read, frozen=True, kw_only=True):
    """The pointer to all tables; `xsdt` is 0 before revision 2."""

    revision: int
    rsdt: int
    xsdt: int


class Fadt(_Read, frozen=True, kw_only=True):
    """Fixed hardware. `timer_bits` of the PM timer count; `reset` only where it is supported.

    The three booleans after `reset_value` are IAPC_BOOT_ARCH's, ACPI 6.4 §5.2.9.3.
    """

    dsdt: int
    sci: int
    smi_port: int
    pm_timer: GenericAddress | None
    timer_bits: int
    reset: GenericAddress | None
    reset_value: int
    legacy_devices: bool
    keyboard_controller: bool
    no_vga: bool
    hardware_reduced: bool


class AcpiProcessor(_Read, frozen=True, kw_only=True):
    """A processor's local APIC or, if `x2apic`, its local x2APIC."""

    uid: int
    apic: int
    x2apic: bool
    enabled: bool
    can_be_enabled: bool


class IoApic(_Read, frozen=True, kw_only=True):
    """An I/O APIC; its inputs are global system interrupts from `first` on."""

    id: int
    address: int
    first: int


class Override(_Read, frozen=True, kw_only=True):
    """The ISA interrupt `irq` arrives at `line`."""

    irq: int
    line: int
    polarity: str
    trigger: str


class ApicNmi(_Read, frozen=True, kw_only=True):
    """A non-maskable interrupt: at `line`, or at pin LINT0 or 1 of a processor, None: of all."""

    polarity: str
    trigger: str
    line: int | None = None
    processor: int | None = None
    pin: int | None = None


class Madt(_Read, frozen=True, kw_only=True):
    """Interrupt controllers; `pc_interrupts`: there are also two 8259s."""

    local_apic: int
    pc_interrupts: bool
    processors: tuple[AcpiProcessor, ...]
    io_apics: tuple[IoApic, ...]
    overrides: tuple[Override, ...]
    nmis: tuple[ApicNmi, ...]


class Ecam(_Read, frozen=True, kw_only=True):
    """Memory-mapped configuration space; `base` is that of bus 0, whatever `first_bus` is."""

    base: int
    segment: int
    first_bus: int
    last_bus: int


class Hpet(_Read, frozen=True, kw_only=True):
    """A high precision event timer; `least_tick` in its own ticks."""

    number: int
    address: GenericAddress
    least_tick: int


class Spcr(_Read, frozen=True, kw_only=True):
    """The serial console: `baud` 0 is as firmware left it; `function` is empty if not PCI."""

    interface: int
    address: GenericAddress
    baud: int
    irq: int | None
    line: int | None
    function: str


class NumaMemory(_Read, frozen=True, kw_only=True):
    """A range of memory, in bytes."""

    base: int
    size: int
    hot_plug: bool


class NumaNode(_Read, frozen=True, kw_only=True):
    """A proximity domain: its processors' APIC ids, its memory."""

    number: int
    apics: tuple[int, ...]
    memory: tuple[NumaMemory, ...]


class Acpi(_Read, frozen=True, kw_only=True):
    """All that is read; None and () where there is no such table, or a broken one."""

    rsdp: Rsdp | None
    tables: tuple[Table, ...]
    fadt: Fadt | None
    madt: Madt | None
    ecam: tuple[Ecam, ...]
    hpet: Hpet | None
    console: Spcr | None
    nodes: tuple[NumaNode, ...]
    faults: tuple[Fault, ...]
