"""The `System`: what an image is to do, read from a TOML file.

    name = "echo"
    address = "10.0.2.15/24"
    services = ["greeting"]

Services are named as the patterns name them; whether there is such a pattern is asked
when patterns are bound, not here. The schema is published as docs/system.schema.json.
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from metaos.errors import MetaosError, Problem, Source, Span, did_you_mean
from metaos.resources import SYSTEMS

_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
Name = Annotated[str, msgspec.Meta(pattern=_NAME)]


class System(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an image is to do.

    `address` is the first network card's, with its prefix length; further cards count up
    from it. `services` are names of patterns, in the file's order.
    """

    name: Name
    address: Annotated[str, msgspec.Meta(description="address/prefix, as 10.0.2.15/24")]
    services: tuple[Name, ...]

    @property
    def interface(self) -> ipaddress.IPv4Interface:
        """`address`, taken apart."""
        return ipaddress.IPv4Interface(self.address)


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
    fields = msgspec.structs.fields(System)
    known = [field.name for field in fields]
    problems = [
        Problem("E0001", f"unknown key '{key}'", span, did_you_mean(key, known), text)
        for key in table
        if key not in known
        for span, text in [_place(source, key)]
    ]
    problems += [
        Problem("E0002", f"'{field.name}' is missing")
        for field in fields
        if field.required and field.name not in table
    ]
    return problems


def _wrong_values(table: dict[str, Any], source: Source) -> list[Problem]:
    problems = []
    for field in msgspec.structs.fields(System):
        if field.name not in table:
            continue
        span, text = _place(source, field.name)
        value = table[field.name]
        wrong = _mismatch(value, field.type) or _refusal(field.name, value)
        if wrong:
            problems.append(Problem("E0003", f"'{field.name}': {wrong}", span, "", text))
    return problems


def _mismatch(value: Any, kind: Any) -> str:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _refusal(key: str, value: Any) -> str:
    """What the type alone cannot say of `value`; empty if nothing is wrong."""
    if key == "address":
        return _address_refusal(value)
    if key == "services":
        twice = sorted({name for name in value if value.count(name) > 1})
        return f"named twice: {', '.join(twice)}" if twice else ""
    return ""


def _address_refusal(text: str) -> str:
    try:
        interface = ipaddress.IPv4Interface(text)
    except ValueError:
        return f"'{text}' is no address/prefix, as 10.0.2.15/24"
    network = interface.network
    if "/" not in text or not 8 <= network.prefixlen <= 30:
        return f"'{text}' needs a prefix length of 8 to 30, as 10.0.2.15/24"
    if interface.ip in (network.network_address, network.broadcast_address):
        return f"'{text}' is the network's own or its broadcast address"
    if interface.ip.is_multicast or interface.ip.is_loopback or interface.ip.is_unspecified:
        return f"'{text}' is no address of a machine"
    return ""


def _place(source: Source, key: str) -> tuple[Span | None, str]:
    """Where `key` is set at the top level of the file, and that line."""
    for number, line in enumerate(source.lines, 1):
        bare = line.split("=")[0].split(".")[0].strip().strip("\"'[]").strip()
        if bare == key:
            column = line.index(key) + 1
            return Span(source.file, number, column, column + len(key)), line
    return None, ""
