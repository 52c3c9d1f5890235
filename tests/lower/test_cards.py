"""Each card's code is its own object: taking one card away leaves the other's bytes."""

from __future__ import annotations

from functools import cache

import msgspec
import pytest

from metaos import resources
from metaos.emit.code import Code
from metaos.emit.emit import emit
from metaos.emit.target import cpu_features
from metaos.lower.lower import lower
from metaos.match.bind import bind
from metaos.match.system import Card, System, read_system
from metaos.pattern.patterns import Patterns, load
from metaos.probe.machine import Machine
from tests.lower.lowering import machine

FIRST, SECOND = "00:03.0", "00:05.0"
OWN = {SECOND: Card(address="10.0.2.16/24")}


@cache
def patterns() -> Patterns:
    return load([resources.PATTERNS])


def with_two() -> Machine:
    """The default machine with its card a second time."""
    one = machine()
    card = next(f for f in one.functions if f.address == FIRST)
    bars = tuple(msgspec.structs.replace(b, address=b.address + 0x100000) for b in card.bars)
    twin = msgspec.structs.replace(card, address=SECOND, bars=bars)
    return msgspec.structs.replace(one, functions=(*one.functions, twin))


def without(whole: Machine, address: str) -> Machine:
    kept = tuple(f for f in whole.functions if f.address != address)
    return msgspec.structs.replace(whole, functions=kept)


def codes(of: Machine, system: System, device: str) -> dict[str, Code]:
    """The device's objects by phase, as the pipeline emits them."""
    lowered = lower(bind(of, patterns(), system))
    features = cpu_features(of.cpu)
    return {p.phase: emit(p, features) for p in lowered.programs if p.device == device}


def outside_relocations(code: Code) -> bytes:
    """The text with what the linker fills in blanked."""
    text = bytearray(code.text)
    for relocation in code.relocations:
        size = 8 if relocation.kind == "64" else 4
        text[relocation.offset : relocation.offset + size] = bytes(size)
    return bytes(text)


@pytest.mark.parametrize(
    ("gone", "left", "cards"), [(FIRST, SECOND, OWN), (SECOND, FIRST, {})], ids=["first", "second"]
)
def test_taking_a_card_away_leaves_the_others_code(
    gone: str, left: str, cards: dict[str, Card]
) -> None:
    system = msgspec.structs.replace(read_system(), cards=cards)
    whole = with_two()
    both, alone = codes(whole, system, left), codes(without(whole, gone), system, left)
    assert set(both) == set(alone) and len(both["steady"].text) > 200
    for phase, code in both.items():
        assert outside_relocations(code) == outside_relocations(alone[phase])
        assert code.relocations == alone[phase].relocations
    assert codes(whole, system, gone) and not codes(without(whole, gone), system, gone)


def test_no_code_of_one_card_names_a_place_of_the_other() -> None:
    for one, other in ((FIRST, SECOND), (SECOND, FIRST)):
        for code in codes(with_two(), read_system(), one).values():
            named = [r.symbol for r in code.relocations]
            assert named and not [symbol for symbol in named if symbol.startswith(other)]


def test_another_address_is_seen_in_the_code() -> None:
    """What is compared above is not blind: a card that counts from elsewhere differs."""
    counted = codes(without(with_two(), FIRST), read_system(), SECOND)["steady"]
    own = codes(with_two(), read_system(), SECOND)["steady"]
    assert outside_relocations(counted) != outside_relocations(own)
