"""What several cards cost: which growth is too fast, and the machines that are measured."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.scale import COUNTS, KINDS, Size, added, arguments, faster, table
from metaos.boot.network import count_cards


def size(cards: int, **changes: object) -> Size:
    """A machine of a benchmark that grows as it should."""
    one = Size(
        kind="equal", cards=cards, turn=18 + 121 * cards, turns={"card": 121}, others=18,
        content=2000 + 900 * cards, answered=cards, build_s=round(0.8 + 0.06 * cards, 2),
        processor_s=round(0.8 + 0.06 * cards, 2), calls=1_000_000 + 300_000 * cards,
    )  # fmt: skip
    return msgspec.structs.replace(one, **changes)


def sizes(**eight: object) -> list[Size]:
    return [size(1), size(2), size(4), size(8, **eight)]


def test_machines_have_as_many_cards_as_they_should() -> None:
    known = set(KINDS["mixed"])
    for kind in KINDS:
        for cards in COUNTS:
            assert count_cards(arguments(kind, cards), known) == cards
    assert COUNTS[-1] >= len(KINDS["mixed"])


def test_growth_by_the_card_is_right() -> None:
    assert list(faster(sizes())) == []
    each = [(s.cards, turn, round(time, 3), calls) for s, turn, time, calls in added(sizes())]
    assert each == [(cards, 121, 0.06, 300_000) for cards in (2, 4, 8)]


@pytest.mark.parametrize(
    ("eight", "says"),
    [
        ({"turns": {"card": 122}}, "8 equal: 122 instructions of card, not 121"),
        ({"others": 19}, "8 equal: 19 instructions of no card, not 18"),
        ({"calls": 3_540_000}, "8 equal: 335,000 calls for each of the last, 300,000 before"),
        ({"processor_s": 7.0}, "8 equal: built in 7.0 s, one in 0.86 s"),
    ],
)
def test_faster_growth_is_said(eight: dict[str, object], says: str) -> None:
    assert says in list(faster(sizes(**eight)))


def test_the_table_has_a_row_a_machine() -> None:
    first, second = table([sizes()]).splitlines()[2:4]
    assert first == "| 1 equal | 139 |  | 2,900 | 0.86 | 0.86 |  |  | 1 |"
    assert second == "| 2 equal | 260 | 121 | 3,800 | 0.92 | 0.92 | 60 | 300,000 | 2 |"
