"""What a comparison of two machine files cannot tell, since one of them does not know it.

`untold(a, b, change)` is the unknown fact that a difference comes from: what is missing in a
file is no difference of the machines if the file says that it does not know it.
"""

from __future__ import annotations

from metaos.lower.row import Row
from metaos.lower.work import MEMORY
from metaos.probe.machine import Function, Machine, Unknown, unknown_fact

_FIELDS = {
    "vendor": "ids",
    "device": "ids",
    "class_code": "class",
    "subsystem_vendor": "subsystem",
    "subsystem_device": "subsystem",
    "header_type": "header type",
    "interrupt_pin": "interrupt",
    "interrupt_line": "interrupt",
}
_ROOT_TABLES = ("RSD PTR ", "RSDT", "XSDT")


def untold(a: Machine, b: Machine, subject: str, fact: str) -> tuple[str, Unknown] | None:
    """The file ("A" or "B") that does not know `fact` of `subject`, and what it says of that."""
    for side, machine in (("A", a), ("B", b)):
        for what in _names(machine, subject, fact):
            found = unknown_fact(machine, what)
            if found is not None:
                return side, found
    return None


def _names(machine: Machine, subject: str, fact: str) -> tuple[str, ...]:
    """The names under which a fact may be unknown."""
    if subject == "cpu":
        return ("cpuid leaves",)
    if subject == "memory":
        return ("memory map",)
    if subject[:3] in ("com", "lpt"):
        return ("legacy ports", f"legacy {subject[:3]}")
    if "." not in subject:
        name = subject.partition("#")[0]
        root = ("acpi root tables",) if name in _ROOT_TABLES else ()
        return ("acpi tables", f"acpi {subject.replace('#', '')}", f"acpi {name}", *root)
    if fact.startswith("bar "):
        return (f"{subject} bar {fact.split()[1]} size",)
    there = any(function.address == subject for function in machine.functions)
    if there:
        return (f"{subject} {_FIELDS.get(fact, fact)}",)
    return ("pci functions", f"{subject} config header")


def untold_row(machine: Machine, row: Row) -> Unknown | None:
    """What a row of an image tests on a machine whose file does not know it."""
    if row.place.symbol == MEMORY:
        return unknown_fact(machine, "memory map")
    if row.kind.startswith("cpuid"):
        return unknown_fact(machine, "cpuid leaves")
    if not row.kind.startswith("config."):
        return None
    place = row.place.value
    bus, device, number = place >> 16 & 0xFF, place >> 11 & 0x1F, place >> 8 & 7
    address = f"{bus:02x}:{device:02x}.{number}"
    function = next((f for f in machine.functions if f.address == address), None)
    if function is None:
        return unknown_fact(machine, "pci functions") or unknown_fact(
            machine, f"{address} config header"
        )
    return _beyond(machine, function, place & 0xFC)


def _beyond(machine: Machine, function: Function, at: int) -> Unknown | None:
    """The config bytes from where on they are not known, if `at` is one of them."""
    size = len(function.config) // 2
    return (
        unknown_fact(machine, f"{function.address} config from {size:#x}") if at >= size else None
    )
