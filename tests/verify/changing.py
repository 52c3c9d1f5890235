"""One fact of a machine or a system given another value: what the tests rebuild an image with.

machine, system = Facts(machine, system).changed("functions.00:03.0.bars.0.address", 0xFE000000)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import structs

from metaos.match.system import System
from metaos.probe.machine import Machine

_ADDRESS = r"[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"
_PATH = re.compile(rf"(?P<root>[a-z]+)\.(?P<who>{_ADDRESS}|\w+)(?:\.(?P<what>.+))?")


@dataclass(frozen=True)
class Facts:
    """What an image is built from, its facts by the paths that accounts name."""

    machine: Machine
    system: System

    def number(self, path: str) -> int:
        """The number at `path`."""
        holder, key = _holder(msgspec.to_builtins(self.machine), path)
        if key.startswith("0x"):
            at, size = _field(key)
            return int.from_bytes(bytes.fromhex(holder)[at : at + size], "little")
        return int(holder[key])

    def changed(self, path: str, value: Any) -> Facts:
        """The same facts, but for the one at `path`."""
        if path.startswith("system."):
            name = path.removeprefix("system.")
            return Facts(self.machine, structs.replace(self.system, **{name: value}))
        tree = msgspec.to_builtins(self.machine)
        holder, key = _holder(tree, path)
        if key.startswith("0x"):
            owner, name = _holder(tree, path.rpartition(key)[0].rstrip("."))
            at, size = _field(key)
            data = bytearray.fromhex(owner[name])
            data[at : at + size] = value.to_bytes(size, "little")
            owner[name] = data.hex()
        else:
            holder[key] = value
        return Facts(msgspec.convert(tree, Machine), self.system)


def _field(key: str) -> tuple[int, int]:
    """Where "0x4c.u32" lies, and its bytes."""
    at, _, width = key.partition(".u")
    return int(at, 0), int(width) // 8


def _holder(tree: Any, path: str) -> tuple[Any, str]:
    """The record (or the string of hex digits) that holds a fact, and its name in there."""
    match = _PATH.fullmatch(path)
    assert match, path
    root, who, what = match["root"], match["who"], match["what"] or ""
    if root == "learnt":
        return _only(tree[root], device=who, name=what), "value"
    if root == "legacy":
        return next(x for x in tree[root] if f"{x['kind']}{x['index']}" == who), what
    if root == "acpi":
        table = _only(tree[root], signature=who)
        return (table["data"], what) if what else (table, "data")
    function = _only(tree["functions"], address=who)
    if what.startswith("bars."):
        _, index, name = what.split(".")
        return _only(function["bars"], index=int(index)), name
    if what.startswith("capabilities."):
        _, number, name = what.split(".")
        return _only(function["capabilities"], id=int(number, 0)), name
    if what.startswith("config."):
        return function["config"], what.removeprefix("config.")
    return function, what


def _only(records: Any, **wanted: Any) -> Any:
    return next(r for r in records if all(r[k] == v for k, v in wanted.items()))
