"""The interrupts that a DSDT says of windows: resource templates, whole and damaged."""

from __future__ import annotations

import random

from metaos.probe.machine import Wire
from metaos.probe.resources import wires


def memory(base: int, size: int = 0x200) -> bytes:
    return bytes((0x86, 9, 0, 1)) + base.to_bytes(4, "little") + size.to_bytes(4, "little")


def interrupt(*lines: int, flags: int = 1) -> bytes:
    numbers = b"".join(line.to_bytes(4, "little") for line in lines)
    length = (2 + len(numbers)).to_bytes(2, "little")
    return bytes((0x89, *length, flags, len(lines))) + numbers


END = bytes((0x79, 0))
PORTS = bytes((0x47, 1, 0xF8, 3, 0xF8, 3, 0, 8))
LEVEL = Wire(line=47, edge=False, low=False)


def test_a_window_and_its_interrupt() -> None:
    one, two = 0xFEB02E00, 0xFEB02C00
    text = b"DSDT" + memory(one) + interrupt(47) + END + b"VR22"
    text += memory(two) + PORTS + interrupt(46, flags=7) + END
    assert wires(text) == {one: LEVEL, two: Wire(line=46, edge=True, low=True)}


def test_an_interrupt_of_another_template_is_not_its_own() -> None:
    assert wires(memory(0x1000) + END + memory(0x2000) + interrupt(5) + END) == {
        0x2000: Wire(line=5, edge=False, low=False)
    }


def test_of_several_interrupts_none_is_taken() -> None:
    assert wires(memory(0x1000) + interrupt(5, 6) + END) == {}


def test_what_is_cut_off_or_damaged_says_nothing_wrong_of_it() -> None:
    text, pick = memory(0xFEB02E00) + interrupt(47) + END, random.Random(3)
    for length in range(len(text) - len(END)):
        assert wires(text[:length]) == {}
    for _ in range(2000):
        wires(bytes(pick.randrange(256) if pick.random() < 0.2 else x for x in text * 2))
