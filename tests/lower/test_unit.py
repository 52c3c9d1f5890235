"""What one unit alone has: read on the machine, or folded and demanded of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.errors import MetaosError
from metaos.lower.lower import Lowered, lower
from metaos.match.bind import bind
from metaos.match.system import read_system
from metaos.pattern.patterns import load
from metaos.probe.machine import Machine
from metaos.probe.store import read_machine

MACHINE = read_machine(Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json")
MAC_PLACE = "00:03.0.mac"


def lowered(machine: Machine = MACHINE, *, fold: bool) -> Lowered:
    bindings = bind(machine, load([resources.PATTERNS]), read_system(None))
    return lower(replace(bindings, fold_units=fold))


def symbols(made: Lowered) -> set[str]:
    used = {op.address.symbol for p in made.programs for op in p.ops if op.address is not None}
    return used | {place.name for place in made.places}


def test_by_default_the_card_is_asked() -> None:
    made = lowered(fold=False)
    assert MAC_PLACE in symbols(made)
    assert sum(row.kind == "mem32.keep" for row in made.init_rows) == 2


def test_folded_it_is_a_constant_and_a_test() -> None:
    made = lowered(fold=True)
    assert MAC_PLACE not in symbols(made)
    assert not [row for row in made.init_rows if row.kind == "mem32.keep"]
    tests = {row.place.value: row for row in made.init_rows if row.place.value in (0x5400, 0x5404)}
    low, high = tests[0x5400], tests[0x5404]
    assert (low.kind, low.value.value, low.mask) == ("mem32.test", 0x12005452, 0xFFFFFFFF)
    assert (high.kind, high.value.value, high.mask) == ("mem32.test", 0x5634, 0xFFFF)
    assert low.limit == high.limit == 0


def test_two_units_differ_folded_and_only_then() -> None:
    (network,) = MACHINE.networks
    other = msgspec.structs.replace(
        MACHINE, networks=(msgspec.structs.replace(network, mac="52:54:00:00:00:01"),)
    )
    read, folded = (
        [lowered(machine, fold=fold).init_rows for machine in (MACHINE, other)]
        for fold in (False, True)
    )
    assert read[0] == read[1]
    assert folded[0] != folded[1]


def test_a_machine_file_that_does_not_say_is_refused() -> None:
    unknown = msgspec.structs.replace(MACHINE, networks=())
    with pytest.raises(MetaosError, match=r"does not say network\.mac of 00:03\.0"):
        lowered(unknown, fold=True)
