"""Damaged text: no traceback, no hang, and every fault says where it is.

Run by hand with other seeds: `FUZZ_SEED=7 pytest -m soak tests/probe/test_fuzz_texts.py`.
"""

from __future__ import annotations

import os
import random
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metaos.cli_processor import processor_lines
from metaos.errors import MetaosError
from metaos.match.processor import shown_processor
from metaos.probe.cpuid_machine import processors
from metaos.probe.cpuid_text import dumped, read_dump
from metaos.probe.lspci_machine import lspci_machine
from metaos.probe.machine import Machine
from metaos.probe.paste import MOST_BYTES, MOST_LINES, decode
from metaos.probe.store import format_machine, parse_machine, read_machine
from tests.probe.lspci_text import lspci, mm, vmm
from tests.probe.mutations import mutated
from tests.probe.test_cpuid import FORMS

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
QUICK, SLOW = 400, 20_000
SECOND = 1.0
LARGE = 15.0
MOST_MEMORY = 200 << 10
"""KiB that 20,000 dumps may leave the process larger by."""
_POSITION = re.compile(r"^\S.*?:\d+:\d+: ", re.MULTILINE)
_TOKENS = (
    b"00:1f.0 ", b"0000:", b"[0200]: ", b"[8086:100e]", b" (rev 02)", b"00: ", b"10: ", b"ff ",
    b"\tRegion 0: Memory at ", b"(32-bit, non-prefetchable) ", b"[size=128K]", b"[size=999999P]",
    b"I/O ports at ", b"Slot:\t", b"Capabilities: [", b"Subsystem: ", b'"', b"\\", b"-r02",
    b"CPU 0:\n", b"CPUID 00000000: ", b"0x00000000 0x00: eax=", b"0000000D-756E6547-", b"=> ",
    b"[SL 01]", b"\n", b"\r\n", b"\r", b"\t", b" ", b"> ", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf",
    b"\xf0\x9f\x98\x80", b"\x1b[31m", b"(" * 40, b"[" * 40, b" " * 60, b"\xc2\xa0", b"9" * 40,
)  # fmt: skip


def lspci_seeds() -> list[bytes]:
    functions = read_machine(DATA / "machines" / "q35-bridge.json").functions
    made = [lspci(functions, verbose=2, dump=64), lspci(functions[:2], verbose=1, dump=256)]
    made += [lspci(functions), lspci(functions, ids="n"), vmm(functions), mm(functions)]
    found = [path.read_bytes() for path in sorted((HERE / "data" / "lspci").glob("*.txt"))]
    return found + [text.encode() for text in made]


def cpuid_seeds() -> list[bytes]:
    dumps = [read_dump(DATA / "cpuid" / f"{name}.txt")[:2] for name in ("opteron-250", "xeon-6140")]
    return [form(dump).encode() for form in FORMS for dump in dumps]


def damaged(rng: random.Random, seeds: list[bytes]) -> bytes:
    """One seed with words put in, lines moved, another's end; and then its bytes damaged."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0 | 1:
                data[at:at] = rng.choice(_TOKENS)
            case 2:
                lines = data.split(b"\n")
                lines.insert(rng.randrange(len(lines)), rng.choice(lines))
                data = bytearray(b"\n".join(lines))
            case _:
                other = rng.choice(seeds)
                data[at:] = other[rng.randrange(len(other)) :]
    return mutated(bytes(data), rng)


def read_lspci(data: bytes) -> Machine:
    machine, _ = lspci_machine(decode(data, "dump.txt"), "dump.txt")
    return machine


def read_cpuid(data: bytes) -> None:
    cpu = processors(dumped(decode(data, "dump.txt"), "dump.txt"))
    assert list(processor_lines(shown_processor(cpu)))


def hammer(parse: Callable[[bytes], Machine | None], seeds: list[bytes], count: int) -> None:
    rng = random.Random(int(os.environ.get("FUZZ_SEED", "0")))
    read = refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        data = damaged(rng, seeds)
        start = time.process_time()
        try:
            machine = parse(data)
            read += 1
            if machine is not None and number % 8 == 0:
                assert parse_machine(format_machine(machine)) == machine, data
        except MetaosError as error:
            refused += 1
            told = [problem.render() for problem in error.problems] or [error.message]
            assert all(_POSITION.match(text) for text in told), (told, data)
        assert time.process_time() - start < SECOND, data
    assert read > count // 20 and refused > count // 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MOST_MEMORY


def test_some_damaged_lspci_texts() -> None:
    hammer(read_lspci, lspci_seeds(), QUICK)


def test_some_damaged_cpuid_dumps() -> None:
    hammer(read_cpuid, cpuid_seeds(), QUICK)


@pytest.mark.soak
def test_many_damaged_lspci_texts() -> None:
    hammer(read_lspci, lspci_seeds(), SLOW)


@pytest.mark.soak
def test_many_damaged_cpuid_dumps() -> None:
    hammer(read_cpuid, cpuid_seeds(), SLOW)


_EVIL = (
    "00:1f.0 a: " + "[" * 1900,
    "00:1f.0 " + "a" * 900 + " [" * 400 + "0200]: ",
    "00:1f.0 a [0200]: " + "x " * 900,
    "00:1f.0 a [0200]: " + "[8086:100" * 200,
    "00:1f.0 a: " + "(rev " * 380,
    '00:1f.0 "' + '\\"' * 900,
    '00:1f.0 "' + '" "' * 600,
    "00:1f.0/" * 240,
    "0000:00:1f.0/" * 150 + "x",
    "00: " + "00 " * 640,
    "\tRegion 0: " + "Memory at " * 180,
    "\tRegion 0: " + " " * 1900,
    "\tMemory at fe000000 " + "(" * 900 + "[" * 900,
    "\tMemory at fe000000 " + "[size=" * 300,
    "\tMemory at fe000000 " + "(32-bit" * 250,
    "\tA: " + "[8086:100e] " * 150,
    "> " * 990,
    " " * 1990 + "x",
    "CPUID 00000000" + " " * 1900,
    "CPUID 00000000: 00000000-00000000-00000000-00000000 " + "[SL " * 400,
    "0x00000000" + " 0x0" * 400 + ": eax=",
    "0x00000000 0x00: eax=0x0 ebx=0x0 ecx=0x0 edx" + " " * 1900,
    "1 " * 900 + "=>",
    "-" * 1900 + "CPU",
    "CPU" + " " * 1900 + "x",
)  # fmt: skip


@pytest.mark.parametrize("line", _EVIL)
def test_lines_made_to_be_slow(line: str) -> None:
    """No pattern takes long on a line of any length, nor on many of them."""
    text = f"00:05.0 0200: 8086:100e\n{(line + chr(10)) * 40}"
    for parse in (read_lspci, read_cpuid):
        start = time.process_time()
        try:
            parse(text.encode())
        except MetaosError as error:
            assert all(_POSITION.match(p.render()) for p in error.problems)
        assert time.process_time() - start < SECOND


@pytest.mark.soak
@pytest.mark.parametrize(
    "line", ["00:05.0 0200: 8086:100e\n", "\n", "x", "00: " + "00 " * 16 + "\n"]
)
def test_the_largest_text_ends_in_time(line: str) -> None:
    """A text as large as is taken at all."""
    data = (line.encode() * (MOST_BYTES // len(line.encode()) + 1))[:MOST_BYTES]
    for parse in (read_lspci, read_cpuid):
        start = time.process_time()
        try:
            parse(data)
        except MetaosError as error:
            assert error.problems or f":{MOST_LINES + 1}:1: " in error.message
        assert time.process_time() - start < LARGE
