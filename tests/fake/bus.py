"""How devices reach RAM, and how a processor reaches devices by port number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from metaos.ir.interpret import Memory
from tests.fake.fault import FaultError, demand


class Bus(Protocol):
    """What a device that masters the bus sees: physical addresses, bytes."""

    def read(self, address: int, length: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


class MemoryBus:
    """The interpreter's memory as a device sees it: linear addresses are physical.

    A window or anything else that is not plain memory is a fault, as are scratch and holes.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def read(self, address: int, length: int) -> bytes:
        return bytes(self._memory.read(address + i, 8) for i in range(length))

    def write(self, address: int, data: bytes) -> None:
        for i, byte in enumerate(data):
            self._memory.write(address + i, 8, byte)


class PortDevice(Protocol):
    """What answers at some ports: `offset` counts from its first, `width` is in bits."""

    def read(self, offset: int, width: int) -> int: ...

    def write(self, offset: int, width: int, value: int) -> None: ...


@dataclass
class PortSpace:
    """The I/O ports: devices at ranges, a log of every access, a fault where nothing is."""

    devices: list[tuple[range, PortDevice]] = field(default_factory=list)
    log: list[tuple[str, int, int, int]] = field(default_factory=list)

    def attach(self, base: int, length: int, device: PortDevice) -> None:
        self.devices.append((range(base, base + length), device))

    def read(self, port: int, width: int) -> int:
        ports, device = self._find(port, width)
        value = device.read(port - ports.start, width)
        self.log.append(("read", port, width, value))
        return value

    def write(self, port: int, width: int, value: int) -> None:
        ports, device = self._find(port, width)
        self.log.append(("write", port, width, value))
        device.write(port - ports.start, width, value)

    def _find(self, port: int, width: int) -> tuple[range, PortDevice]:
        for ports, device in self.devices:
            if port in ports:
                demand(port + width // 8 <= ports.stop, f"port {port:#x}: {width} bits reach out")
                return ports, device
        raise FaultError(f"port {port:#x}: no device is there")
