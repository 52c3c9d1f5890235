"""Sparse 32-bit words in few arithmetic progressions: how page tables fit in the loader's list.

    progressions({0x1000: 3, 0x1010: 5, 0x1020: 7})
    # (Progression(address=0x1000, count=3, stride=16, value=3, step=2),)

The loader writes each progression with one small loop, so 60 words of page tables take a
dozen list entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LONGEST = 0xFFFF
"""Counts and steps are 16-bit in the loader's list; strides are 32-bit and signed."""
_RUN = 8
_FAR = 1 << 24


@dataclass(frozen=True, slots=True)
class Progression:
    """32-bit words: `value` + i * `step` at `address` + i * `stride`, for i below `count`."""

    address: int
    count: int
    stride: int
    value: int
    step: int = 0

    def words(self) -> Iterable[tuple[int, int]]:
        """Each (address, value), as the loader writes them."""
        for i in range(self.count):
            yield self.address + i * self.stride, (self.value + i * self.step) & 0xFFFFFFFF


def progressions(words: Mapping[int, int]) -> tuple[Progression, ...]:
    """Cover exactly the addresses in `words`, all of them, with few progressions.

    Greedy: long runs of neighbours first (a big window has many pages, and the general
    search is cubic), then again and again the progression that covers most words not yet
    covered; of equals the one with the fewest non-zero bytes, then the lowest.
    """
    left = dict(sorted(words.items()))
    found = []
    for run in _runs(left):
        found.append(run)
        for address, _ in run.words():
            del left[address]
    while left:
        best = _best(left, words)
        found.append(best)
        for address, _ in best.words():
            left.pop(address, None)
    return tuple(sorted(found, key=lambda p: (p.address, p.stride)))


def _best(left: Mapping[int, int], words: Mapping[int, int]) -> Progression:
    """The candidate of most merit; those too short to have more are not even weighed."""
    best, merit = None, (0, 0, 0)
    for candidate in _candidates(left, words):
        if candidate.count >= merit[0]:
            weight = _merit(candidate, left)
            if best is None or weight > merit:
                best, merit = candidate, weight
    assert best is not None, "every word left is a candidate by itself"
    return best


def _merit(candidate: Progression, left: Mapping[int, int]) -> tuple[int, int, int]:
    """Words newly covered; then fewest non-zero bytes in the list; then the lowest address."""
    fresh = sum(address in left for address, _ in candidate.words())
    fields = (candidate.address, candidate.count, candidate.stride, candidate.value)
    content = sum(
        bool(b) for n in (*fields, candidate.step) for b in (n & 0xFFFFFFFF).to_bytes(4, "little")
    )
    return fresh, -content, -candidate.address


def _candidates(left: Mapping[int, int], words: Mapping[int, int]) -> Iterable[Progression]:
    """Every progression that starts at a word not covered, through another such word."""
    points = list(left.items())
    for index, (address, value) in enumerate(points):
        yield Progression(address, 1, 0, value)
        for other, there in points[index + 1 :]:
            stride, step = other - address, there - value
            if abs(step) > LONGEST or stride >= _FAR:
                continue
            if step >= 0:
                yield _extended(words, address, value, stride, step)
            else:
                yield _extended(words, other, there, -stride, -step)


def _extended(
    words: Mapping[int, int], address: int, value: int, stride: int, step: int
) -> Progression:
    count = 1
    while count < LONGEST and words.get(address + count * stride) == value + count * step:
        count += 1
    return Progression(address, count, stride, value, step)


def _runs(words: Mapping[int, int]) -> Iterable[Progression]:
    """Long runs of words 8 bytes apart, the distance of page-table entries."""
    runs = []
    taken: set[int] = set()
    for address, value in words.items():
        after = words.get(address + 8)
        if address in taken or after is None or not 0 <= after - value <= LONGEST:
            continue
        run = _extended(words, address, value, 8, after - value)
        fresh = [a for a, _ in run.words() if a not in taken]
        if len(fresh) == run.count >= _RUN:
            runs.append(run)
            taken.update(fresh)
    return runs
