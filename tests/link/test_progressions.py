"""Sparse words as progressions: exactly those words, and few entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metaos.link.progressions import Progression, progressions

WORDS = st.dictionaries(
    st.integers(0, 64).map(lambda n: 0x1000 + 4 * n),
    st.one_of(st.integers(1, 9), st.integers(1, 0xFFFFFFFF)),
    max_size=40,
)


@given(WORDS)
def test_covers_exactly(words: dict[int, int]) -> None:
    written: dict[int, int] = {}
    for one in progressions(words):
        assert 0 < one.count <= 0xFFFF and 0 <= one.step <= 0xFFFF
        written.update(one.words())
    assert written == words


def test_finds_the_pattern() -> None:
    words = {0x1000 + 16 * i: 3 + 5 * i for i in range(40)}
    assert progressions(words) == (Progression(0x1000, 40, 16, 3, 5),)


def test_big_window_is_one_run() -> None:
    words = {0x1000 + 8 * i: 0xFE00007B + 0x1000 * i for i in range(3000)}
    assert len(progressions(words)) == 1


def test_nothing() -> None:
    assert progressions({}) == ()
