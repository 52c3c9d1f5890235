"""Proves `a + k <= b` from the inequalities a service has tested.

    bounds.add("inner.length", 14, "frame.length")
    bounds.at_least("inner.length", 28)
    bounds.proves_at_least("frame.length", 42)   # True

A difference-bound graph: the largest provable difference is a longest path.
"""

from __future__ import annotations

ZERO = "0"


class Bounds:
    """What is known of numbers, as differences: `edges[a, b] = k` says a + k <= b."""

    def __init__(self) -> None:
        self.edges: dict[tuple[str, str], int] = {}

    def copy(self) -> Bounds:
        other = Bounds()
        other.edges = dict(self.edges)
        return other

    def add(self, a: str, k: int, b: str) -> None:
        """Learn that a + k <= b."""
        self.edges[a, b] = max(k, self.edges.get((a, b), k))

    def at_least(self, a: str, k: int) -> None:
        """Learn that a >= k."""
        self.add(ZERO, k, a)

    def proves_at_least(self, a: str, k: int) -> bool:
        """Whether a >= k follows."""
        best: dict[str, int] = {ZERO: 0}
        for _ in range(len(self.edges) + 1):
            for (x, y), weight in self.edges.items():
                if x in best and best[x] + weight > best.get(y, -(1 << 62)):
                    best[y] = best[x] + weight
        return best.get(a, -1) >= k
