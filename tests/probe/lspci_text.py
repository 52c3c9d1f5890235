"""What lspci would print of a machine's functions, and what becomes of it when it is pasted."""

from __future__ import annotations

import re
from collections.abc import Callable

from metaos.probe.machine import Bar, BarKind, Function

_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))
_ROM = 6
_WORDS = {
    1: "Power Management version 3",
    2: "AGP version 2.0",
    3: "Vital Product Data",
    4: "Slot ID: 0 slots",
    5: "MSI: Enable- Count=1/1 Maskable- 64bit+",
    9: "Vendor Specific Information: Len=0c <?>",
    0x0C: "Hot-plug capable",
    0x0D: "Subsystem: Device [1af4:1100]",
    0x10: "Express (v2) Endpoint, MSI 00",
    0x11: "MSI-X: Enable- Count=5 Masked-",
    0x12: "SATA HBA v1.0 InCfgSpace",
}


def lspci(
    functions: tuple[Function, ...], *, ids: str = "nn", verbose: int = 0, dump: int = 0
) -> str:
    """Functions as lspci prints them; `ids` "", "n" or "nn", `dump` bytes of config space."""
    blocks = []
    for function in functions:
        lines = [_header(function, ids, verbose)]
        if verbose:
            lines += [f"\t{line}" for line in _details(function, ids, verbose)]
        lines += hex_rows(bytes.fromhex(function.config)[:dump])
        blocks.append("\n".join(lines) + "\n")
    return ("\n" if verbose or dump else "").join(blocks)


def vmm(functions: tuple[Function, ...]) -> str:
    """The same as lspci -vmmnn."""
    blocks = []
    for f in functions:
        lines = [
            f"Slot:\t{f.address}",
            f"Class:\tSome class [{f.class_code >> 8:04x}]",
            f"Vendor:\tSome Vendor, Inc. [{f.vendor:04x}]",
            f"Device:\tSome [fine] device [{f.device:04x}]",
        ]
        if f.subsystem_vendor:
            lines += [
                f"SVendor:\tAnother [{f.subsystem_vendor:04x}]",
                f"SDevice:\tDevice [{f.subsystem_device:04x}]",
            ]
        lines += [f"Rev:\t{f.revision:02x}"] if f.revision else []
        lines += [f"ProgIf:\t{f.class_code & 0xFF:02x}"] if f.class_code & 0xFF else []
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def mm(functions: tuple[Function, ...]) -> str:
    """The same as lspci -mmnn."""
    lines = []
    for f in functions:
        words = [f'{f.address} "Some class [{f.class_code >> 8:04x}]"']
        words += [f'"Some \\"Vendor\\" [{f.vendor:04x}]" "A device [{f.device:04x}]"']
        words += [f"-r{f.revision:02x}"] if f.revision else []
        words += [f"-p{f.class_code & 0xFF:02x}"] if f.class_code & 0xFF else []
        words += (
            [f'"Another [{f.subsystem_vendor:04x}]" "Device [{f.subsystem_device:04x}]"']
            if f.subsystem_vendor
            else ['"" ""']
        )
        lines.append(" ".join(words) + "\n")
    return "".join(lines)


def hex_rows(config: bytes) -> list[str]:
    return [f"{at:02x}: {config[at : at + 16].hex(' ')}" for at in range(0, len(config), 16)]


def _header(f: Function, ids: str, verbose: int) -> str:
    class_, pair = f"{f.class_code >> 8:04x}", f"{f.vendor:04x}:{f.device:04x}"
    if ids == "n":
        text = f"{f.address} {class_}: {pair}"
    elif ids == "nn":
        text = f"{f.address} Some class [{class_}]: Some Vendor, Inc. [SV] Device 1 [{pair}]"
    else:
        text = f"{f.address} Some class: Some Vendor, Inc. [SV] Device 1"
    if f.revision:
        text += f" (rev {f.revision:02x})"
    if verbose and f.class_code & 0xFF:
        text += f" (prog-if {f.class_code & 0xFF:02x} [Some])"
    return text


def _details(f: Function, ids: str, verbose: int) -> list[str]:
    lines = []
    pair = f"{f.subsystem_vendor:04x}:{f.subsystem_device:04x}"
    if f.subsystem_vendor:
        names = {"n": pair, "nn": f"Another, Ltd. Device [{pair}]", "": "Another, Ltd. Device"}
        lines.append(f"Subsystem: {names[ids]}")
    if verbose == 1:
        lines.append("Flags: bus master, fast devsel, latency 0, IRQ 11")
    else:
        lines += [
            "Control: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping-",
            "Status: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort-",
            "Latency: 0",
        ]
        if f.interrupt_pin:
            pin = " ABCD"[f.interrupt_pin]
            lines.append(f"Interrupt: pin {pin} routed to IRQ {f.interrupt_line}")
    lines += [_bar(bar, verbose) for bar in f.bars]
    if f.header_type & 0x7F == 1:
        lines.append("Bus: primary=00, secondary=01, subordinate=01, sec-latency=0")
        lines.append("I/O behind bridge: 0000c000-0000cfff [size=4K]")
        lines.append("Memory behind bridge: fe800000-fe9fffff [size=2M]")
    lines += [f"Capabilities: [{c.offset:02x}] {_WORDS[c.id]}" for c in f.capabilities]
    return [*lines, "Kernel driver in use: something", "Kernel modules: something, else"]


def _bar(bar: Bar, verbose: int) -> str:
    size = next((f"{bar.size // n}{u}" for n, u in _UNITS if bar.size % n == 0), str(bar.size))
    at = f"{bar.address:08x}" if bar.address else "<unassigned>"
    if bar.index == _ROM:
        return f"Expansion ROM at {at} [disabled] [size={size}]"
    region = f"Region {bar.index}: " if verbose > 1 else ""
    if bar.kind is BarKind.IO:
        return f"{region}I/O ports at {at[-4:] if bar.address else at} [size={size}]"
    width = "64-bit" if bar.kind is BarKind.MEM64 else "32-bit"
    prefetchable = "prefetchable" if bar.prefetchable else "non-prefetchable"
    return f"{region}Memory at {at} ({width}, {prefetchable}) [size={size}]"


def _lines(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "\n".join(change(line) for line in text.split("\n"))


PASTED: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR CR LF": lambda text: text.replace("\n", "\r\r\n"),
    "byte order mark": lambda text: "\ufeff" + text,
    "spaces for tabs": lambda text: text.replace("\t", "        "),
    "no indent": lambda text: text.replace("\t", "") if "Slot:" not in text else text,
    "quoted": _lines(lambda line: f"> {line}"),
    "quoted twice": _lines(lambda line: f">> {line}"),
    "in a comment": _lines(lambda line: f" * {line}"),
    "in a Rust comment": _lines(lambda line: f"/// {line}"),
    "indented": _lines(lambda line: f"    {line}"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "upper case": lambda text: text.upper().replace('\\"', '\\"') if "0x" not in text else text,
    "a shell around": lambda text: f"root@box:~# lspci -nn\n{text}\nroot@box:~# exit\nlogout\n",
    "dmesg around": lambda text: (
        "[    0.262144] pci 0000:00:1f.0: [8086:1c4a] type 00 class 0x060100\n"
        "[    0.262301] pci 0000:00:1f.2: reg 0x10: [io  0xf070-0xf077]\n"
        f"{text}\n"
        "[    1.100000] e: 0000:00:19.0: eth0: (PCI Express:2.5GT/s:Width x1)\n"
        "Jul 18 14:58:53 box kernel: 00:19.0 is up\n"
    ),
    "domains": lambda text: re.sub(
        r"(?m)^((?:Slot:\t)?)([0-9a-f]{2}:[01][0-9a-f]\.[0-7])", r"\g<1>0000:\2", text
    ),
}
"""What happens to text on its way."""
