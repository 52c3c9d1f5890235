"""The tables of devices: what each is recognised by, and where it is tested.

Places are read from the tests' own tables of machines and from docs/devices.toml, so that a row
says what is booted and nothing else.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.soak import MACHINES as SOAKED
from metaos.boot.target import load_target, targets
from tests.qemu import test_flood, test_link, test_targets
from tests.qemu.cards import devices as known
from tests.qemu.cards import placed

NETWORK = "net.ethernet"
HEADER = (
    "device", "class", "recognised by", "pattern", "QEMU's name", "target", "booted and asked on",
    "link down and up", "10,000 echoes in flight", "soak", "on silicon",
)  # fmt: skip
NOT_PROVED = "not proved"
"""No image has run on a real machine."""

Arguments = Sequence[str]


def tested(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A row of HEADER for each device; `rows` have `name`, `about`, `class`, `matches`, `link`."""
    seen = {
        "target": _named((name, load_target(name).args) for name in targets()),
        "booted": _places(test_targets.MACHINES.values()),
        "link": _named(("yes", (*a, "-device", c)) for a, c in test_link.CARDS.values()),
        "flood": _named(
            ("yes", (*_target(target), *a)) for target, a in test_flood.MACHINES.values()
        ),
        "soak": _named((name, (*_target(t), *a)) for name, (t, a) in SOAKED.items()),
    }
    names = _qemu_names()
    for row in rows:
        name, network = row["name"], row["class"] == NETWORK
        cells = (
            ", ".join(names[name]) or ("none: a fake only" if network else ""),
            *("; ".join(seen[what][name]) or ("no" if network else "") for what in seen),
        )
        matches = ", ".join(f"`{m}`" for m in row["matches"])
        own = cells if network else [""] * len(cells)
        proved = f"**{NOT_PROVED}**: {row['unproved']}" if row["unproved"] else NOT_PROVED
        yield row["about"], f"`{row['class']}`", matches, row["link"], *own, proved


def without() -> Iterator[tuple[str, str]]:
    """QEMU's network devices that no pattern serves, and why."""
    for one in known()["none"]:
        yield ", ".join(f"`{name}`" for name in one["qemu"]), one["why"]


def _target(name: str) -> Arguments:
    return load_target(name).args


def _named(machines: Iterable[tuple[str, Arguments]]) -> defaultdict[str, dict[str, None]]:
    """The names of the machines that have a card of each pattern."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name, arguments in machines:
        for card in placed(arguments):
            found[card.pattern][name] = None
    return found


def _places(machines: Iterable[Arguments]) -> defaultdict[str, dict[str, None]]:
    """The places that a card of each pattern has on these machines."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    cards = itertools.chain.from_iterable(placed(arguments) for arguments in machines)
    for card in sorted(cards, key=lambda card: card.place):
        found[card.pattern][card.place] = None
    return found


def _qemu_names() -> defaultdict[str, list[str]]:
    """QEMU's name of each pattern's device, with the properties and the place that make it so."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for card in known()["card"]:
        given = card.get("with", ())
        name = ",".join((card["qemu"], *(x for x in given if x[0] != "-")))
        name = " ".join((name, *(x for x in given if x[0] == "-")))
        found[card["pattern"]].append(f"`{name}`{' behind a port' * card.get('port', False)}")
    return found
