"""The services that a system wants, with its settings in them: `services_of(patterns, system)`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn

from metaos.errors import MetaosError, Problem, did_you_mean
from metaos.match.rows import rows_of
from metaos.match.system import System, setting_value
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Patterns
from metaos.told import Told

FRAME = "frame"
"""What services lie over that answer what a card has received."""


def services_of(patterns: Patterns, system: System) -> tuple[s.Service, ...]:
    """The wanted services and their parents, parents first."""
    wanted: dict[str, s.Service] = {}
    roots = {FRAME} | set(patterns.classes)

    def add(name: str) -> None:
        if name in wanted:
            return
        service = patterns.services.get(name)
        if service is None:
            _refuse(name, patterns, system)
        if service.over not in roots:
            add(service.over)
        for used in service.used:
            add(used)
        wanted[name] = service

    for name in system.every_service:
        add(name)
    _demand_settings(wanted, system)
    if system.giver and not any(
        (x.name, x.bits, x.count) == ("address", 32, 0) for x in wanted[system.giver].states
    ):
        raise MetaosError(
            f"system '{system.name}': '{system.giver}' is given no address",
            hint="a service that is has 'state address : u32'",
        )
    return tuple(settled(wanted, system).values())


def _refuse(name: str, patterns: Patterns, system: System) -> NoReturn:
    """There is no such service; the problem leads to the key of the system that names it."""
    named = (at for at, card in system.cards.items() if name in (card.services or ()))
    way: tuple[str, ...] = ("services", name)
    if name not in system.services:
        way = ("address",) if name == system.giver else ("cards", *named, *way)
    hint = did_you_mean(name, patterns.services)
    raise MetaosError(
        f"system '{system.name}' names what is not there",
        problems=[Problem("E0312", f"no service '{name}'", None, hint, key=way)],
    )


def _demand_settings(services: Mapping[str, s.Service], system: System) -> None:
    """Every setting is of a constant that a service of the system has, and fits it."""
    problems: list[Problem] = []
    for name, table in system.settings.items():
        if name not in services:
            hint = did_you_mean(name, services)
            text = f"settings: the system has no service '{name}'"
            problems.append(Problem("E0308", text, hint=hint, key=("settings", name)))
            continue
        bits = {constant.name: constant.bits for constant in services[name].constants}
        lists = {one.name for one in services[name].lists}
        for key, value in table.items():
            way = ("settings", name, key)
            if isinstance(value, tuple) and key in lists:
                continue
            if key not in bits or isinstance(value, tuple):
                known = f"it has {', '.join(bits)}" if bits else "it has none"
                hint = did_you_mean(key, bits) or known
                text = f"settings: '{name}' has no constant '{key}'"
                problems.append(Problem("E0308", text, hint=hint, key=way))
            elif setting_value(value) >> bits[key]:
                text = f"settings: {name}.{key} = {value} does not fit its {bits[key]} bits"
                problems.append(Problem("E0308", text, key=way))
    if problems:
        raise MetaosError(f"system '{system.name}' does not fit its services", problems=problems)


def settled(services: Mapping[str, s.Service], system: System) -> dict[str, s.Service]:
    """The services with the constants that the system gives other numbers."""
    return {name: _set(service, system) for name, service in services.items()}


def _set(service: s.Service, system: System) -> s.Service:
    """A service with its constants settled, those that its user gives it too."""
    own_table = system.settings.get(service.name, {})
    service = replace(
        service,
        lists=tuple(rows_of(x, own_table.get(x.name, ()), service.name) for x in service.lists),
    )
    table = {(service.name, x): x for x in own_table if not isinstance(own_table[x], tuple)}
    user = service.name.rpartition(".")[0]
    table |= {(user, x): own for own, x in service.given if x in system.settings.get(user, {})}
    found: dict[str, s.Number] = {}
    for (name, key), own in table.items():
        number = system.settings[name][key]
        assert not isinstance(number, tuple)
        value = Told(setting_value(number), (f"system.settings.{name}.{key}",))
        span = next(x.span for x in service.constants if x.name == own)
        found[own] = s.Number(value, span)
    constants = (replace(x, value=found.get(x.name, x.value)) for x in service.constants)
    return replace(service, constants=tuple(constants)) if found else service
