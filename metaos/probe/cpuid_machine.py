"""Make a `Machine` of dumped CPUID leaves: `cpuid_machine(path)`.

The first processor's leaves are kept whole, of the others what differs. All that is not the
processor is named in `Machine.unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metaos.probe.cpu import cpu_of
from metaos.probe.cpuid_text import Dumped, read_dump
from metaos.probe.machine import SCHEMA, Cpu, Machine, Origin, Unknown

_ABSENT = ("memory map", "pci functions", "acpi tables", "legacy ports")


def cpuid_machine(path: Path) -> Machine:
    """The machine with the processors of a dump.

    Raises:
        MetaosError: as `metaos.probe.cpuid_text.read_dump`.
    """
    reason = "a dump of CPUID leaves is of the processors only"
    return Machine(
        schema=SCHEMA,
        cpu=processors(read_dump(path)),
        memory=(),
        functions=(),
        legacy=(),
        acpi=(),
        networks=(),
        learnt=(),
        unknown=tuple(Unknown(what=what, reason=reason, origin=Origin.CPUID) for what in _ABSENT),
    )


def processors(dumps: Sequence[Dumped], origin: Origin = Origin.CPUID) -> Cpu:
    """One `Cpu` of the leaves of each logical processor, of which there is at least one."""
    return cpu_of({dump.number: dump.leaves for dump in dumps}, origin)
