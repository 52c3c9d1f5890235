"""What a proof yields: `Violation`s, each with its law and place, and the numbers beside them."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken law: its number, where ("steady+0x1f, linear 0x5ffe2f, file 0x4f2"), what.

    `span` is the source line that the account names for the place; None if it names none.
    """

    law: int
    place: str
    message: str
    span: Span | None = None

    def __str__(self) -> str:
        source = f" [{self.span}]" if self.span else ""
        return f"law {self.law}: {self.place}: {self.message}{source}"


@dataclass(frozen=True, slots=True)
class Transfers:
    """How often each kind of control transfer occurs in all phases, the final `jmp`s aside."""

    conditional: int = 0
    indirect: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Touches:
    """Static accesses to a device's windows and ports in one turn of the steady phase.

    `gated` ones happen only if their guard holds (the address is X or X's shadow, or the count
    of the string instruction may be 0); the others happen in every turn.
    """

    device: str
    reads: int = 0
    writes: int = 0
    gated_reads: int = 0
    gated_writes: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The proof's result. `phases` are (name, instructions of one turn), in manifest order.

    `bounded` and `unbounded` count instructions with an index whose whole range is proved to
    lie in its symbol, and those whose first address alone is (docs/laws.md, law 3).
    `repeats` are the repeated string instructions with their largest counts.
    """

    violations: tuple[Violation, ...]
    phases: tuple[tuple[str, int], ...] = ()
    transfers: Transfers = Transfers()
    touches: tuple[Touches, ...] = ()
    bounded: int = 0
    unbounded: int = 0
    repeats: tuple[tuple[str, int], ...] = ()

    def instructions(self, phase: str) -> int:
        """Instructions of one turn of `phase`; 0 if the image has none."""
        return dict(self.phases).get(phase, 0)
