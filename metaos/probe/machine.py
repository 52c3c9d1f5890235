"""The `Machine`: everything known of one machine, each fact with its origin.

The JSON form (`machine.json`) is this module's structs as they stand; `SCHEMA` is its
version. Numbers that people read in hexadecimal are strings there ("0x8086"); inside
Python they are ints.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

SCHEMA = 1


class Origin(StrEnum):
    """Who said so."""

    DISCOVERER = "discoverer"
    QEMU = "qemu"
    FILE = "file"


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every record of a machine file is: frozen, with no unknown fields."""


class CpuidLeaf(Struct):
    """One answer of the CPUID instruction, four 32-bit registers."""

    leaf: int
    subleaf: int
    eax: int
    ebx: int
    ecx: int
    edx: int


class Cpu(Struct):
    """The processor: raw CPUID leaves, and what is read from them."""

    vendor: str
    brand: str
    leaves: tuple[CpuidLeaf, ...]
    origin: Origin


class MemoryRange(Struct):
    """One E820 entry: `kind` 1 is usable RAM, 2 reserved, 3 ACPI, 4 NVS."""

    base: int
    size: int
    kind: int
    origin: Origin


class BarKind(StrEnum):
    """What a base address register decodes."""

    IO = "io"
    MEM32 = "mem32"
    MEM64 = "mem64"


class Bar(Struct):
    """One base address register: size in bytes, `address` 0 where none is assigned."""

    index: int
    kind: BarKind
    prefetchable: bool
    address: int
    size: int
    origin: Origin


class Capability(Struct):
    """One entry of the capability list: its id and its offset in config space."""

    id: int
    offset: int


class Function(Struct):
    """One PCI function. `config` is its first 256 config bytes as hex digits."""

    address: str
    vendor: int
    device: int
    class_code: int
    revision: int
    subsystem_vendor: int
    subsystem_device: int
    header_type: int
    interrupt_pin: int
    interrupt_line: int
    bars: tuple[Bar, ...]
    capabilities: tuple[Capability, ...]
    config: str
    name: str
    origin: Origin


class Legacy(Struct):
    """A device that no bus announces: `kind` as firmware names it ("com", "lpt")."""

    kind: str
    index: int
    port: int
    origin: Origin


class AcpiTable(Struct):
    """One ACPI table, whole, as hex digits."""

    signature: str
    address: int
    data: str
    origin: Origin


class Network(Struct):
    """The MAC address of the network card at a PCI address."""

    address: str
    mac: str
    origin: Origin


class Learnt(Struct):
    """The value a pattern's `learn` row read on the machine."""

    device: str
    pattern: str
    name: str
    value: int
    origin: Origin


class Emulator(Struct):
    """How QEMU was started when the machine was probed; `metaos run` starts it so again.

    `arguments` come after the target's own.
    """

    target: str
    arguments: tuple[str, ...]
    origin: Origin


class Machine(Struct):
    """One machine. Functions are in address order, leaves in leaf order."""

    schema: int
    cpu: Cpu
    memory: tuple[MemoryRange, ...]
    functions: tuple[Function, ...]
    legacy: tuple[Legacy, ...]
    acpi: tuple[AcpiTable, ...]
    networks: tuple[Network, ...]
    learnt: tuple[Learnt, ...]
    emulator: Emulator | None = None
