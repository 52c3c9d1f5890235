"""Relocations: the bytes of code and data made final.

    data, problems = relocated(text, relocations, linear, symbols, origin)

Every relocation that cannot be applied becomes a `Problem` with the device and pattern line it
belongs to; the caller collects them all and raises them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from metaos.emit.code import Relocation
from metaos.errors import Problem, Span, did_you_mean
from metaos.link.manifest import Symbol

_WIDTH = {"64": 8, "32": 4, "32S": 4, "PC32": 4, "PLT32": 4}
_RANGE = {
    "64": (-(1 << 63), 1 << 64),
    "32": (0, 1 << 32),
    "32S": (-(1 << 31), 1 << 31),
    "PC32": (-(1 << 31), 1 << 31),
    "PLT32": (-(1 << 31), 1 << 31),
}
"""What fits (System V ABI, AMD64 supplement, 4.4.1): lowest, and one past the highest."""

SymbolTable = Mapping[str, Symbol]


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose bytes are relocated, for the messages.

    `what` names them ("00:03.0 in steady"), `phase` is theirs ("" for data of several), and
    `span_at` finds the source line of a byte.
    """

    what: str
    phase: str
    span_at: Callable[[int], Span | None]


def relocated(
    data: bytes,
    relocations: Iterable[Relocation],
    linear: int,
    symbols: SymbolTable,
    origin: Origin,
) -> tuple[bytes, tuple[Problem, ...]]:
    """Apply `relocations` to `data`, which will stand at `linear`.

    Returns the final bytes and what is wrong: an unknown kind or symbol, a symbol that the
    phase does not map, a value that does not fit, a place outside the data.
    """
    final = bytearray(data)
    problems = []
    for one in relocations:
        symbol = symbols.get(one.symbol)
        objection, hint = _objection(one, symbol, linear, len(data), origin.phase)
        if objection or symbol is None:
            message = f"{origin.what}: relocation {one.kind} to '{one.symbol}' {objection}"
            hint = hint or (did_you_mean(one.symbol, symbols) if symbol is None else "")
            problems.append(Problem("E0601", message, origin.span_at(one.offset), hint))
            continue
        width = _WIDTH[one.kind]
        value = _value(one, symbol, linear) % (1 << 8 * width)
        final[one.offset : one.offset + width] = value.to_bytes(width, "little")
    return bytes(final), tuple(problems)


def _value(one: Relocation, symbol: Symbol, linear: int) -> int:
    """Symbol + addend, less the place itself for the PC kinds."""
    value = symbol.linear + one.addend
    return value - (linear + one.offset) if one.kind in ("PC32", "PLT32") else value


def _objection(
    one: Relocation, symbol: Symbol | None, linear: int, length: int, phase: str
) -> tuple[str, str]:
    """What is wrong with a relocation, and a hint; empty if it can be applied."""
    at = f"at byte {one.offset}"
    if one.kind not in _WIDTH:
        return f"{at} is of no kind that is known", f"known: {', '.join(_WIDTH)}"
    if symbol is None:
        return f"{at} names nothing that is in the image", ""
    if not 0 <= one.offset <= length - _WIDTH[one.kind]:
        return f"{at} lies outside its {length} bytes", ""
    if phase and symbol.phases and phase not in symbol.phases:
        return f"{at} names what {phase} does not map", f"mapped in: {', '.join(symbol.phases)}"
    low, high = _RANGE[one.kind]
    value = _value(one, symbol, linear)
    if not low <= value < high:
        return f"{at} overflows: {value:#x}", ""
    return "", ""
