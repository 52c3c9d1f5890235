"""The `Machine`: everything known of one machine, each fact with its origin.

The JSON form (`machine.json`) is this module's structs as they stand; `SCHEMA` is its
version. Numbers that people read in hexadecimal are strings there ("0x8086", the `Hex`
types); inside Python they are ints. `store.py` reads and writes it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec

SCHEMA: Final = 2
"""Version 1 had no `unknown`, `Cpu.flags` and `Cpu.others`, and 256 config bytes always."""
CONFIG_SIZES: Final = (0, 64, 128, 256, 4096)
"""How many config bytes a function may have: none, what Linux shows to a user (of CardBus
bridges 128), all of PCI, all of PCI Express."""


def _hex(digits: int) -> msgspec.Meta:
    """An int that JSON shows with `digits` hexadecimal digits, or as few as it needs (0)."""
    pattern = f"^0x[0-9a-f]{{{digits}}}$" if digits else "^0x(0|[1-9a-f][0-9a-f]{0,15})$"
    return msgspec.Meta(extra_json_schema={"pattern": pattern}, extra={"hex": digits})


Hex8 = Annotated[int, _hex(2)]
Hex16 = Annotated[int, _hex(4)]
Hex24 = Annotated[int, _hex(6)]
Hex32 = Annotated[int, _hex(8)]
Hex = Annotated[int, _hex(0)]


class Origin(StrEnum):
    """Who said so, the most trusted first: `metaos probe merge` settles conflicts so."""

    DISCOVERER = "discoverer"
    QEMU = "qemu"
    SYSFS = "sysfs"
    CPUID = "cpuid"
    ACPIDUMP = "acpidump"
    LSPCI = "lspci"
    FILE = "file"
    PLACEHOLDER = "placeholder"
    """`metaos probe scrub` put it where something private stood."""


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every record of a machine file is: frozen, with no unknown fields."""


class CpuidLeaf(Struct, frozen=True, kw_only=True):
    """One answer of the CPUID instruction, four 32-bit registers."""

    leaf: Hex32
    subleaf: int
    eax: Hex32
    ebx: Hex32
    ecx: Hex32
    edx: Hex32


class Processor(Struct, frozen=True, kw_only=True):
    """A further logical processor: the leaves that are not as the first one's.

    A leaf that the first one alone has is here with zeros.
    """

    number: int
    leaves: tuple[CpuidLeaf, ...]


class Cpu(Struct, frozen=True, kw_only=True):
    """The processor: raw CPUID leaves of the first one, and what is read from them.

    A source without leaves may know vendor, brand, and feature `flags` by Linux's names
    (/proc/cpuinfo). `others` are the further logical processors, where a source has them.
    """

    vendor: str
    brand: str
    leaves: tuple[CpuidLeaf, ...]
    origin: Origin
    flags: tuple[str, ...] = ()
    others: tuple[Processor, ...] = ()


class MemoryRange(Struct, frozen=True, kw_only=True):
    """One E820 entry: `kind` 1 is usable RAM, 2 reserved, 3 ACPI, 4 NVS."""

    base: Hex
    size: Hex
    kind: int
    origin: Origin


class BarKind(StrEnum):
    """What a base address register decodes."""

    IO = "io"
    MEM32 = "mem32"
    MEM64 = "mem64"


class Bar(Struct, frozen=True, kw_only=True):
    """One base address register: size in bytes, `address` 0 where none is assigned.

    `index` is its place among the header's registers, of a 64-bit one the lower half's;
    6 is the expansion ROM.
    """

    index: int
    kind: BarKind
    prefetchable: bool
    address: Hex
    size: Hex
    origin: Origin


class Capability(Struct, frozen=True, kw_only=True):
    """One entry of the capability list: its id and its offset in config space."""

    id: Hex8
    offset: Hex8


class Function(Struct, frozen=True, kw_only=True):
    """One PCI function at `address`, "bus:device.function" in hexadecimal.

    In another PCI domain (ACPI: segment) than 0 the address is "domain:bus:device.function".

    `config` is the start of its config space as hex digits, `CONFIG_SIZES` long. The fields
    from `vendor` to `interrupt_line` and `capabilities` are read from it as far as it goes;
    only BAR sizes are not. A field that no source could read is 0 and `Machine.unknown` names
    it. Subsystem ids are 0 in headers that have none. `name` is what `name_origin` calls the
    device, empty where nobody has said.
    """

    address: str
    vendor: Hex16
    device: Hex16
    class_code: Hex24
    revision: Hex8
    subsystem_vendor: Hex16
    subsystem_device: Hex16
    header_type: Hex8
    interrupt_pin: int
    interrupt_line: int
    bars: tuple[Bar, ...]
    capabilities: tuple[Capability, ...]
    config: str
    name: str
    origin: Origin
    name_origin: Origin | None = None

    def config_u32(self, at: int) -> int:
        """32 bits of the config bytes, from byte `at` on."""
        return int.from_bytes(bytes.fromhex(self.config[2 * at : 2 * at + 8]), "little")


class Legacy(Struct, frozen=True, kw_only=True):
    """A device that no bus announces: `kind` as firmware names it ("com", "lpt")."""

    kind: str
    index: int
    port: Hex16
    origin: Origin


class Wire(Struct, frozen=True, kw_only=True):
    """The global system interrupt `line` of a device: by edges or levels, active low or high."""

    line: int
    edge: bool
    low: bool


class Mmio(Struct, frozen=True, kw_only=True):
    """A device in a window of memory that no bus announces.

    `kind` is what the emulator calls the interface at the window, `data` its first 16 bytes as
    hex digits, and `name` the device behind it. `interrupt` is what firmware says of its
    interrupt, None where it says nothing.
    """

    kind: str
    base: Hex
    size: Hex
    data: str
    name: str
    origin: Origin
    interrupt: Wire | None = None

    @property
    def address(self) -> str:
        """What it is called in images and messages."""
        return f"mmio@{self.base:x}"


class Pin(Struct, frozen=True, kw_only=True):
    """The global system interrupt at which the pin of the PCI function at `address` arrives."""

    address: str
    interrupt: Wire
    origin: Origin


class AcpiTable(Struct, frozen=True, kw_only=True):
    """One ACPI table, whole, as hex digits."""

    signature: str
    address: Hex
    data: str
    origin: Origin


class Network(Struct, frozen=True, kw_only=True):
    """The MAC address of the network card at a PCI address."""

    address: str
    mac: str
    origin: Origin


class Learnt(Struct, frozen=True, kw_only=True):
    """The value a pattern's `learn` row read on the machine."""

    device: str
    pattern: str
    name: str
    value: Hex
    origin: Origin


class Emulator(Struct, frozen=True, kw_only=True):
    """How QEMU was started when the machine was probed; `metaos run` starts it so again.

    `arguments` come after the target's own.
    """

    target: str
    arguments: tuple[str, ...]
    origin: Origin


class Unknown(Struct, frozen=True, kw_only=True):
    """A fact that the machine has and `origin` could not read, and why.

    `what` is the fact's name: "memory map", "00:03.0 bar 0 size"; docs/machine-files.md has
    them all.
    """

    what: str
    reason: str
    origin: Origin


class Machine(Struct, frozen=True, kw_only=True):
    """One machine. Functions are in address order, leaves in leaf order.

    What is neither here nor named in `unknown` the machine does not have. A file says `mmio` and
    `pins` only where there are any.
    """

    schema: int
    cpu: Cpu
    memory: tuple[MemoryRange, ...]
    functions: tuple[Function, ...]
    legacy: tuple[Legacy, ...]
    acpi: tuple[AcpiTable, ...]
    networks: tuple[Network, ...]
    learnt: tuple[Learnt, ...]
    emulator: Emulator | None = None
    unknown: tuple[Unknown, ...] = ()
    mmio: tuple[Mmio, ...] = ()
    pins: tuple[Pin, ...] = ()


def domain(address: str) -> int:
    """The PCI domain of a function's address. Images reach domain 0 only."""
    return int(address[:-8], 16) if len(address) > len("00:1f.7") else 0


def address_order(address: str) -> tuple[int, str]:
    """By domain, then bus, device and function."""
    return domain(address), address[-7:]


def unknown_fact(machine: Machine, what: str) -> Unknown | None:
    """Why `what` is not known; None if nobody missed it."""
    return next((fact for fact in machine.unknown if fact.what == what), None)
