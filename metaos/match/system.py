"""The `System`: what an image is to do, read from a TOML file.

    name = "echo"
    address = "10.0.2.15/24"
    services = ["greeting"]

    [cards."00:05.0"]
    address = "10.0.3.1/24"

Services are named as the patterns name them; whether there is such a pattern, and such a
card, is asked when patterns are bound, not here (`metaos.match.cards`). The schema is
published as docs/system.schema.json.
"""

from __future__ import annotations

import ipaddress
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from metaos.errors import MetaosError, Problem, Source, did_you_mean
from metaos.match.system_places import placed
from metaos.resources import SYSTEMS

_GIVER = r"^[a-z][a-z0-9._-]{0,62}$"
_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
Name = Annotated[str, msgspec.Meta(pattern=_NAME)]
Interface = Annotated[
    str,
    msgspec.Meta(description="address/prefix, as 10.0.2.15/24; or a service that is given one"),
]
Gateway = Annotated[str, msgspec.Meta(description="an address of the card's network, as 10.0.2.2")]
GIVEN = "10.0.2.15/24"
"""What QEMU's own network gives to the first that asks it for an address."""
_CARD = r"^[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$"
CardAddress = Annotated[str, msgspec.Meta(pattern=_CARD)]

_IDLE = ("halt", "poll")
_CARD_TABLE = 'write [cards."00:03.0"]'
_WANTED = {
    "name": "a name of small letters, digits, '.', '_' and '-', as \"my-machine\"",
    "address": 'a text, as "10.0.2.15/24"',
    "gateway": 'a text, as "10.0.2.2"',
    "services": "a list of names of services, as 'metaos patterns list' has them",
    "idle": " or ".join(f'"{word}"' for word in _IDLE),
    "to": 'a card\'s PCI address, as "00:04.0"',
}
"""What the values of keys are, in words."""

Setting = Annotated[
    int | str, msgspec.Meta(description="a number of 0 or more, or an address, as 10.0.2.2")
]


Row = Annotated[
    Mapping[str, Setting],
    msgspec.Meta(description='what a row says, as { from = "10.0.0.0/8", port = "1-1023" }'),
]


class Card(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What one network card is to do, where that is not what the system says."""

    address: Interface | None = None
    gateway: Gateway | None = None
    to: CardAddress | None = None
    services: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)] | None = None


class System(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What an image is to do.

    `address` is the first network card's, with its prefix length, or the name of a service that
    is given one by the network, on each card; the card with number n
    (from 0, in the machine's order) has this address + n, unless `cards` gives it its own.
    `gateway` is who takes what a service sends out of its card's network.
    `services` are names of patterns, in the file's order. With `idle` "halt" the processor sleeps
    until a device interrupts it, with "poll" it never does; without, it sleeps where
    every card can wake it. The keys of `cards` are PCI addresses, bus:device.function in
    hexadecimal; what services of a card pass on goes `to` another, of two cards to the other one.
    `settings` gives constants of services other numbers than their patterns do, by the service's
    name, and their lists rows.
    """

    name: Name
    address: Interface
    services: tuple[Name, ...]
    gateway: Gateway | None = None
    idle: Literal["halt", "poll"] | None = None
    cards: dict[CardAddress, Card] = {}
    settings: Mapping[Name, Mapping[str, Setting | tuple[Row, ...]]] = {}

    @property
    def interface(self) -> ipaddress.IPv4Interface:
        """`address`, taken apart; where a service is given one, what QEMU's own network gives."""
        return ipaddress.IPv4Interface(GIVEN if self.giver else self.address)

    @property
    def giver(self) -> str:
        """The service that is given the address; empty where the file says it."""
        return self.address if re.fullmatch(_GIVER, self.address) else ""

    @property
    def shown_address(self) -> str:
        """The address, as texts that are made when the image is built show it."""
        return self.giver or str(self.interface.ip)

    @property
    def every_service(self) -> tuple[str, ...]:
        """The system's services and then those that only cards name, each once."""
        own = (name for card in self.cards.values() for name in card.services or ())
        giver = (self.giver,) if self.giver else ()
        return tuple(dict.fromkeys((*self.services, *own, *giver)))


def read_system(path: Path | None = None) -> System:
    """Read a system file; without a path, the default one that comes with MetaOS.

    Raises:
        MetaosError: unreadable, not TOML, an unknown or missing key, a value that does not fit;
            all that is wrong with keys is said at once.
    """
    path = path or SYSTEMS / "default.toml"
    source = Source.read(path, str(path))
    try:
        table = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise MetaosError(f"{path}: not TOML: {error}") from error
    problems = _wrong_keys(table, source) or _wrong_values(table, source)
    if problems:
        raise MetaosError(f"{path}: {_count(len(problems))}", problems=problems)
    return msgspec.convert(table, System)


def schema() -> dict[str, Any]:
    """The JSON Schema of a system file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(System)


def _count(number: int) -> str:
    return "1 problem" if number == 1 else f"{number} problems"


def _wrong_keys(table: dict[str, Any], source: Source) -> list[Problem]:
    problems = unknown_keys(table, System, source)
    problems += [
        Problem("E0002", f"'{field.name}' is missing", hint=f"write {_example(field.name)}")
        for field in msgspec.structs.fields(System)
        if field.required and field.name not in table
    ]
    for name, card in _tables(table.get("cards")):
        problems += unknown_keys(card, Card, source, ("cards", name))
    return problems


def _example(key: str) -> str:
    """How the default system says it."""
    lines = (SYSTEMS / "default.toml").read_text("utf-8").splitlines()
    return next((line for line in lines if line.startswith(key)), key)


def unknown_keys(
    table: dict[str, Any], kind: type[msgspec.Struct], source: Source, way: tuple[str, ...] = ()
) -> list[Problem]:
    """Keys that `kind` has not; `way` are the keys that lead to the table, none at the top."""
    known = [field.name for field in msgspec.structs.fields(kind)]
    return [
        placed(Problem("E0001", f"unknown key '{key}'", None, hint, key=(*way, key)), source)
        for key in table
        if key not in known
        for hint in [did_you_mean(key, known)]
    ]


def _wrong_values(table: dict[str, Any], source: Source) -> list[Problem]:
    problems = misfits(table, System, source)
    cards = table.get("cards", {})
    if problems or not isinstance(cards, dict):
        return problems
    for name, card in cards.items():
        way = ("cards", name)
        if not re.fullmatch(_CARD, name):
            problems.append(_wrong(f"'{name}' is no card's PCI address, as 00:03.0", way))
        elif not isinstance(card, dict):
            problems.append(_wrong(f"'cards': '{name}' is no table", way, _CARD_TABLE))
        else:
            problems += misfits(card, Card, source, way)
    return [placed(problem, source) for problem in problems]


def misfits(
    table: dict[str, Any], kind: type[msgspec.Struct], source: Source, way: tuple[str, ...] = ()
) -> list[Problem]:
    """Values that do not fit their keys; `way` as in `unknown_keys`."""
    problems: list[Problem] = []
    for field in msgspec.structs.fields(kind):
        if field.name not in table:
            continue
        key, value = field.name, table[field.name]
        if key == "settings":
            problems += _settings_refusals(value)
            continue
        if key == "cards":
            wrong = "" if isinstance(value, dict) else 'no table, as [cards."00:03.0"]'
        else:
            wrong = _mismatch(key, value, field.type) or _refusal(key, value, not way)
        if wrong:
            hint = _near(value, _IDLE) if key == "idle" else ""
            problems.append(_wrong(f"'{key}': {wrong}", (*way, key), hint))
    return [placed(problem, source) for problem in problems]


def _wrong(message: str, way: tuple[str, ...], hint: str = "") -> Problem:
    return Problem("E0003", message, None, hint, key=way)


def _near(value: object, known: tuple[str, ...]) -> str:
    hint = did_you_mean(str(value), known)
    return hint if hint.startswith("did") else ""


def _tables(cards: object) -> list[tuple[str, dict[str, Any]]]:
    """The tables of cards among whatever stands there."""
    if not isinstance(cards, dict):
        return []
    return [(name, card) for name, card in cards.items() if isinstance(card, dict)]


def _mismatch(key: str, value: Any, kind: Any) -> str:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if key in _WANTED:
            return f"{json.dumps(value, default=str)} is not {_WANTED[key]}"
        return str(error).replace(" | null", "")
    return ""


def _refusal(key: str, value: Any, top: bool) -> str:
    """What the type alone cannot say of `value`; empty if nothing is wrong."""
    if key == "address" and not (top and re.fullmatch(_GIVER, value)):
        return _address_refusal(value)
    if key == "gateway" and (wrong := _no_setting(value)):
        return f"'{value}' {wrong}"
    if key == "services":
        twice = sorted({name for name in value if value.count(name) > 1})
        return f"named twice: {', '.join(twice)}" if twice else ""
    return ""


def _settings_refusals(value: object) -> Iterator[Problem]:
    """What is wrong with the tables of services' constants."""
    if not isinstance(value, dict):
        yield _wrong("'settings': no table of services, as [settings.NAME]", ("settings",))
        return
    for name, table in value.items():
        way = ("settings", name)
        if not isinstance(table, dict) or not re.fullmatch(_NAME, name):
            wrong = f"'{name}' is no table of a service's constants, as [settings.NAME]"
            yield _wrong(f"'settings': {wrong}", way)
            continue
        for key, one in table.items():
            if isinstance(one, dict):
                hint = f'a name with a dot is quoted: write [settings."{name}.{key}"]'
                yield _wrong(f"'settings': '{name}' and '{key}' are two names", (*way, key), hint)
            elif wrong := _no_setting(one):
                yield _wrong(f"'settings': '{name}.{key}': '{one}' {wrong}", (*way, key))


def _no_setting(value: object) -> str:
    if isinstance(value, list):
        return "" if all(map(_is_row, value)) else 'is no list of rows, as { port = "1-1023" }'
    if isinstance(value, str):
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            return "is no address, as 10.0.2.2"
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return ""
    return "is no number of 0 to 64 bits"


def _is_row(value: object) -> bool:
    return isinstance(value, dict) and all(type(x) in (int, str) for x in value.values())


def setting_value(setting: int | str) -> int:
    """The number that a setting is; an address is one of 32 bits."""
    return setting if isinstance(setting, int) else int(ipaddress.IPv4Address(setting))


def _address_refusal(text: str) -> str:
    first, slash, length = text.partition("/")
    try:
        ipaddress.IPv4Address(first)
        ones = int(length or "0")
        interface = ipaddress.IPv4Interface(f"{first}/{min(ones, 32)}")
    except ValueError:
        return f"'{text}' is no address/prefix, as 10.0.2.15/24"
    if not slash or not 8 <= ones <= 30:
        return f"'{text}' needs a prefix length of 8 to 30, as 10.0.2.15/24"
    network = interface.network
    if interface.ip in (network.network_address, network.broadcast_address):
        return f"'{text}' is the network's own or its broadcast address"
    if interface.ip.is_multicast or interface.ip.is_loopback or interface.ip.is_unspecified:
        return f"'{text}' is no address of a machine"
    return ""
