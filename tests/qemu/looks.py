"""Whether a machine's processor sleeps, as QEMU says: `asleep(vm)`."""

from __future__ import annotations

import time

from metaos.boot.qemu import Qemu

LOOKS = 20


def asleep(vm: Qemu) -> int:
    """Of so many looks, those at which the processor slept."""
    found = 0
    for _ in range(LOOKS):
        found += "HLT=1" in vm.hmp("info registers")
        time.sleep(0.01)
    return found
