"""`learn` rows for the discoverer, and what a machine file says was learnt."""

from __future__ import annotations

from metaos.lower.known import fail, kept_field
from metaos.lower.plan import DevicePlan, plan
from metaos.lower.row import Cell
from metaos.lower.rows import RowLowering, config_address
from metaos.lower.text import Texts
from metaos.match.bind import Binding, bind_devices
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Patterns
from metaos.probe.learn import Access, Action, LearnRow, kind
from metaos.probe.machine import Machine

ACCESS = {
    "port8": Access.PORT8,
    "port16": Access.PORT16,
    "port32": Access.PORT32,
    "config": Access.CONFIG32,
    "mem8": Access.MEMORY8,
    "mem16": Access.MEMORY16,
    "mem32": Access.MEMORY32,
}


def learn_rows(machine: Machine, patterns: Patterns) -> tuple[LearnRow, ...]:
    """What the bound patterns' `learn` blocks have the discoverer do on the machine."""
    rows: list[LearnRow] = []
    for binding in bind_devices(machine, patterns):
        for block in binding.pattern.of(s.Learn):
            rows += _rows(binding, plan(binding), block, len(rows))
    return tuple(rows)


def _rows(binding: Binding, device: DevicePlan, block: s.Learn, first: int) -> list[LearnRow]:
    function = binding.device.function
    config = config_address(function.address) if function is not None else None
    lowering = RowLowering(device, Texts(), {}, {}, config)
    result: list[LearnRow] = []
    for row in block.rows:
        if isinstance(row, s.Keep):
            low, bits, _ = kept_field(row, device.pattern)
            node = row.value.of if isinstance(row.value, s.Member) else row.value
            space, place = lowering.read_place(node)
            result.append(
                LearnRow(
                    kind(Action.KEEP, ACCESS[space]),
                    _physical(device, place, row),
                    mask=((1 << bits) - 1) << low,
                    id=first + len(result) + 1,
                    device=device.address,
                    pattern=binding.pattern.name,
                    name=row.name,
                )
            )
            continue
        for made in lowering.lower((row,)):
            space = made.kind.partition(".")[0]
            if made.value.symbol:
                raise fail(row.span, "E0490", "a learn row writes numbers")
            write = kind(Action.WRITE, ACCESS[space])
            result.append(LearnRow(write, _physical(device, made.place, row), made.value.value))
    return result


def _physical(device: DevicePlan, place: Cell, row: s.Keep | s.Write) -> int:
    """Where the discoverer reaches a place: it knows windows where firmware put them."""
    if not place.symbol:
        return place.value
    window = next(w for name, w in device.windows.items() if device.symbol(name) == place.symbol)
    at = window.physical + place.value
    if not window.physical or at >> 32:
        text = f"{device.address}: the window lies at {window.physical:#x}"
        raise fail(row.span, "E0492", text, "the discoverer reaches memory from 1 up to 4 GiB")
    return at
