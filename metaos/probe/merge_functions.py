"""PCI functions of several machine files made one: `merge_functions(sources, verdicts)`.

The header's fields stand in the config bytes, so the file whose config bytes are taken gives
them too. A longer config space continues a shorter one of the same device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from metaos.probe.agree import Claim, Source, Verdicts
from metaos.probe.header import placed_bars, read_capabilities
from metaos.probe.machine import Bar, Function, Origin, Unknown, address_order

_FIELDS = {
    "vendor": "ids",
    "device": "ids",
    "class_code": "class",
    "revision": "revision",
    "subsystem_vendor": "subsystem",
    "subsystem_device": "subsystem",
    "header_type": "header type",
    "interrupt_pin": "interrupt",
    "interrupt_line": "interrupt",
}
"""Header fields and the names by which they are unknown."""
_PCI = 256
_FIELD_PLACES = frozenset({*range(4), *range(8, 12), 14, 0x3C, 0x3D, *range(0x2C, 0x30)})
_PLACES = frozenset({*range(0x10, 0x28), *range(0x30, 0x34)})
_BRIDGE_PLACES = frozenset({*range(0x10, 0x18), *range(0x38, 0x3C)})

Given = Claim[Function]


def merge_functions(sources: Sequence[Source], verdicts: Verdicts) -> tuple[Function, ...]:
    """All functions that are there, in address order."""
    addresses = {f.address for source in sources for f in source.machine.functions}
    merged = (_at(address, sources, verdicts) for address in sorted(addresses, key=address_order))
    return tuple(function for function in merged if function is not None)


def _at(address: str, sources: Sequence[Source], verdicts: Verdicts) -> Function | None:
    """The function at an address; None if who counts more says that there is none."""
    given: list[Given] = []
    presence: list[Claim[Function | None]] = []
    for source in sources:
        found = next((f for f in source.machine.functions if f.address == address), None)
        if found is not None:
            given.append(Claim(source, found.origin, found))
            presence.append(Claim(source, found.origin, found))
        elif _complete(source, address):
            presence.append(Claim(source, source.machine.functions[0].origin, None))
    differ = any(claim.value is None for claim in presence)
    kept = verdicts.settle(address, presence, _named, quiet=not differ)
    return None if kept is None or kept.value is None else _joined(address, given, verdicts)


def _complete(source: Source, address: str) -> bool:
    """Whether a source would have the function if it were there."""
    if not source.machine.functions or source.lacks("pci functions"):
        return False
    if source.lacks(f"{address} config header"):
        return False
    return address_order(address)[0] == 0  # not every source sees other domains


def _named(function: Function | None) -> str:
    if function is None:
        return "not there"
    return f"{function.vendor:04x}:{function.device:04x} class {function.class_code:06x}"


def _joined(address: str, given: Sequence[Given], verdicts: Verdicts) -> Function:
    """One function out of what all say of it."""
    ranked = sorted(given, key=lambda g: (not g.value.config, g.rank))
    values: dict[str, int] = {}
    for name, what in _FIELDS.items():
        known = [g for g in ranked if not g.source.lacks(f"{address} {what}")] or ranked
        claims = [Claim(g.source, g.origin, int(getattr(g.value, name))) for g in known]
        digits = 6 if name == "class_code" else 4
        verdicts.settle(f"{address} {name}", claims, lambda v, d=digits: f"{v:#0{d + 2}x}")  # type: ignore[misc]
        values[name] = claims[0].value
    config = _config(address, ranked, verdicts)
    first = ranked[0].value
    function = msgspec.structs.replace(first, **values, config=config.hex())
    named = sorted(
        (g for g in given if g.value.name),
        key=lambda g: Claim(g.source, g.value.name_origin or g.origin, "").rank,
    )
    if named:
        name_origin = named[0].value.name_origin
        function = msgspec.structs.replace(
            function, name=named[0].value.name, name_origin=name_origin
        )
    return msgspec.structs.replace(
        function,
        bars=tuple(_bars(address, ranked, config, verdicts)),
        capabilities=tuple(read_capabilities(config))
        if len(config) >= _PCI
        else next((g.value.capabilities for g in ranked if g.value.capabilities), ()),
    )


def _config(address: str, ranked: Sequence[Given], verdicts: Verdicts) -> bytes:
    """The first one's bytes, and after them those of who has more of the same device."""
    first = ranked[0]
    config = bytes.fromhex(first.value.config)
    if not config:
        return config
    ids = (first.value.vendor, first.value.device)
    same = [g for g in ranked if g.value.config and (g.value.vendor, g.value.device) == ids]
    layout = first.value.header_type & 0x7F
    shown = _FIELD_PLACES | (_BRIDGE_PLACES if layout == 1 else _PLACES)
    all_bytes = [bytes.fromhex(g.value.config) for g in same]
    common = min(map(len, all_bytes))
    differ = [at for at in range(common) if at not in shown and len({x[at] for x in all_bytes}) > 1]
    if differ:
        claims = [
            Claim(g.source, g.origin, " ".join(f"{at:02x}:{x[at]:02x}" for at in differ))
            for g, x in zip(same, all_bytes, strict=True)
        ]
        verdicts.settle(f"{address} config bytes", claims, str)
    for more in all_bytes:
        config += more[len(config) :]
    return config


def _bars(
    address: str, ranked: Sequence[Given], config: bytes, verdicts: Verdicts
) -> Iterator[Bar]:
    """The windows, as the registers place them if these are known."""
    placed = placed_bars(config) if config else None
    indices = {bar.index for g in ranked for bar in g.value.bars}
    for index in sorted(indices):
        claims: list[Claim[Bar | None]] = []
        for g in ranked:
            bar = next((b for b in g.value.bars if b.index == index), None)
            if bar is not None:
                claims.append(Claim(g.source, bar.origin, _plain(bar)))
            elif not any(
                g.source.lacks(f"{address} {what}") for what in (f"bar {index} size", "bars")
            ):
                claims.append(Claim(g.source, g.origin, None))
        kept = verdicts.settle(f"{address} bar {index}", claims, _window)
        if kept is None or kept.value is None:
            continue
        bar = msgspec.structs.replace(kept.value, origin=kept.origin)
        kind, prefetchable, at = (
            (bar.kind, bar.prefetchable, bar.address) if placed is None
            else placed.get(index, (None, False, 0))
        )  # fmt: skip
        if kind is bar.kind and at % bar.size == 0:
            yield msgspec.structs.replace(bar, prefetchable=prefetchable, address=at)
            continue
        reason = f"{kept.source.name}: {_window(bar)}; the register: {kind} at {at:#x}"
        what = f"{address} bar {index} size"
        verdicts.lost.append(Unknown(what=what, reason=reason, origin=kept.origin))


def _plain(bar: Bar) -> Bar:
    """Without its origin, which is no difference."""
    return msgspec.structs.replace(bar, origin=Origin.FILE)


def _window(bar: Bar | None) -> str:
    if bar is None:
        return "not there"
    wide = " prefetchable" * bar.prefetchable
    return f"{bar.kind.value}{wide}, {bar.size:#x} bytes at {bar.address:#x}"
