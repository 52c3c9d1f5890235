"""What a device's expressions may name: `names_of(pattern) -> {name: Kind}`."""

from __future__ import annotations

from collections.abc import Mapping

from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern
from metaos.pattern.spell import walk

CONFIG_CLASS = "config"
"""The class whose guards and attach rows speak of every function of the machine."""

ENTRIES = ("APIC",)
"""ACPI tables in which each structure is a device that a match may name."""
ALARM_CLASS = "alarm"
"""The class whose devices interrupt when something is due."""
INTERRUPTS_CLASS = "interrupts"
"""The class whose devices know which lines are used."""


def names_of(pattern: Pattern) -> dict[str, k.Kind]:
    """Everything a pattern declares and inherits, and what the language gives its kind."""
    names: dict[str, k.Kind] = dict(_given(pattern))
    for item in pattern.items:
        match item:
            case s.Fact(name=name, type=kind):
                names[name] = _fact(kind, item.value)
            case s.Table(name=name):
                element = k.Element(item, pattern.layouts.get(item.layout))
                names[name] = k.Array(name, element, item.elements)
            case s.State(name=name, count=count):
                var = k.Var(item)
                names[name] = k.Array(name, var, count) if count else var
            case s.Registers(registers=registers):
                for register in registers:
                    reg = k.Reg(register, item)
                    many = register.count > 1
                    names[register.name] = (
                        k.Array(register.name, reg, register.count) if many else reg
                    )
            case s.Learn(rows=rows):
                kept = (r for r in rows if isinstance(r, s.Keep))
                names |= {r.name: _kept(r.value, pattern) for r in kept}
    return names


def _given(pattern: Pattern) -> Mapping[str, k.Kind]:
    found: dict[str, k.Kind] = {"system": k.SYSTEM, "interrupt": k.INTERRUPT, "cpuid": k.CPUID}
    for match in pattern.of(s.Match):
        if match.kind == "acpi":
            found["acpi"] = k.ACPI
            if match.entry is not None:
                found["entry"] = k.ENTRY
        elif match.kind == "legacy":
            found["legacy"] = k.LEGACY
        elif match.kind == "mmio":
            found["mmio"] = k.MMIO
        elif match.kind == "pci":
            found["bar"] = k.BARS
            found["config"] = k.CONFIG
    if any(isinstance(x, s.Grant) for x in walk(pattern.of(s.Turn))):
        found["wanted"] = k.BIT
    if pattern.class_name == CONFIG_CLASS:
        found |= {"function": k.FUNCTION, "bars": k.ANY_BAR, "message": k.MESSAGE}
    if pattern.class_name == INTERRUPTS_CLASS:
        found |= {"lines": k.LINES, "line": k.LINE}
    return found


def _kept(value: s.Expr, pattern: Pattern) -> k.Kind:
    """What a learn row keeps: a register, or one of its fields."""
    of, name = (value.of, value.name) if isinstance(value, s.Member) else (value, "")
    found = pattern.registers.get(of.text) if isinstance(of, s.Name) else None
    if found is None:
        return k.UNKNOWN
    _, register = found
    if not name:
        return k.Kept(register)
    return k.fact(next((f.bits for f in register.fields if f.name == name), 32))


def _fact(kind: str, value: s.Expr) -> k.Kind:
    if kind == "window":
        size = None
        if isinstance(value, s.Call) and len(value.arguments) == 2:
            last = value.arguments[1]
            size = last.value if isinstance(last, s.Number) else None
        return k.Window(size)
    if kind == "capability":
        return k.CAPABILITY
    return k.Ports() if kind == "ports" else k.fact(min(64, int(kind[1:6])))


def element_number(count: int | None) -> k.Kind:
    """`i`, the number of an element of a table or an array of states; it never wraps."""
    return k.Num(64, max(0, count - 1)) if count is not None else k.UNKNOWN
