"""Emitted code, linked by hand and run in unicorn."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from metaos.emit.code import Code
from tests.image.engine import UNICORN

CODE, DATA, SIZE = 0x100000, 0x200000, 0x10000
_FORMATS = {"64": "<Q", "32": "<I", "32S": "<i", "PC32": "<i", "PLT32": "<i"}


def linked(code: Code, where: Mapping[str, int]) -> bytes:
    """The code at `CODE`, every relocation applied."""
    text = bytearray(code.text)
    for r in code.relocations:
        value = where[r.symbol] + r.addend
        if r.kind.startswith("P"):
            value -= CODE + r.offset
        struct.pack_into(_FORMATS[r.kind], text, r.offset, value)
    return bytes(text)


def executed(code: Code, where: Mapping[str, int], content: Mapping[str, int]) -> dict[str, int]:
    """The 64-bit numbers at all places after the code has run once over `content`."""
    machine: Any = UNICORN.Uc(UNICORN.UC_ARCH_X86, UNICORN.UC_MODE_64)
    machine.mem_map(CODE, SIZE)
    machine.mem_map(DATA, SIZE)
    machine.mem_write(CODE, linked(code, where))
    for name, value in content.items():
        machine.mem_write(where[name], value.to_bytes(8, "little"))
    machine.emu_start(CODE, CODE + len(code.text))
    return {name: int.from_bytes(machine.mem_read(at, 8), "little") for name, at in where.items()}
