"""Whether a `match` holds of a device, key by key."""

from __future__ import annotations

from collections.abc import Callable

from metaos.match.device import Device, type_of
from metaos.match.facts import evaluate
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern
from metaos.probe.machine import (
    Function,
    Unknown,
    domain,
)

_UNREAD = {
    "vendor": "ids",
    "device": "ids",
    "subsystem_vendor": "subsystem",
    "subsystem_device": "subsystem",
    "capability": "capabilities",
}
"""The names by which a match's keys are unknown, where they are other ones."""

_FIELDS = {"class": "class_code", "capability": "capabilities"}
"""Keys of a match that have another name in the machine file."""


def fact_of(address: str, key: str) -> str:
    """What a match's key is in the machine file, as a path."""
    return f"functions.{address}.{_FIELDS.get(key, key)}"


def function_key(name: str) -> Callable[[Function], int] | None:
    """How a match's key is read from a function; None for a key that is no id."""
    keys: dict[str, Callable[[Function], int]] = {
        "vendor": lambda f: f.vendor,
        "device": lambda f: f.device,
        "class": lambda f: f.class_code,
        "revision": lambda f: f.revision,
        "subsystem_vendor": lambda f: f.subsystem_vendor,
        "subsystem_device": lambda f: f.subsystem_device,
    }
    return keys.get(name)


def differs(match: s.Match, device: Device, pattern: Pattern) -> str:
    """Why a match does not hold; empty if it does, or if what is not known decides it."""
    if device.function is not None and (other := domain(device.address)):
        return f"is in PCI domain {other:x}, and images reach domain 0 only"
    if match.kind == "platform" and match.name != device.address:
        return f"is for platform part '{match.name}'"
    if match.kind == "legacy" and (device.legacy is None or device.legacy.kind != match.name):
        return f"is for '{match.name}'"
    if match.kind == "acpi" and (device.table is None or device.table.signature != match.name):
        return f"is for table {match.name}"
    if match.kind == "acpi" and match.entry != type_of(device):
        return f"is for {match.name}" + f", entry {match.entry}" * (match.entry is not None)
    if match.kind == "mmio" and (device.mmio is None or device.mmio.kind != match.name):
        return f"is for '{match.name}'"
    for key, wanted in match.keys:
        if device.unread(_UNREAD.get(key, key)) is not None:
            if key == "class" and (why := _other_class(device, wanted)):
                return why
            continue
        if key == "capability" and device.function is not None:
            if all(c.id != wanted for c in device.function.capabilities):
                return f"it has no capability {wanted:#04x}"
            continue
        read = function_key(key)
        if read is None or device.function is None:
            return f"unknown key '{key}'"
        found = read(device.function)
        if found != wanted:
            return f"{key} is {found:#06x}, not {wanted:#06x}"
    if match.where is not None and not evaluate(match.where, device):
        return "its 'where' does not hold"
    return ""


def _other_class(device: Device, wanted: int) -> str:
    """Why a class code of which only the last byte is not known is another; empty if it may be."""
    found = device.function.class_code if device.function is not None else 0
    other = found and found >> 8 != wanted >> 8
    return f"class is {found >> 8:#06x}, not {wanted >> 8:#06x}" if other else ""


def unread_key(match: s.Match, device: Device) -> Unknown | None:
    """What a match asks for and the machine file does not know."""
    found = (device.unread(_UNREAD.get(key, key)) for key, _ in match.keys)
    return next((unread for unread in found if unread is not None), None)
