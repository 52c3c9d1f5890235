"""Devices in windows of memory that no bus announces: QEMU's tree, machine files, matches."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos.boot.target import boot_disk
from metaos.errors import MetaosError, Span
from metaos.match.bind import bind_devices
from metaos.match.changes import changes
from metaos.match.device import devices
from metaos.match.facts import WindowFact, evaluate
from metaos.pattern import syntax as s
from metaos.pattern.patterns import load
from metaos.probe import qemu
from metaos.probe.join import Named
from metaos.probe.machine import Machine, Mmio, Network, Origin
from metaos.probe.merge import merge
from metaos.probe.store import format_machine, parse_machine, read_machine
from metaos.resources import PATTERNS

BARE = Path(__file__).parents[1] / "data" / "machines" / "pc-bare.json"
TREE = """bus: main-system-bus
  type System
  dev: some-ged, id ""
    gpio-out "sysbus-irq" 1
    mmio 00000000fea00000/0000000000000004
    mmio ffffffffffffffff/0000000000000018
  dev: some-transport, id ""
    force-legacy = true
    mmio 00000000feb02e00/0000000000000200
    bus: some-transport-bus.23
      type some-transport-bus
      dev: some-net-device, id ""
        mac = "52:54:00:12:34:56"
  dev: some-transport, id ""
    mmio 00000000feb02c00/0000000000000200
    bus: some-transport-bus.22
      type some-transport-bus
  dev: q35-pcihost, id ""
    mmio 00000000b0000000/0000000010000000
    bus: pcie.0
      type PCIE
      dev: e1000, id ""
        addr = 03.0
        class Ethernet controller, addr 00:03.0, pci id 8086:100e (sub 1af4:1100)
        mac = "52:54:00:00:00:03"
"""
SPAN = Span("test", 1, 1, 2)


def window(kind: str = "virtio_mmio", **words: int) -> Mmio:
    """A window whose first words are those of a card over MMIO, version 1, but for `words`."""
    said = {"magic": 0x74726976, "version": 1, "device": 1, "vendor": 0x554D4551} | words
    data = b"".join(word.to_bytes(4, "little") for word in said.values())
    return Mmio(
        kind=kind, base=0xFEB02E00, size=0x200, data=data.hex(), name="a card", origin=Origin.QEMU
    )


def machine(one: Mmio | None = None) -> Machine:
    bare = read_machine(BARE)
    return msgspec.structs.replace(bare, mmio=(one,)) if one is not None else bare


def test_a_window_with_one_device_behind_it_is_found_in_the_tree() -> None:
    assert qemu.parse_tree(TREE) == {
        "00:03.0": Named("e1000", "52:54:00:00:00:03"),
        "mmio@feb02e00": Named("some-net-device", "52:54:00:12:34:56"),
    }


def test_the_monitors_words_are_bytes() -> None:
    text = "00000000feb02e00: 0x74726976 0x00000001 0x00000002 0x554d4551\r\n"
    assert qemu._words(text) == b"virt\1\0\0\0\2\0\0\0QEMU"


def test_a_file_has_them_only_where_there_are_some() -> None:
    assert '"mmio"' not in format_machine(machine())
    made = machine(window())
    text = format_machine(made)
    assert '"base": "0xfeb02e00"' in text
    assert parse_machine(text) == made


@pytest.mark.parametrize(
    ("change", "said"),
    [({"base": 0}, "no window has"), ({"size": 0}, "no window has"), ({"data": "abc"}, "hex")],
)
def test_nonsense_is_refused(change: dict[str, object], said: str) -> None:
    broken = msgspec.structs.replace(window(), **change)
    with pytest.raises(MetaosError) as refused:
        parse_machine(format_machine(machine(broken)))
    assert said in refused.value.render()


def test_its_mac_needs_no_function() -> None:
    mac = Network(address="mmio@feb02e00", mac="52:54:00:12:34:56", origin=Origin.QEMU)
    with_mac = msgspec.structs.replace(machine(window()), networks=(mac,))
    assert parse_machine(format_machine(with_mac)) == with_mac


def test_merged_files_keep_them() -> None:
    assert merge([("a", machine()), ("b", machine(window()))]).machine.mmio == (window(),)


def bound(one: Mmio) -> list[str]:
    found = bind_devices(machine(one), load([PATTERNS]))
    return [b.pattern.name for b in found if b.device.address == "mmio@feb02e00"]


def test_the_words_in_the_window_say_which_pattern_serves_it() -> None:
    assert bound(window()) == ["virtio_net_mmio_legacy"]
    assert bound(window(version=2)) == ["virtio_net_mmio"]
    assert bound(window(version=3)) == []
    assert bound(window(device=2)) == []
    assert bound(window(magic=0)) == []
    assert bound(window(kind="another")) == []


def test_its_window_and_its_words_are_facts() -> None:
    (device,) = (d for d in devices(machine(window())) if d.kind == "mmio")
    of = s.Name("mmio", SPAN)
    place = evaluate(s.Member(of, "window", SPAN), device)
    assert place == WindowFact(0xFEB02E00, 0x200, "mmio.mmio@feb02e00")
    word = s.Index(s.Member(of, "u32", SPAN), s.Number(8, SPAN), SPAN)
    assert evaluate(word, device) == 1
    beyond = s.Index(s.Member(of, "u32", SPAN), s.Number(16, SPAN), SPAN)
    with pytest.raises(MetaosError, match="a fact cannot be had"):
        evaluate(beyond, device)


def test_two_machines_are_compared_by_their_windows() -> None:
    there = machine(window())
    gone = changes(there, machine())
    assert [(c.subject, c.how) for c in gone] == [("mmio@feb02e00", "removed")]
    other = changes(there, machine(window(device=2)))
    assert [(c.subject, c.fact, c.how) for c in other] == [("mmio@feb02e00", "data", "changed")]
    assert changes(there, there) == ()


@pytest.mark.parametrize(
    ("arguments", "disk"),
    [
        ((), "ide-hd"),
        (("-M", "q35"), "ide-hd"),
        (("-M", "microvm"), "virtio-blk-device"),
        (("-machine", "type=microvm,acpi=on"), "virtio-blk-device"),
        (("-M", "microvm", "-M", "pc"), "ide-hd"),
    ],
)
def test_a_machine_without_pci_has_another_boot_disk(arguments: tuple[str, ...], disk: str) -> None:
    words = boot_disk(Path("x.img"), arguments)
    assert words[-1] == f"{disk},drive=metaos,bootindex=0"
    assert ("-L" in words) is (disk != "ide-hd")
