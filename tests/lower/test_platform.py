"""What the lowering of a whole machine places, guards and touches."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from metaos import resources
from metaos.emit.target import FEATURES
from metaos.errors import MetaosError
from metaos.ir.check import check
from metaos.link.parts import PHASES
from metaos.lower.decoders import decoders
from metaos.lower.lower import Lowered, guard, guard_rows, lower
from metaos.lower.platform import free_slots
from metaos.lower.row import FULL, Row
from metaos.lower.rows import config_address
from metaos.match.bind import bind
from metaos.match.system import System, read_system
from metaos.pattern import syntax as s
from metaos.pattern.patterns import load
from metaos.pattern.spell import walk
from metaos.probe.machine import Function, Machine
from tests.lower.lowering import MACHINES, bound, card, machine, problem_of

NAMES = sorted(path.stem for path in MACHINES.glob("*.json"))


@pytest.fixture(scope="module", params=NAMES)
def lowered(request: pytest.FixtureRequest) -> Lowered:
    return lowered_of(machine(request.param))


def lowered_of(given: Machine, system: System | None = None) -> Lowered:
    return lower(bind(given, load([resources.PATTERNS]), system or read_system()))


# ---- slots --------------------------------------------------------------------------------


def function(address: str, header_type: int = 0, config: dict[int, int] | None = None) -> Function:
    (some,) = (f for f in machine().functions if f.address == "00:03.0")
    data = bytearray.fromhex(some.config)
    for at, byte in (config or {}).items():
        data[at] = byte
    return msgspec.structs.replace(
        some, address=address, header_type=header_type, config=data.hex()
    )


def slots(bus: int, without: Iterable[int] = ()) -> set[str]:
    return {f"{bus:02x}:{slot:02x}.0" for slot in range(32) if slot not in set(without)}


def test_the_other_slots_of_a_bus_are_free() -> None:
    found = free_slots((function("00:00.0"), function("00:1f.0")))
    assert set(found) == slots(0, (0, 31)) and len(found) == 30


def test_a_device_of_several_functions_has_eight() -> None:
    found = free_slots((function("00:05.0", 0x80), function("00:05.3")))
    assert set(found) == slots(0, (5,)) | {f"00:05.{n}" for n in (1, 2, 4, 5, 6, 7)}


def test_a_device_of_one_function_has_one() -> None:
    assert "00:05.1" not in free_slots((function("00:05.0"),))


def test_a_bus_behind_a_bridge_counts_even_if_it_is_empty() -> None:
    bridge = function("00:01.0", 0x01, {0x19: 2})
    assert set(free_slots((function("00:00.0"), bridge))) == slots(0, (0, 1)) | slots(2)
    behind = function("02:04.0")
    assert set(free_slots((bridge, behind))) == slots(0, (1,)) | slots(2, (4,))


def test_a_bridge_that_firmware_left_alone_has_no_bus() -> None:
    bridge = function("00:01.0", 0x81, {0x19: 0})
    assert {a[:2] for a in free_slots((bridge,))} == {"00"}


@pytest.mark.parametrize(
    ("address", "number"),
    [("00:00.0", 0), ("00:03.0", 0x1800), ("00:1f.7", 0xFF00), ("ff:1f.7", 0xFFFF00)],
)
def test_config_addresses(address: str, number: int) -> None:
    assert config_address(address) == number


# ---- the guard ----------------------------------------------------------------------------


def config_tests(rows: Iterable[Row]) -> dict[int, Row]:
    """The first test of each place."""
    found: dict[int, Row] = {}
    for row in rows:
        if row.kind == "config.test":
            found.setdefault(row.place.value, row)
    return found


def test_every_function_and_every_free_slot_is_guarded(lowered: Lowered) -> None:
    given = lowered.bindings.machine
    tests = config_tests(lowered.guard_rows)
    assert tests
    for one in given.functions:
        at = config_address(one.address)
        assert tests[at].value.value == one.device << 16 | one.vendor
        assert tests[at + 8].value.value == one.class_code << 8 | one.revision
        assert tests[at].mask == tests[at + 8].mask == 0xFFFFFFFF
        if one.header_type & 0x7F == 0:
            wanted = one.subsystem_device << 16 | one.subsystem_vendor
            assert tests[at + 0x2C].value.value == wanted
        alone = one.address.endswith(".0") and not one.header_type & 0x80
        assert (at + 12 in tests) == alone
        assert all(f"functions.{one.address}" in tests[x].facts for x in (at, at + 8))
    for address in free_slots(given.functions):
        assert tests[config_address(address)].value.value == 0xFFFFFFFF


def test_the_guard_sizes_windows_and_writes_nothing_else_but_for_the_consoles(
    lowered: Lowered,
) -> None:
    consoles = {
        b.device.address for b in lowered.bindings.bindings if b.pattern.class_name == "console"
    }
    for row in guard_rows(lowered, FEATURES):
        if row.device in consoles or row.kind.endswith((".test", ".unlike")):
            continue
        assert row.kind.startswith("config."), row
        assert row.place.value & 0xFC in {4, 0x30, 0x38, *range(0x10, 0x28, 4)}, row
    assert {row.device for row in lowered.console_rows} <= consoles


def test_consoles_then_features_and_memory_come_first(lowered: Lowered) -> None:
    """So that what is wrong can be said, and nothing runs that the processor may lack."""
    used = FEATURES[2:4]
    program, (datum, *_) = guard(lowered, used)
    check(program)
    consoles = len(lowered.console_rows)
    facts = [line.because for line in datum.lines]
    first = facts[consoles : consoles + 3]
    assert first == [(f"cpu.leaves.{f.leaf:#x}",) for f in used] + [("memory",)]
    assert not any(x in facts[:consoles] for x in first)
    assert program.phase == "guard" and datum.phases == ("guard",)


def test_every_report_names_what_it_is_about(lowered: Lowered) -> None:
    _, data = guard(lowered, FEATURES)
    if len(data) == 1:  # there is no console: nothing is said, so no row says what
        return
    for said in lowered.texts.said:
        text = bytes(lowered.texts.data[said.start : said.end])
        assert text.endswith(b"\r\n\0") and len(text) > 12
    for row in lowered.guard_rows:
        if row.kind.endswith(".test"):
            assert any(said.start == row.site for said in lowered.texts.said)


# ---- places -------------------------------------------------------------------------------


def test_places_are_used_and_uses_have_places(lowered: Lowered) -> None:
    program, data = guard(lowered, ())
    programs = (*lowered.programs, program)
    tables = (*lowered.data, *data)
    names = {p.name for p in lowered.places}
    names |= {w.name for w in lowered.windows} | {d.name for d in tables}
    used = {op.address.symbol for p in programs for op in p.ops if op.address is not None}
    used |= {r.symbol for d in tables for r in d.relocations}
    used |= {f.symbol for p in lowered.places for f in p.fills}
    own = {"absolute", "", "memory_needed_kib", *lowered.sleep.numbers}
    own |= {f"root.{phase}" for phase in PHASES}
    used = {symbol.partition(">>")[0] for symbol in used}  # part of an address
    assert used - own <= names
    kept = {"next"}  # the linker's phase change reads it
    assert names - used <= kept, "places that nothing uses"


def test_places_are_mapped_where_they_are_used(lowered: Lowered) -> None:
    program, _ = guard(lowered, ())
    phases = {p.name: set(p.phases) for p in lowered.places}
    phases |= {w.name: set(w.phases) for w in lowered.windows}
    for one in (*lowered.programs, program):
        for op in one.ops:
            if op.address is not None and op.address.symbol in phases and op.kind != "address":
                assert one.phase in phases[op.address.symbol], (one.phase, op.address)


def test_windows_show_the_pages_that_are_touched(lowered: Lowered) -> None:
    for window in lowered.windows:
        assert window.pages and all(page % 0x1000 == 0 for page in window.pages)
        assert list(window.pages) == sorted(set(window.pages))
        assert window.pages[-1] < window.size
        touched = {
            op.address.offset & ~0xFFF
            for p in lowered.programs
            for op in p.ops
            if op.address is not None
            and op.address.symbol == window.name
            and op.kind in ("load", "store")
        }
        assert touched <= set(window.pages)


def test_ports_belong_to_present_devices(lowered: Lowered) -> None:
    present = {b.device.address for b in lowered.bindings.bindings}
    assert {p.device for p in lowered.ports} <= present
    for port in lowered.ports:
        assert 0 < port.length <= 32 and set(port.phases) <= set(PHASES)


def test_one_program_a_device_and_phase(lowered: Lowered) -> None:
    keys = [(p.device, p.phase) for p in lowered.programs]
    assert len(keys) == len(set(keys))
    for program in lowered.programs:
        check(program)


def test_a_device_removed_takes_its_programs_and_places_along() -> None:
    """And changes nothing else that is not the guard's."""
    whole = machine()
    less = msgspec.structs.replace(
        whole, functions=tuple(f for f in whole.functions if f.address != "00:02.0")
    )
    with_screen, without = lowered_of(whole), lowered_of(less)
    gone = {p.name for p in with_screen.places} - {p.name for p in without.places}
    assert gone and all(name.startswith("00:02.0.") for name in gone)
    assert {w.name for w in with_screen.windows} - {w.name for w in without.windows} == {
        "00:02.0.text"
    }

    def shapes(of: Lowered) -> dict[tuple[str, str], int]:
        return {(p.device, p.phase): len(p.ops) for p in of.programs if p.device != "00:02.0"}

    assert shapes(with_screen) == shapes(without)


# ---- systems ------------------------------------------------------------------------------


def test_addresses_count_up_with_the_cards() -> None:
    whole = machine()
    (card,) = (f for f in whole.functions if f.address == "00:03.0")
    bars = tuple(msgspec.structs.replace(b, address=b.address + 16 * b.size) for b in card.bars)
    second = msgspec.structs.replace(card, address="00:04.0", bars=bars)
    two = msgspec.structs.replace(whole, functions=(*whole.functions, second))
    found = {}
    for program in lowered_of(two).programs:
        if program.phase == "steady":
            constants = {op.value for op in program.ops if op.kind == "const"}
            for last in (15, 16):
                if int.from_bytes(bytes([10, 0, 2, last]), "little") in constants:
                    found[program.device] = last
    assert found == {"00:03.0": 15, "00:04.0": 16}


NO_CARD = {
    "a card that nobody needs": machine(),
    "no card, no config space, no tables": msgspec.structs.replace(
        machine(), functions=(), acpi=()
    ),
}


@pytest.mark.parametrize("services", [("banner",), ()])
@pytest.mark.parametrize("without_a_card", NO_CARD.values(), ids=NO_CARD)
def test_a_system_without_a_network_needs_no_card(
    without_a_card: Machine, services: tuple[str, ...]
) -> None:
    system = System(name="quiet", address="10.0.2.15/24", services=services)
    made = lowered_of(without_a_card, system)
    assert "00:03.0" not in {b.device.address for b in made.bindings.bindings}
    phases = {p.phase for p in made.programs}
    assert {"init", "report"} <= phases
    program, _ = guard(made, ())
    check(program)
    texts = [d for d in made.data if d.name == "banner"]
    assert len(texts) == len(services)


def test_a_small_state_that_begins_with_a_value_has_room_for_it() -> None:
    """The loader writes four bytes at once."""
    text = card("state n : u4 = 5", "table t[16] of bytes 8", "turn", "  n <- n + 1")
    (place,) = (p for p in lower(bound(text)).places if p.name == "00:03.0.n")
    assert place.size == 4 and [f.value for f in place.fills] == [5]


# ---- what functions decode ----------------------------------------------------------------


def of(lowered: Lowered, address: str, part: str) -> list[Row]:
    """The guard's rows of one function in one part of the config space's rule."""
    (rule,) = (b.pattern for b in lowered.bindings.bindings if b.device.address == "pci")
    lines = {row.span.line for row in walk(rule.named(s.Guard)[part].rows) if hasattr(row, "span")}
    at = config_address(address)
    found = (r for r in lowered.guard_rows if r.span.line in lines)
    return [r for r in found if r.place.value & ~0xFF == at and not r.place.symbol]


def test_every_window_is_sized_and_put_back(lowered: Lowered) -> None:
    for one in lowered.bindings.machine.functions:
        rows = [r for r in of(lowered, one.address, "sized") if r.place.value & 0xFC != 4]
        if one.class_code >> 8 == 0x0600:
            assert not rows
            continue
        kinds = [r.kind for r in rows]
        halves = len(one.bars) + sum(b.size >> 32 > 0 for b in one.bars)
        assert kinds == ["config.keep", "config.write", "config.test", "config.put"] * halves
        for kept, _, test, put in zip(*[iter(rows)] * 4, strict=True):
            assert kept.place == test.place == put.place and kept.value == put.value
        for bar in one.bars:
            at = config_address(one.address) + (
                (0x38 if one.header_type & 0x7F else 0x30) if bar.index == 6 else 16 + 4 * bar.index
            )
            (test,) = (r for r in rows if r.kind == "config.test" and r.place.value == at)
            address_bits = (
                0xFFFC if bar.kind == "io" else 0xFFFFF800 if bar.index == 6 else FULL - 15
            )
            assert test.value.value & address_bits == ~(bar.size - 1) & address_bits
            assert test.mask & address_bits == address_bits


def test_a_word_that_is_no_window_stays_none(lowered: Lowered) -> None:
    for one in lowered.bindings.machine.functions:
        config = bytes.fromhex(one.config)
        count = {0: 6, 1: 2}[one.header_type & 0x7F]
        empty = {at for at in range(16, 16 + 4 * count, 4) if config[at : at + 4] == bytes(4)} - {
            16 + 4 * b.index + 4 for b in one.bars if b.kind == "mem64"
        }
        rows = [r for r in of(lowered, one.address, "placed") if r.kind == "config.test"]
        zero = {r.place.value & 0xFC for r in rows if r.value.value == 0 and r.mask == FULL}
        assert empty <= zero


def _with_window(address: str, index: int, at: int) -> Machine:
    """The default machine with a window of one of its functions somewhere else."""
    return msgspec.structs.replace(
        machine(),
        functions=tuple(
            moved(f, index, at) if f.address == address else f for f in machine().functions
        ),
    )


def moved(function: Function, index: int, at: int) -> Function:
    bars = tuple(
        msgspec.structs.replace(b, address=at) if b.index == index else b for b in function.bars
    )
    config = bytearray.fromhex(function.config)
    low = config[16 + 4 * index] & 15
    config[16 + 4 * index : 20 + 4 * index] = (at | low).to_bytes(4, "little")
    return msgspec.structs.replace(function, bars=bars, config=config.hex())


def test_no_window_may_lie_over_ours() -> None:
    """Wherever a window that the image does not place lies, guard says if it is over ours."""
    (mine,) = (b for f in machine().functions if f.address == "00:03.0" for b in f.bars[:1])
    made = lowered_of(machine())
    (screen,) = (b for f in machine().functions if f.address == "00:02.0" for b in f.bars[:1])
    rows = [r for r in of(made, "00:02.0", "placed") if r.kind == "config.unlike"]
    (row,) = (r for r in rows if r.place.value & 0xFC == 0x10)
    for at in range(0x8000_0000, 0x1_0000_0000, screen.size):
        over = at < mine.address + mine.size and mine.address < at + screen.size
        fails = (at | 8) - row.value.value & row.mask == 0
        assert fails == over, hex(at)


def test_a_file_with_a_window_over_ours_is_refused() -> None:
    (mine,) = (b for f in machine().functions if f.address == "00:03.0" for b in f.bars[:1])
    with pytest.raises(MetaosError) as refused:
        lowered_of(_with_window("00:02.0", 2, mine.address))
    code, text = problem_of(refused.value)
    assert code == "E0473"
    assert f"00:02.0: BAR 2 lies over 00:03.0's BAR 0, {mine.address:#x}" in text


def test_small_windows_and_ports_are_compared_by_the_bits_that_all_have() -> None:
    """Emulators have memory windows under 16 bytes; ports may have 16 address bits."""
    whole = machine()
    (some,) = (f for f in whole.functions if f.address == "00:03.0")
    tiny = tuple(msgspec.structs.replace(b, size=16) if b.index == 0 else b for b in some.bars)
    (one,) = decoders([msgspec.structs.replace(some, bars=tiny)], (), ())
    memory, ports, _ = one.sized
    for read in (0xFFFFFFF0, 0xFFFFFFFE):  # of 16 bytes, and of 2
        assert read & memory["mask"] == memory["value"]
    for read in (0xFFFFFFC1, 0xFFC1):
        assert read & ports["mask"] == ports["value"]
    for read in (0xFFFFFFE0, 0xFFFFFFF1):
        assert read & memory["mask"] != memory["value"]
