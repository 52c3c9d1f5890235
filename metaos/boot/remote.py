"""QEMU's debugging stub, as much of it as stops a machine at addresses.

    with Remote(ours) as stub:              # our end of a socket pair whose other end QEMU has
        stub.insert(0x7C00)
        stub.resume()
        stub.stopped(10)                    # whether it stopped within 10 s

Source of the protocol: Debugging with GDB, appendix E (packets `Z0`, `z0`, `c`, `s`, `g`).
"""

from __future__ import annotations

import select
import socket
import time

from metaos.errors import Exit, MetaosError

_SECONDS = 10.0
_RIP = 16 * 8
"""Where the instruction pointer lies in the answer to `g`: behind sixteen registers of 64 bits."""


class Remote:
    """A connection to the stub. Every wait has a limit."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._held = b""
        self._inserted: set[int] = set()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()

    def insert(self, address: int) -> None:
        """Stop before the instruction at an address."""
        self._demand(f"Z0,{address:x},1")
        self._inserted.add(address)

    def remove(self, address: int) -> None:
        """Stop there no more."""
        self._demand(f"z0,{address:x},1")
        self._inserted.discard(address)

    def resume(self) -> None:
        """Let the machine run. From a place where it stops, one instruction is stepped first."""
        here = self.instruction_pointer()
        if here in self._inserted:
            self.remove(here)
            self._send("s")
            if not self.stopped(_SECONDS):
                raise _silent("a step")
            self.insert(here)
        self._send("c")

    def interrupt(self) -> None:
        """Stop a machine that runs, wherever it is."""
        self._end.sendall(b"\x03")
        if not self.stopped(_SECONDS):
            raise _silent("an interrupt")

    def stopped(self, seconds: float) -> bool:
        """Wait until a machine that was resumed stops; whether it did in time."""
        packet = self._packet(seconds)
        if packet is not None and packet[:1] not in (b"T", b"S"):
            raise MetaosError(f"QEMU's debugging stub says {packet!r} where a stop was expected")
        return packet is not None

    def instruction_pointer(self) -> int:
        """Where a stopped machine is."""
        answer = self._ask("g")
        while answer[:1] in (b"T", b"S"):  # it had stopped already when it was interrupted
            answer = self._ask("g")
        registers = bytes.fromhex(answer.decode())
        return int.from_bytes(registers[_RIP : _RIP + 8], "little")

    def _demand(self, text: str) -> None:
        answer = self._ask(text)
        if answer != b"OK":
            raise MetaosError(f"QEMU's debugging stub answers {answer!r} to '{text}'")

    def _ask(self, text: str) -> bytes:
        self._send(text)
        answer = self._packet(_SECONDS)
        if answer is None:
            raise _silent(f"'{text}'")
        return answer

    def _send(self, text: str) -> None:
        data = text.encode()
        self._end.sendall(b"$" + data + f"#{sum(data) % 256:02x}".encode())

    def _packet(self, seconds: float) -> bytes | None:
        """The next packet, acknowledged; None if none comes in time."""
        end = time.monotonic() + seconds
        while True:
            start = self._held.find(b"$")
            close = self._held.find(b"#", start) if start >= 0 else -1
            if close >= 0 and len(self._held) >= close + 3:
                packet = self._held[start + 1 : close]
                self._held = self._held[close + 3 :]
                self._end.sendall(b"+")
                return packet
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._end], [], [], left)[0]:
                return None
            piece = self._end.recv(1 << 16)
            if not piece:
                raise MetaosError("QEMU ended, or closed its debugging stub")
            self._held += piece


def _silent(what: str) -> MetaosError:
    return MetaosError(
        f"QEMU's debugging stub does not answer {what} within {_SECONDS:.0f} s",
        exit_code=Exit.TIMEOUT,
    )
