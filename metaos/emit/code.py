"""`Code`: the machine code of one device in one phase, before it has an address."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span


@dataclass(frozen=True, slots=True)
class Relocation:
    """`kind` is the ELF name without its prefix: "64", "32", "32S", "PC32" or "PLT32".

    The four or eight bytes at `offset` become symbol + addend (minus their own linear
    address for the PC kinds).
    """

    offset: int
    kind: str
    symbol: str
    addend: int


@dataclass(frozen=True, slots=True)
class Line:
    """Bytes `start` to `end` (exclusive) come from `span`; `exact` is False if inferred.

    `facts` are those that numbers in these bytes are made of; `because` those without which LLVM
    had to say it otherwise: the leaf of the processor's feature.
    """

    start: int
    end: int
    span: Span
    exact: bool
    facts: tuple[str, ...] = ()
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Code:
    """Straight-line x86-64 code: no branch inside, falls through at its end."""

    device: str
    phase: str
    text: bytes
    relocations: tuple[Relocation, ...]
    lines: tuple[Line, ...]
