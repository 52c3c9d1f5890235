"""Machine files: a `Machine` as JSON that people can read and compare.

Entering: a `Machine`, or the path of a file that may have been edited by hand; leaving: the
other of the two. Every fault is named by its place in the text and its JSON path.

    machine = read_machine(Path("machine.json"))
    write_machine(machine, Path("copy.json"))
"""

from __future__ import annotations

import json
import re
import types
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec

from metaos.errors import MetaosError, Problem, Span, did_you_mean
from metaos.files import BOOT_IMAGE, MACHINE_FILE, demand_replaceable, is_a, replace_text
from metaos.probe.check import check
from metaos.probe.machine import SCHEMA, Machine, Struct
from metaos.probe.places import place

_LINE = 140
_MOST_PROBLEMS = 20
_OLDEST = 1
"""The oldest version that can be read; what it lacks has a default."""
_RARE = ("mmio", "pins")
"""Fields that not all machines have, left out where they are empty."""
_AGAIN = "probe again: metaos probe qemu"


def read_machine(path: Path) -> Machine:
    """Read and check a machine file.

    Raises:
        MetaosError: it cannot be read, is not JSON, or has other fields, types or values.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        hint = "metaos probe qemu writes one" if isinstance(error, FileNotFoundError) else ""
        raise MetaosError(f"{path}: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        if is_a(path, BOOT_IMAGE):
            raise MetaosError(
                f"{path}: not a machine file, but a boot image", hint="name the machine file"
            ) from error
        raise MetaosError(f"{path}: not UTF-8 text (byte {error.start})", hint=_AGAIN) from error
    return parse_machine(text, str(path))


def parse_machine(text: str, source: str = "machine.json") -> Machine:
    """Read a machine file's text; `source` names it in messages. Raises as `read_machine`."""
    try:
        data = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        what = "it is cut off" if cut else error.msg
        if text.strip() and text.lstrip()[0] not in '{["':
            what = "it is no JSON"
        raise MetaosError(
            f"{source}:{error.lineno}:{error.colno}: not a machine file: {what}", hint=_AGAIN
        ) from error
    except ValueError as error:
        raise MetaosError(f"{source}: not a machine file: {error}", hint=_AGAIN) from error
    except RecursionError as error:
        raise MetaosError(f"{source}: not a machine file: nested too deep") from error
    if not isinstance(data, dict):
        raise MetaosError(f"{source}: not a machine file, but a JSON {_kind(data)}", hint=_AGAIN)
    _check_version(data, source)
    problems: list[Problem] = []
    machine = _decode(data | {"schema": SCHEMA}, Machine, "", problems)
    if not problems:
        problems = [Problem("E0803", f"{where}: {what}") for where, what in check(machine)]
    if problems:
        hidden = len(problems) - _MOST_PROBLEMS
        raise MetaosError(
            f"{source}: not a machine file"
            + (f" ({hidden} more faults are not shown)" if hidden > 0 else ""),
            hint=_AGAIN,
            problems=[_placed(problem, text, source) for problem in problems[:_MOST_PROBLEMS]],
        )
    assert isinstance(machine, Machine)
    return machine


def _placed(problem: Problem, text: str, source: str) -> Problem:
    """The problem with the place that the JSON path before its message leads to."""
    line, column = place(text, problem.message.partition(":")[0])
    return replace(problem, span=Span(source, line, column, column + 1))


def format_machine(machine: Machine) -> str:
    """The text of a machine file: two spaces of indent, short records on one line."""
    return _layout(_encode(machine, Machine), 0, 0) + "\n"


def write_machine(machine: Machine, path: Path) -> None:
    """Write a machine file, whole or not at all.

    Raises:
        MetaosError: the path cannot be written, or holds another file.
    """
    demand_replaceable(path, MACHINE_FILE)
    replace_text(path, format_machine(machine))


def schema() -> dict[str, Any]:
    """The JSON Schema of machine files (docs/machine.schema.json)."""

    def strings(node: Any) -> Any:
        # msgspec sees ints where the JSON has hexadecimal strings.
        if isinstance(node, list):
            return [strings(item) for item in node]
        if not isinstance(node, dict):
            return node
        fixed = {key: strings(value) for key, value in node.items()}
        return fixed | {"type": "string"} if "pattern" in fixed else fixed

    title = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"MetaOS machine file, version {SCHEMA}",
    }
    body: dict[str, Any] = strings(msgspec.json.schema(Machine))
    body["$defs"]["Machine"]["properties"]["schema"] = {"const": SCHEMA}
    return title | body


def schema_text() -> str:
    """The schema as docs/machine.schema.json has it."""
    return json.dumps(schema(), indent=2) + "\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"a record has the field '{twice}' twice")
    return result


def _check_version(data: dict[str, Any], source: str) -> None:
    if "schema" not in data:
        raise MetaosError(f"{source}: not a machine file: no field 'schema'", hint=_AGAIN)
    version = data["schema"]
    if type(version) is not int or not _OLDEST <= version <= SCHEMA:
        raise MetaosError(
            f"{source}: schema: this is version {json.dumps(version)[:40]},"
            f" this metaos reads {_OLDEST} to {SCHEMA}",
            hint=_AGAIN,
        )


def _encode(value: Any, kind: Any) -> Any:
    """The JSON form of `value`, whose declared type is `kind`."""
    if get_origin(kind) is Annotated:
        digits = get_args(kind)[1].extra["hex"]
        return f"0x{value:0{digits or 1}x}"
    if isinstance(value, Struct):
        pairs = ((f, getattr(value, f.name)) for f in msgspec.structs.fields(value))
        return {f.name: _encode(x, f.type) for f, x in pairs if x or f.name not in _RARE}
    if isinstance(value, tuple):
        return [_encode(item, get_args(kind)[0]) for item in value]
    return value.value if isinstance(value, StrEnum) else value


def _layout(value: Any, indent: int, column: int) -> str:
    """JSON text of `value` that starts at `column`; records of plain values on one line."""
    plain = not isinstance(value, dict | list) or not any(
        isinstance(item, dict | list)
        for item in (value.values() if isinstance(value, dict) else value)
    )
    if plain:
        text = json.dumps(value, ensure_ascii=False)
        if column + len(text) < _LINE or not isinstance(value, dict | list):
            return text
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        heads = [f"{inner}{json.dumps(key)}: " for key in value]
        items = list(value.values())
    else:
        heads = [inner for _ in value]
        items = value
    lines = [
        head + _layout(item, indent + 2, len(head)) for head, item in zip(heads, items, strict=True)
    ]
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n" + ",\n".join(lines) + f"\n{' ' * indent}{right}"


def _decode(value: Any, kind: Any, path: str, problems: list[Problem]) -> Any:
    """The Python form of `value`; notes in `problems` what does not fit `kind`."""
    origin = get_origin(kind)
    if origin is types.UnionType:  # X | None
        return None if value is None else _decode(value, get_args(kind)[0], path, problems)
    if origin is Annotated:
        return _decode_hex(value, get_args(kind)[1].extra["hex"], path, problems)
    if origin is tuple:
        if not isinstance(value, list):
            return _expected("a list", value, path, problems)
        item = get_args(kind)[0]
        return tuple(_decode(v, item, f"{path}[{i}]", problems) for i, v in enumerate(value))
    if issubclass(kind, Struct):
        return _decode_record(value, kind, path, problems)
    if issubclass(kind, StrEnum):
        if value in [member.value for member in kind]:
            return kind(value)
        return _expected(" or ".join(f'"{member.value}"' for member in kind), value, path, problems)
    if kind is int and (type(value) is not int or not 0 <= value < 1 << 64):
        return _expected("int", value, path, problems)
    if kind is str and not isinstance(value, str):
        return _expected("str", value, path, problems)
    return value


def _decode_record(value: Any, kind: type[Struct], path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        return _expected("an object", value, path, problems)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    before = len(problems)
    for name in value:
        if name not in fields:
            hint = did_you_mean(name, fields)
            problems.append(Problem("E0802", f"{_join(path, name)}: unknown field", hint=hint))
    found: dict[str, Any] = {}
    for name, field in fields.items():
        if name in value:
            found[name] = _decode(value[name], field.type, _join(path, name), problems)
        elif field.required:
            problems.append(Problem("E0802", f"{_join(path, name)}: missing"))
    return kind(**found) if len(problems) == before else None


def _decode_hex(value: Any, digits: int, path: str, problems: list[Problem]) -> int | None:
    wanted = f"[0-9a-f]{{{digits}}}" if digits else "(0|[1-9a-f][0-9a-f]{0,15})"
    if isinstance(value, str) and re.fullmatch(f"0x{wanted}", value):
        return int(value, 16)
    what = f'"0x" and {digits or "the"} digits (0-9, a-f)'
    _expected(what if digits else f"{what} without leading zeros", value, path, problems)
    return None


def _expected(what: str, value: Any, path: str, problems: list[Problem]) -> None:
    shown = _kind(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        text = json.dumps(value)
        shown += f" {text}" if len(text) <= 40 else ""
    problems.append(Problem("E0802", f"{path}: expected {what}, got {shown}"))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "str", bool: "bool", int: "int", float: "float"}
    return names.get(type(value), "null")
