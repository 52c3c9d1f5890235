"""A machine whose functions have other words in configuration space: `configured(machine, ...)`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from metaos.probe.machine import Machine


def configured(machine: Machine, address: str, words: Mapping[int, int]) -> Machine:
    """The machine, of whose function the config words at these offsets are these."""

    def changed(config: str) -> str:
        data = bytearray.fromhex(config)
        for at, word in words.items():
            data[at : at + 4] = word.to_bytes(4, "little")
        return data.hex()

    assert any(f.address == address for f in machine.functions)
    return msgspec.structs.replace(
        machine,
        functions=tuple(
            msgspec.structs.replace(f, config=changed(f.config)) if f.address == address else f
            for f in machine.functions
        ),
    )
