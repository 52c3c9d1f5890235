"""Names of PCI devices out of Debian's pci.ids, where it is installed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from metaos.probe.machine import Function

PCI_IDS = (Path("/usr/share/misc/pci.ids"), Path("/usr/share/hwdata/pci.ids"))


def _lines() -> tuple[str, ...]:
    path = next((p for p in PCI_IDS if p.is_file()), None)
    return tuple(path.read_text("utf-8", "replace").splitlines()) if path else ()


@cache
def _names() -> dict[tuple[int, int], str]:
    """(vendor, device) -> name, and (vendor, -1) -> the vendor's own."""
    names: dict[tuple[int, int], str] = {}
    vendor, vendor_name = -1, ""
    for line in _lines():
        if line.startswith("C "):
            break
        if not line or line[0] == "#" or line.startswith("\t\t"):
            continue
        number, _, name = line.strip().partition("  ")
        try:
            value = int(number, 16)
        except ValueError:
            continue
        if line[0] == "\t":
            names[vendor, value] = f"{vendor_name} {name}"
        else:
            vendor, vendor_name = value, name
            names[vendor, -1] = name
    return names


def device_name(function: Function) -> str:
    """What people call a function: from pci.ids, from QEMU, or 'unknown device'."""
    names = _names()
    known = names.get((function.vendor, function.device)) or names.get((function.vendor, -1))
    return known or function.name or "unknown device"


@cache
def _classes() -> dict[str, str]:
    """Class code as two, four or six digits -> name."""
    names: dict[str, str] = {}
    digits = ""
    for line in _lines():
        if found := re.fullmatch(r"C ([0-9a-f]{2})  (.*)", line):
            digits = found[1]
            names[digits] = found[2]
        elif digits and (found := re.fullmatch(r"(\t{1,2})([0-9a-f]{2})  (.*)", line)):
            digits = digits[: 2 * len(found[1])] + found[2]
            names[digits] = found[3]
    return names


def class_name(code: int) -> str:
    """What kind of device a class code says, "" where pci.ids is not installed or silent."""
    digits = f"{code:06x}"
    return _classes().get(digits[:4]) or _classes().get(digits[:2], "")
