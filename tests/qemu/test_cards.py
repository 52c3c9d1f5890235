"""Two to four cards at once: each answers every example, on its own address, by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fairness import IN_FLIGHT, booted, flooded
from metaos.boot.run import Result, Wanted
from metaos.boot.run import test as examine
from metaos.link.image import write_image
from metaos.match.system import Card, System, read_system
from metaos.pipeline import build
from tests.qemu.booted import SERIAL
from tests.qemu.conftest import Make, probed
from tests.qemu.looks import LOOKS, asleep

pytestmark = pytest.mark.qemu

PC = ("-M", "pc", "-m", "96", "-nodefaults", *SERIAL)
Q35 = ("-M", "q35", "-m", "96", "-nodefaults", *SERIAL)
BRIDGE = ("-device", "pci-bridge,id=b,chassis_nr=1,addr=6")

MACHINES = {
    "two equal": ((*PC, *("-device", "e1000") * 2), ("00:02.0", "00:03.0")),
    "two kinds on q35": (
        (*Q35, "-device", "e1000,addr=4", "-device", "e1000e,addr=3"),
        ("00:03.0", "00:04.0"),
    ),
    "three, one behind a bridge, named in another order": (
        (
            *(*PC, "-device", "e1000,addr=5", *BRIDGE),
            *("-device", "e1000,bus=b,addr=2", "-device", "e1000,addr=3"),
        ),
        ("00:03.0", "00:05.0", "01:02.0"),
    ),
    "one with DMA, one with a data port": (
        (*PC, "-device", "e1000", "-device", "ne2k_pci"),
        ("00:02.0", "00:03.0"),
    ),
    "four": (
        (*PC, *("-device", "e1000") * 4),
        ("00:02.0", "00:03.0", "00:04.0", "00:05.0"),
    ),
}


def examined(path: Path) -> Result:
    wanted = Wanted(image=path, net="wire", capture=None, accel="tcg", target=None, arguments=())
    result = examine(wanted, patterns=(), seed=3, boot_seconds=20, progress=lambda _: None)
    failed = [f"{v.card} {v.question}: {v.detail}" for v in result.verdicts if not v.passed]
    assert result.passed, "\n".join([*failed, f"the console said: {result.console}"])
    return result


@pytest.mark.parametrize(("arguments", "cards"), MACHINES.values(), ids=MACHINES)
def test_each_card_answers_every_example(
    arguments: tuple[str, ...], cards: tuple[str, ...], make: Make
) -> None:
    path, image = make(probed(*arguments))
    first = int(read_system().interface.ip)
    served = {d.address: d.interface for d in image.manifest.provenance.devices if d.offers}
    assert list(served) == list(cards)
    assert list(served.values()) == [f"10.0.2.{(first & 0xFF) + n}/24" for n in range(len(cards))]
    verdicts = examined(path).verdicts
    for card in cards:
        asked = [v for v in verdicts if v.card == card]
        assert sum(v.expected == "an answer" for v in asked) >= 18
        assert sum(v.expected == "silence" for v in asked) >= 20


def test_the_system_file_gives_cards_addresses_and_services(tmp_path: Path) -> None:
    arguments, (one, other) = MACHINES["two equal"]
    named = {other: Card(address="10.9.0.1/16", services=("arp", "icmp.echo"))}
    services = ("banner", "arp", "icmp.echo", "udp.echo")
    system = System(name="own", address="10.0.2.15/24", services=services, cards=named)
    image = build(probed(*arguments), system=system)
    write_image(image, tmp_path / "x.img")
    of = {d.address: d.interface for d in image.manifest.provenance.devices if d.offers}
    assert of == {one: "10.0.2.15/24", other: "10.9.0.1/16"}
    verdicts = examined(tmp_path / "x.img").verdicts
    asked = {card: {v.service for v in verdicts if v.card == card} for card in (one, other)}
    assert "udp.echo" in asked[one] and "udp.echo" not in asked[other]
    assert "icmp.echo" in asked[other]


def test_a_flood_on_one_card_silences_no_other(make: Make) -> None:
    """How long an answer takes is for the benchmark to say: here none may be lost.

    Both cards hold one line, which is down in the end.
    """
    machine = probed(*PC, "-device", "e1000,addr=3", "-device", "rtl8139,addr=7")
    lines = {f.address: f.interrupt_line for f in machine.functions}
    assert lines["00:03.0"] == lines["00:07.0"]
    path, _ = make(machine)
    with booted(path) as ends:
        floods = flooded(ends, echoes=100, frames=2000)
        assert asleep(ends[0].vm) >= LOOKS - 1
    assert {flood.card for flood in floods} == {"00:03.0", "00:07.0"}
    for flood in floods:
        assert flood.flooded >= 2000 and flood.asked >= 100
        assert flood.flooded - flood.flood_answered <= IN_FLIGHT, "the flood itself lost frames"
        assert (flood.lost, flood.wrong) == (0, 0)
