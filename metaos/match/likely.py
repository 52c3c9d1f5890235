"""What a new pattern for a function of a machine would say: `wanted(name, machine, ...)`.

Its class is that of the patterns which match by the function's own class code, "general" if
there are none. It names as many ids as it needs to win over whatever serves the function now.
"""

from __future__ import annotations

from collections.abc import Iterator

from metaos.errors import Exit, MetaosError, did_you_mean
from metaos.match.bind import Binding, bind_devices
from metaos.match.keys import function_key
from metaos.match.names import device_name
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Patterns
from metaos.pattern.skeleton import GENERAL, Bar, Wanted
from metaos.probe.capabilities import capability_name
from metaos.probe.machine import BarKind, Function, Machine, unknown_fact

_ALWAYS = ("vendor", "device")
_MORE = ("subsystem_vendor", "subsystem_device", "revision", "class")
_ROM = 6
_SUBCLASS = 8
"""Bits of a class code below its subclass. PCI 3.0 §6.2.1."""


def wanted(
    name: str, machine: Machine, address: str, patterns: Patterns, class_name: str = ""
) -> Wanted:
    """What a pattern called `name` begins with, for the function at `address`.

    Raises:
        MetaosError: there is no such function, or its ids are not known.
    """
    function = _function(machine, address)
    served = _served(machine, patterns, address)
    return Wanted(
        name=name,
        class_name=class_name or likely_class(function, patterns),
        keys=_keys(function, served),
        about=device_name(function),
        bars=tuple(
            Bar(
                index=b.index,
                ports=b.kind is BarKind.IO,
                size=_size(machine, address, b.index, b.size),
            )
            for b in function.bars
            if b.index != _ROM
        ),
        notes=tuple(_notes(machine, function, served)),
    )


def likely_class(function: Function, patterns: Patterns) -> str:
    """The class of the patterns that match by this class code, or else by its subclass."""
    found = {
        value: pattern.class_name
        for pattern in patterns.devices.values()
        for match in pattern.of(s.Match)
        for key, value in match.keys
        if key == "class"
    }
    near = {code >> _SUBCLASS: name for code, name in found.items()}
    code = function.class_code
    return found.get(code) or near.get(code >> _SUBCLASS) or GENERAL


def _function(machine: Machine, address: str) -> Function:
    function = next((f for f in machine.functions if f.address == address), None)
    if function is None:
        raise MetaosError(
            f"the machine has no PCI function {address}",
            hint=did_you_mean(address, (f.address for f in machine.functions)),
            exit_code=Exit.USAGE,
        )
    unread = unknown_fact(machine, f"{address} ids")
    if unread is not None:
        raise MetaosError(f"the ids of {address} are not known: {unread.reason}")
    return function


def _served(machine: Machine, patterns: Patterns, address: str) -> Binding | None:
    bound = bind_devices(machine, patterns)
    return next((b for b in bound if b.device.address == address), None)


def _keys(function: Function, served: Binding | None) -> tuple[tuple[str, int], ...]:
    """Vendor and device, and more of the function's ids until it matches more exactly."""
    against = sum(len(m.keys) + (m.where is not None) for m in served.pattern.of(s.Match)) if (
        served is not None
    ) else 0  # fmt: skip
    keys = [*_ALWAYS]
    for more in _MORE:
        if len(keys) > against:
            break
        keys.append(more)
    read = ((key, function_key(key)) for key in keys)
    return tuple((key, of(function)) for key, of in read if of is not None)


def _size(machine: Machine, address: str, index: int, size: int) -> int:
    """A window's size, 0 where it could not be read."""
    return 0 if unknown_fact(machine, f"{address} bar {index} size") else size


def _notes(machine: Machine, function: Function, served: Binding | None) -> Iterator[str]:
    if served is not None:
        yield f"'{served.pattern.name}' serves it too; this names more ids, so it wins"
    if unknown_fact(machine, f"{function.address} capabilities"):
        yield "its capabilities could not be read"
    for found in function.capabilities:
        yield f"capability {found.id:#04x}: {capability_name(found.id)}"
