"""Law 3: each device's code and rows use what is that device's, and nothing of another's.

Who an instruction works for says the account: the device of its bytes, and where rows make
the access, the device of the row. The manifest says whose each place, window and port is, and
what is lent to others. The platform's code is everybody's servant: it has places of its
own, and works in a device's only for a row of that device. Configuration space is written for
its own function's rows, read of functions that are there, and of others nothing but whether
they are there. Guard alone, which sizes every window, writes base addresses, and the command that
turns them off meanwhile, of any function that is there; init the command of one that nobody serves,
which holds no interrupt line any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from metaos.link.manifest import ConfigSpace, Manifest, PortRange, Symbol, WindowMap
from metaos.lower.stepper import PLATFORM
from metaos.verify.decode import Ledger, Line, place_in
from metaos.verify.memory import Atlas
from metaos.verify.places import NEVER, Resolved
from metaos.verify.report import Violation
from metaos.verify.walk import Access

LAW = 3
LINKER = ("wipe", "phase change")
NOBODY = ""
_PAGE = 4096
_REGISTERS = 0xFC
_FUNCTION = 0xFFFF00
_DECODING = 0x04
_SIZED = frozenset({_DECODING, *range(0x10, 0x28, 4), 0x30, 0x38})
"""Command, base addresses, and a ROM's for both header types. Source: PCI 3.0 §6.1; PCI-to-PCI
Bridge 1.2 §3.2."""


def check_present(manifest: Manifest) -> Iterator[Violation]:
    """Whatever is declared belongs to a device that is there, and to that one alone."""
    present = {served.address for served in manifest.provenance.devices} | {NOBODY, PLATFORM}
    owned: list[Symbol | WindowMap | PortRange] = [
        *manifest.symbols,
        *manifest.windows,
        *manifest.provenance.ports,
    ]
    for one in owned:
        if one.device not in present:
            yield Violation(LAW, one.name, f"belongs to {one.device}, which is not in the image")
    yield from _twice("port", ((p.base, p.length, p) for p in manifest.provenance.ports))
    yield from _twice("address", ((w.physical, w.size, w) for w in manifest.windows))
    yield from _windows_in_ram(manifest)


def _twice(
    what: str, claims: Iterable[tuple[int, int, PortRange | WindowMap]]
) -> Iterator[Violation]:
    """Ports or physical addresses that two devices have both."""
    end, last = 0, None
    for start, size, one in sorted(claims, key=lambda claim: claim[:2]):
        if last is not None and start < end and one.device != last.device:
            text = f"{what} {start:#x} of {one.device} is {last.device}'s {last.name} too"
            yield Violation(LAW, one.name, text)
        if start + size > end:
            end, last = start + size, one


def _windows_in_ram(manifest: Manifest) -> Iterator[Violation]:
    """Windows that lie where the image has its own RAM."""
    ram = [(s.physical, s.size, s.name) for s in manifest.symbols if s.kind in ("place", "datum")]
    ram += [(p, _PAGE, f"code of {one.name}") for one in manifest.phases for p in one.code_pages]
    ram += [(one.root, _PAGE, f"page table of {one.name}") for one in manifest.phases]
    for window in manifest.windows:
        for start, size, name in ram:
            if start < window.physical + window.size and window.physical < start + size:
                yield Violation(LAW, window.name, f"lies over {name} in RAM")
                break


def check_owners(
    line: Line, resolved: Iterable[Resolved], atlas: Atlas, manifest: Manifest, book: Ledger
) -> Iterator[Violation]:
    """Every access of a phase to what belongs to another device."""
    rows = next((s for s in atlas.symbols if s.name == f"rows.{line.name}"), None)
    for one in resolved:
        offset = line.file_offset(one.access.step.offset)
        entry = book.entry(offset)
        if entry is None or entry.kind in LINKER:
            continue
        for row in one.rows or (None,):
            users, span = {entry.device}, book.span(offset)
            if row is not None and rows is not None:
                source = place_in(rows.file, row)
                owner = book.entry(source)
                users |= {owner.device} if owner else set()
                span = book.span(source) or span
            for message in _foreign(line.name, one, users, manifest):
                place = line.place(one.access.step.offset)
                yield Violation(LAW, place, f"{one.access.step.text}: {message}", span)


def _foreign(phase: str, one: Resolved, users: set[str], manifest: Manifest) -> Iterator[str]:
    """What of an access is somebody else's."""
    lent, shown = manifest.provenance.lent, manifest.provenance.shown
    access = one.access
    who = " for ".join(sorted(users, key=lambda user: user != PLATFORM))
    for hit in one.hits:
        symbol = hit.symbol
        if symbol.device in users or users & set(lent.get(symbol.name, ())):
            continue
        everybodys = symbol.device in (NOBODY, PLATFORM) or symbol.name in shown
        if everybodys and not access.write:
            continue
        does = "writes" if access.write else "reads"
        yield f"code of {who} {does} {symbol.name}, which is {symbol.device or 'the linker'}'s"
    if access.count == NEVER:
        return
    for port in one.ports:
        if port.device not in users and not users & set(lent.get(port.name, ())):
            yield f"code of {who} uses port {port.base:#x}, which is {port.device}'s {port.name}"
    config = manifest.provenance.config
    if config is not None and _reaches_data(access, config):
        yield from _config(phase, access, users, config, manifest)


def _reaches_data(access: Access, config: ConfigSpace) -> bool:
    """Whether a port access reaches a byte of the selected register."""
    first, end = config.data, config.data + 4
    ports = access.address.bases if access.kind == "port" else ()
    return any(port < end and first < port + access.size for port in ports)


def _config(
    phase: str, access: Access, users: set[str], config: ConfigSpace, manifest: Manifest
) -> Iterator[str]:
    """What is wrong with an access to configuration space."""
    if not access.selected.exact:
        yield "what it selects of configuration space cannot be told from the bytes"
        return
    served = {one.address for one in manifest.provenance.devices}
    silent = set(config.functions) - served
    for selected in sorted(access.selected.bases):
        address, register = function_of(selected), selected & _REGISTERS
        if selected & ~(_FUNCTION | _REGISTERS) != config.enable:
            yield f"selects {selected:#x}, which is no register of configuration space"
        elif register in _SIZED and address in config.functions and phase == "guard":
            continue
        elif access.write and not (address in served and address in users):
            if phase == "init" and register == _DECODING and address in silent:
                continue
            who = " and ".join(sorted(users))
            yield f"writes register {register:#x} of {address} for {who}"
        elif address not in config.functions and (phase != "guard" or register):
            yield f"reads register {register:#x} of {address}, where nothing is"


def function_of(selected: int) -> str:
    """The address of the function that a number selects. Source: PCI 3.0 §3.2.2.3.2."""
    return f"{selected >> 16 & 0xFF:02x}:{selected >> 11 & 31:02x}.{selected >> 8 & 7}"
