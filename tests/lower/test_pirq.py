"""How a chipset leads interrupts to lines is written, not demanded: whoever had disabled it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from metaos.lower.row import Row
from metaos.lower.rows import config_address
from metaos.match.sleep import sleep_of
from metaos.probe.cite import cite
from metaos.probe.machine import Machine
from metaos.told import facts_of
from tests.configured import configured
from tests.lower.lowering import machine
from tests.lower.test_platform import lowered_of

ROUTES = [
    pytest.param("pc-e1000", "00:01.0", 0x60, id="PIIX3"),
    pytest.param("q35-bridge", "00:1f.0", 0x60, id="ICH9, A to D"),
    pytest.param("q35-bridge", "00:1f.0", 0x68, id="ICH9, E to H"),
]


def routed(name: str, function: str, at: int, routes: int) -> Machine:
    return cite(configured(machine(name), function, {at: routes}))


def of_place(rows: Iterable[Row], function: str, at: int) -> list[Row]:
    return [x for x in rows if x.place.value == config_address(function) + at]


@pytest.mark.parametrize(("name", "function", "at"), ROUTES)
@pytest.mark.parametrize(
    ("routes", "written"),
    [
        pytest.param(0x8B8B_8A8A, 0x0B0B_0A0A, id="as Linux leaves it"),
        pytest.param(0x0B0B_0A0A, 0x0B0B_0A0A, id="as firmware does"),
        pytest.param(0x8085_0B00, 0x8005_0B80, id="inputs that have no line"),
    ],
)
def test_who_has_a_line_is_led_there(
    name: str, function: str, at: int, routes: int, written: int
) -> None:
    found = lowered_of(routed(name, function, at, routes))
    assert sleep_of(found.bindings).halt
    (row,) = of_place(found.init_rows, function, at)
    assert (row.kind, row.value.value) == ("config.write", written)
    assert f"functions.{function}.config.{at:#x}.u32" in facts_of(row.value.value)
    assert not of_place(found.guard_rows, function, at)


def test_what_is_not_written_is_demanded() -> None:
    """The id of a capability that the image enables; what others of its bytes say."""
    found = lowered_of(cite(machine("pc-virtio")))
    card = next(x for x in machine("pc-virtio").functions if x.vendor == 0x1AF4)
    table = next(x.offset for x in card.capabilities if x.id == 0x11)
    assert of_place(found.init_rows, card.address, table)
    (row,) = of_place(found.guard_rows, card.address, table)
    assert (row.value.value, row.mask) == (0x11, 0xFF)
    more = [r for r in found.guard_rows if r.place.value & 0xFF >= 0x40 and r.kind == "config.test"]
    assert any(r.mask > 0xFF for r in more)
