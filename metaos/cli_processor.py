"""The text of a processor, for `metaos show` and `metaos probe cpuid`."""

from __future__ import annotations

from collections.abc import Iterator

from metaos.match.processor import ShownProcessor
from metaos.probe.caches import Cache
from metaos.probe.topology import Topology

_KIB, _MIB = 1 << 10, 1 << 20


def processor_lines(cpu: ShownProcessor) -> Iterator[str]:
    """The brand and how it is known; then, indented, what the leaves say."""
    source = f"{cpu.leaves} leaves" if cpu.leaves else f"{cpu.flags} flags" if cpu.flags else ""
    count = f"{cpu.processors} processors" if cpu.processors > 1 else ""
    words = (cpu.brand or cpu.vendor or "unknown", source, count)
    yield "processor  " + ", ".join(word for word in words if word)
    if who := cpu.identity:
        yield f"  {who.vendor} family {who.family} model {who.model} stepping {who.stepping}"
    if cpu.topology is not None:
        yield f"  {_topology_text(cpu.topology)}"
    yield from (f"  {_cache_text(cache)}" for cache in cpu.caches)
    if cpu.llvm_cpu:
        yield f"  LLVM calls it {cpu.llvm_cpu}"
    if cpu.features:
        yield f"  code may use {' '.join(cpu.features)}"
    if cpu.other_features:
        yield f"  it has {' '.join(cpu.other_features)}"
    if cpu.with_state:
        yield f"  and on registers that no image saves: {' '.join(cpu.with_state)}"


def _topology_text(places: Topology) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in places.kinds)
    if places.packages is None:
        hybrid = f"; a hybrid processor, and this core is {places.kinds[0][0]}" if kinds else ""
        most = "at most " if places.at_most else ""
        return f"one processor is listed; in its package {most}{_counts(places)}{hybrid}"
    packages = _plural(places.packages, "package")
    return f"{packages}, {_counts(places)}{f' ({kinds})' if kinds else ''}"


def _counts(places: Topology) -> str:
    return f"{_plural(places.cores, 'core')}, {_plural(places.threads, 'thread')}"


def _cache_text(cache: Cache) -> str:
    ways = f"{cache.ways}-way" if cache.ways else "fully associative"
    shared = f", for at most {_plural(cache.sharing, 'thread')}" if cache.sharing else ""
    size = f"{cache.size // _KIB} KiB" if cache.size % _MIB else f"{cache.size // _MIB} MiB"
    return f"L{cache.level} {cache.kind} {size}, {ways}, lines of {cache.line} bytes{shared}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
