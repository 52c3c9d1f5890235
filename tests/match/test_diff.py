"""What changed between two machines, and what an image for one would do on the other."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path

import msgspec
import pytest

from metaos import pipeline
from metaos.match.changes import Kind, changes
from metaos.match.config_space import ConfigSpace
from metaos.match.diff import Difference, Meant
from metaos.match.serves import high_memory
from metaos.match.system import read_system
from metaos.probe.header import read_function
from metaos.probe.machine import Legacy, Machine, Origin, Unknown
from metaos.probe.store import read_machine

pytestmark = pytest.mark.long

MACHINES = Path(__file__).parents[1] / "data" / "machines"
CARD = "00:03.0"
CARD_BAR = 0xFEBC0000


@cache
def machine(name: str = "pc-e1000") -> Machine:
    return read_machine(MACHINES / f"{name}.json")


def compared(a: Machine, b: Machine) -> Difference:
    return pipeline.compare(a, b, system=read_system(None))


def changed(difference: Difference, subject: str, fact: str = "") -> Meant:
    found = [c for c in difference.changes if (c.subject, c.fact) == (subject, fact)]
    assert len(found) == 1, difference.changes
    return found[0]


def patched(whole: Machine, address: str, words: dict[int, int], **sizes: int) -> Machine:
    """The machine with other 32-bit config words in one function; `bar0=` another size."""
    functions = []
    for function in whole.functions:
        if function.address == address:
            config = bytearray.fromhex(function.config)
            for at, word in words.items():
                config[at : at + 4] = word.to_bytes(4, "little")
            now = read_function(address, bytes(config), ())
            for name in ("name", "name_origin", "origin"):
                now = msgspec.structs.replace(now, **{name: getattr(function, name)})
            bars = tuple(
                msgspec.structs.replace(
                    bar,
                    size=sizes.get(f"bar{bar.index}", bar.size),
                    address=words.get(0x10 + 4 * bar.index, bar.address) & ~0xF,
                )
                for bar in function.bars
            )
            function = msgspec.structs.replace(now, bars=bars, config=config.hex())
        functions.append(function)
    return msgspec.structs.replace(whole, functions=tuple(functions))


def without(whole: Machine, address: str) -> Machine:
    kept = tuple(f for f in whole.functions if f.address != address)
    return msgspec.structs.replace(whole, functions=kept)


def copied(whole: Machine, address: str, to: str) -> Machine:
    made = next(f for f in whole.functions if f.address == address)
    functions = (*whole.functions, msgspec.structs.replace(made, address=to))
    ordered = tuple(sorted(functions, key=lambda f: f.address))
    return msgspec.structs.replace(whole, functions=ordered)


def with_memory(whole: Machine, size: int) -> Machine:
    memory = tuple(
        msgspec.structs.replace(r, size=size) if r.base == 0x100000 else r for r in whole.memory
    )
    return msgspec.structs.replace(whole, memory=memory)


def test_equal_machines_have_no_difference() -> None:
    found = compared(machine(), machine())
    assert found.serves and found.same_image
    assert (found.changes, found.obstacles, found.effects) == ((), (), ())
    assert found.verdict == "the machines are equal"


def test_another_mac_is_the_same_image() -> None:
    networks = tuple(
        msgspec.structs.replace(n, mac="52:54:00:ff:ff:ff") for n in machine().networks
    )
    found = compared(machine(), msgspec.structs.replace(machine(), networks=networks))
    assert found.serves and found.same_image and not found.effects
    change = changed(found, CARD, "mac")
    assert (change.kind, change.means) == (Kind.UNIT, "same image: unit fact")


def test_more_memory_serves_and_too_little_is_refused() -> None:
    more = compared(machine(), with_memory(machine(), 0x7EE0000))
    assert more.serves and changed(more, "memory", "usable").kind is Kind.UNIT
    less = compared(machine(), with_memory(machine(), 0x100000))
    assert not less.serves and "b" in less.unbuildable
    assert less.obstacles[0].text.startswith("memory changed: expected 0000")
    assert "found 00000400;" in less.obstacles[0].text
    assert changed(less, "memory", "usable").means.startswith("refused by the guard: memory")


def test_a_hole_below_what_the_image_needs_is_refused() -> None:
    hole = msgspec.structs.replace(machine().memory[3], base=0x200000, size=0x1000, kind=2)
    b = with_memory(machine(), 0x100000)
    rest = msgspec.structs.replace(machine().memory[3], base=0x201000, size=0x3000000)
    b = msgspec.structs.replace(b, memory=(*b.memory, hole, rest))
    assert high_memory(b) == 0x100000
    assert not compared(machine(), b).serves


def test_a_new_function_is_refused_by_name() -> None:
    found = compared(machine(), copied(machine(), "00:02.0", "00:04.0"))
    assert [(x.by, x.device) for x in found.obstacles] == [("guard", "00:04.0")]
    change = changed(found, "00:04.0")
    assert change.how == "added"
    means = "refused by the guard: 00:04.0 changed: expected ffff:ffff, found 1234:1111"
    assert change.means == means  # no new pattern: of two screens at one address one is served


def test_a_removed_and_a_moved_function_are_refused() -> None:
    gone = compared(machine(), without(machine(), "00:02.0"))
    assert changed(gone, "00:02.0").how == "removed" and not gone.serves
    assert {(e.phase, e.b) for e in gone.effects if e.device == "00:02.0"} >= {("steady", 0)}
    there = without(copied(machine(), "00:02.0", "00:09.0"), "00:02.0")
    moved = changed(compared(machine(), there), "00:02.0")
    assert (moved.how, moved.to) == ("moved", "00:09.0")
    assert "found ffff:ffff" in moved.means and "found 1234:1111" in moved.means


def test_another_revision_is_refused_and_another_card_has_its_pattern() -> None:
    b = patched(machine(), CARD, {8: 0x02000004})
    found = compared(machine(), b)
    assert changed(found, CARD, "revision").means.startswith(
        "refused by the guard: 00:03.0 register 08: expected 02000003, found 02000004"
    )
    other = compared(machine(), patched(machine(), CARD, {0: 0xFFF08086}))
    assert "none can be made for B" in other.verdict
    assert "found 8086:fff0" in changed(other, CARD, "device").means


def test_a_window_elsewhere_is_the_images_own() -> None:
    b = patched(machine(), CARD, {0x10: 0xFEA00000})
    found = compared(machine(), b)
    assert found.serves and not found.same_image
    change = changed(found, CARD, "bar 0 address")
    assert change.kind is Kind.PLACEMENT
    assert change.means == "the image places this window itself: no change"
    effects = {(e.device, e.phase, e.unit) for e in found.effects}
    assert (CARD, "init", "rows") in effects
    assert {e[1:] for e in effects if e[0] != CARD} == {("guard", "rows")}  # nothing lies over it


def test_a_window_of_another_size_is_refused() -> None:
    b = patched(machine(), CARD, {}, bar0=0x40000)
    found = compared(machine(), b)
    assert [x.by for x in found.obstacles] == ["guard"]
    assert "expected fffe0000, found fffc0000" in found.obstacles[0].text
    means = changed(found, CARD, "bar 0 size").means
    assert means.startswith("refused by the guard: 00:03.0 register 10")


def test_a_window_over_anothers_is_found() -> None:
    b = patched(machine(), "00:02.0", {0x18: CARD_BAR})
    found = compared(machine(), b)
    assert [x.by for x in found.obstacles] == ["guard"]
    said = f"00:02.0 register 18: found {CARD_BAR:08x}, in a window of the image"
    assert found.obstacles[0].text.startswith(said)
    off = patched(b, "00:02.0", {4: 0})  # the guard does not ask if it decodes
    assert [x.by for x in compared(machine(), off).obstacles] == ["guard"]


@pytest.mark.parametrize(
    ("at", "flips", "folded"),
    [
        (0x48, 0x1000, True),  # where the capability says that the common registers are
        (0x80, 0x2000, True),  # those of the device
        (0x98, 0x0001, True),  # the id of MSI-X
        (0x9C, 0x1000, True),  # where its table is
        (0x98, 0x80000000, False),  # whether it is on: init says that itself
        (0x54, 0x1000, False),  # a capability that the pattern does not ask
    ],
)
def test_what_was_taken_from_a_capability_is_looked_at(at: int, flips: int, folded: bool) -> None:
    made = machine("pc-virtio")
    (card,) = (f for f in made.functions if f.address == CARD)
    other = patched(made, CARD, {at: card.config_u32(at) ^ flips})
    found = compared(made, other).obstacles
    said = [x for x in found if x.text.startswith(f"{CARD} register {at:02x}: expected ")]
    assert [x.by for x in said] == ["guard"] * folded


def test_a_window_beyond_a_bridge_is_found() -> None:
    bare = machine("pc-bare")
    bridge = next(f for f in bare.functions if f.address == "01:00.0")
    word = int.from_bytes(bytes.fromhex(bridge.config)[0x20:0x24], "little")
    b = patched(bare, "01:00.0", {0x20: word - 0x00100010 + 0x01000100})
    texts = [x.text for x in compared(bare, b).obstacles]
    now = word - 0x00100010 + 0x01000100
    assert texts == [f"01:00.0 register 20: expected {word:08x}, found {now:08x}"]


def with_leaf(whole: Machine, leaf: int, register: str, value: int) -> Machine:
    leaves = tuple(
        msgspec.structs.replace(x, **{register: value}) if (x.leaf, x.subleaf) == (leaf, 0) else x
        for x in whole.cpu.leaves
    )
    return msgspec.structs.replace(whole, cpu=msgspec.structs.replace(whole.cpu, leaves=leaves))


def test_only_a_used_feature_that_is_lost_is_refused() -> None:
    full = machine("pc-bare")
    lost = compared(full, with_leaf(full, 1, "ecx", 0))
    assert [x.by for x in lost.obstacles] == ["guard"]
    said = "refused by the guard: CPUID leaf 0x1 ecx: bits 0x400000 are needed, B lacks them"
    assert changed(lost, "cpu", "features").means == said  # it has no console for words of its own
    unused = compared(full, with_leaf(full, 7, "ebx", 0))
    assert unused.serves and unused.same_image
    assert changed(unused, "cpu", "features").b == "lzcnt movbe popcnt"


def test_a_feature_gained_may_change_code_and_serves() -> None:
    full = machine("pc-bare")
    gained = compared(with_leaf(full, 1, "ecx", 0), full)
    assert gained.serves and not gained.same_image
    assert any(e.unit == "bytes" and e.phase == "steady" for e in gained.effects)


def with_legacy(*ports: int) -> Machine:
    first = machine().legacy[0]
    legacy: tuple[Legacy, ...] = tuple(
        msgspec.structs.replace(first, index=i, port=p) for i, p in enumerate(ports)
    )
    return msgspec.structs.replace(machine(), legacy=legacy)


@pytest.mark.parametrize("ports", [(), (0x2F8,)])
def test_a_console_no_row_tests_is_told(ports: tuple[int, ...]) -> None:
    found = compared(machine(), with_legacy(*ports))
    assert [(x.by, x.device) for x in found.obstacles] == [("nobody", "com0")]
    means = changed(found, "com0", "port" if ports else "").means
    assert "no row tests it: needs a rebuild" in means
    assert "starts on B and does not work as it should" in found.verdict


def test_a_second_console_is_only_not_served() -> None:
    found = compared(machine(), with_legacy(0x3F8, 0x2F8))
    assert found.serves and "new: pattern" in changed(found, "com1").means


def test_a_clock_elsewhere_is_told() -> None:
    tables = []
    for table in machine().acpi:
        data = bytearray.fromhex(table.data)
        if table.signature == "FACP":
            data[76:80] = (0xB008).to_bytes(4, "little")
        tables.append(msgspec.structs.replace(table, data=data.hex()))
    found = compared(machine(), msgspec.structs.replace(machine(), acpi=tuple(tables)))
    assert [(x.by, x.device) for x in found.obstacles] == [("nobody", "FACP")]
    assert changed(found, "FACP", "bytes").kind is Kind.MODEL


def test_names_and_qemus_words_are_in_no_image() -> None:
    named = msgspec.structs.replace(machine().functions[0], name="else")
    b = msgspec.structs.replace(
        machine(), functions=(named, *machine().functions[1:]), emulator=None
    )
    found = compared(machine(), b)
    assert {c.kind for c in found.changes} == {Kind.NOTE} and len(found.changes) == 2
    assert found.serves and found.verdict == "the machines are equal"


def test_a_machine_without_an_image_is_compared_by_its_facts() -> None:
    a = without(machine(), CARD)
    found = compared(a, machine())
    assert "a" in found.unbuildable and not found.serves
    assert found.verdict.startswith("no image can be made for A: ")
    assert changed(found, CARD).means == "no image for A to ask"
    assert compared(a, a).serves


def test_config_space_answers_as_the_specification_says() -> None:
    space = ConfigSpace(machine())
    assert space.read(31 << 11) == 0xFFFF_FFFF
    at = 3 << 11 | 0x10
    assert space.read(at) == CARD_BAR
    space.write(at, 0xFFFF_FFFF)
    assert space.read(at) == 0xFFFE_0000
    space.write(at + 4, 0xFFFF_FFFF)
    assert space.read(at + 4) == 0xFFFF_FFC1
    space.write(at + 8, 0xFFFF_FFFF)
    assert space.read(at + 8) == 0  # the card has no such register


NAMES = sorted(p.stem for p in MACHINES.glob("*.json"))
NEIGHBOURS = [*itertools.pairwise(NAMES), (NAMES[-1], NAMES[0]), (NAMES[0], NAMES[0])]


@pytest.mark.parametrize(
    ("x", "y"),
    [
        pytest.param(x, y, marks=() if (x, y) in NEIGHBOURS else pytest.mark.slow, id=f"{x} {y}")
        for x in NAMES
        for y in NAMES
    ],
)
def test_every_pair_of_machines_is_compared_both_ways(x: str, y: str) -> None:
    found = compared(machine(x), machine(y))
    assert found.serves == (x == y), (x, y)
    assert bool(changes(machine(x), machine(y))) == (x != y)
    assert all(c.means for c in found.changes)


def lacking(*whats: str, **more: object) -> Machine:
    gaps = tuple(Unknown(what=w, reason="it hid", origin=Origin.SYSFS) for w in whats)
    return msgspec.structs.replace(machine(), unknown=gaps, **more)


def test_what_a_file_does_not_know_is_no_difference() -> None:
    bare = msgspec.structs.replace(machine().cpu, vendor="", brand="", leaves=())
    functions = tuple(
        msgspec.structs.replace(f, config=f.config[:128], capabilities=())
        for f in machine().functions
    )
    for b in (
        lacking("memory map", memory=()),
        lacking("acpi tables", acpi=()),
        lacking("pci functions", functions=(), networks=()),
        lacking("cpuid leaves", cpu=bare),
        lacking("legacy ports", legacy=()),
        lacking("00:03.0 mac", networks=()),
    ):
        assert {c.subject for c in changes(machine(), b)} == {b.unknown[0].what}
        assert {c.kind for c in changes(b, machine())} == {Kind.UNKNOWN}
        assert not changes(b, b)
    user = lacking(*(f"{f.address} capabilities" for f in functions), functions=functions)
    assert {c.kind for c in changes(machine(), user)} <= {Kind.UNKNOWN}


@pytest.mark.parametrize(("what", "field"), [("memory map", "memory"), ("acpi tables", "acpi")])
def test_what_b_does_not_know_is_no_promise(what: str, field: str) -> None:
    found = compared(machine(), lacking(what, **{field: ()}))
    assert not found.serves and "cannot be told" in found.verdict
    assert {x.by for x in found.obstacles} == {"unknown"}
    assert {c.means for c in found.changes} == {"whether it differs cannot be told"}


def test_what_is_known_to_differ_is_still_refused() -> None:
    other = patched(lacking("memory map", memory=()), CARD, {0x00: 0x12348086})
    found = compared(machine(), other)
    assert "refused on B by its guard" in found.verdict
    assert changed(found, CARD, "device").b == "0x1234"


def test_a_processor_that_may_lack_a_used_feature_cannot_be_told() -> None:
    leaves = tuple(
        msgspec.structs.replace(x, ebx=0xFFFFFFFF, ecx=0xFFFFFFFF) for x in machine().cpu.leaves
    )
    rich = msgspec.structs.replace(
        machine(), cpu=msgspec.structs.replace(machine().cpu, leaves=leaves, vendor="", brand="")
    )
    bare = msgspec.structs.replace(machine().cpu, vendor="", brand="", leaves=())
    found = compared(rich, lacking("cpuid leaves", cpu=bare))
    assert not found.serves and "cannot be told" in found.verdict
    unknown = [x.text for x in found.obstacles if x.by == "unknown"]
    assert unknown == ["cpuid leaves: not known of B: it hid"]
    assert {x.by for x in found.obstacles} <= {"unknown", "nobody"}, "without its APIC id B polls"
