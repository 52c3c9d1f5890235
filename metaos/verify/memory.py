"""What is mapped in one phase, by name: the `Atlas` that memory operands are looked up in.

atlas = atlas_of(image, "steady")
atlas.find(0x200010, 4)      # Located(symbol "00:03.0.rx", offset 16, shadow False)
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from metaos.ir.program import SHADOW
from metaos.link.image import Image
from metaos.link.manifest import Mapping, Symbol, WindowMap
from metaos.verify.decode import concatenated

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Located:
    """An address inside a symbol, or inside its shadow."""

    symbol: Symbol
    offset: int
    shadow: bool


@dataclass(frozen=True, slots=True)
class Atlas:
    """The places, windows and data of one phase in the order of their linear addresses."""

    phase: str
    starts: tuple[int, ...]
    symbols: tuple[Symbol, ...]
    windows: dict[str, WindowMap]
    data: dict[str, bytes]
    mappings: tuple[Mapping, ...]

    def find(self, linear: int, size: int) -> Located | None:
        """The symbol or shadow that holds all `size` bytes at `linear`; None if none does."""
        for shadow in (False, True):
            at = linear - SHADOW * shadow
            index = bisect_right(self.starts, at) - 1
            if index < 0:
                continue
            symbol = self.symbols[index]
            if at + size <= symbol.linear + symbol.size and self._open(symbol, at, size, shadow):
                return Located(symbol, at - symbol.linear, shadow)
        return None

    def mapped(self, linear: int) -> bool:
        """Whether the page tables of the phase map this address at all."""
        return any(m.linear <= linear < m.linear + m.size for m in self.mappings)

    def scratch(self, linear: int, size: int) -> bool:
        """Whether all bytes at an address are mapped to the scratch frame."""
        return any(
            m.shadow and m.linear <= linear and linear + size <= m.linear + m.size
            for m in self.mappings
        )

    def _open(self, symbol: Symbol, linear: int, size: int, shadow: bool) -> bool:
        """Whether the bytes are mapped: of a window, only its pages; a datum has no shadow."""
        if symbol.kind == "datum":
            return not shadow
        window = self.windows.get(symbol.name)
        if window is None or shadow:
            return symbol.kind == "place" or shadow
        first, last = linear - window.linear, linear + size - 1 - window.linear
        return {first // PAGE * PAGE, last // PAGE * PAGE} <= set(window.pages)


def atlas_of(image: Image, phase: str) -> Atlas:
    """The atlas of one phase."""
    manifest = image.manifest
    symbols = sorted(
        (
            s
            for s in manifest.symbols
            if s.kind in ("place", "window", "datum") and phase in s.phases
        ),
        key=lambda s: (s.linear, s.size),
    )
    return Atlas(
        phase,
        tuple(s.linear for s in symbols),
        tuple(symbols),
        {w.name: w for w in manifest.windows if phase in w.phases},
        {s.name: concatenated(image.data, s.file) for s in symbols if s.kind == "datum"},
        tuple(m for m in manifest.mappings if phase in m.phases),
    )
