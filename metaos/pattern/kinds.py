"""What an expression can be: the kinds `metaos.pattern.widths` finds, and the names given.

A number's `bits` is the width its arithmetic wraps in; `top` is the highest value it could
have if nothing wrapped. What is wrong by both is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metaos.pattern import syntax as s


@dataclass(frozen=True, slots=True)
class Num:
    """A number. `truth`: what a comparison gives; `value`: known from the text alone.

    `built`: known when the image is built, at the latest.
    """

    bits: int
    top: int
    truth: bool = False
    value: int | None = None
    built: bool = False

    @property
    def fixed(self) -> bool:
        """It is a constant of the image."""
        return self.built or self.value is not None


@dataclass(frozen=True, slots=True)
class Reg:
    """A register; its value is read where it is used as a number."""

    node: s.Register
    block: s.Registers


@dataclass(frozen=True, slots=True)
class Var:
    """A state, or an element of an array of states."""

    node: s.State


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a table, with `layout` or of plain bytes; the bytes may begin with it."""

    table: s.Table
    layout: s.Layout | None


@dataclass(frozen=True, slots=True)
class Array:
    """`count` of one kind, called `name`; None where only a machine file says how many."""

    name: str
    of: Kind
    count: int | None


@dataclass(frozen=True, slots=True)
class Window:
    """A memory window of `size` bytes, if known; a `bar` may be ports instead."""

    size: int | None = None
    bar: bool = False


@dataclass(frozen=True, slots=True)
class Ports:
    """A block of I/O ports."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a frame."""

    name: str


@dataclass(frozen=True, slots=True)
class Names:
    """Something that is only there for what it has: `my`, a service seen from its child."""

    name: str
    members: Mapping[str, Kind]


@dataclass(frozen=True, slots=True)
class Unknown:
    """What was already reported, or what another stage knows; fits everything."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A register as `learn` found it: a number of the image, with the register's fields."""

    node: s.Register


Kind = Num | Kept | Reg | Var | Element | Array | Window | Ports | Stretch | Names | Unknown

UNKNOWN = Unknown()
TRUTH = Num(1, 1, truth=True)
BIT = Num(1, 1)
ADDRESS = Num(32, 0xFFFF_FFFF)
"""Every place lies below 4 GiB."""


def number(bits: int) -> Num:
    """A number of `bits` bits of which nothing else is known."""
    bits = min(bits, 4096)
    return Num(bits, (1 << bits) - 1)


def fact(bits: int) -> Num:
    """A number of `bits` bits that the machine file says."""
    bits = min(bits, 4096)
    return Num(bits, (1 << bits) - 1, built=True)


def constant(value: int) -> Num:
    """A number known from the text; a negative one is all ones above its bits."""
    return Num(max(1, value.bit_length()), max(value, 0), value=value)


# ---- names the language gives ------------------------------------------------------------

FUNCTIONS: Mapping[str, tuple[int, int]] = {
    "memory": (2, 2),
    "capability": (1, 2),
    "log2": (1, 1),
    "min": (2, 2),
    "select": (3, 3),
    "first": (4, 4),
    "within": (2, 2),
    "sum16": (1, 8),
    "update": (3, 3),
}
"""Functions and how many arguments they take, at least and at most."""

REGISTERS = ("eax", "ebx", "ecx", "edx")
"""Those in which CPUID answers."""

ACPI = Names("acpi", {f"u{n}": Array(f"acpi.u{n}", fact(n), 1 << 16) for n in (8, 16, 32, 64)})
"""Numbers in the matched ACPI table, little-endian, by their offset in bytes."""

CPUID = Names("cpuid", {r: Array(f"cpuid.{r}", fact(32), None) for r in REGISTERS})
"""What CPUID says, subleaf 0, by leaf; 0 of a leaf that the processor has not."""

ENTRY = Names("entry", {f"u{n}": Array(f"entry.u{n}", fact(n), 256) for n in (8, 16, 32, 64)})
"""Numbers in the matched structure of an ACPI table, little-endian, by their offset in it."""

CAPABILITY = Names("capability", {f"u{n}": Array(f"u{n}", fact(n), 256) for n in (8, 16, 32)})
"""Numbers in a PCI capability, little-endian, by their offset in bytes from its id."""

CONFIG = Names("config", {f"u{n}": Array(f"config.u{n}", fact(n), 256) for n in (8, 16, 32)})
"""Numbers in a PCI function's configuration space, little-endian, by their offset in bytes."""

SYSTEM = Names("system", {"halt": fact(1), "hears": fact(1), "link": fact(1)})
"""What the system file says: whether the processor sleeps between two turns, whether a service
of this card wants all frames of its wire, and whether one asks for the link."""

INTERRUPT = Names(
    "interrupt",
    {
        "address": fact(32),
        "data": fact(8),
        "lines": fact(8),
        "spurious": fact(8),
        "processor": fact(8),
        "wakes": fact(1),
    },
)
"""Where a message goes, and vectors: `data` of all messages, of line 0, of no interrupt; the
processor's local APIC id; and whether the device's own interrupt wakes the processor."""

LINES = Names("lines", {"masked": fact(32), "level": fact(32)})
"""A bit for each of the controllers' lines: those that nobody uses, those that are no edges."""

LINE = Names("line", {"index": Num(7, 119, built=True), "edge": fact(1), "low": fact(1)})
"""The line that is routed: which of the controller's, and how it is asked for. There are two
32-bit registers for each, of 256 with what else an I/O APIC has."""

LEGACY = Names("legacy", {"port": fact(16)})

MMIO = Names(
    "mmio",
    {"window": Window(), **{f"u{n}": Array(f"mmio.u{n}", fact(n), 16) for n in (8, 16, 32)}},
)
"""The matched window of memory, and the numbers in its first bytes as the probe read them."""

BARS = Array("bar", Window(bar=True), 6)
"""The windows of a PCI function by the number of their base address register."""

FUNCTION = Names(
    "function",
    {
        "id": fact(32),
        "class_revision": fact(32),
        "subsystem": fact(32),
        "has_subsystem": fact(1),
        "alone": fact(1),
        "bridges": fact(1),
        "buses": fact(24),
        "pauses": fact(1),
        "pin": fact(1),
        "route": fact(16),
    },
)
"""The function of which a guard's rows speak."""

ANY_BAR = Names("bars", {"io": fact(1), "memory": fact(1), "master": fact(1), "silent": fact(1)})
"""Which kinds of windows the attached function has, whether it is told of places in RAM, and
whether it is not to interrupt."""

WORD_INDEX = Num(4, 11, built=True)
"""Which 32 bits of a configuration header, counted from 0x10."""

MORE_INDEX = Num(6, 48, built=True)
"""Which 32 bits behind a configuration header, counted from 0x40."""

MESSAGE = Names(
    "message",
    {
        **dict.fromkeys(("signal", "table", "wide", "masks"), fact(1)),
        "at": Num(6, 43, built=True),
    },
)
"""How the attached function sends messages: by MSI, its address of 64 bits, with a mask, or by
MSI-X; and the number of the 32-bit word, from byte 0x40, that the capability begins with."""

LISTS: Mapping[str, Names] = {
    "bar": Names(
        "bar",
        {
            "at": WORD_INDEX,
            "address": fact(32),
            "wide": fact(1),
            "upper": WORD_INDEX,
            "high": fact(32),
        },
    ),
    "fixed": Names("fixed", {"at": WORD_INDEX, "mask": fact(32), "value": fact(32)}),
    "sized": Names(
        "sized", {"at": WORD_INDEX, "ones": fact(32), "mask": fact(32), "value": fact(32)}
    ),
    "apart": Names("apart", {"at": WORD_INDEX, "mask": fact(32), "value": fact(32)}),
    "unused": Names("unused", {"at": MORE_INDEX}),
    "folded": Names("folded", {"at": MORE_INDEX, "mask": fact(32), "value": fact(32)}),
}
"""What `each NAME` goes through, and what `NAME` has inside."""

ELSEWHERE: Mapping[str, str] = {
    "i": "'i' counts the elements where a table or an array of states begins",
    "my": "services know 'my'",
    "peer": "'ask' and 'example' know 'peer'",
    "asked": "the 'answer' of an example knows 'asked'",
    "bar": "a device with 'match pci' has 'bar[0]', 'each bar' gives 'bar.size'",
    "acpi": "a device with 'match acpi' knows 'acpi'",
    "entry": "a device with 'match acpi TABLE entry N' knows 'entry'",
    "line": "the 'sequence route' of a device of class interrupts knows 'line'",
    "legacy": "a device with 'match legacy' knows 'legacy.port'",
    "mmio": "a device with 'match mmio' knows 'mmio.window' and 'mmio.u32[0]'",
    "u8": "inside capability(NUMBER, ...) stand u8[N], u16[N], u32[N] of the capability",
    "function": "a device of class config knows 'function'",
    "payload": "a service knows 'payload'",
}
"""Names that the language gives in other places."""

NOW = "now"
"""In an example of a clock: its ticks since the start, as an image has them."""

HOST = {"ip": number(32), "mac": number(48)}
MY = Names("my", {**HOST, "mask": number(32), "gateway": number(32), "link": BIT})
PEER = Names("peer", HOST)
"""The machine's own addresses, and those of who asks it."""
