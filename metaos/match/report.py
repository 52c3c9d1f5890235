"""What `metaos match` says: every device of a machine, its pattern or the nearest ones, whether
the system needs it, and what to do next.

    match_report(bindings, "machine.json").devices[5].pattern  ->  "i82540em"

Entering: `Bindings`; leaving: a `MatchReport`, plain data. A family is one candidate: what its
members have in common and where they differ is said once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from metaos.match.bind import (
    BASE_CLASS,
    NO_SERVICE,
    Binding,
    Bindings,
    Unmatched,
    carrying_classes,
    offers,
)
from metaos.match.device import Device
from metaos.match.keys import differs, function_key
from metaos.match.known import missing_facts
from metaos.match.names import device_name
from metaos.match.services import FRAME
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.spell import spell
from metaos.probe.machine import Function, domain

MOST_NEAR = 3
_MOST_MEMBERS = 8
_UNREAD = ("ids", "config header")
_READ_ON = "read it as root: metaos probe sysfs; or boot the discoverer"


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A pattern or family that nearly matches: which ids agree, and why it does not."""

    pattern: str
    agrees: tuple[str, ...]
    why_not: str


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """A device. `pattern` is empty where none serves it; then `nearest` and `next` are not.

    `presumed` is the pattern that serves it if what the file does not tell is as it asks.

    `ids` and `class_code` are of PCI functions, else empty. `needed`: "yes" if the system
    cannot do without it, "used" if it has a part in the image, else "no". `carries`: the
    services of a card.
    """

    address: str
    ids: str
    class_code: str
    name: str
    pattern: str
    why: str
    needed: str
    because: str
    carries: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    losers: tuple[Near, ...] = ()
    nearest: tuple[Near, ...] = ()
    next: str = ""
    presumed: str = ""
    unproved: str = ""
    """What the pattern was tried on, if no such device was ever driven by it."""


class MatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole machine. `unknown` is what an image needs and the file lacks."""

    machine: str
    devices: tuple[Matched, ...]
    services: tuple[str, ...]
    unknown: tuple[str, ...]
    next: str
    replaced: tuple[str, ...] = ()
    """Files of patterns that a later folder's take the place of, in words."""


def match_report(bindings: Bindings, file: str) -> MatchReport:
    """Everything that `metaos match FILE` says; `file` is named in the commands."""
    bound = [_bound(binding, bindings) for binding in bindings.bindings]
    unmatched = [_unmatched(u, bindings, file) for u in bindings.unmatched]
    rows = sorted([*bound, *unmatched], key=lambda row: _order(row, bindings))
    missing = tuple(
        f"{fact.what}: {fact.reason}" for fact in missing_facts(bindings.machine, bindings.patterns)
    )
    wanting = [row for row in rows if not row.pattern and row.needed == "yes"]
    served = any(offers(b.pattern) for b in bindings.bindings)
    if not served and wanting:
        following = wanting[0].next
    elif missing:
        following = f"metaos probe merge {file} OTHER.json, with what another source can read"
    elif not served and _carries(bindings):
        following = "nothing: this machine has no network card"
    else:
        following = f"metaos build --machine {file}"
    return MatchReport(
        machine=file,
        devices=tuple(rows),
        services=tuple(x.name for x in bindings.services),
        unknown=missing,
        next=following,
        replaced=bindings.patterns.replacements(),
    )


def _order(row: Matched, bindings: Bindings) -> tuple[int, int]:
    """Platform, tables and legacy devices as they are bound; then functions by address."""
    functions = [f.address for f in bindings.machine.functions]
    if row.address in functions:
        return 1, functions.index(row.address)
    return 0, [b.device.address for b in bindings.bindings].index(row.address)


def _carries(bindings: Bindings) -> bool:
    return any(x.over == FRAME for x in bindings.services)


def _bound(binding: Binding, bindings: Bindings) -> Matched:
    needed, because = _part(binding, bindings)
    carried = tuple(x.name for x in bindings.services if x.say is None)
    return _row(
        binding.device,
        pattern=binding.pattern.name,
        why=binding.why,
        needed=needed,
        because=because,
        carries=carried if offers(binding.pattern) else (),
        file=bindings.patterns.place(binding.pattern.span.file),
        line=binding.pattern.span.line,
        unproved=binding.pattern.unproved,
        losers=tuple(Near(pattern=x.pattern, agrees=(), why_not=x.why) for x in binding.losers),
    )


def _row(device: Device, **fields: object) -> Matched:
    function = device.function
    return msgspec.convert(
        {
            "address": device.address,
            "ids": f"{function.vendor:04x}:{function.device:04x}" if function else "",
            "class_code": f"{function.class_code:06x}" if function else "",
            "name": _name(device),
            **msgspec.to_builtins(fields),
        },
        Matched,
    )


def _name(device: Device) -> str:
    if device.function is not None:
        return device_name(device.function)
    if device.table is not None:
        return "ACPI table"
    if device.legacy is not None:
        return f"port {device.legacy.port:#x}"
    if device.mmio is not None:
        return f"{device.mmio.name} at {device.mmio.base:#x}"
    return "part of the platform"


def _part(binding: Binding, bindings: Bindings) -> tuple[str, str]:
    """What a bound device does in the image, and whether the system could do without it."""
    pattern = binding.pattern
    if offers(pattern):
        others = sum(offers(b.pattern) for b in bindings.bindings) - 1
        return ("used" if others else "yes"), "carries the services"
    said = [x.name for x in bindings.services if x.over == pattern.class_name]
    if said:
        return "used", f"says {', '.join(said)}"
    if binding.device.kind in ("platform", "acpi"):
        return "yes", f"is the image's {pattern.class_name}"
    return "used", f"is a {pattern.class_name}"


def _begin(device: Device, file: str) -> str:
    """The command that makes a pattern to begin with."""
    return f"metaos patterns new NAME --patterns DIR --from {file} {device.address}"


def _unmatched(unmatched: Unmatched, bindings: Bindings, file: str) -> Matched:
    device = unmatched.device
    assert device.function is not None
    near = nearest(device, bindings.patterns)
    needed, because = _wanted(device.function, bindings)
    refused = [x for x in unmatched.losers if x.why == NO_SERVICE]
    unread = [u for u in device.unknown if u.what.removeprefix(f"{device.address} ") in _UNREAD]
    untold = [x for x in unmatched.losers if x.untold]
    presumed = ""
    if untold and not unread:
        presumed = max(
            untold, key=lambda x: _exactness(bindings.patterns.devices[x.pattern])
        ).pattern
        because = f"{presumed} serves it, if what is not known is as it asks"
        near = tuple(Near(pattern=x.pattern, agrees=(), why_not=x.why) for x in untold)
        following = _READ_ON
    elif unread:
        because = f"{unread[0].what.partition(' ')[2]} unknown: {unread[0].reason}"
        following = _READ_ON
    elif domain(device.address):
        following = "nothing: images reach PCI domain 0 only"
    elif refused:
        needed, because = "no", NO_SERVICE
        near = (Near(pattern=refused[0].pattern, agrees=(), why_not=refused[0].why),)
        following = "name a service for it in the system file"
    elif needed == "yes":
        following = f"write a pattern (docs/guides/): {_begin(device, file)}"
    else:
        following = f"nothing: the image leaves it alone; to drive it: {_begin(device, file)}"
    return _row(
        device,
        pattern="",
        why="",
        needed=needed,
        because=because,
        nearest=near,
        next=following,
        presumed=presumed,
    )


def _exactness(pattern: Pattern) -> int:
    """How much a pattern asks for."""
    return sum(len(match.keys) for match in pattern.of(s.Match))


def _wanted(function: Function, bindings: Bindings) -> tuple[str, str]:
    """Whether the system lacks what this function, by its base class, could be."""
    if not _carries(bindings):
        return "no", "the system asks nothing of such a device"
    if function.class_code >> BASE_CLASS not in carrying_classes(bindings.patterns):
        return "no", "the system asks nothing of such a device"
    serving = [b.device.address for b in bindings.bindings if offers(b.pattern)]
    if serving:
        return "no", f"{', '.join(serving)} carries the services"
    return "yes", "the system's services need a card to carry them"


def nearest(device: Device, patterns: Patterns) -> tuple[Near, ...]:
    """The patterns and families that share an id with the device, the nearest first."""
    groups: dict[str, list[Pattern]] = defaultdict(list)
    for pattern in patterns.devices.values():
        kinds = {match.kind for match in pattern.of(s.Match)}
        if not pattern.abstract and kinds == {device.kind}:
            groups[pattern.family or pattern.name].append(pattern)
    found = [near for name, group in groups.items() if (near := _near(name, group, device))]
    found.sort(key=lambda near: (-len(near.agrees), near.pattern))
    return tuple(found[:MOST_NEAR])


def _near(name: str, group: Sequence[Pattern], device: Device) -> Near | None:
    """Why neither the pattern nor any member of the family matches; None if no id agrees."""
    keys = {pattern.name: _keys(pattern) for pattern in group}
    common = set.intersection(*(set(of) for of in keys.values()))
    agrees = [k for k in _ordered(keys[group[0].name]) if k in common and _holds(k, group, device)]
    wrong = [k for k in _ordered(keys[group[0].name]) if k in common and k not in agrees]
    if not agrees:
        return None
    if wrong:
        why = "; ".join(_why(k, group, device) for k in wrong)
    elif len(group) == 1:
        why = next(
            (w for m in group[0].of(s.Match) if (w := _where(m, device, group[0]))),
            "matches less exactly",
        )
    else:
        why = _no_member(keys, common, group, device)
    return Near(pattern=name, agrees=tuple(_spelled(k) for k in agrees), why_not=why)


def _keys(pattern: Pattern) -> tuple[tuple[str, int], ...]:
    return tuple(key for match in pattern.of(s.Match) for key in match.keys)


def _ordered(keys: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(keys))


def _holds(key: tuple[str, int], group: Sequence[Pattern], device: Device) -> bool:
    return not _why(key, group, device)


def _why(key: tuple[str, int], group: Sequence[Pattern], device: Device) -> str:
    match = group[0].of(s.Match)[0]
    return differs(replace(match, keys=(key,), where=None), device, group[0])


def _where(match: s.Match, device: Device, pattern: Pattern) -> str:
    why = differs(replace(match, keys=()), device, pattern)
    return f"{why}: {spell(match.where)}" if why and match.where is not None else why


def _no_member(
    keys: dict[str, tuple[tuple[str, int], ...]],
    common: set[tuple[str, int]],
    group: Sequence[Pattern],
    device: Device,
) -> str:
    """ "device 0x15b8 is not a member; members: 0x100c (NAME), ..." """
    own = {name: [k for k in _ordered(of) if k not in common] for name, of in keys.items()}
    asked = list(dict.fromkeys(key for of in own.values() for key, _ in of))
    is_ = " ".join(f"{key} {_value(key, device)}" for key in asked)
    members = [
        f"{' '.join(f'{value:#06x}' for _, value in of) or 'any'} ({name})"
        for name, of in sorted(own.items(), key=lambda item: item[1])
    ]
    more = len(members) - _MOST_MEMBERS
    listed = ", ".join(members[:_MOST_MEMBERS]) + (f" and {more} more" if more > 0 else "")
    return f"{is_} is not a member; members: {listed}"


def _value(key: str, device: Device) -> str:
    """What the device has for a key."""
    read = function_key(key)
    return f"{read(device.function):#06x}" if read and device.function else ""


def _spelled(key: tuple[str, int]) -> str:
    return f"{key[0]} {key[1]:#06x}"
