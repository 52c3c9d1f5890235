"""Which functions virtio's rules serve: §4.1.2.2 of VIRTIO 1.2."""

from __future__ import annotations

import msgspec
import pytest

from metaos.match.bind import bind
from metaos.match.system import read_system
from tests.ir.virtio import CARD, PLAIN, card_of, configured, legacy, modern, patterns

replace = msgspec.structs.replace


@pytest.mark.parametrize(
    ("device", "old", "pattern"),
    [
        (0x1041, False, "virtio_net_modern"),
        (0x1000, False, "virtio_net_transitional"),
        (0x1000, True, "virtio_net_legacy"),
    ],
)
@pytest.mark.parametrize("revision", [0, 1, 0xFF])
@pytest.mark.parametrize("class_code", [0x020000, 0x028000])
def test_every_revision_and_class_is_matched(
    device: int, old: bool, pattern: str, revision: int, class_code: int
) -> None:
    machine = legacy(PLAIN) if old else modern(PLAIN)
    header = device.to_bytes(2, "little"), class_code.to_bytes(3, "little")
    machine = configured(configured(machine, 2, header[0]), 9, header[1])
    changed = replace(card_of(machine), device=device, revision=revision, class_code=class_code)
    functions = tuple(changed if f.address == CARD else f for f in machine.functions)
    bound = bind(replace(machine, functions=functions), patterns(), read_system())
    assert {b.device.address: b.pattern.name for b in bound.bindings}[CARD] == pattern
