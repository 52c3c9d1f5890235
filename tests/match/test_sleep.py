"""Who wakes the processor: a serial port by its line, if no other is on it; else it is polled."""

from __future__ import annotations

import msgspec
import pytest

from metaos import resources
from metaos.lower.lower import lower
from metaos.match.bind import Bindings, bind
from metaos.match.sleep import sleep_of
from metaos.match.system import System
from metaos.pattern.patterns import load
from metaos.probe.machine import Legacy, Origin
from tests.lower.lowering import machine


def with_ports(*ports: int, idle: str = "halt") -> Bindings:
    """The default machine with these serial ports."""
    legacy = tuple(
        Legacy(kind="com", index=n, port=port, origin=Origin.FILE) for n, port in enumerate(ports)
    )
    system = System(
        name="x",
        address="10.0.2.15/24",
        services=("banner",),
        idle=idle,  # type: ignore[arg-type]
    )
    found = msgspec.structs.replace(machine(), legacy=legacy)
    return bind(found, load([resources.PATTERNS]), system)


@pytest.mark.parametrize(
    ("ports", "wakers", "lines"),
    [
        ((0x3F8,), {"com0"}, 1 << 4),
        ((0x2F8,), {"com0"}, 1 << 3),
        ((0x3F8, 0x2F8), {"com0", "com1"}, 1 << 4 | 1 << 3),
        ((0x3F8, 0x3E8), set(), 0),
        ((0x3F8, 0x2F8, 0x3E8), {"com1"}, 1 << 3),
    ],
)
def test_a_port_wakes_by_a_line_of_its_own(
    ports: tuple[int, ...], wakers: set[str], lines: int
) -> None:
    sleep = sleep_of(with_ports(*ports))
    assert sleep.halt
    assert {x for x in sleep.wakers if x.startswith("com")} == wakers
    assert sleep.used & 0b11000 == lines and not sleep.level & 0b11000


@pytest.mark.parametrize(
    ("ports", "idle", "asked", "wakes"),
    [
        ((0x3F8,), "halt", 2, False),
        ((0x3F8, 0x3E8), "halt", 0, True),
        ((0x3F8,), "poll", 0, False),
    ],
)
def test_one_that_cannot_keeps_the_processor_awake(
    ports: tuple[int, ...], idle: str, asked: int, wakes: bool
) -> None:
    """IER has what the rule asks of the port; the local APIC's register is what wakes."""
    lowered = lower(with_ports(*ports, idle=idle))
    for n in range(len(ports)):
        rows = [r for r in lowered.console_rows if r.device == f"com{n}"]
        ier = [r.value.value for r in rows if r.place.value == ports[n] + 1]
        assert ier == [0, asked], "DLM, then IER"
        program = next(p for p in lowered.programs if (p.device, p.phase) == (f"com{n}", "steady"))
        places = {op.address.symbol for op in program.ops if op.address is not None}
        assert ("APIC.local" in places) == wakes
