"""What a machine's processors are: `shown_processor(cpu)`, for `metaos show` and `probe cpuid`."""

from __future__ import annotations

import msgspec

from metaos.emit.cpus import llvm_cpu
from metaos.emit.features import features, needs_state
from metaos.emit.target import cpu_features
from metaos.probe.caches import Cache, caches
from metaos.probe.cpu import Identity, answers, identity
from metaos.probe.machine import Cpu
from metaos.probe.topology import Topology, topology


class ShownProcessor(msgspec.Struct, frozen=True, kw_only=True):
    """`features` are those that code may use, by LLVM's names; `processors` counts logical ones.

    What follows is read from the leaves, and not there without any: of `other_features` code
    could make use too if it had a need; those `with_state` work on registers that images do
    not save. `caches` are the first processor's.
    """

    vendor: str
    brand: str
    leaves: int
    flags: int
    processors: int
    features: tuple[str, ...]
    identity: Identity | None = None
    topology: Topology | None = None
    caches: tuple[Cache, ...] = ()
    llvm_cpu: str = ""
    other_features: tuple[str, ...] = ()
    with_state: tuple[str, ...] = ()


def shown_processor(cpu: Cpu) -> ShownProcessor:
    """What the leaves of all logical processors say; without leaves, what else is known."""
    used = cpu_features(cpu)
    shown = ShownProcessor(
        vendor=cpu.vendor,
        brand=cpu.brand,
        leaves=len(cpu.leaves),
        flags=len(cpu.flags),
        processors=1 + len(cpu.others),
        features=used,
    )
    if not cpu.leaves:
        return shown
    has = features(cpu)
    return msgspec.structs.replace(
        shown,
        identity=identity(cpu),
        topology=topology(cpu),
        caches=caches(answers(cpu)[0]),
        llvm_cpu=llvm_cpu(cpu),
        other_features=tuple(sorted(x for x in has if not needs_state(x) and x not in used)),
        with_state=tuple(sorted(filter(needs_state, has))),
    )
