"""Machines with and without a device, and machines put together at random from recorded ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal

from msgspec.structs import replace

from metaos.errors import MetaosError
from metaos.match.bind import Binding, bind_all, offers
from metaos.match.cards import roles
from metaos.match.serves import Made
from metaos.match.system import Card, System, read_system
from metaos.pattern.patterns import Patterns
from metaos.pipeline import make, read_patterns
from metaos.probe.machine import (
    Bar,
    BarKind,
    Function,
    Learnt,
    Legacy,
    Machine,
    Network,
    Origin,
    address_order,
)
from metaos.probe.store import read_machine
from metaos.resources import PATTERNS

RECORDED = Path(__file__).parents[1] / "data" / "machines"
NAMES = tuple(sorted(path.stem for path in RECORDED.glob("*.json")))
SYSTEM = read_system()
INTERRUPTS = ("APIC",)
Idle = Literal["halt", "poll"] | None
COM_PORTS = (0x3F8, 0x2F8, 0x3E8, 0x2E8)


@cache
def recorded(name: str) -> Machine:
    return read_machine(RECORDED / f"{name}.json")


@cache
def patterns() -> Patterns:
    return read_patterns((PATTERNS,))


def bound(machine: Machine) -> tuple[Binding, ...]:
    return bind_all(machine, patterns(), SYSTEM).bindings


def without(machine: Machine, device: str) -> Machine:
    """The machine with one device less; of an ACPI table, all that have its name."""
    return replace(
        machine,
        functions=tuple(f for f in machine.functions if f.address != device),
        legacy=tuple(x for x in machine.legacy if f"{x.kind}{x.index}" != device),
        acpi=tuple(t for t in machine.acpi if t.signature != device),
        networks=tuple(n for n in machine.networks if n.address != device),
        learnt=tuple(x for x in machine.learnt if x.device != device),
    )


def pinned(machine: Machine, rest: Machine) -> System:
    """The system with each card's address as `machine` counts it, for the cards of `rest`.

    Without a card left, its services are those of consoles alone.
    """
    cards = [b.device.address for b in bound(machine) if offers(b.pattern)]
    left = {b.device.address for b in bound(rest) if offers(b.pattern)}
    given = {
        role.card: Card(address=str(role.interface))
        for role in roles(SYSTEM, cards)
        if role.card in left
    }
    services = SYSTEM.services if left else ("banner",)
    return replace(SYSTEM, cards=given, services=services)


@dataclass(frozen=True)
class Removed:
    """Both images; `refused` is why there is none without the device."""

    whole: Made
    rest: Made | None
    refused: str = ""


def removed(machine: Machine, device: str) -> Removed:
    """The images of a machine with and without a device. Without its interrupt controllers no image
    can sleep, so of these both poll."""
    rest = without(machine, device)
    idle: Idle = "poll" if device in INTERRUPTS else None
    whole = made(machine, idle)
    try:
        return Removed(whole, make(rest, system=replace(pinned(machine, rest), idle=idle)))
    except MetaosError as error:
        said = (error.message, *(problem.message for problem in error.problems))
        return Removed(whole, None, "; ".join(said))


_MADE: dict[tuple[int, Idle], tuple[Machine, Made]] = {}
"""The last machine that was made whole, with its stages: each of its devices asks for it."""


def made(machine: Machine, idle: Idle = None) -> Made:
    key = id(machine), idle
    if key not in _MADE:
        system = replace(pinned(machine, machine), idle=idle)
        _MADE.clear()
        _MADE[key] = machine, make(machine, system=system)
    return _MADE[key][1]


# ---- at random -------------------------------------------------------------------------


@cache
def cards() -> tuple[tuple[str, Function], ...]:
    """Every function of a recorded machine that a pattern drives, with its machine's name."""
    found: dict[tuple[int, int, int, int], tuple[str, Function]] = {}
    for name in NAMES:
        for binding in bound(recorded(name)):
            function = binding.device.function
            if function is not None:
                key = (function.vendor, function.device, function.class_code, len(function.bars))
                found.setdefault(key, (name, function))
    return tuple(found.values())


def composed(random: Random) -> Machine:
    """A machine of one recorded one's chipset, with other functions and serial ports."""
    base = recorded(random.choice(("pc-e1000", "pc-bare")))
    chipset = [f for f in base.functions if f.address[:2] == "00" and _undriven(base, f)]
    taken = {f.address[:5] for f in chipset}
    free = [f"00:{slot:02x}" for slot in range(32) if f"00:{slot:02x}" not in taken]
    chosen = random.sample(cards(), random.randint(1, 3))
    places = _Places()
    functions = list(chipset)
    networks: list[Network] = []
    learnt: list[Learnt] = []
    for slot, (name, function) in zip(random.sample(free, len(chosen)), chosen, strict=True):
        source, old, new = recorded(name), function.address, f"{slot}.0"
        functions.append(_moved(function, new, places))
        networks += [replace(n, address=new) for n in source.networks if n.address == old]
        learnt += [replace(x, device=new) for x in source.learnt if x.device == old]
    ports = random.sample(COM_PORTS, random.randint(1, 3))
    return replace(
        base,
        functions=tuple(sorted(functions, key=lambda f: address_order(f.address))),
        networks=tuple(networks),
        learnt=tuple(learnt),
        legacy=tuple(
            Legacy(kind="com", index=i, port=port, origin=Origin.DISCOVERER)
            for i, port in enumerate(ports)
        ),
    )


def _undriven(machine: Machine, function: Function) -> bool:
    return all(b.device.address != function.address for b in bound(machine))


class _Places:
    """Hands out addresses for windows, each a multiple of its size."""

    def __init__(self) -> None:
        self._io, self._memory = 0xE000, 0xF000_0000  # behind those of the chipsets

    def take(self, bar: Bar) -> Bar:
        if bar.kind == BarKind.IO:
            address = -(-self._io // bar.size) * bar.size
            self._io = address + bar.size
        else:
            address = -(-self._memory // bar.size) * bar.size
            self._memory = address + bar.size
        return replace(bar, address=address)


def _moved(function: Function, address: str, places: _Places) -> Function:
    """The function in another slot, with its windows elsewhere."""
    return replace(function, address=address, bars=tuple(places.take(bar) for bar in function.bars))
