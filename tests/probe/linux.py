"""A folder that looks as Linux on a given machine would: what `metaos probe sysfs` reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from metaos.probe.machine import BarKind, Function, Machine

KINDS = {1: "System RAM", 2: "Reserved", 3: "ACPI Tables", 4: "ACPI Non-volatile Storage"}
_FLAGS = {BarKind.IO: 0x40101, BarKind.MEM32: 0x40200, BarKind.MEM64: 0x140204}
_UART = {0x3F8: 0, 0x2F8: 1, 0x3E8: 2, 0x2E8: 3}
"""Linux's fixed numbers, arch/x86/include/asm/serial.h."""


def put(root: Path, path: str, content: str | bytes) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def linked(root: Path, path: str, target: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target)


def write_tree(machine: Machine, root: Path, *, privileged: bool = True) -> None:
    """Write `sys/` and `proc/` of `machine`, as root or as anyone would copy them."""
    macs = {n.address: n.mac for n in machine.networks}
    for function in machine.functions:
        name = f"0000:{function.address}"
        folder = f"sys/devices/pci0000:00/{name}"
        put(root, f"{folder}/config", bytes.fromhex(function.config)[: None if privileged else 64])
        put(root, f"{folder}/vendor", f"0x{function.vendor:04x}\n")
        put(root, f"{folder}/device", f"0x{function.device:04x}\n")
        put(root, f"{folder}/class", f"0x{function.class_code:06x}\n")
        put(root, f"{folder}/revision", f"0x{function.revision:02x}\n")
        put(root, f"{folder}/resource", "".join(resource(function)))
        linked(root, f"sys/bus/pci/devices/{name}", f"../../../devices/pci0000:00/{name}")
        if function.address in macs:
            card = f"eth{list(macs).index(function.address)}"
            put(root, f"{folder}/net/{card}/address", f"{macs[function.address]}\n")
            put(root, f"{folder}/net/{card}/type", "1\n")
            put(root, f"{folder}/net/{card}/addr_assign_type", "0\n")
            linked(root, f"sys/class/net/{card}", f"../../devices/pci0000:00/{name}/net/{card}")
    for i, entry in enumerate(machine.memory):
        put(root, f"sys/firmware/memmap/{i}/start", f"{entry.base:#x}\n")
        put(root, f"sys/firmware/memmap/{i}/end", f"{entry.base + entry.size - 1:#x}\n")
        put(root, f"sys/firmware/memmap/{i}/type", f"{KINDS[entry.kind]}\n")
    for table in machine.acpi:
        if table.signature not in ("RSD PTR ", "RSDT", "XSDT"):
            path = f"sys/firmware/acpi/tables/{table.signature}"
            put(root, path, bytes.fromhex(table.data))
    _ports(machine, root)


def resource(function: Function) -> Iterator[str]:
    """The lines of the file `resource`: BARs, the ROM, a bridge's windows (empty here)."""
    bars = {bar.index: bar for bar in function.bars}
    ide = function.class_code >> 8 == 0x0101
    for index in range(13):
        bar = bars.get(index)
        if bar is not None:
            flags = 0x46200 if index == 6 else _FLAGS[bar.kind] | 0x2000 * bar.prefetchable
            yield f"0x{bar.address:016x} 0x{bar.address + bar.size - 1:016x} 0x{flags:016x}\n"
        elif ide and index < 4:  # compatibility mode: drivers/pci/probe.c, pci_setup_device
            start, size = ((0x1F0, 8), (0x3F6, 1), (0x170, 8), (0x376, 1))[index]
            yield f"0x{start:016x} 0x{start + size - 1:016x} 0x0000000000000110\n"
        else:
            yield " ".join(["0x" + "0" * 16] * 3) + "\n"


def _ports(machine: Machine, root: Path) -> None:
    found = {_UART[x.port]: x.port for x in machine.legacy if x.kind == "com"}
    for number in range(4):
        port = found.get(number, 0)
        put(root, f"sys/class/tty/ttyS{number}/type", "4\n" if port else "0\n")
        put(root, f"sys/class/tty/ttyS{number}/port", f"0x{port:X}\n")
        put(root, f"sys/class/tty/ttyS{number}/io_type", "0\n")
    lines = ["0000-0cf7 : PCI Bus 0000:00\n", "  0020-0021 : pic1\n"]
    for x in machine.legacy:
        if x.kind == "lpt":
            lines.append(f"  {x.port:04x}-{x.port + 2:04x} : parport{x.index}\n")
    put(root, "proc/ioports", "".join(lines))
