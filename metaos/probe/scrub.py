"""A machine file without what tells one unit from another: `scrub(machine)`.

Serial numbers, UUIDs and MAC addresses give way to placeholders; `removed` names what went, not
its value. The file stays valid, and an image made from it serves the same machine: these are unit
facts, which no image has folded in unless it was told to.

Source: PCI Local Bus Specification 3.0 Appendix I (VPD); PCI Express Base 3.0 §7.12 (Device
Serial Number); Intel SDM volume 2A, CPUID leaf 3; ACPI 6.4 §5.2.6 (table headers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from metaos.probe.header import read_capabilities, read_extended
from metaos.probe.machine import AcpiTable, CpuidLeaf, Function, Learnt, Machine, Origin

_VPD, _SERIAL_NUMBER = 0x03, 0x0003
"""Capability ids; the second is of the extended list."""
_CPUID_SERIAL = 3
_HEADER = 36
_BLANKED = frozenset({"MSDM", "SLIC", "IBFT", "iBFT", "NBFT", "NFIT", "ASF!", "PHAT"})
"""Tables that hold keys, addresses, names or serial numbers of one unit, and no hardware that an
image drives; those whose name begins with OEM may hold anything."""
_MAC_TEXT = re.compile(r"(?i)\b[0-9a-f]{2}([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4}\b")
_UUID_TEXT = re.compile(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_NAMED_TEXT = re.compile(r"(?i)\b(serial|wwn|asset|uuid)=[^,\s]+")
_AML_MAC = re.compile(rb"(_[A-Z]+MAC_#)[0-9A-Fa-f]{12}(#)")
"""How firmware hands a dock the notebook's MAC address: a string in AML."""
_TELLING = re.compile(r"(?i)mac|serial|uuid|guid")
_NO_UUID = "00000000-0000-0000-0000-000000000000"
_NO_NAME = "placeholder"
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")


class Scrubbed(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that may be shared, and the names of what was removed."""

    machine: Machine
    removed: tuple[str, ...]


@dataclass(slots=True)
class _Work:
    """The MAC addresses met and their placeholders; what was removed so far."""

    macs: dict[bytes, bytes] = field(default_factory=dict)
    removed: dict[str, None] = field(default_factory=dict)

    def placeholder(self, mac: bytes) -> bytes:
        """A locally administered address, the same for the same card."""
        if _is_placeholder(mac):
            return mac
        count = sum(not _is_placeholder(known) for known in self.macs)
        return self.macs.setdefault(mac, bytes([2, 0, 0, 0]) + (count + 1).to_bytes(2, "big"))

    def note(self, what: str) -> None:
        self.removed[what] = None


def scrub(machine: Machine) -> Scrubbed:
    """Take out what is private; a machine that was scrubbed before stays as it is."""
    work = _Work()
    networks = []
    for network in machine.networks:
        mac = _bytes(network.mac)
        if not _is_placeholder(mac):
            work.note(f"{network.address} mac")
            network = msgspec.structs.replace(
                network, mac=_text(work.placeholder(mac)), origin=Origin.PLACEHOLDER
            )
        networks.append(network)
    emulator = machine.emulator
    if emulator is not None:
        words = tuple(_scrubbed_text(w, work, "emulator arguments") for w in emulator.arguments)
        emulator = msgspec.structs.replace(emulator, arguments=words)
    cpu = machine.cpu
    return Scrubbed(
        machine=msgspec.structs.replace(
            machine,
            cpu=msgspec.structs.replace(
                cpu,
                leaves=_leaves(cpu.leaves, work),
                others=tuple(
                    msgspec.structs.replace(other, leaves=_leaves(other.leaves, work))
                    for other in cpu.others
                ),
            ),
            functions=tuple(_function(f, work) for f in machine.functions),
            acpi=tuple(_table(t, work) for t in machine.acpi),
            networks=tuple(networks),
            learnt=tuple(_learnt(fact, work) for fact in machine.learnt),
            emulator=emulator,
            unknown=tuple(
                msgspec.structs.replace(
                    fact, reason=_scrubbed_text(fact.reason, work, f"why {fact.what} is unknown")
                )
                for fact in machine.unknown
            ),
        ),
        removed=tuple(work.removed),
    )


def _is_placeholder(mac: bytes) -> bool:
    return mac[:4] == bytes([2, 0, 0, 0])


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(re.sub("[:-]", "", mac))


def _text(mac: bytes, separator: str = ":") -> str:
    return mac.hex(separator)


def _leaves(leaves: tuple[CpuidLeaf, ...], work: _Work) -> tuple[CpuidLeaf, ...]:
    def clean(leaf: CpuidLeaf) -> CpuidLeaf:
        if leaf.leaf != _CPUID_SERIAL or not (leaf.eax | leaf.ebx | leaf.ecx | leaf.edx):
            return leaf
        work.note("cpu serial number (leaf 3)")
        return msgspec.structs.replace(leaf, eax=0, ebx=0, ecx=0, edx=0)

    return tuple(clean(leaf) for leaf in leaves)


def _function(function: Function, work: _Work) -> Function:
    config = bytearray.fromhex(function.config)
    for start, end, what in _private(bytes(config)):
        if any(config[start:end]):
            config[start:end] = bytes(len(config[start:end]))
            work.note(f"{function.address} {what} at {start:#x}")
    changed = _without_macs(bytes(config), 0x40, work.macs)
    if changed != config:
        work.note(f"{function.address} mac in config space")
    return msgspec.structs.replace(
        function,
        config=changed.hex(),
        name=_scrubbed_text(function.name, work, f"{function.address} name"),
    )


def _private(config: bytes) -> Iterator[tuple[int, int, str]]:
    """(first, one past last, name) of config bytes that tell one unit from another."""
    if len(config) < _HEADER:
        return
    for capability in read_capabilities(config):
        if capability.id == _VPD:  # the address and the word that was read last
            yield capability.offset + 2, capability.offset + 8, "vital product data"
    for extended in read_extended(config):
        if extended.id == _SERIAL_NUMBER:
            yield extended.offset + 4, extended.offset + 12, "device serial number"


def _without_macs(content: bytes, start: int, macs: Mapping[bytes, bytes]) -> bytes:
    """`content` with every known MAC address from `start` on replaced, in any of its spellings."""
    head, rest = content[:start], content[start:]
    for mac, other in macs.items():
        for spell in _SPELLINGS:
            rest = rest.replace(spell(mac), spell(other))
    return head + rest


_SPELLINGS: tuple[Callable[[bytes], bytes], ...] = (
    lambda mac: mac,
    lambda mac: mac[::-1],
    lambda mac: mac[:3] + b"\xff\xfe" + mac[3:],
    lambda mac: (mac[:3] + b"\xff\xfe" + mac[3:])[::-1],
    lambda mac: mac.hex().encode(),
    lambda mac: mac.hex().upper().encode(),
    lambda mac: mac.hex(":").encode(),
    lambda mac: mac.hex(":").upper().encode(),
    lambda mac: mac.hex("-").encode(),
    lambda mac: mac.hex("-").upper().encode(),
)
"""In wire order and reversed, as EUI-64 (IEEE: ff:fe in the middle), and as text."""


def _table(table: AcpiTable, work: _Work) -> AcpiTable:
    data = bytes.fromhex(table.data)
    if len(data) <= _HEADER:
        return table
    blank = table.signature in _BLANKED or table.signature.startswith("OEM")
    clean = data[:_HEADER] + bytes(len(data) - _HEADER) if blank else data
    clean = _AML_MAC.sub(lambda m: m[1] + b"020000000001" + m[2], clean)
    clean = _without_macs(clean, _HEADER, work.macs)
    if clean == data:
        return table
    work.note(f"acpi {table.signature}" + ("" if blank else " mac"))
    if not sum(data) & 0xFF:  # keep a checksum that was right
        clean = clean[:9] + bytes([clean[9] - sum(clean) & 0xFF]) + clean[10:]
    return msgspec.structs.replace(table, data=clean.hex(), origin=Origin.PLACEHOLDER)


def _learnt(fact: Learnt, work: _Work) -> Learnt:
    """A learnt number that is named so, or that is a card's address or a piece of it."""
    value = fact.value
    if _TELLING.search(fact.name):
        value = 0
    for mac, other in work.macs.items():
        for size in (6, 4, 2):
            for at in range(0, 6 - size + 1, 2):
                for order in _ORDERS:
                    piece = int.from_bytes(mac[at : at + size], order)
                    if fact.value == piece and piece:
                        value = int.from_bytes(other[at : at + size], order)
    if value == fact.value:
        return fact
    work.note(f"{fact.device} learnt {fact.pattern}.{fact.name}")
    return msgspec.structs.replace(fact, value=value, origin=Origin.PLACEHOLDER)


def _scrubbed_text(text: str, work: _Work, what: str) -> str:
    """A text in which MAC addresses, UUIDs and what is called a serial number are replaced."""
    clean = _MAC_TEXT.sub(lambda m: _text(work.placeholder(_bytes(m[0])), m[1]), text)
    clean = _UUID_TEXT.sub(_NO_UUID, clean)
    clean = _NAMED_TEXT.sub(
        lambda m: m[0] if m[0].endswith(_NO_UUID) else f"{m[1]}={_NO_NAME}", clean
    )
    if clean != text:
        work.note(what)
    return clean
