"""Which pattern a QEMU machine's network card is for, by docs/devices.toml, and where the card is.

placed(("-M", "q35", "-device", "pcie-root-port,id=p", "-device", "e1000e,bus=p"))
    -> (Placed("i82574l", "q35, behind a root port"),)
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "docs" / "devices.toml"
BRIDGES = {
    "pci-bridge": "behind a bridge",
    "pcie-pci-bridge": "behind a bridge",
    "pcie-root-port": "behind a root port",
}


@dataclass(frozen=True)
class Placed:
    """A card that a pattern serves, and the place that it has on its machine."""

    pattern: str
    place: str


def devices() -> dict[str, Any]:
    """What docs/devices.toml says."""
    return tomllib.loads(DATA.read_text("utf-8"))


def placed(arguments: Sequence[str]) -> tuple[Placed, ...]:
    """The cards that QEMU's arguments name with -device, in their order."""
    return tuple(_cards(arguments))


def _cards(arguments: Sequence[str]) -> Iterator[Placed]:
    pairs = [*itertools.pairwise([*arguments, ""])]
    chipset = next((value.partition(",")[0] for option, value in pairs if option == "-M"), "pc")
    everywhere = [f"{option} {value}" for option, value in pairs if option == "-global"]
    bridges: dict[str, str] = {}
    for option, value in pairs:
        if option != "-device":
            continue
        name, *properties = value.split(",")
        given = dict(p.partition("=")[::2] for p in properties)
        if name in BRIDGES:
            bridges[given.get("id", "")] = BRIDGES[name]
        where = bridges.get(given.get("bus", "").partition(".")[0], "")
        for card in devices()["card"]:
            if card["qemu"] == name and _is(card, [*properties, *everywhere], "port" in where):
                yield Placed(card["pattern"], f"{chipset}, {where}" if where else chipset)


def _is(card: dict[str, Any], properties: Sequence[str], port: bool) -> bool:
    wanted = all(one in properties for one in card.get("with", ()))
    unwanted = any(one in properties for one in card.get("without", ()))
    return wanted and not unwanted and card.get("port", port) is port
