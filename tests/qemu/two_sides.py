"""One image between two networks of datagrams, on which a test has a station each.

with two_sides(image, arguments) as between:
    between.until_up()
    between.left.send(frame)
    between.right.receive(1)
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaos.boot import network
from metaos.boot.qemu import Qemu
from metaos.boot.target import NO_TARGET, QEMU, command, load_target

LIMIT_SECONDS = 20.0
TYPE = b"\x88\xb6"
"""Local experimental EtherType 2. Source: IEEE Std 802-2014 §9.2.4."""
LEFT, RIGHT = bytes.fromhex("0200000000a1"), bytes.fromhex("0200000000b2")


def frame(number: int, *, to: bytes = RIGHT, sender: bytes = LEFT, size: int = 60) -> bytes:
    """A numbered frame of no protocol; its bytes depend on the number."""
    head = to + sender + TYPE + number.to_bytes(4, "big")
    return head + bytes((number + i) & 0xFF for i in range(size - len(head)))


@dataclass
class Between:
    """A running machine with a wire on either side of it."""

    vm: Qemu
    left: network.Wire
    right: network.Wire

    def until_up(self) -> None:
        """Wait until frames pass both ways; then take what is still on its way."""
        for one, other, sender in ((self.left, self.right, LEFT), (self.right, self.left, RIGHT)):
            knock = frame(0xFFFF_FFFF, to=b"\xff" * 6, sender=sender)
            self._knock(one, other, knock, knock)
        self._empty()

    def until_passes(self, sent: bytes, comes: bytes) -> None:
        """Wait until a frame from the left comes out on the right as it should."""
        self._knock(self.left, self.right, sent, comes)
        self._empty()

    def _knock(self, one: network.Wire, other: network.Wire, sent: bytes, comes: bytes) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while True:
            one.send(sent)
            if other.receive(0.2) == comes:
                return
            assert time.monotonic() < end, f"nothing passes in {LIMIT_SECONDS} s"
            assert self.vm.returncode is None, "QEMU ended"

    def _empty(self) -> None:
        for wire in (self.left, self.right):
            while wire.receive(0.3) is not None:
                pass


@contextlib.contextmanager
def two_sides(image: Path, arguments: Sequence[str]) -> Iterator[Between]:
    """Boot `image` on the machine of `arguments`, which has two network cards."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metaos-")))
        wires = [stack.enter_context(network.open_wire(folder, n)) for n in range(2)]
        connected = network.connect_each(
            arguments, [wire.backend for wire in wires], network.network_cards(QEMU)
        )
        serial = f"file,path={network.quote(folder / 'console')}"
        line = command(load_target(NO_TARGET), connected, image=image, accel="tcg", serial=serial)
        vm = stack.enter_context(Qemu([*line, "-no-reboot"]))
        yield Between(vm, *wires)
