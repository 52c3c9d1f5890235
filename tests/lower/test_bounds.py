"""What follows from inequalities, against trying all numbers."""

from __future__ import annotations

import random
from itertools import product

from metaos.lower.bounds import ZERO, Bounds

TOP = 9
NAMES = ("a", "b", "c")


def test_the_example() -> None:
    bounds = Bounds()
    bounds.add("length", 14, "frame")
    bounds.at_least("length", 28)
    assert bounds.proves_at_least("frame", 42)
    assert not bounds.proves_at_least("frame", 43)


def test_nothing_is_known_of_a_new_name() -> None:
    assert not Bounds().proves_at_least("a", 1)
    assert not Bounds().proves_at_least("a", 0)


def test_the_stronger_fact_stays() -> None:
    bounds = Bounds()
    bounds.at_least("a", 5)
    bounds.at_least("a", 3)
    assert bounds.proves_at_least("a", 5)


def test_a_copy_learns_alone() -> None:
    bounds = Bounds()
    bounds.at_least("a", 1)
    other = bounds.copy()
    other.at_least("a", 7)
    assert other.proves_at_least("a", 7) and not bounds.proves_at_least("a", 2)


def test_what_is_proved_holds_for_all_numbers() -> None:
    """And what holds is proved, where the numbers tried show it."""
    source = random.Random(5)
    proved = 0
    for _ in range(200):
        facts = [
            (source.choice((ZERO, *NAMES)), source.randrange(-3, 5), source.choice(NAMES))
            for _ in range(source.randrange(1, 5))
        ]
        bounds = Bounds()
        for a, k, b in facts:
            bounds.add(a, k, b)
        for name in NAMES:
            bounds.at_least(name, 0)
        least: dict[str, int] = {}
        for values in product(range(TOP), repeat=len(NAMES)):
            known = {ZERO: 0, **dict(zip(NAMES, values, strict=True))}
            if all(known[a] + k <= known[b] for a, k, b in facts):
                for name in NAMES:
                    least[name] = min(known[name], least.get(name, TOP))
        for name, value in least.items():
            assert not bounds.proves_at_least(name, value + 1), (facts, name, value)
            if value:
                assert bounds.proves_at_least(name, value), (facts, name, value)
                proved += 1
    assert proved > 100


def test_contradictions_end() -> None:
    bounds = Bounds()
    bounds.add("a", 1, "b")
    bounds.add("b", 1, "a")
    bounds.at_least("a", 0)
    assert bounds.proves_at_least("a", 2)
