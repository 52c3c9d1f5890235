"""Read a QEMU machine that already runs, over its control socket: `probe_running(address)`.

Entering: the socket's path or HOST:PORT; leaving: a `Machine`. The guest stands still while it is
read and goes on after; all that changes is the port that selects a configuration register, and
that is put back. What QEMU does not tell (CPUID leaves, the firmware's memory map) is unknown.

Sources: QEMU's QMP reference (query-pci, query-status, stop, cont) and monitor (i, o, xp);
PCI Local Bus Specification 3.0 §3.2.2.3.2 (configuration mechanism 1); ACPI 6.4 §5.2.5.1.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from metaos.boot.monitor import Monitor
from metaos.errors import MetaosError, Problem
from metaos.probe.acpi import RSDP
from metaos.probe.check import check
from metaos.probe.header import BARS, ROM_INDEX, ROMS, layout_of, read_function
from metaos.probe.join import Named
from metaos.probe.machine import (
    SCHEMA,
    AcpiTable,
    Cpu,
    Function,
    Legacy,
    Machine,
    Network,
    Origin,
    Unknown,
)
from metaos.probe.qemu import parse_tree

SELECT = 0xCF8
"""The port that selects a configuration register, and the one that then is it."""
SELECTED = 0xCFC
_CONFIG_BYTES = 256
_NOT_STARTED = ("prelaunch", "inmigrate", "preconfig")
_PORT_READ = re.compile(r"\[0x[0-9a-f]+\] = 0x([0-9a-f]{1,8})\b")
_WORDS = re.compile(r"0x([0-9a-f]{8})\b")
_BACK_SECONDS = 2.0
"""For putting back what was changed, when the time is over."""
_MOST_TABLES = 256
_MOST_TABLE_BYTES = 1 << 20
_WORDS_A_READ = 16384
_SERIAL_PORTS = (("com", 4), ("lpt", 3))
"""Words in the BIOS data area from 0x400 on: ports that firmware found."""
_NO_LEAVES = "QEMU's control socket does not show CPUID; 'metaos probe qemu' boots a reader"


class _Region(msgspec.Struct):
    bar: int
    size: int
    type: Literal["io", "memory"]


class _Ids(msgspec.Struct):
    vendor: int
    device: int


class _Device(msgspec.Struct):
    """One function of `query-pci`; what lies behind a bridge is inside it."""

    bus: int
    slot: int
    function: int
    id: _Ids
    regions: list[_Region]
    pci_bridge: _Bridge | None = None

    @property
    def address(self) -> str:
        return f"{self.bus:02x}:{self.slot:02x}.{self.function:x}"


class _Bridge(msgspec.Struct):
    devices: list[_Device] = []


class _Bus(msgspec.Struct):
    bus: int
    devices: list[_Device]


class _Lost:
    """What could not be read, and why."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}

    def say(self, what: str, reason: str) -> None:
        self.facts.setdefault(what, reason)


def probe_running(address: str, timeout: float = 60.0) -> Machine:
    """Read the machine behind a control socket; `timeout`: seconds for all of it.

    Raises:
        MetaosError: no QEMU is there, another client holds the socket, it ends or falls silent,
            or its machine has not been started.
    """
    with Monitor(address, timeout) as vm:
        status = vm.command("query-status")
        state = status.get("status") if isinstance(status, dict) else None
        if state in _NOT_STARTED:
            raise MetaosError(
                f"{address}: the machine has not started ({state}): no firmware has run",
                hint="start it, as by 'cont' at its monitor, and let its firmware finish",
            )
        with _still(vm, running=state == "running"):
            return _read(vm)


@contextlib.contextmanager
def _still(vm: Monitor, running: bool) -> Iterator[None]:
    """Stop a machine that runs, and let it go on, whatever happens."""
    if not running:
        yield
        return
    vm.command("stop")
    try:
        yield
    except BaseException as error:
        vm.extend(_BACK_SECONDS)
        try:
            vm.command("cont")
        except MetaosError:
            if isinstance(error, MetaosError):
                error.hint = "the machine may still stand: 'cont' at its monitor lets it go on"
        raise
    vm.command("cont")


def _read(vm: Monitor) -> Machine:
    lost = _Lost()
    functions = _functions(vm, lost)
    named = parse_tree(vm.hmp("info qtree"))
    size = vm.command("query-memory-size-summary")
    megabytes = size.get("base-memory", 0) >> 20 if isinstance(size, dict) else 0
    lost.say("cpuid leaves", _NO_LEAVES)
    lost.say("memory map", f"QEMU gives {megabytes} MiB, and does not know what firmware keeps")
    machine = Machine(
        schema=SCHEMA,
        cpu=_cpu(vm),
        memory=(),
        functions=tuple(_with_name(f, named.get(f.address)) for f in functions),
        legacy=tuple(_legacy(vm, lost)),
        acpi=tuple(_tables(vm, lost)),
        networks=tuple(
            Network(address=f.address, mac=named[f.address].mac, origin=Origin.QEMU)
            for f in functions
            if f.address in named and named[f.address].mac
        ),
        learnt=(),
        unknown=tuple(
            Unknown(what=what, reason=reason, origin=Origin.QEMU)
            for what, reason in lost.facts.items()
        ),
    )
    faults = [Problem("E0803", f"{where}: {what}") for where, what in check(machine)]
    if faults:
        raise MetaosError(f"{vm.address}: QEMU's answers contradict", problems=faults[:10])
    return machine


def _cpu(vm: Monitor) -> Cpu:
    processors = vm.command("query-cpus-fast")
    try:
        path = processors[0]["qom-path"]
        vendor, brand = (
            str(vm.command("qom-get", path=path, property=name)) for name in ("vendor", "model-id")
        )
    except (KeyError, IndexError, TypeError, MetaosError):
        vendor = brand = ""
    return Cpu(vendor=vendor, brand=brand.strip(), leaves=(), origin=Origin.QEMU)


def _with_name(function: Function, known: Named | None) -> Function:
    if known is None:
        return function
    return msgspec.structs.replace(function, name=known.name, name_origin=Origin.QEMU)


# ---- PCI ------------------------------------------------------------------------------


def _functions(vm: Monitor, lost: _Lost) -> list[Function]:
    try:
        buses = msgspec.convert(vm.command("query-pci"), list[_Bus])
    except msgspec.ValidationError as error:
        raise MetaosError(f"{vm.address}: 'query-pci' is not answered as QEMU does: {error}") from (
            error
        )
    devices = {device.address: device for bus in buses for device in _below(bus.devices)}
    selected = _port(vm, SELECT)
    try:
        read = [_function(vm, devices[address], lost) for address in sorted(devices)]
    finally:
        with contextlib.suppress(MetaosError):  # the error that is under way says more
            vm.extend(max(_BACK_SECONDS, vm.left))
            vm.hmp(f"o /w {SELECT:#x} {selected:#x}")
    return [function for function in read if function is not None]


def _below(devices: list[_Device], depth: int = 0) -> Iterator[_Device]:
    for device in devices:
        yield device
        if device.pci_bridge is not None and depth < 256:
            yield from _below(device.pci_bridge.devices, depth + 1)


def _port(vm: Monitor, port: int) -> int:
    said = vm.hmp(f"i /w {port:#x}")
    found = _PORT_READ.search(said)
    if found is None:
        raise MetaosError(f"{vm.address}: port {port:#x} cannot be read: '{said.strip()[:60]}'")
    return int(found[1], 16)


def _function(vm: Monitor, device: _Device, lost: _Lost) -> Function | None:
    """Its config space by mechanism 1, the sizes of its windows from QEMU."""
    place = 1 << 31 | device.bus << 16 | device.slot << 11 | device.function << 8
    config = bytearray()
    for offset in range(0, _CONFIG_BYTES, 4):
        vm.hmp(f"o /w {SELECT:#x} {place | offset:#x}")
        config += _port(vm, SELECTED).to_bytes(4, "little")
    ids = device.id.vendor | device.id.device << 16
    if int.from_bytes(config[:4], "little") != ids:
        reason = "its bridge does not forward to it: has the firmware finished?"
        lost.say(f"{device.address} config header", reason)
        return None
    return read_function(
        device.address, bytes(config), _sizing(bytes(config), device.regions), origin=Origin.QEMU
    )


def _sizing(config: bytes, regions: list[_Region]) -> list[int]:
    """What each BAR and the ROM would read after all ones, from the sizes that QEMU says."""
    layout = layout_of(config)
    count = BARS.get(layout, 0)
    masks = [0] * (count + (layout in ROMS))
    for region in regions:
        at = count if region.bar == ROM_INDEX else region.bar
        if not 0 <= at < len(masks) or region.size <= 0:
            continue
        mask = -region.size & (1 << 64) - 1
        masks[at] = mask & 0xFFFFFFFF
        wide = region.type == "memory" and config[0x10 + 4 * at] & 6 == 4 if at < count else False
        if wide and at + 1 < count:
            masks[at + 1] = mask >> 32
    return masks


# ---- memory ---------------------------------------------------------------------------


def _memory(vm: Monitor, address: int, count: int) -> bytes:
    """Physical memory; shorter than `count` bytes where QEMU cannot reach it."""
    data = b""
    first = address & ~3
    words = (address + count - first + 3) // 4
    while words > 0:
        wanted = min(words, _WORDS_A_READ)
        said = vm.hmp(f"xp /{wanted}xw {first + len(data):#x}")
        rows = (row.partition(":")[2] for row in said.splitlines())
        found = [int(word, 16) for row in rows for word in _WORDS.findall(row)]
        data += b"".join(word.to_bytes(4, "little") for word in found[:wanted])
        if len(found) < wanted:
            break
        words -= wanted
    return data[address - first :][:count]


def _legacy(vm: Monitor, lost: _Lost) -> Iterator[Legacy]:
    area = _memory(vm, 0x400, 14)
    if len(area) < 14:
        lost.say("legacy ports", "the BIOS data area cannot be read")
        return
    at = 0
    for kind, count in _SERIAL_PORTS:
        for index in range(count):
            port = int.from_bytes(area[at : at + 2], "little")
            at += 2
            if port:
                yield Legacy(kind=kind, index=index, port=port, origin=Origin.QEMU)


def _tables(vm: Monitor, lost: _Lost) -> Iterator[AcpiTable]:
    """RSDP, RSDT or XSDT and what it names, as the discoverer has it."""
    pointer = _pointer(vm)
    if pointer is None:
        lost.say("acpi tables", "no RSDP where a BIOS puts it: is the firmware UEFI?")
        return
    address, raw = pointer
    yield _stored(address, raw, RSDP)
    wide = len(raw) == 36 and any(raw[24:32])
    root = int.from_bytes(raw[24:32] if wide else raw[16:20], "little")
    table = _table(vm, root, lost)
    if table is None:
        lost.say("acpi tables", f"their list at {root:#x} cannot be read")
        return
    yield table
    entries = bytes.fromhex(table.data)[36:]
    step = 8 if wide else 4
    for at in range(0, min(len(entries) - step + 1, step * _MOST_TABLES), step):
        found = _table(vm, int.from_bytes(entries[at : at + step], "little"), lost)
        if found is not None and found.signature != "SSDT":
            yield found


def _pointer(vm: Monitor) -> tuple[int, bytes] | None:
    """Where the RSDP is, and its bytes: the EBDA's first KiB, then 0xE0000 to 0xFFFFF."""
    segment = int.from_bytes(_memory(vm, 0x40E, 2), "little") << 4
    for start, count in ((segment, 1024), (0xE0000, 0x20000)):
        data = _memory(vm, start, count) if start else b""
        for at in range(0, len(data) - 19, 16):
            if data.startswith(RSDP.encode(), at) and not sum(data[at : at + 20]) & 0xFF:
                size = 36 if data[at + 15] >= 2 else 20
                return start + at, _memory(vm, start + at, size)
    return None


def _table(vm: Monitor, address: int, lost: _Lost) -> AcpiTable | None:
    head = _memory(vm, address, 8) if address else b""
    length = int.from_bytes(head[4:8], "little")
    if not 36 <= length <= _MOST_TABLE_BYTES:
        return None
    data = _memory(vm, address, length)
    signature = data[:4].decode("latin-1")
    if len(data) < length:
        lost.say(f"acpi {signature}", f"only {len(data)} of its {length} bytes can be read")
        return None
    return _stored(address, data, signature)


def _stored(address: int, data: bytes, signature: str) -> AcpiTable:
    return AcpiTable(signature=signature, address=address, data=data.hex(), origin=Origin.QEMU)
