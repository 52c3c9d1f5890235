"""Unicorn's engine with types: what the harness uses of it, which unicorn does not annotate."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

UNICORN: Any = import_module("unicorn")
EngineError: type[Exception] = UNICORN.UcError


class Engine(Protocol):
    """A `unicorn.Uc`."""

    def reg_read(self, register: int) -> int: ...

    def reg_write(self, register: int, value: int) -> None: ...

    def msr_read(self, register: int) -> int: ...

    def msr_write(self, register: int, value: int) -> None: ...

    def mem_read(self, address: int, size: int) -> bytearray: ...

    def mem_write(self, address: int, data: bytes) -> None: ...

    def mem_map_ptr(self, address: int, size: int, protection: int, memory: object) -> None: ...

    def mmio_map(
        self,
        address: int,
        size: int,
        read: Callable[..., int],
        read_data: object,
        write: Callable[..., None],
        write_data: object,
    ) -> None: ...

    def hook_add(
        self,
        kind: int,
        callback: Callable[..., object],
        data: object = None,
        begin: int = 1,
        end: int = 0,
        instruction: int = 0,
    ) -> int: ...

    def hook_del(self, hook: int) -> None: ...

    def emu_start(self, begin: int, until: int) -> None: ...

    def emu_stop(self) -> None: ...

    def ctl_flush_tb(self) -> None: ...

    def ctl_set_cpu_model(self, model: int) -> None: ...


def engine(mode: int) -> Engine:
    """A new x86 processor that begins in `mode`, a UC_MODE_ constant."""
    made: Engine = UNICORN.Uc(UNICORN.UC_ARCH_X86, mode)
    return made
