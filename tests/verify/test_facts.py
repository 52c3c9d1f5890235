"""A fact is given another value and the image built again: what changes is what the account says.

The account's facts come from the numbers' own knowledge of what they are made of
(`metaos.told`), through LLVM's line table; the rebuilds here know nothing of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from metaos import pipeline, resources
from metaos.errors import Exit, MetaosError
from metaos.link.image import Image, pack_image
from metaos.link.manifest import AccountEntry
from metaos.match.system import read_system
from metaos.pattern.patterns import Patterns
from metaos.probe.store import read_machine
from metaos.verify.account import check_account
from metaos.verify.why import why_fact
from tests.verify.changing import Facts

pytestmark = pytest.mark.long

MACHINES = Path("tests/data/machines")
SYSTEM = Path("images/default.toml")
TARGETS = ("pc-e1000", "pc-virtio", "pc-virtio-legacy", "pc-ne2k", "q35-bridge")
Range = tuple[int, int]
UNREACHED = {"legacy.com0.port": "lines.masked>>8"}
"""A serial port's line is 3 or 4: what masks the upper lines is made of its port's number too, and
never changes."""


@pytest.fixture(scope="module")
def patterns() -> Patterns:
    return pipeline.read_patterns((resources.PATTERNS,))


def facts_of(name: str) -> Facts:
    return Facts(read_machine(MACHINES / f"{name}.json"), read_system(SYSTEM))


def made(facts: Facts, patterns: Patterns) -> Image:
    """The image, not proved: other values of facts need not make one that works."""
    return pipeline._make(facts.machine, patterns, facts.system).image


def outline(image: Image) -> list[tuple[int, int, str]]:
    return [(e.start, e.end, e.kind) for e in inner(image)]


def inner(image: Image) -> list[AccountEntry]:
    """The entries of what is loaded."""
    return [e for e in image.account if e.start < len(image.loaded)]


def changed(one: Image, other: Image) -> set[Range]:
    """The entries of `one` whose bytes are others in an image of the same outline."""
    assert outline(one) == outline(other)
    pairs = ((e.start, e.end) for e in inner(one))
    return {(a, b) for a, b in pairs if one.data[a:b] != other.data[a:b]}


def listed(image: Image, fact: str) -> set[Range]:
    """The entries that `metaos why IMAGE --fact` says are made of exactly this fact."""
    found = (o for o in why_fact(image, fact) if o.how == "value" and o.fact == fact)
    return {(o.entry.start, o.entry.end) for o in found}


def able(image: Image, fact: str) -> set[Range]:
    """Those of them that another value can change."""
    never = UNREACHED.get(fact)
    unreached = {(e.start, e.end) for e in image.account if never in e.symbols}
    return listed(image, fact) - unreached


def others(fact: str, value: int) -> Iterator[Any]:
    """Other values for a fact: some fit, and together they change all that is made of it."""
    if fact == "system.address":
        yield from ("192.168.77.33/24", "172.31.200.1/16")
    elif fact.endswith(".address") and value >> 16:
        yield from (value + 0x1234_0000, value - 0x2345_0000)
    elif fact.endswith(".size"):
        yield from (value // 2, value // 4, 2 * value, value << 33)
    else:
        yield from (value ^ bits for bits in (0x0101, 0x1100, 0x1000, 0x0101_0101, 1, 2))
        yield from (value + 1, 2 * value)


def compared(
    facts: Facts, image: Image, fact: str, patterns: Patterns
) -> tuple[set[Range], set[Range], bool]:
    """What changes in any rebuild, what of that is not listed, and whether some did not count.

    What the account says is there because of the fact may change too: which of two words of an
    address a row compares.
    A rebuild counts if the machine can be served still, by code of the same outline; else the
    fact decides more than the bytes that are made of its number.
    """
    hit, unlisted, decides = set[Range](), set[Range](), False
    wanted = able(image, fact)
    because = {(e.start, e.end) for e in image.account if fact in e.because}
    value = 0 if fact.startswith("system.") else facts.number(fact)
    for other in others(fact, value):
        try:
            rebuilt = made(facts.changed(fact, other), patterns)
        except (MetaosError, OverflowError):
            decides = True
            continue
        if outline(rebuilt) != outline(image):
            decides = True
            continue
        hit |= changed(image, rebuilt)
        unlisted |= changed(image, rebuilt) - wanted - because
        if hit == wanted:
            break
    return hit, unlisted, decides


QUICK = (
    ("functions.00:03.0.bars.0.address", 0xE123_0000, 3),
    ("legacy.com0.port", 0x12F8, 11),
    ("system.address", "192.168.77.33/24", 6),
    ("acpi.FACP.0x4c.u32", 0xB108, 1),
    ("functions.00:01.1.device", 0x7111, 1),
)


def test_several_facts_changed_one_by_one_and_at_once(patterns: Patterns) -> None:
    facts = facts_of("pc-e1000")
    image, all_changed = made(facts, patterns), facts
    for fact, value, _ in QUICK:
        all_changed = all_changed.changed(fact, value)
    for fact, value, least in QUICK[:3]:
        rebuilt = made(facts.changed(fact, value), patterns)
        assert changed(image, rebuilt) == able(image, fact), fact
        assert len(listed(image, fact)) >= least
    union = set().union(*(able(image, fact) for fact, _, _ in QUICK))
    assert changed(image, made(all_changed, patterns)) == union


def test_a_fact_left_out_of_an_account_is_found(patterns: Patterns) -> None:
    """The comparison above can fail: an entry without its fact, and one with a fact too many."""
    facts, fact = facts_of("pc-e1000"), "legacy.com0.port"
    image = made(facts, patterns)
    rebuilt = made(facts.changed(fact, 0x12F8), patterns)
    assert changed(image, rebuilt) == able(image, fact)
    at = next(n for n, e in enumerate(image.account) if e.facts == (fact,))
    plain = next(n for n, e in enumerate(image.account) if e.kind == "code" and not e.facts)
    for number, told in ((at, ()), (plain, (fact,))):
        entries = list(image.account)
        entries[number] = structs.replace(entries[number], facts=told)
        liar = Image(image.data, image.manifest, tuple(entries))
        assert changed(liar, rebuilt) != able(liar, fact)


def test_sizes_of_tables_move_what_lies_behind_them(patterns: Patterns) -> None:
    """RAM places through relocations: a window's size is a fact of what lies above it."""
    image = made(facts_of("q35-bridge"), patterns)
    size = "functions.01:00.0.bars.4.size"
    kinds = {o.entry.kind for o in why_fact(image, size) if o.how == "value"}
    assert {"row", "code", "list"} <= kinds


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_every_fact_changes_what_is_listed_and_nothing_else(name: str, patterns: Patterns) -> None:
    facts = facts_of(name)
    image = made(facts, patterns)
    known = sorted({f for e in image.account for f in e.facts})
    assert len(known) > 25
    exact = 0
    for fact in known:
        hit, unlisted, decides = compared(facts, image, fact, patterns)
        assert not unlisted, (fact, unlisted)
        assert decides or hit == able(image, fact), (fact, able(image, fact) - hit)
        exact += hit == able(image, fact)
    assert exact >= 0.7 * len(known)  # of the others, ids and sizes, some value is refused


def test_an_account_that_lies_about_facts_is_found_by_building_again(patterns: Patterns) -> None:
    """Nothing in the image contradicts it; the machine file and the patterns do."""
    facts = facts_of("pc-e1000")
    image = made(facts, patterns)
    at = next(n for n, e in enumerate(image.account) if e.facts)
    entries = list(image.account)
    entries[at] = structs.replace(entries[at], facts=("functions.00:1f.0.device",))
    liar = pack_image(image.loaded, image.manifest, entries)
    assert check_account(liar) == ()
    assert pipeline.remake(image, facts.machine, pattern_dirs=(resources.PATTERNS,))
    with pytest.raises(MetaosError, match="the account of file") as caught:
        pipeline.remake(liar, facts.machine, pattern_dirs=(resources.PATTERNS,))
    assert caught.value.exit_code == Exit.LAW_BROKEN


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pc-e1000", "q35-bridge"])
def test_no_byte_of_config_space_counts_unsaid(name: str, patterns: Patterns) -> None:
    """Whatever word of a header is another, what changes says that it was made of that word."""
    facts = facts_of(name)
    image, counted = made(facts, patterns), 0
    for function in facts.machine.functions:
        for at in range(0x10, 0x40, 4):
            fact = f"functions.{function.address}.config.{at:#04x}.u32"
            try:
                rebuilt = made(facts.changed(fact, facts.number(fact) ^ 0x0101), patterns)
            except MetaosError:
                continue
            if outline(rebuilt) == outline(image):
                told = {(e.start, e.end) for e in image.account if fact in e.facts}
                assert changed(image, rebuilt) <= told, fact
                counted += 1
    assert counted > 20
