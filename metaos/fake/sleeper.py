"""The processor between two turns: `Sleeper(device, held=True).awake`.

It sleeps until the device that an example is about interrupts it, or it has interrupted itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.fake.device import FakeDevice


@dataclass
class Sleeper:
    """`held`: the device holds a line, which wakes while it is held; else it sends messages.

    `woken`: it has interrupted itself, or has not slept yet. Of the messages those up to `served`
    have had their turn.
    """

    device: FakeDevice
    held: bool
    woken: bool = True
    served: int = 0

    @property
    def awake(self) -> bool:
        """Whether another turn begins."""
        asks = self.device.asks if self.held else self.device.asked != self.served
        return self.woken or asks

    def wake(self) -> None:
        """It interrupts itself."""
        self.woken = True

    def begin(self) -> None:
        """A turn begins: what has woken the processor is taken."""
        self.woken, self.served = False, self.device.asked
