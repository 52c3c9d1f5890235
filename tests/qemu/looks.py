"""Whether a machine's processor sleeps, as QEMU says: now, and how often."""

from __future__ import annotations

import time

from metaos.boot.qemu import Qemu

LOOKS = 20


def sleeps(vm: Qemu) -> bool:
    """No turn is under way: what the machine has in memory belongs together."""
    return "HLT=1" in vm.hmp("info registers")


def asleep(vm: Qemu) -> int:
    """Of so many looks, those at which the processor slept."""
    found = 0
    for _ in range(LOOKS):
        found += sleeps(vm)
        time.sleep(0.01)
    return found
