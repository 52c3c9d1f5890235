"""Rows of a service's list, as a system file says them: `rows_of(list, rows, service)`.

A prefix is `10.0.0.0/8`, or one address; a range is `1024-65535`, or one number.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from metaos.errors import MetaosError, Problem, did_you_mean
from metaos.match.system import setting_value
from metaos.pattern import syntax as s

Said = int | str


def rows_of(node: s.List, rows: object, service: str) -> s.List:
    """The list with its rows.

    Raises:
        MetaosError: a row says what is no column, leaves out what has to be said, or says what
            does not fit; all problems of all rows at once.
    """
    given: Sequence[Mapping[str, Said]] = rows if isinstance(rows, tuple) else ()
    way = ("settings", service, node.name)
    problems = [
        Problem(
            "E0311", f"settings: {service}.{node.name}, row {number}: {wrong}", hint=hint, key=way
        )
        for number, row in enumerate(given, 1)
        for wrong, hint in _problems(node, row)
    ]
    if problems:
        raise MetaosError(f"the list '{node.name}' of '{service}' is not right", problems=problems)
    cells = (tuple(_cell(x, row.get(x.name)) for x in node.columns) for row in given)
    return replace(node, rows=tuple(cells)) if given else node


def _problems(node: s.List, row: Mapping[str, Said]) -> Iterator[tuple[str, str]]:
    """What is wrong with a row, and what to do."""
    names = [column.name for column in node.columns]
    for key in row:
        if key not in names:
            hint = did_you_mean(key, names) or f"its columns: {', '.join(names)}"
            yield f"there is no column '{key}'", hint
    for column in node.columns:
        said = row.get(column.name)
        if said is None and column.initial is None and not column.kind:
            yield f"'{column.name}' is missing", f"say {column.name} = a number"
        try:
            _cell(column, said)
        except ValueError:
            how = {"prefix": "a prefix, as 10.0.0.0/8", "range": "a range, as 1024-65535"}
            wanted = how.get(column.kind, "a number")
            yield f"{column.name} = '{said}' is not {wanted} of {column.bits} bits", ""


def _cell(column: s.Column, said: Said | None) -> tuple[int, int]:
    """The two numbers of a column in a row. Raises ValueError where they do not fit."""
    ones = (1 << column.bits) - 1
    if said is None and column.kind and column.initial is None:
        return 0, 0 if column.kind == "prefix" else ones
    if said is None:
        said = column.initial or 0
    if column.kind == "prefix" and isinstance(said, str):
        network = ipaddress.IPv4Network(said)
        return int(network.network_address), int(network.netmask)
    first, _, last = str(said).partition("-") if isinstance(said, str) else (str(said), "", "")
    low = int(first, 0) if first[:1].isdigit() and "." not in first else setting_value(first)
    high = int(last, 0) if last else low
    if not 0 <= low <= high <= ones or (last and column.kind != "range"):
        raise ValueError
    return (low, ones) if column.kind == "prefix" else (low, high - low)
