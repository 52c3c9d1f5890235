"""`cite(machine)`: the same machine, whose numbers know which fact of the machine file they are.

    cite(machine).functions[0].vendor      # Told(0x8086, ("functions.00:03.0.vendor",))

Paths are those of the machine file, with a device's address instead of its place in a list.
Numbers that lie in strings of hex digits are cited where they are read (`metaos.match.facts`).
"""

from __future__ import annotations

from typing import TypeVar

from msgspec import structs

from metaos.probe.machine import Bar, Function, Machine, Mmio, Struct, Wire
from metaos.told import Told

_S = TypeVar("_S", bound=Struct)
_IDS = ("vendor", "device", "class_code", "revision", "subsystem_vendor", "subsystem_device")
_HEADER = ("header_type", "interrupt_pin", "interrupt_line")


def cite(machine: Machine) -> Machine:
    """Every number of the machine file that can reach an image, as a `Told`."""
    memory = (_cited(r, f"memory.{n}", "base", "size") for n, r in enumerate(machine.memory))
    legacy = (_cited(x, f"legacy.{x.kind}{x.index}", "port") for x in machine.legacy)
    mmio = (_mmio(x) for x in machine.mmio)
    pins = (
        structs.replace(x, interrupt=_wire(x.interrupt, f"pins.{x.address}")) for x in machine.pins
    )
    learnt = (
        structs.replace(x, value=Told(x.value, (f"learnt.{x.device}.{x.name}",)))
        for x in machine.learnt
    )
    return structs.replace(
        machine,
        memory=tuple(memory),
        functions=tuple(_function(f) for f in machine.functions),
        legacy=tuple(legacy),
        learnt=tuple(learnt),
        mmio=tuple(mmio),
        pins=tuple(pins),
    )


def _function(function: Function) -> Function:
    path = f"functions.{function.address}"
    capabilities = (
        _cited(c, f"{path}.capabilities.{c.id:#04x}", "offset") for c in function.capabilities
    )
    return structs.replace(
        _cited(function, path, *_IDS, *_HEADER),
        bars=tuple(_bar(b, path) for b in function.bars),
        capabilities=tuple(capabilities),
    )


def _mmio(window: Mmio) -> Mmio:
    path = f"mmio.{window.address}"
    wire = _wire(window.interrupt, path) if window.interrupt is not None else None
    return structs.replace(_cited(window, path, "base", "size"), interrupt=wire)


def _wire(wire: Wire, path: str) -> Wire:
    return _cited(wire, f"{path}.interrupt", "line", "edge", "low")


def _bar(bar: Bar, path: str) -> Bar:
    return _cited(bar, f"{path}.bars.{bar.index}", "address", "size")


def _cited(record: _S, path: str, *names: str) -> _S:
    """The record with these numbers cited as `path`.NAME."""
    return structs.replace(
        record, **{name: Told(getattr(record, name), (f"{path}.{name}",)) for name in names}
    )
