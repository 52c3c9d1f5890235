"""What every model of a network card has in common for who asks it questions."""

from __future__ import annotations

from typing import Protocol


class Nic(Protocol):
    """`reads` and `writes` count accesses to its registers, `sent` is what it has sent."""

    mac: bytes
    sent: list[bytes]
    reads: int
    writes: int

    @property
    def receiving(self) -> bool: ...

    def deliver(self, frame: bytes) -> bool:
        """A frame from the wire; False if the card does not keep it."""
