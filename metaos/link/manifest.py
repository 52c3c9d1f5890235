"""The records that an image carries: its `Manifest` and the entries of its account.

Both are JSON inside the image file and beside it; their form is these structs as they
stand, `SCHEMA` is its version. Entering: nothing; these are types only.

    AccountEntry(start=0, end=3, kind="loader", file="boot.asm", line=12)
"""

from __future__ import annotations

import msgspec

from metaos.match.system import System
from metaos.probe.machine import Emulator

SCHEMA = 2
"""Version of the manifest and of the account (their JSON form). In 1 entries had neither
`because` nor `note`, and devices no `because`."""


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every record of an image is: frozen, with no unknown fields."""


class FileRange(Struct, frozen=True, kw_only=True):
    """Bytes `start` to `end` (exclusive) of the image file."""

    start: int
    end: int


class AccountEntry(Struct, frozen=True, kw_only=True):
    """Where the file's bytes `start` to `end` (exclusive) come from.

    `kind` is one of

    | kind | what |
    |---|---|
    | loader | boot.asm, `file` and `line` say where; padding inside it is "padding" |
    | list | the loader's lists: packed pieces, page tables, RAM's initial values |
    | code | generated code of `device` in `phase` |
    | row, text, constant, ... | read-only data, as `DatumLine.kind` says |
    | wipe | the linker's own straight line that clears guard, init and the loader |
    | phase change | the linker's tail of a phase: load CR3 from `next`, then the `jmp` |
    | trap | the linker's straight line from an exception to the report phase |
    | descriptor | the GDT's and the TSS's entries, and where the GDT and the IDT are |
    | padding | zeros between pieces, to the sector's end, to the file's end |
    | manifest, account, trailer | the container, never loaded |

    `device` is an address such as "00:03.0", or "" for what belongs to no device. `file` is
    relative to its root (the pattern folder, or the boot loader's), `line` and `column`
    count from 1; "" and 0 where no source has a say. `exact` is False where the line was
    inferred. `facts` are those that numbers in these bytes are made of, as paths into the
    machine file or the system file: with another value these bytes are others. `because` are
    those that are why the bytes are there, or speak of what they speak of. `symbols` name the
    places, windows and data that relocations within these bytes refer to. `note` says what a
    list entry writes and why padding is there. `phase` is "" for what lies outside phases or
    serves several.
    """

    start: int
    end: int
    kind: str
    device: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    exact: bool = True
    facts: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    phase: str = ""
    symbols: tuple[str, ...] = ()
    note: str = ""


class PhaseMap(Struct, frozen=True, kw_only=True):
    """One phase: its page-table root and its code.

    `root` is the physical address of the PML4. The code's first byte is at linear
    `code_linear` and its last, the end of the backward `jmp`, at `code_linear` +
    `code_length` - 1. It lies in the physical 4 KiB `code_pages` (ascending linear order;
    its first byte at offset `code_linear` mod 4096 of the first) and comes from `code_file`,
    concatenated.
    """

    name: str
    root: int
    code_linear: int
    code_length: int
    code_pages: tuple[int, ...]
    code_file: tuple[FileRange, ...]


class Symbol(Struct, frozen=True, kw_only=True):
    """One name that relocations may refer to. Addresses and sizes are in bytes.

    `kind`: "place" (RAM, linear = physical), "window" (device memory), "datum" (read-only
    bytes, from `file` in the image), "root" (`linear` is meaningless and equal to
    `physical`, the address of a PML4) or "number" (`linear` is the number itself).
    `phases` are those in which it is mapped.
    """

    name: str
    kind: str
    linear: int
    physical: int
    size: int
    device: str = ""
    phases: tuple[str, ...] = ()
    file: tuple[FileRange, ...] = ()


class WindowMap(Struct, frozen=True, kw_only=True):
    """A device's memory window as mapped: 4 KiB `pages` (offsets from `linear`) only."""

    name: str
    device: str
    linear: int
    physical: int
    size: int
    pages: tuple[int, ...]
    phases: tuple[str, ...]
    cached: bool


class Mapping(Struct, frozen=True, kw_only=True):
    """One stretch of linear addresses mapped in `phases`, to ascending physical addresses.

    `page` is the page size: 4096 or 2097152. `size` is a multiple of it. For `shadow`
    mappings every page stands for the one scratch frame at `physical`. What no entry of
    the manifest's `mappings` covers is not mapped at all.
    """

    linear: int
    physical: int
    size: int
    page: int
    writable: bool
    executable: bool
    cached: bool
    shadow: bool
    phases: tuple[str, ...]


class Served(Struct, frozen=True, kw_only=True):
    """A device in the image and the pattern that serves it.

    `offers` says that its turn offers frames to services, which may answer them; at which
    address is `interface`, as 10.0.2.15/24, "" for a device that offers none. `because` are
    the facts by which the pattern was chosen: all of the device's bytes are there because of
    them.
    """

    address: str
    pattern: str
    offers: bool = False
    interface: str = ""
    because: tuple[str, ...] = ()


class PortRange(Struct, frozen=True, kw_only=True):
    """`length` I/O ports from `base` that `device` owns and may use in `phases`."""

    name: str
    base: int
    length: int
    device: str
    phases: tuple[str, ...]


class ConfigSpace(Struct, frozen=True, kw_only=True):
    """How configuration space is reached, and which functions of the machine are in it.

    `enable` | bus << 16 | device << 11 | function << 8 | register goes to the port `select`;
    the four ports from `data` on are the register then. `functions` are addresses, "00:03.0".
    """

    select: int
    data: int
    enable: int
    functions: tuple[str, ...]


class Gates(Struct, frozen=True, kw_only=True):
    """The page of descriptor tables and its trap: metaos/link/gates.py says what is in it.

    It is mapped at `linear` in every phase. `interrupts` gates, for the vectors from 32, lead to
    steady's first instruction. The trap fills the four words of the place `fault` at these
    offsets; the text it names is `in_steady` or `elsewhere`.
    """

    linear: int
    physical: int
    interrupts: int
    fault: str
    place: int
    wanted: int
    found: int
    site: int
    in_steady: int
    elsewhere: int
    file: FileRange


class Provenance(Struct, frozen=True, kw_only=True):
    """What the linker cannot know but the manifest says: passed through as it is.

    `tools` are versions by name; `cpu_features` the target features in LLVM's spelling;
    `facts` link-time facts by path in the machine file; `ports` all I/O ports that the code
    may touch. `lent` names places, windows and ports that others than their device may use,
    and who; `shown` those that all may read.
    """

    devices: tuple[Served, ...] = ()
    ports: tuple[PortRange, ...] = ()
    config: ConfigSpace | None = None
    lent: dict[str, tuple[str, ...]] = {}
    shown: tuple[str, ...] = ()
    cpu_features: tuple[str, ...] = ()
    tools: dict[str, str] = {}
    facts: dict[str, str] = {}
    system: System | None = None
    emulator: Emulator | None = None


class Manifest(Struct, frozen=True, kw_only=True):
    """All that a reader of the image's bytes must know. Addresses are in bytes.

    `loaded_bytes` is what the image holds from byte 0; the loader reads it as
    `loaded_sectors` sectors. `loader` is the part of it that runs before guard. `next` names
    the 64-bit place from which the phases load CR3, and `roots` are all the values it may
    hold. `deposits` are the physical addresses of the 32-bit words that the loader fills, by
    name. `memory_needed_kib` is the RAM that must exist above 1 MiB. `entry` is the linear
    address of guard's first instruction.
    """

    schema: int
    loaded_bytes: int
    loaded_sectors: int
    loader: FileRange
    entry: int
    next: str
    memory_needed_kib: int
    deposits: dict[str, int]
    roots: tuple[int, ...]
    phases: tuple[PhaseMap, ...]
    symbols: tuple[Symbol, ...]
    windows: tuple[WindowMap, ...]
    mappings: tuple[Mapping, ...]
    gates: Gates
    provenance: Provenance

    def phase(self, name: str) -> PhaseMap:
        """The phase called `name`. Raises KeyError if the image has none."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise KeyError(name)

    def symbol(self, name: str) -> Symbol:
        """The symbol called `name`. Raises KeyError if there is none."""
        for symbol in self.symbols:
            if symbol.name == name:
                return symbol
        raise KeyError(name)
