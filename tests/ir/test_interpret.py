"""The interpreter does one turn: memory, gates, ports, strings, and faults that say where."""

from __future__ import annotations

import pytest

from metaos.errors import MetaosError
from metaos.ir.build import Builder
from metaos.ir.interpret import Memory, Ram, run
from metaos.ir.program import ABSOLUTE, SHADOW, Op, Program


class Recorder:
    """A region and ports at once that remember each access."""

    size = 0x1000

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []

    def read(self, where: int, width: int) -> int:
        self.log.append(("read", where, width))
        return where

    def write(self, where: int, width: int, value: int) -> None:
        self.log.append(("write", where, width, value))


def test_accesses_come_in_order_and_gated_ones_not_at_all() -> None:
    device = Recorder()
    memory = Memory({"regs": (0x1000000, device), "open": (0x200000, Ram(b"\x01"))})
    b = Builder("d", "steady")
    go = b.trunc(b.load(8, "open"), 1)
    shut = b.gate(b.const(0, 64), b.not_(go))
    value = b.load(32, "regs", 8, (b.gate(b.const(0, 64), go),), ordered=True)
    b.store(value, "regs", 0x10, ordered=True)
    b.store(value, "regs", 0x20, (shut,), ordered=True)
    b.load(16, "regs", 0x20, (b.gate_any(shut, shut),), ordered=True)
    b.load(16, "regs", 0x30, (b.gate_any(shut, b.gate(b.const(0, 64), go)),), ordered=True)
    run(b.finish(), memory)
    assert device.log == [("read", 8, 32), ("write", 0x10, 32, 8), ("read", 0x30, 16)]


def test_two_open_gates_are_not_exclusive_and_fault() -> None:
    b = Builder("d", "steady")
    gate = b.gate(b.const(0, 64), b.trunc(b.load(8, "open"), 1))
    b.load(8, "open", 0, (b.gate_any(gate, gate),), ordered=True)
    with pytest.raises(MetaosError, match="where nothing is"):
        run(b.finish(), Memory({"open": (0x200000, Ram(b"\x01"))}))


def test_scratch_keeps_what_a_gated_store_put_there() -> None:
    ram = Ram(16)
    b = Builder("d", "steady")
    shut = b.add(b.gate(b.const(0, 64), b.trunc(b.load(8, "m"), 1)), b.const(0, 64))
    b.store(b.const(0x55, 8), "m", 8, (shut,))
    b.store(b.load(8, "m", 8, (shut,)), "m", 1)
    run(b.finish(), Memory({"m": (0x200000, ram)}))
    assert bytes(ram.data) == bytes([0, 0x55]) + bytes(14)


def test_ports_and_strings() -> None:
    ports, ram = Recorder(), Ram(b"abcd" + bytes(12))
    b = Builder("d", "steady")
    count = b.zext(b.trunc(b.load(8, "m"), 1), 64)  # 'a' is odd: one unit
    b.output(b.const(0x3F8, 16), b.const(0x41, 8))
    b.outs(b.const(0x3F9, 16), b.const(2, 64), b.address("m", 1), 8)
    b.outs(b.const(0x3FA, 16), b.const(0, 64), b.address("m", 1), 8)
    b.ins(b.const(0x1F0, 16), count, b.address("m", 4), 16)
    b.store(b.input(b.const(0x408, 16), 32), "m", 8)
    run(b.finish(), Memory({"m": (0x200000, ram)}), ports)
    assert ports.log == [
        ("write", 0x3F8, 8, 0x41),
        ("write", 0x3F9, 8, ord("b")),
        ("write", 0x3F9, 8, ord("c")),
        ("read", 0x1F0, 16),
        ("read", 0x408, 32),
    ]
    assert bytes(ram.data) == b"abcd\xf0\x01\0\0\x08\x04" + bytes(6)


def test_cpuid_fill_and_fence() -> None:
    ram = Ram(b"\xff" * 32)
    b = Builder("d", "guard")
    b.fill(b.address("m", 8), b.const(2, 64))
    b.fence()
    b.store(b.cpuid(7, 1, 3), "m")
    run(
        b.finish(),
        Memory({"m": (0x200000, ram)}),
        cpuid=lambda leaf, sub: (0, 0, 0, leaf * 16 + sub),
    )
    assert bytes(ram.data) == b"\x71\0\0\0\xff\xff\xff\xff" + bytes(16) + b"\xff" * 8


def test_the_counter_is_looked_at_each_time_in_its_place() -> None:
    b = Builder("d", "init")
    before = b.counted()
    port = b.input(b.const(0x40, 16), 8)
    after = b.counted()
    b.store(b.udiv(b.sub(after, before), b.or_(b.zext(port, 64), b.const(1, 64))), "m")
    cell, looks = Ram(8), iter((1 << 70, 1000))
    log: list[str] = []

    def counter() -> int:
        log.append("look")
        return next(looks)

    class Port:
        def read(self, port: int, width: int) -> int:
            log.append("port")
            return 6

        def write(self, port: int, width: int, value: int) -> None:
            raise AssertionError

    run(b.finish(), Memory({"m": (0x1000, cell)}), Port(), counter=counter)
    assert log == ["look", "port", "look"]
    assert cell.read(0, 64) == 1000 // 7


def test_copy_moves_whole_quadwords_upwards() -> None:
    ram = Ram(bytes(range(32)))
    b = Builder("d", "steady")
    b.copy(b.address("m", 16), b.address("m", 1), b.const(1, 64))
    b.copy(b.address("m"), b.address("m", 24), b.const(0, 64))
    run(b.finish(), Memory({"m": (0x200000, ram)}))
    assert bytes(ram.data) == bytes([*range(16), *range(1, 9), *range(24, 32)])


def test_addresses_wrap_at_64_bits_and_symbols_need_no_region() -> None:
    ram = Ram(b"\x07" + bytes(15))
    memory = Memory({"m": (0x200000, ram)}, {"root.init": 0x101000})
    b = Builder("d", "init")
    back = b.sub(b.const(0, 64), b.zext(b.load(8, "m"), 64))
    b.store(b.trunc(b.address("root.init"), 32), "m", 15, (back,))
    run(b.finish(), memory)
    assert ram.read(8, 32) == 0x101000


def test_absolute_addresses_are_all_index() -> None:
    b = Builder("d", "init")
    b.barrier()
    b.store(b.const(9, 8), ABSOLUTE, 0, (b.zext(b.load(32, "m"), 64),))
    ram = Ram((0x200007).to_bytes(8, "little"))
    run(b.finish(), Memory({"m": (0x200000, ram)}))
    assert ram.data[7] == 9


def fault(op: Op, *before: Op) -> str:
    memory = Memory({"m": (0x200000, Ram(b"\x40" + bytes(7))), "ro": (0x80000000, Ram(8))})
    with pytest.raises(MetaosError) as caught:
        run(Program("d", "steady", (*before, op)), memory)
    return str(caught.value)


def test_faults_say_what_and_where() -> None:
    b = Builder("d", "steady")
    port, quad = b.const(0x80, 16), b.zext(b.load(8, "m"), 64)
    assert "0x200008" in fault(b.load(8, "m", 8))
    assert "64 bits at 0x200001" in fault(b.load(64, "m", 1))
    assert f"{0x200000 + 2 * SHADOW:#x}" in fault(b.load(8, "m", 2 * SHADOW))
    assert "called 'nowhere'" in fault(b.load(8, "nowhere"))
    assert "there are no ports" in fault(b.input(port, 8), port)
    assert "there is no processor" in fault(b.cpuid(0, 0, 0), b.const(0, 32))
    assert "there is no processor" in fault(b.counted(), b.const(0, 64))
    assert "shl of 64 bits by 64" in fault(b.shl(quad, quad), *quad.args, quad)


def test_read_only_memory_refuses_stores() -> None:
    b = Builder("d", "steady")
    b.store(b.const(1, 8), "rows")
    with pytest.raises(MetaosError, match="read-only"):
        run(b.finish(), Memory({"rows": (0x80000000, Ram(8, writable=False))}))


def test_overlapping_regions_are_refused() -> None:
    with pytest.raises(MetaosError, match="overlap"):
        Memory({"a": (0x1000, Ram(32)), "b": (0x1010, Ram(8))})
