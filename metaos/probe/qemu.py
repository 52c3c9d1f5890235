"""Probe a QEMU machine: boot the discoverer on it and ask QEMU what only it knows.

Entering: a target and the user's arguments, learn rows; leaving: a `Machine`.

    machine = probe_qemu(load_target("pc-e1000"), ("-m", "96"))
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from metaos.boot.network import as_connected
from metaos.boot.qemu import Qemu
from metaos.boot.target import QEMU, Target, command, load_target
from metaos.errors import Exit, MetaosError
from metaos.probe.acpi import HEADER, read_acpi
from metaos.probe.join import Named, acpi_tables, join
from metaos.probe.learn import LearnRow, encode
from metaos.probe.lines import finished, parse
from metaos.probe.machine import Emulator, Machine, Mmio, Origin
from metaos.probe.pins import pins_of
from metaos.probe.resources import wires
from metaos.resources import BOOTLOADER

DEBUG_CONSOLE = 0xE9
"""The port of QEMU's debug console that discover.asm writes to."""

_NASM_SECONDS = 30
_CHUNK = 1 << 16
_DEVICE = re.compile(r'(?P<indent> *)dev: (?P<name>[^,]+), id "')
_ADDRESS = re.compile(r" *class .*, addr (?P<address>[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]), pci id ")
_WINDOW = re.compile(r" *mmio (?P<base>[0-9a-f]{16})/(?P<size>[0-9a-f]{16})$")
_LOOKED_AT = 16
"""Bytes of a window that are kept: what says which device it is."""
_MOST_AML = 1 << 20
_MAC = re.compile(r' *mac = "(?P<mac>[0-9a-f:]{17})"')


def probe_qemu(
    target: Target | str,
    extra_args: Sequence[str] = (),
    *,
    accel: str = "tcg",
    timeout: float = 60.0,
    learn: Sequence[LearnRow] = (),
) -> Machine:
    """Boot the discoverer on the machine of `target` and `extra_args` and read its answer.

    `timeout` is in seconds, for the boot and all that the discoverer prints.

    Raises:
        MetaosError: a tool is missing, QEMU ends early, the time is over, what was printed
            is damaged, or a learn row failed.
    """
    target = load_target(target) if isinstance(target, str) else target
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        image = Path(folder, "discover.img")
        assemble(image, learn)
        machine = Target(target.name, "", tuple(as_connected([*target.args, *extra_args], QEMU)))
        found = _boot(command(machine, image=image, accel=accel), timeout)
    emulator = Emulator(target=target.name, arguments=tuple(extra_args), origin=Origin.QEMU)
    joined = join(parse(found.text), learn, found.named, emulator, found.mmio)
    return msgspec.structs.replace(joined, pins=pins_of(joined.functions, found.dsdt))


def assemble(image: Path, learn: Sequence[LearnRow] = ()) -> None:
    """Write the discoverer's boot image, with `learn` rows in it, to `image`.

    Raises:
        MetaosError: nasm is missing or fails.
    """
    nasm = shutil.which("nasm")
    if nasm is None:
        raise MetaosError(
            "nasm is not installed",
            hint="sudo apt-get install -y nasm",
            exit_code=Exit.TOOL_MISSING,
        )
    rows = image.with_suffix(".rows")
    rows.write_bytes(encode(learn))
    source = BOOTLOADER / "discover.asm"
    # The path goes through nasm's include path, for it may hold any character.
    words = [nasm, "-f", "bin", "-I", f"{rows.parent}/", f"-DROWS='{rows.name}'"]
    try:
        subprocess.run(
            [*words, "-o", str(image), str(source)],
            capture_output=True,
            text=True,
            check=True,
            timeout=_NASM_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.CalledProcessError as error:
        raise MetaosError(f"nasm cannot assemble {source}:\n{error.stderr.strip()}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise MetaosError(f"nasm does not work: {error}") from error


@dataclass(frozen=True, slots=True)
class _Found:
    """What the discoverer printed, QEMU's names by address, what has no bus, firmware's DSDT."""

    text: str
    named: dict[str, Named]
    mmio: tuple[Mmio, ...]
    dsdt: bytes


def _boot(arguments: Sequence[str], timeout: float) -> _Found:
    """Run the discoverer, and ask QEMU and its memory while it stands still."""
    ours, theirs = os.pipe()
    # The console is an ISA device with no place on any PCI bus and none in ACPI's tables.
    console = [
        *("-chardev", f"file,id=metaos-console,path=/dev/fd/{theirs}"),
        *("-device", f"isa-debugcon,iobase={DEBUG_CONSOLE:#x},chardev=metaos-console"),
        "-no-reboot",
    ]
    try:
        with Qemu([*arguments, *console], pass_fds=(theirs,)) as vm:
            os.close(theirs)
            theirs = -1
            text = _listen(vm, ours, timeout)
            nodes = _nodes(vm.hmp("info qtree"))
            dsdt = _dsdt(vm, text)
            said = text.decode("ascii", "replace")
            return _Found(said, _named(nodes), _mmio(vm, nodes, dsdt), dsdt)
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def _mmio(vm: Qemu, nodes: Sequence[_Node], dsdt: bytes) -> tuple[Mmio, ...]:
    """What has no bus, with the interrupt lines that firmware's DSDT says."""
    alone = sorted(_alone(nodes), key=lambda pair: pair[0].window)
    said = wires(dsdt)
    return tuple(
        Mmio(
            kind=node.name.replace("-", "_"),
            base=node.window[0],
            size=node.window[1],
            data=_memory(vm, node.window[0], _LOOKED_AT).hex(),
            name=behind.name,
            origin=Origin.QEMU,
            interrupt=said.get(node.window[0]),
        )
        for node, behind in alone
    )


def _dsdt(vm: Qemu, text: bytes) -> bytes:
    """The table that the discoverer's FADT names; empty if there is none."""
    fadt = read_acpi(acpi_tables(parse(text.decode("ascii", "replace")))).fadt
    if fadt is None or not fadt.dsdt:
        return b""
    head = _memory(vm, fadt.dsdt, HEADER)
    length = int.from_bytes(head[4:8], "little")
    known = head.startswith(b"DSDT") and length <= _MOST_AML
    return _memory(vm, fadt.dsdt, length) if known else b""


def _memory(vm: Qemu, address: int, size: int) -> bytes:
    """Bytes of physical memory, as the monitor reads them."""
    return _words(vm.hmp(f"xp /{-(-size // 4)}xw {address:#x}"))[:size]


def _listen(vm: Qemu, console: int, timeout: float) -> bytes:
    """All that comes from `console` up to the discoverer's last line."""
    deadline = time.monotonic() + timeout
    text = b""
    while not finished(text[-_CHUNK:]):
        left = deadline - time.monotonic()
        ready = select.select([console], [], [], left)[0] if left > 0 else []
        if not ready:
            raise _late(text, timeout)
        piece = os.read(console, _CHUNK)
        if not piece:
            raise vm.death(f"before the probe was done, {_progress(text)}")
        text += piece
    return text


def _late(text: bytes, timeout: float) -> MetaosError:
    hint = "allow more time, or use another accelerator"
    if not text:
        hint = "does the machine boot from a disk? is port 0xe9 another device's?"
    return MetaosError(
        f"the probe is not done after {timeout:g} s, {_progress(text)}",
        hint=hint,
        exit_code=Exit.TIMEOUT,
    )


def _progress(text: bytes) -> str:
    lines = text.decode("ascii", "replace").split("\n")
    if len(lines) < 2:
        return "the discoverer printed nothing"
    return f"the discoverer's last of {len(lines) - 1} lines: '{lines[-2].strip()[:40]}'"


def parse_tree(text: str) -> dict[str, Named]:
    """Names and MAC addresses by address, from the monitor's `info qtree`.

    A MAC may be that of a device on a bus which the device at the address itself provides.
    """
    return _named(_nodes(text))


def _named(nodes: Sequence[_Node]) -> dict[str, Named]:
    names = {node.address: node.name for node in nodes if node.address}
    names |= {f"mmio@{node.window[0]:x}": behind.name for node, behind in _alone(nodes)}
    macs = {node.place(): node.mac for node in nodes if node.mac}
    return {place: Named(name, macs.get(place, "")) for place, name in names.items()}


def _nodes(text: str) -> list[_Node]:
    """The devices of QEMU's tree, each after the one that provides its bus."""
    devices: list[_Node] = []
    path: list[_Node] = []
    for line in text.splitlines():
        if found := _DEVICE.match(line):
            indent = len(found["indent"])
            path = [node for node in path if node.indent < indent]
            path.append(_Node(indent, found["name"], path[-1] if path else None))
            devices.append(path[-1])
        elif path and (found := _ADDRESS.match(line)):
            path[-1].address = found["address"]
        elif path and (found := _MAC.match(line)):
            path[-1].mac = found["mac"]
        elif path and not path[-1].window[1] and (found := _WINDOW.match(line)):
            path[-1].window = int(found["base"], 16), int(found["size"], 16)
    return devices


def _alone(nodes: Sequence[_Node]) -> list[tuple[_Node, _Node]]:
    """Devices of the machine itself with a window and one device behind it, that are no way to
    PCI: each with the device behind."""
    behind: dict[int, list[_Node]] = {}
    for node in nodes:
        if node.parent is not None:
            behind.setdefault(id(node.parent), []).append(node)
    pairs = [(node, behind.get(id(node), [])) for node in nodes if node.parent is None]
    return [
        (node, others[0])
        for node, others in pairs
        if node.window[1] >= _LOOKED_AT and len(others) == 1 and not others[0].address
    ]


def _words(text: str) -> bytes:
    """The bytes that the monitor's `xp /Nxw` shows."""
    words = re.findall(r"0x([0-9a-f]{8})", text)
    return b"".join(int(word, 16).to_bytes(4, "little") for word in words)


@dataclass(slots=True)
class _Node:
    """A device in QEMU's tree; `address` is empty unless it is a PCI function.

    `window` is the first of its own in memory, base and size; a size of 0 is none.
    """

    indent: int
    name: str
    parent: _Node | None
    address: str = ""
    mac: str = ""
    window: tuple[int, int] = (0, 0)

    def place(self) -> str:
        """The address of the PCI function or of the window that it is or lies behind."""
        node = self
        while not node.address and node.parent is not None:
            node = node.parent
        return node.address or (f"mmio@{node.window[0]:x}" if node.window[1] else "")
