"""How functions may interrupt: as their rule wants, by nothing else; those without one not."""

from __future__ import annotations

import msgspec
import pytest

from metaos.lower.lower import Lowered
from metaos.lower.row import Row
from metaos.lower.rows import config_address
from metaos.match.config_space import ConfigSpace
from metaos.match.system import read_system
from metaos.probe.cite import cite
from metaos.probe.machine import Capability, Machine, Origin, Pin, Wire
from tests.configured import configured
from tests.lower.lowering import machine
from tests.lower.test_platform import lowered_of
from tests.madt import without_8259

SIGNAL, TABLE = 0x05, 0x11
ON = 1 << 16, 1 << 31
"""What enables MSI and MSI-X, in the words that the capabilities begin with."""
MASKED = 1 << 30
"""MSI-X: every entry of the table counts as masked."""
AT = {"pc-virtio-legacy": "00:03.0", "pc-virtio": "00:03.0", "pc-vmxnet3": "00:03.0"}
SILENT = 1 << 10


def words(of: Machine, address: str) -> dict[int, int]:
    """The first words of the function's capabilities to send messages, by id."""
    (one,) = (f for f in of.functions if f.address == address)
    return {c.id: c.offset for c in one.capabilities if c.id in (SIGNAL, TABLE)}


def left_on(name: str) -> Machine:
    """The machine, of which firmware has left on all that its card can send messages by."""
    of = machine(name)
    (one,) = (f for f in of.functions if f.address == AT[name])
    held = words(of, AT[name])
    on = {at: one.config_u32(at) | ON[identity == TABLE] for identity, at in held.items()}
    return cite(configured(of, AT[name], on))


def after(found: Lowered) -> ConfigSpace:
    """Configuration space behind `init`."""
    space = ConfigSpace(found.bindings.machine)
    for row in found.init_rows:
        space.do(row)
    return space


def of_word(found: Lowered, place: int) -> list[tuple[int, Row]]:
    """The rows that write a word, each with its number."""
    rows = enumerate(found.init_rows)
    return [(n, r) for n, r in rows if (r.kind, r.place.value) == ("config.write", place)]


@pytest.mark.parametrize(
    ("name", "used"), [("pc-virtio-legacy", 0), ("pc-virtio", TABLE), ("pc-vmxnet3", SIGNAL)]
)
def test_a_card_sends_by_what_its_rule_says_alone(name: str, used: int) -> None:
    found = lowered_of(left_on(name))
    space, own = after(found), config_address(AT[name])
    held = words(found.bindings.machine, AT[name])
    assert held
    for identity, at in held.items():
        on = space.read(own + at) & ON[identity == TABLE]
        assert bool(on) == (identity == used)
        assert not space.read(own + at) & MASKED or identity != TABLE
        (tested,) = (r for r in found.guard_rows if r.place.value == own + at)
        assert tested.value.value & 0xFF == identity and tested.mask & 0xFF == 0xFF
    assert not space.read(own + 4) & SILENT


def test_what_is_not_used_is_off_before_anything_is_on() -> None:
    """Both on at once is what PCI leaves undefined."""
    found = lowered_of(left_on("pc-vmxnet3"))
    own, held = config_address(AT["pc-vmxnet3"]), words(machine("pc-vmxnet3"), AT["pc-vmxnet3"])
    ((off, _),) = of_word(found, own + held[TABLE])
    ((on, _),) = of_word(found, own + held[SIGNAL])
    assert off < on


def test_a_table_is_masked_until_it_is_filled() -> None:
    found = lowered_of(cite(machine("pc-virtio")))
    own, held = config_address("00:03.0"), words(machine("pc-virtio"), "00:03.0")
    (on, first), (unmasked, last) = of_word(found, own + held[TABLE])
    assert (first.value.value, last.value.value) == (ON[1] | MASKED, ON[1])
    filled = [n for n, r in enumerate(found.init_rows) if r.place.symbol == "00:03.0.messages"]
    assert filled and on < min(filled) and max(filled) < unmasked


@pytest.mark.parametrize(("control", "words"), [(0x0100, 4), (0x0180, 5), (0x0080, 4), (0, 3)])
def test_a_message_is_not_masked(control: int, words: int) -> None:
    """MSI with a mask, its address of 32 or 64 bits: mask and pending bits lie behind the data."""
    of, at = machine("pc-vmxnet3"), 0xC0
    (one,) = (f for f in of.functions if f.address == "00:03.0")
    kept = tuple(c for c in one.capabilities if c.id != SIGNAL)
    told = msgspec.structs.replace(one, capabilities=(*kept, Capability(id=SIGNAL, offset=at)))
    of = msgspec.structs.replace(of, functions=tuple(told if f is one else f for f in of.functions))
    found = lowered_of(cite(configured(of, "00:03.0", {at: control << 16 | SIGNAL})))
    own = config_address("00:03.0") + at
    written = [r for n in range(6) for _, r in of_word(found, own + 4 * n)]
    assert len(written) == words
    if control & 0x100:
        assert (written[-1].place.value, written[-1].value.value) == (own + 4 * (words - 1), 0)


def test_polled_nothing_of_it_is_there() -> None:
    system = msgspec.structs.replace(read_system(), idle="poll")
    found = lowered_of(left_on("pc-virtio"), system)
    own = config_address("00:03.0")
    assert not any(0x40 <= r.place.value - own < 0x100 for r in found.init_rows)


# ---- functions without a rule -----------------------------------------------------------------

OTHER = "00:01.3"
"""The power management of a pc has a pin and no rule."""


def on_line(line: int) -> Machine:
    """A pc of which a function without a rule has this line by its pin."""
    of = machine()
    functions = tuple(
        msgspec.structs.replace(f, interrupt_pin=1, interrupt_line=line)
        if f.address == OTHER
        else f
        for f in of.functions
    )
    return cite(msgspec.structs.replace(of, functions=functions))


def test_who_has_no_rule_is_silent_on_a_line_of_ours() -> None:
    own = config_address(OTHER)
    alone = lowered_of(on_line(9))
    assert not any(r.place.value == own + 4 for r in alone.init_rows)
    (card,) = (f for f in machine().functions if f.address == "00:03.0")
    assert alone.sleep.level == 1 << card.interrupt_line
    found = lowered_of(on_line(card.interrupt_line))
    before = ConfigSpace(found.bindings.machine).read(own + 4)
    rows = [r for r in found.init_rows if r.place.value == own + 4]
    assert [r.kind for r in rows] == ["config.keep8", "config.put"]
    assert all(f"functions.{OTHER}.interrupt_line" in r.facts for r in rows)
    (state,) = (x for x in found.places if x.name == "pci.silent")
    (fill,) = state.fills
    space = ConfigSpace(found.bindings.machine)
    space.kept[state.name, 0] = fill.value
    for row in rows:
        space.do(row)
    assert before & 7 and space.read(own + 4) == before & 0xFF | SILENT


@pytest.mark.parametrize(("line", "silenced"), [(19, True), (18, False)])
def test_so_is_who_has_none_on_a_line_of_an_io_apic(line: int, silenced: bool) -> None:
    """Without an 8259 pair a pin is a global interrupt, as the machine file's `pins` say."""
    pins = tuple(
        Pin(address=a, interrupt=Wire(line=n, edge=False, low=True), origin=Origin.QEMU)
        for a, n in (("00:03.0", 19), (OTHER, line))
    )
    of = msgspec.structs.replace(without_8259(on_line(11)), pins=pins)
    found = lowered_of(cite(of))
    assert found.sleep.halt and not found.sleep.level
    own = config_address(OTHER)
    assert any(r.place.value == own + 4 for r in found.init_rows) == silenced
