"""What a model raises when the code under test does what the hardware's manual forbids."""

from __future__ import annotations


class FaultError(AssertionError):
    """A rule of the hardware is broken: the message says which and cites the manual."""


def demand(holds: bool, message: str) -> None:
    """Raise FaultError with `message` unless `holds`."""
    if not holds:
        raise FaultError(message)
