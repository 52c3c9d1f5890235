"""What a machine's ACPI tables say: `read_acpi(machine.acpi) -> Acpi`.

Entering: raw tables, as a probe stored them; leaving: frozen structs with what MetaOS and people
ask of them. It never raises: what is wrong with a table is a `Fault` with the table's name and
the offset, and everything before that offset is still there.

    read_acpi(machine.acpi).ecam[0].base  ->  0xb0000000

Sources: ACPI Specification 6.4 §5.2.5 (RSDP), §5.2.7 (RSDT), §5.2.8 (XSDT), §5.2.9 (FADT),
§5.2.12 (MADT), §5.2.16 (SRAT), §5.2.3.2 (generic address); PCI Firmware Specification 3.2
§4.1.2 (MCFG); IA-PC HPET Specification 1.0a §3.2.4; Microsoft's Serial Port Console Redirection
Table, revision 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from metaos.probe.acpi_tables import (
    Acpi,
    AcpiProcessor,
    ApicNmi,
    Ecam,
    Fadt,
    Fault,
    GenericAddress,
    Hpet,
    IoApic,
    Madt,
    NumaMemory,
    NumaNode,
    Override,
    Rsdp,
    Spcr,
    Table,
)
from metaos.probe.machine import AcpiTable, Wire

HEADER = 36
"""Bytes that every table but RSDP and FACS begins with. ACPI 6.4 §5.2.6."""
RSDP = "RSD PTR "
_ADDRESS_BYTES = 12
_NO_CHECKSUM = ("FACS",)
_BAUD = {3: 9600, 4: 19200, 6: 57600, 7: 115200}
_SPACES = {0: "memory", 1: "port", 2: "config"}
_WHOLE = {
    "FACP": 116, "APIC": 44, "MCFG": 44, "HPET": 56, "SPCR": 80, "SRAT": 48,
}  # fmt: skip
"""The least length of the tables that are read further."""


def read_acpi(tables: Iterable[AcpiTable]) -> Acpi:
    """Read every table; of a signature that comes twice, the first one of whole ones counts."""
    faults: list[Fault] = []
    heads: list[Table] = []
    whole: dict[str, bytes] = {}
    for table in tables:
        data = bytes.fromhex(table.data)
        amiss = list(wrong(table.signature, data))
        faults += amiss
        heads.append(_head(table, data, not amiss))
        if not any(f.fatal for f in amiss):
            whole.setdefault(table.signature, data)

    def part(signature: str) -> _Part | None:
        return _Part(signature, whole[signature], faults) if signature in whole else None

    madt, srat = part("APIC"), part("SRAT")
    mcfg, fadt, hpet, spcr, rsdp = map(part, ("MCFG", "FACP", "HPET", "SPCR", RSDP))
    return Acpi(
        rsdp=_rsdp(rsdp) if rsdp else None,
        tables=tuple(heads),
        fadt=_fadt(fadt) if fadt else None,
        madt=_madt(madt) if madt else None,
        ecam=tuple(_ecam(mcfg)) if mcfg else (),
        hpet=_hpet(hpet) if hpet else None,
        console=_spcr(spcr) if spcr else None,
        nodes=_nodes(srat) if srat else (),
        faults=tuple(faults),
    )


class _Part:
    """A table's bytes, its name, and where its faults go."""

    def __init__(self, name: str, data: bytes, faults: list[Fault]) -> None:
        self.name, self.data, self._faults = name.strip(), data, faults

    def number(self, offset: int, size: int) -> int:
        """A little-endian number; 0 where an older, shorter table has none."""
        return int.from_bytes(self.data[offset : offset + size].ljust(size, b"\0"), "little")

    def text(self, offset: int, size: int) -> str:
        raw = self.data[offset : offset + size].rstrip(b"\0 ")
        return "".join(chr(b) if 0x20 <= b < 0x7F else "?" for b in raw)

    def address(self, offset: int) -> GenericAddress | None:
        """A generic address structure; None if it is all zeros or beyond the table's end."""
        raw = self.data[offset : offset + _ADDRESS_BYTES]
        if len(raw) < _ADDRESS_BYTES or not any(raw[4:]):
            return None
        space = _SPACES.get(raw[0], f"space {raw[0]:#x}")
        return GenericAddress(space=space, bits=raw[1], address=self.number(offset + 4, 8))

    def fault(self, offset: int, text: str) -> None:
        self._faults.append(Fault(table=self.name, offset=offset, text=text))

    def entries(self, start: int, least: dict[int, int]) -> Iterator[tuple[int, _Part]]:
        """Entries `type u8, length u8, ...` up to the end, or to one that cannot be.

        `least` has the length that a type needs; a shorter one is a fault and is left out.
        """
        at = start
        while at < len(self.data):
            kind, length = self.number(at, 1), self.number(at + 1, 1)
            left = len(self.data) - at
            if length < 2 or length > left:
                self.fault(at, f"an entry of type {kind} says {length} bytes, and {left} are left")
                return
            if length < least.get(kind, 0):
                self.fault(at, f"an entry of type {kind} has {length} bytes, not {least[kind]}")
            else:
                yield kind, _Part(self.name, self.data[at : at + length], self._faults)
            at += length


def wrong(signature: str, data: bytes) -> Iterator[Fault]:
    """What is wrong with a table as a whole: too short, cut off, a wrong checksum."""
    name = signature.strip()

    def fault(offset: int, text: str, fatal: bool = True) -> Fault:
        return Fault(table=name, offset=offset, text=text, fatal=fatal)

    if signature == RSDP:
        yield from _wrong_rsdp(data, fault)
        return
    least = _WHOLE.get(signature, HEADER)
    if len(data) < least:
        yield fault(len(data), f"it has {len(data)} bytes, and {least} are the least")
        return
    said = int.from_bytes(data[4:8], "little")
    if said != len(data):
        yield fault(4, f"its length field says {said}, and there are {len(data)} bytes")
    elif signature not in _NO_CHECKSUM and sum(data) & 0xFF:
        yield fault(9, f"its bytes sum to {sum(data) & 0xFF:#04x}, not to 0")


def _wrong_rsdp(data: bytes, fault: Callable[..., Fault]) -> Iterator[Fault]:
    if len(data) < 20:
        yield fault(len(data), f"it has {len(data)} bytes, and 20 are the least")
    elif sum(data[:20]) & 0xFF:
        yield fault(8, f"its first 20 bytes sum to {sum(data[:20]) & 0xFF:#04x}, not to 0")
    elif data[15] >= 2 and len(data) >= 36 and sum(data[:36]) & 0xFF:
        yield fault(32, f"its 36 bytes sum to {sum(data[:36]) & 0xFF:#04x}, not to 0")


def _head(table: AcpiTable, data: bytes, sound: bool) -> Table:
    part = _Part(table.signature, data, [])
    pointer = table.signature == RSDP
    return Table(
        signature=table.signature,
        address=table.address,
        length=len(data),
        revision=part.number(15 if pointer else 8, 1),
        maker=part.text(9, 6) if pointer else part.text(10, 6),
        sound=sound,
    )


def _rsdp(part: _Part) -> Rsdp:
    extended = part.number(15, 1) >= 2 and len(part.data) >= 36
    return Rsdp(
        revision=part.number(15, 1),
        rsdt=part.number(16, 4),
        xsdt=part.number(24, 8) if extended else 0,
    )


def _fadt(part: _Part) -> Fadt:
    """The extended fields count where they are there and not 0. ACPI 6.4 §5.2.9."""
    timer = part.address(208)
    if timer is None and part.number(76, 4):
        bits = 32 if part.number(112, 4) & 0x100 else 24
        timer = GenericAddress(space="port", bits=bits, address=part.number(76, 4))
    return Fadt(
        dsdt=part.number(140, 8) or part.number(40, 4),
        sci=part.number(46, 2),
        smi_port=part.number(48, 4),
        pm_timer=timer,
        timer_bits=32 if part.number(112, 4) & 0x100 else 24,
        reset=part.address(116) if part.number(112, 4) & 0x400 else None,
        reset_value=part.number(128, 1),
        legacy_devices=bool(part.number(109, 2) & 1),
        keyboard_controller=bool(part.number(109, 2) & 2),
        no_vga=bool(part.number(109, 2) & 4),
        hardware_reduced=bool(part.number(112, 4) & 0x100000),
    )


_MADT_HEADER = 44
"""Where its structures begin. ACPI 6.4 table 5.19."""
_MADT_LEAST = {0: 8, 1: 12, 2: 10, 3: 8, 4: 6, 5: 12, 9: 16, 10: 12}


def _madt(part: _Part) -> Madt:
    local = part.number(36, 4)
    processors: list[AcpiProcessor] = []
    chips: list[IoApic] = []
    overrides: list[Override] = []
    nmis: list[ApicNmi] = []
    for kind, entry in part.entries(_MADT_HEADER, _MADT_LEAST):
        number = entry.number
        match kind:
            case 0 | 9:
                small = kind == 0
                flags = number(4, 4) if small else number(8, 4)
                processors.append(
                    AcpiProcessor(
                        uid=number(2, 1) if small else number(12, 4),
                        apic=number(3, 1) if small else number(4, 4),
                        x2apic=not small,
                        enabled=bool(flags & 1),
                        can_be_enabled=bool(flags & 2),
                    )
                )
            case 1:
                chip = IoApic(id=number(2, 1), address=number(4, 4), first=number(8, 4))
                chips.append(chip)
            case 2:
                overrides.append(
                    Override(
                        irq=number(3, 1),
                        line=number(4, 4),
                        polarity=_polarity(number(8, 2)),
                        trigger=_trigger(number(8, 2)),
                    )
                )
            case 3:
                nmis.append(
                    ApicNmi(
                        line=number(4, 4),
                        polarity=_polarity(number(2, 2)),
                        trigger=_trigger(number(2, 2)),
                    )
                )
            case 4 | 10:
                small = kind == 4
                uid = number(2, 1) if small else number(4, 4)
                every = uid == (0xFF if small else 0xFFFFFFFF)
                flags = number(3, 2) if small else number(2, 2)
                pin = number(5, 1) if small else number(8, 1)
                nmis.append(
                    ApicNmi(
                        processor=None if every else uid,
                        pin=pin,
                        polarity=_polarity(flags),
                        trigger=_trigger(flags),
                    )
                )
            case 5:
                local = number(4, 8)
    return Madt(
        local_apic=local,
        pc_interrupts=bool(part.number(40, 4) & 1),
        processors=tuple(processors),
        io_apics=tuple(chips),
        overrides=tuple(overrides),
        nmis=tuple(nmis),
    )


def isa_wire(tables: Iterable[AcpiTable], irq: int) -> Wire:
    """The global system interrupt that the ISA interrupt `irq` is.

    It has the same number, is an edge and active high where no override says else.
    Source: ACPI 6.4 §5.2.12.4, §5.2.12.5.
    """
    madt = read_acpi(tables).madt
    for change in madt.overrides if madt is not None else ():
        if change.irq == irq:
            edge, low = change.trigger != "level", change.polarity == "low"
            return Wire(line=change.line, edge=edge, low=low)
    return Wire(line=irq, edge=True, low=False)


def madt_entries(data: bytes) -> Iterator[tuple[int, range]]:
    """The type of each interrupt controller structure of an MADT, and the bytes it has."""
    at = _MADT_HEADER
    while at + 2 <= len(data) and 2 <= data[at + 1] <= len(data) - at:
        yield data[at], range(at, at + data[at + 1])
        at += data[at + 1]


def _polarity(flags: int) -> str:
    """Of an interrupt input; "bus": as its bus has it. ACPI 6.4 table 5.51."""
    return ("bus", "high", "reserved", "low")[flags & 3]


def _trigger(flags: int) -> str:
    return ("bus", "edge", "reserved", "level")[flags >> 2 & 3]


def _ecam(part: _Part) -> Iterator[Ecam]:
    for at in range(44, len(part.data), 16):
        left = len(part.data) - at
        if left < 16:
            part.fault(at, f"an entry of 16 bytes begins, and {left} are left")
            return
        first, last = part.number(at + 10, 1), part.number(at + 11, 1)
        if first > last:
            part.fault(at + 10, f"its buses go from {first:#04x} to {last:#04x}")
            continue
        yield Ecam(
            base=part.number(at, 8), segment=part.number(at + 8, 2), first_bus=first, last_bus=last
        )


def _hpet(part: _Part) -> Hpet | None:
    address = part.address(40)
    if address is None:
        part.fault(40, "it has no address")
        return None
    return Hpet(number=part.number(52, 1), address=address, least_tick=part.number(53, 2))


def _spcr(part: _Part) -> Spcr | None:
    """The console; none where firmware says by an address of 0 that it redirects nothing."""
    address = part.address(40)
    if address is None:
        return None
    vendor, device = part.number(66, 2), part.number(64, 2)
    place = f"{part.number(68, 1):02x}:{part.number(69, 1):02x}.{part.number(70, 1) & 7}"
    return Spcr(
        interface=part.number(36, 1),
        address=address,
        baud=_BAUD.get(part.number(58, 1), 0),
        irq=part.number(53, 1) if part.number(52, 1) & 1 else None,
        line=part.number(54, 4) if part.number(52, 1) & 2 else None,
        function="" if 0xFFFF in (vendor, device) else place,
    )


_SRAT_LEAST = {0: 16, 1: 40, 2: 24}


def _nodes(part: _Part) -> tuple[NumaNode, ...]:
    """Enabled processors and memory, by proximity domain; 8 bits of it before revision 2."""
    wide = part.number(8, 1) >= 2
    apics: dict[int, list[int]] = {}
    memory: dict[int, list[NumaMemory]] = {}
    for kind, entry in part.entries(48, _SRAT_LEAST):
        number = entry.number
        if kind == 0 and number(4, 4) & 1:
            domain = number(2, 1) | (number(9, 3) << 8 if wide else 0)
            apics.setdefault(domain, []).append(number(3, 1))
        elif kind == 1 and number(28, 4) & 1:
            memory.setdefault(number(2, 4 if wide else 1), []).append(
                NumaMemory(base=number(8, 8), size=number(16, 8), hot_plug=bool(number(28, 4) & 2))
            )
        elif kind == 2 and number(12, 4) & 1:
            apics.setdefault(number(4, 4), []).append(number(8, 4))
    return tuple(
        NumaNode(number=n, apics=tuple(apics.get(n, ())), memory=tuple(memory.get(n, ())))
        for n in sorted(apics.keys() | memory.keys())
    )
