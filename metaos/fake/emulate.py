"""The emitted code in unicorn, where that is installed: `Emulator(memory, regions, ports)`.

Places, tables and windows lie where the interpreter has them, and a shadow 2^30 above each.
Unicorn is no part of MetaOS, which does without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from metaos.emit.code import Code
from metaos.emit.emit import emit
from metaos.errors import MetaosError, Problem, Span
from metaos.ir.interpret import NO_PROCESSOR, SCRATCH, Memory, Ports, Processor, Ram, Region
from metaos.ir.program import SHADOW, Program

_CODE, _STACK, _PAGE = 0x4000_0000 - (1 << 24), 0x4000_0000 - (1 << 20), 0x1000
_SIGNED = frozenset({"32S", "PC32", "PLT32"})


def available() -> bool:
    """Whether unicorn can be imported."""
    return find_spec("unicorn") is not None


class Emulator:
    """Executes the machine code of programs. `regions` begin with what they hold now."""

    def __init__(
        self,
        memory: Memory,
        regions: Mapping[str, tuple[int, Region]],
        ports: Ports,
        processor: Processor = NO_PROCESSOR,
    ) -> None:
        self._unicorn: Any = import_module("unicorn")
        self._x86: Any = import_module("unicorn.x86_const")
        self._memory, self._ports, self._processor = memory, ports, processor
        self._codes: dict[int, tuple[Program, Code, int]] = {}
        self._next = _CODE
        self._wrong: MetaosError | None = None
        self._uc: Any = self._unicorn.Uc(self._unicorn.UC_ARCH_X86, self._unicorn.UC_MODE_64)
        self._mapped: set[int] = set()
        self._map(_CODE, 1 << 20)
        self._map(_STACK, 1 << 16)
        for start, region in regions.values():
            self._region(start, region)
        self._uc.hook_add(self._unicorn.UC_HOOK_INSN, self._in, None, 1, 0, self._x86.UC_X86_INS_IN)
        self._uc.hook_add(
            self._unicorn.UC_HOOK_INSN, self._out, None, 1, 0, self._x86.UC_X86_INS_OUT
        )

        self._uc.hook_add(
            self._unicorn.UC_HOOK_INSN, self._asked, None, 1, 0, self._x86.UC_X86_INS_CPUID
        )

    def _map(self, start: int, size: int) -> None:
        """Plain memory; regions share pages."""
        for page in range(start & -_PAGE, start + size, _PAGE):
            if page not in self._mapped:
                self._mapped.add(page)
                self._uc.mem_map(page, _PAGE)

    def _region(self, start: int, region: Region) -> None:
        self._map(start + SHADOW, min(region.size, SCRATCH) + 8)
        if isinstance(region, Ram):
            self._map(start, region.size)
            self._uc.mem_write(start, bytes(region.data))
            return
        size = -(-region.size // _PAGE) * _PAGE
        self._uc.mmio_map(start, size, self._reader(region), None, self._writer(region), None)

    def _reader(self, region: Region) -> Callable[..., int]:
        def read(uc: Any, offset: int, size: int, data: Any) -> int:
            return self._safely(lambda: region.read(offset, 8 * size))

        return read

    def _writer(self, region: Region) -> Callable[..., None]:
        def write(uc: Any, offset: int, size: int, value: int, data: Any) -> None:
            self._safely(lambda: region.write(offset, 8 * size, value))

        return write

    def _in(self, uc: Any, port: int, size: int, data: Any) -> int:
        return self._safely(lambda: self._ports.read(port, 8 * size))

    def _out(self, uc: Any, port: int, size: int, value: int, data: Any) -> None:
        self._safely(lambda: self._ports.write(port, 8 * size, value & (1 << 8 * size) - 1))

    def _asked(self, uc: Any, data: Any) -> bool:
        """CPUID, which is then not executed."""
        x86, cpuid = self._x86, self._processor.cpuid
        names = ("EAX", "EBX", "ECX", "EDX")
        registers = [getattr(x86, f"UC_X86_REG_{name}") for name in names]
        leaf, _, subleaf, _ = (uc.reg_read(register) for register in registers)
        said = cpuid(leaf, subleaf) if cpuid is not None else (0, 0, 0, 0)
        for register, value in zip(registers, said, strict=True):
            uc.reg_write(register, value)
        return True

    def _counted(self, uc: Any, address: int, size: int, data: Any) -> None:
        """Unicorn has no hook for RDTSC: what it would do is done before it, and it is left out."""
        now = self._safely(lambda: (self._processor.counter or _nobody)())
        uc.reg_write(self._x86.UC_X86_REG_RAX, now & 0xFFFF_FFFF)
        uc.reg_write(self._x86.UC_X86_REG_RDX, now >> 32 & 0xFFFF_FFFF)
        uc.reg_write(self._x86.UC_X86_REG_RIP, address + size)

    def _safely(self, act: Callable[[], int | None]) -> int:
        """A hook must not raise: what it raises is kept, and the code stops."""
        if self._wrong is not None:
            return 0
        try:
            return act() or 0
        except MetaosError as error:
            self._wrong = error
            self._uc.emu_stop()
            return 0

    # ---- what a station asks of an engine

    def read(self, address: int, length: int) -> bytes:
        return bytes(self._uc.mem_read(address, length))

    def write(self, address: int, data: bytes) -> None:
        self._uc.mem_write(address, data)

    def run(self, program: Program) -> None:
        _, code, start = self._codes.get(id(program)) or self._loaded(program)
        self._uc.reg_write(self._x86.UC_X86_REG_RSP, _STACK + (1 << 15))
        self._wrong = None
        try:
            if code.text:
                self._uc.emu_start(start, start + len(code.text))
        except self._unicorn.UcError as error:
            at = self._line(code, start)
            raise MetaosError(f"unicorn: {error}", problems=_at(str(error), at)) from None
        if self._wrong is not None:
            wrong: MetaosError = self._wrong
            wrong.problems = wrong.problems or _at(wrong.message, self._line(code, start))
            raise wrong

    def _line(self, code: Code, start: int) -> Span | None:
        here = self._uc.reg_read(self._x86.UC_X86_REG_RIP) - start
        return next((x.span for x in code.lines if x.start <= here < x.end), None)

    def _loaded(self, program: Program) -> tuple[Program, Code, int]:
        """The code of a program, at an address of its own."""
        code, start = emit(program, ()), self._next
        text = bytearray(code.text)
        for r in code.relocations:
            value = self._memory.linear(r.symbol) + r.addend
            value -= start + r.offset if r.kind.startswith("P") else 0
            size = 8 if r.kind == "64" else 4
            signed = r.kind in _SIGNED
            text[r.offset : r.offset + size] = value.to_bytes(size, "little", signed=signed)
        self._uc.mem_write(start, bytes(text))
        for at in _looks(bytes(text)):
            hook = self._unicorn.UC_HOOK_CODE
            self._uc.hook_add(hook, self._counted, None, start + at, start + at)
        self._next = -(-(start + len(text) + 16) // 16) * 16
        self._codes[id(program)] = program, code, start
        return self._codes[id(program)]


def _nobody() -> int:
    raise MetaosError("a look at the time stamp counter, but there is no processor")


def _looks(text: bytes) -> list[int]:
    """Where code looks at the time stamp counter."""
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    return [at for at, _, name, _ in decoder.disasm_lite(text, 0) if name == "rdtsc"]


def _at(message: str, span: Span | None) -> tuple[Problem, ...]:
    return (Problem("E0281", message, span),)
