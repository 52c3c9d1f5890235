"""Who wakes the processor: a serial port by its line, if no other is on it; else it is polled."""

from __future__ import annotations

import msgspec
import pytest

from metaos import resources
from metaos.errors import MetaosError, Source
from metaos.lower.lower import lower
from metaos.match.bind import Bindings, bind
from metaos.match.sleep import sleep_of
from metaos.match.system import System
from metaos.pattern.parse import parse
from metaos.pattern.patterns import Patterns, load, resolve
from metaos.probe.machine import Bar, BarKind, Legacy, Origin
from tests.lower.lowering import machine

PATTERNS = load([resources.PATTERNS])
PORTS = (
    Bar(
        index=0,
        kind=BarKind.IO,
        prefetchable=False,
        address=0xC100,
        size=8,
        origin=Origin.FILE,
    ),
)


def with_ports(*ports: int, idle: str = "halt", patterns: Patterns = PATTERNS) -> Bindings:
    """The default machine with these serial ports."""
    legacy = tuple(
        Legacy(kind="com", index=n, port=port, origin=Origin.FILE) for n, port in enumerate(ports)
    )
    system = System(
        name="x",
        address="10.0.2.15/24",
        services=("banner",),
        idle=idle or None,  # type: ignore[arg-type]
    )
    found = msgspec.structs.replace(machine(), legacy=legacy)
    return bind(found, patterns, system)


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


def test_a_console_that_would_forget_its_text_polls_or_is_refused() -> None:
    """Its characters come at the pace at which something else wakes the processor."""
    sources = dict(PATTERNS.sources)
    name = "console/vga_text.pattern"
    sources[name] = Source(name, sources[name].text.replace("    wake when some\n", ""))
    forgetful = resolve(tuple(map(parse, sources.values())), sources)
    sleep = sleep_of(with_ports(idle="", patterns=forgetful))
    assert not sleep.halt and sleep.why.endswith("(vga_text) takes text and has no 'wake when'")
    with pytest.raises(MetaosError, match="takes text and has no 'wake when'"):
        sleep_of(with_ports(patterns=forgetful))


def test_a_level_is_shared() -> None:
    """A port on PCI, on the line of the card."""
    found = machine()
    card = next(f for f in found.functions if f.address == "00:03.0")
    port = msgspec.structs.replace(
        card, address="00:04.0", vendor=0x1B36, device=2, class_code=0x070002, bars=PORTS
    )
    functions = tuple(sorted((*found.functions, port), key=lambda f: f.address))
    both = msgspec.structs.replace(found, functions=functions, legacy=())
    system = System(name="x", address="10.0.2.15/24", services=("banner", "arp"), idle="halt")
    sleep = sleep_of(bind(both, PATTERNS, system))
    assert {"00:03.0", "00:04.0"} <= sleep.wakers
    assert sleep.level == 1 << card.interrupt_line


def test_a_machine_file_without_the_processors_number_polls() -> None:
    """Where a message goes, and whose local APIC answers, nobody could tell."""
    found = machine()
    leaves = tuple(x for x in found.cpu.leaves if x.leaf != 1)
    found = msgspec.structs.replace(found, cpu=msgspec.structs.replace(found.cpu, leaves=leaves))
    system = System(name="x", address="10.0.2.15/24", services=("banner",))
    sleep = sleep_of(bind(found, PATTERNS, system))
    assert not sleep.halt and "CPUID leaf 1" in sleep.why
    with pytest.raises(MetaosError, match="CPUID leaf 1"):
        sleep_of(bind(found, PATTERNS, msgspec.structs.replace(system, idle="halt")))
