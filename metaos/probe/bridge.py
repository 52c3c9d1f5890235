"""What a PCI-to-PCI bridge passes on: `read_bridge(config)`.

Source: PCI-to-PCI Bridge Architecture Specification 1.2 §3.2.5.4 (bus numbers), §3.2.5.6 (ports),
§3.2.5.8 (memory), §3.2.5.9, §3.2.5.10 (prefetchable memory).
"""

from __future__ import annotations

from dataclasses import dataclass

_HEADER = 64
_TYPE_1 = 1


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A range that is passed on: `kind` "ports", "memory" or "prefetchable"; `end` is beyond it."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Bridge:
    """Bus numbers (all 0 before firmware has set them), and what is passed on."""

    primary: int
    secondary: int
    subordinate: int
    forwards: tuple[Forwarded, ...]


def read_bridge(config: bytes) -> Bridge | None:
    """The bridge whose header `config` begins with; None if it is none."""
    if len(config) < _HEADER or config[0x0E] & 0x7F != _TYPE_1:
        return None
    found = (_ports(config), _memory(config), _prefetchable(config))
    return Bridge(
        primary=config[0x18],
        secondary=config[0x19],
        subordinate=config[0x1A],
        forwards=tuple(window for window in found if window is not None),
    )


def _ports(config: bytes) -> Forwarded | None:
    """4 KiB steps; with both registers 0 there is no such window, as no port 0 is behind it."""
    base, limit = config[0x1C], config[0x1D]
    start, end = (base & 0xF0) << 8, (limit & 0xF0) << 8 | 0xFFF
    if base & 0xF == 1:
        start |= _word(config, 0x30) << 16
        end |= _word(config, 0x32) << 16
    return _range("ports", start, end) if base or limit else None


def _memory(config: bytes) -> Forwarded | None:
    return _range("memory", _word(config, 0x20) << 16, _word(config, 0x22) << 16)


def _prefetchable(config: bytes) -> Forwarded | None:
    start, end = _word(config, 0x24) << 16, _word(config, 0x26) << 16
    if _word(config, 0x24) & 0xF == 1:
        start |= int.from_bytes(config[0x28:0x2C], "little") << 32
        end |= int.from_bytes(config[0x2C:0x30], "little") << 32
    return _range("prefetchable", start, end)


def _range(kind: str, base: int, limit: int) -> Forwarded | None:
    """Memory registers hold MiB steps in their upper bits; a window from above its end is off."""
    if kind != "ports":
        base, limit = base & ~0xFFFFF, limit | 0xFFFFF
    return Forwarded(kind, base, limit + 1) if base <= limit else None


def _word(config: bytes, offset: int) -> int:
    return int.from_bytes(config[offset : offset + 2], "little")
