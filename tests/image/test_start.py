"""From the boot sector to the steady phase: what is touched, what is refused, what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import pytest

from metaos.link.image import Image
from metaos.pipeline import build
from metaos.probe.machine import CpuidLeaf, Function, Machine
from tests.fake.fault import FaultError
from tests.fake.platform import PmTimer, Uart16550
from tests.fake.world import CARD
from tests.image.conftest import Boot, drain
from tests.image.harness import Station
from tests.systems import POLLED

pytestmark = pytest.mark.long

MOST_INSTRUCTIONS = 27_000
MORE_BEHIND_BRIDGES = 5_000
"""Each bus behind a bridge has 32 more slots for guard to look at."""
BANNER = "MetaOS 10.0.2.15"

replace = msgspec.structs.replace


def has_uart(machine: Machine) -> bool:
    return any(x.kind == "com" and x.index == 0 for x in machine.legacy)


def has_screen(machine: Machine) -> bool:
    return any(x.class_code == 0x030000 for x in machine.functions)


def card_of(machine: Machine) -> Function:
    return next(f for f in machine.functions if (f.vendor, f.device) == CARD)


def test_instructions_until_steady(image: Image, machine: Machine) -> None:
    """Without waits for the card, `rep` counted per iteration, BIOS calls apart."""
    station = Station(image, machine, patience=0, count=True)
    station.boot()
    phases = {k: v for k, v in station.instructions.items() if k != "steady"}
    total = station.pc.instructions + sum(phases.values())
    print(f"loader {station.pc.instructions}, {phases}, {total} in all")
    assert set(phases) >= {"guard", "init"}
    bridges = any(f.header_type & 0x7F == 1 for f in machine.functions)
    assert total <= MOST_INSTRUCTIONS + bridges * MORE_BEHIND_BRIDGES


def test_no_more_sectors_are_read_than_needed(image: Image, machine: Machine) -> None:
    station = Station(image, machine)
    station.boot()
    read = sum(count for _, count in station.bios.sectors)
    assert read + 1 == image.manifest.loaded_sectors


def test_the_banner_is_on_every_console(boot: Boot, machine: Machine) -> None:
    station = boot()
    assert (BANNER in station.said) == has_uart(machine)
    assert (BANNER in station.screen) == has_screen(machine)


def test_a_slow_uart_loses_nothing(image: Image, machine: Machine) -> None:
    station = Station(image, machine, uart=Uart16550(busy_reads=7))
    station.boot()
    drain(station)
    assert (BANNER in station.said) == has_uart(machine)


def test_a_slow_card_is_waited_for(image: Image, machine: Machine) -> None:
    station = Station(image, machine, patience=200)
    station.boot()
    assert station.card.receiving


def test_no_link_is_reported_by_name(image: Image, machine: Machine) -> None:
    station = Station(image, machine, cable=False, timer=PmTimer(step=40_000))
    with pytest.raises(FaultError, match="in report"):
        station.boot()
    for shown, seen in ((has_uart(machine), station.said), (has_screen(machine), station.screen)):
        assert ("no link" in seen) == shown
        assert (card_of(machine).address in seen) == shown
    assert not station.card.receiving


def other(machine: Machine, change: Callable[[Machine], Machine]) -> Machine:
    """A machine on which the image must not start."""
    made = change(machine)
    assert made != machine
    return made


def with_card(machine: Machine, offset: int, value: bytes, **fields: object) -> Machine:
    """The card with other bytes in its configuration space."""
    card = card_of(machine)
    config = bytearray.fromhex(card.config)
    config[offset : offset + len(value)] = value
    new = replace(card, config=config.hex(), **fields)
    return replace(machine, functions=tuple(new if f is card else f for f in machine.functions))


def with_another_function(machine: Machine) -> Machine:
    """A copy of the card in a slot that was empty."""
    card = card_of(machine)
    taken = {f.address for f in machine.functions}
    free = next(a for a in (f"00:{n:02x}.0" for n in range(2, 32)) if a not in taken)
    config = bytearray.fromhex(card.config)
    config[2:4] = b"\x0f\x10"
    added = replace(card, address=free, device=0x100F, config=config.hex(), bars=())
    return replace(machine, functions=(*machine.functions, added))


def without(machine: Machine) -> Machine:
    """Some function that was there is gone, not the card."""
    gone = next(f for f in machine.functions if f.device == 0x7113)
    return replace(machine, functions=tuple(f for f in machine.functions if f is not gone))


def with_little_memory(machine: Machine) -> Machine:
    """4 MiB in all: the image's places are there, but not all that it needs."""
    memory = tuple(
        replace(r, size=3 << 20) if r.kind == 1 and r.base == 1 << 20 else r for r in machine.memory
    )
    return replace(machine, memory=memory)


def with_features(machine: Machine, present: bool) -> Machine:
    """A processor that has POPCNT, MOVBE, BMI1 and BMI2, or none of them.

    Source: Intel SDM vol. 2A, CPUID.
    """

    def changed(register: int, bits: int) -> int:
        return register | bits if present else register & ~bits

    def leaf(x: CpuidLeaf) -> CpuidLeaf:
        if (x.leaf, x.subleaf) == (1, 0):
            return replace(x, ecx=changed(x.ecx, 1 << 23 | 1 << 22))
        if (x.leaf, x.subleaf) == (7, 0):
            return replace(x, ebx=changed(x.ebx, 1 << 8 | 1 << 3))
        return x

    leaves = tuple(leaf(x) for x in machine.cpu.leaves)
    return replace(machine, cpu=replace(machine.cpu, leaves=leaves))


def with_another_bar_size(machine: Machine) -> Machine:
    card = card_of(machine)
    bars = tuple(replace(b, size=b.size * 2) if b.index == 0 else b for b in card.bars)
    return with_card(machine, 0, b"", bars=bars)


@dataclass(frozen=True)
class Refusal:
    """A changed machine, and what guard's report must say."""

    change: Callable[[Machine], Machine]
    says: str


REFUSALS = {
    "another card": Refusal(partial(with_card, offset=2, value=b"\x0f\x10"), "8086:100f"),
    "another class": Refusal(
        partial(with_card, offset=8, value=b"\x03\x00\x80\x02"), "found 02800003"
    ),
    "another revision": Refusal(partial(with_card, offset=8, value=b"\x02"), "found 02000002"),
    "another subsystem": Refusal(
        partial(with_card, offset=0x2E, value=b"\x01\x02"), "found 02011af4"
    ),
    "a card added": Refusal(with_another_function, "found 8086:100f"),
    "a function gone": Refusal(without, "8086:7113, found ffff:ffff"),
    "another BAR size": Refusal(with_another_bar_size, "found fffc0000"),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_another_machine_is_refused(image: Image, machine: Machine, refusal: Refusal) -> None:
    """The card is not touched; the report says what differs on every console."""
    station = Station(image, other(machine, refusal.change))
    with pytest.raises(FaultError, match="in report"):
        station.boot()
    assert list(station.turns)[-2:] == ["guard", "report"]
    assert (station.card.reads, station.card.writes) == (0, 0)
    for shown, seen in ((has_uart(machine), station.said), (has_screen(machine), station.screen)):
        flowing = "".join(line.ljust(80) for line in seen.splitlines()) if shown else ""
        assert not shown or refusal.says in flowing.replace("\n", "")
        assert not shown or "probe and build again" in flowing


def config_writes(station: Station) -> list[tuple[str, int, int]]:
    """Function, config byte and value of each write, in order."""
    found, address = [], 0
    for kind, port, _, value in station.ports.log:
        if (kind, port) == ("write", 0xCF8):
            address = value
        elif (kind, port) == ("write", 0xCFC):
            bus, slot, number = address >> 16 & 0xFF, address >> 11 & 31, address >> 8 & 7
            found.append((f"{bus:02x}:{slot:02x}.{number}", address & 0xFC, value))
    return found


def test_guard_leaves_everything_as_it_was(image: Image, machine: Machine) -> None:
    """Until init, consoles are set up, windows are sized and put back, nothing else happens."""
    station = Station(image, machine)
    before = {a: bytes(f.config) for a, f in station.world.pci.functions.items()}
    station.until("init")
    uart = next((x.port for x in machine.legacy if x.kind == "com"), 0)
    allowed = {0xCF8, 0xCFC, *range(uart, uart + 8 * bool(uart))}
    assert {port for _, port, _, _ in station.ports.log} <= allowed
    assert (station.card.reads, station.card.writes) == (0, 0)
    assert {a: bytes(f.config) for a, f in station.world.pci.functions.items()} == before
    assert {at for _, at, _ in config_writes(station)} <= {4, *range(0x10, 0x28, 4), 0x30, 0x38}


def test_a_window_is_sized_while_nothing_decodes(image: Image, machine: Machine) -> None:
    """But for bridges, which may lead to a console, and for consoles; the host's is not sized."""
    station = Station(image, machine)
    station.until("init")
    decoding = {f.address: True for f in machine.functions}
    classes = {f.address: f.class_code for f in machine.functions}
    sized = set()
    for address, at, value in config_writes(station):
        if at == 4:
            decoding[address] = bool(value & 3)
            continue
        sized.add(address)
        stays = classes[address] >> 16 == 6 or classes[address] == 0x030000
        assert decoding[address] == stays
    with_windows = {f.address for f in machine.functions if f.bars and f.class_code >> 8 != 0x0600}
    assert sized == with_windows
    assert "00:00.0" not in sized


def test_the_report_stays_parked(image: Image, machine: Machine) -> None:
    station = Station(image, other(machine, REFUSALS["another card"].change))
    with pytest.raises(FaultError, match="in report"):
        station.boot()
    before = station.said
    station.until("report")
    assert station.said == before


def test_less_memory_is_refused(image: Image, machine: Machine) -> None:
    station = Station(image, with_little_memory(machine))
    with pytest.raises(FaultError):
        station.boot()
    assert station.phase == "report"
    assert (station.card.reads, station.card.writes) == (0, 0)


def test_a_processor_that_lacks_a_used_feature_is_refused(machine: Machine) -> None:
    rich = with_features(machine, True)
    image = build(rich, system=POLLED)
    assert image.manifest.provenance.cpu_features
    Station(image, rich).boot()
    poor = Station(image, with_features(machine, False))
    with pytest.raises(FaultError):
        poor.boot()
    assert poor.phase == "report"
    assert (poor.card.reads, poor.card.writes) == (0, 0)


def test_a_disk_that_cannot_be_read(image: Image, machine: Machine) -> None:
    station = Station(image, machine, disk_fails=True)
    with pytest.raises(FaultError, match="disk read failed"):
        station.boot()
    assert b"disk read failed" in station.bios.screen


def test_a_processor_without_long_mode(image: Image, machine: Machine) -> None:
    leaves = tuple(
        replace(x, edx=x.edx & ~(1 << 29)) if x.leaf == 0x80000001 else x
        for x in machine.cpu.leaves
    )
    poor = replace(machine, cpu=replace(machine.cpu, leaves=leaves))
    station = Station(image, poor)
    with pytest.raises(FaultError, match="64-bit"):
        station.boot()
    assert b"64-bit" in station.bios.screen


def test_the_platform_is_left_as_the_patterns_say(boot: Boot, machine: Machine) -> None:
    station = boot()
    assert [pic.mask for pic in station.world.pics] == [0xFF, 0xFF]
    function = station.world.pci.functions[card_of(machine).address]
    assert function.masters
    if has_uart(machine):
        assert station.uart.baud == 115200
