"""A machine file that lacks what an image needs is one error that names the fact."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos import pipeline, resources
from metaos.emit.target import cpu_features
from metaos.errors import MetaosError
from metaos.match.system import read_system
from metaos.probe.machine import Machine, Origin, Unknown
from metaos.probe.store import read_machine

MACHINE = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"


def lacking(*whats: str, **more: object) -> Machine:
    gaps = tuple(Unknown(what=w, reason="it hid", origin=Origin.SYSFS) for w in whats)
    return msgspec.structs.replace(read_machine(MACHINE), unknown=gaps, **more)


def refusal(machine: Machine) -> str:
    with pytest.raises(MetaosError) as caught:
        pipeline.dump("ir", machine, system=read_system(), pattern_dirs=[resources.PATTERNS])
    return caught.value.render()


@pytest.mark.parametrize(
    "what",
    ["memory map", "pci functions", "00:02.0 subsystem", "00:1e.0 config header", "acpi FACP"],
)
def test_what_is_needed_is_named_with_why_and_how(what: str) -> None:
    said = refusal(lacking(what))
    assert f"error[E0307]: {what}: not known: it hid (from sysfs)" in said
    assert "hint: 'metaos probe sysfs' as root reads it, or boot the discoverer" in said


def test_many_facts_are_one_short_error() -> None:
    machine = lacking(*(f"00:{n:02x}.0 config header" for n in range(16, 32)))
    said = refusal(machine)
    assert said.count("E0307") == 10 and "(6 more facts are not shown)" in said


def test_a_window_of_unknown_size_is_named() -> None:
    machine = lacking("00:03.0 bar 0 size")
    functions = tuple(msgspec.structs.replace(f, bars=f.bars[1:]) for f in machine.functions)
    said = refusal(msgspec.structs.replace(machine, functions=functions))
    assert "00:03.0 bar 0 size is unknown: it hid" in said and "metaos probe merge" in said


def test_what_is_not_needed_may_be_unknown() -> None:
    machine = lacking("00:03.0 mac", "cpuid leaves", "acpi SSDT", "00:02.0 bar 2 size")
    cpu = msgspec.structs.replace(machine.cpu, leaves=())
    machine = msgspec.structs.replace(machine, cpu=cpu)
    text = pipeline.dump("ir", machine, system=read_system(), pattern_dirs=[resources.PATTERNS])
    assert "program 00:03.0 steady" in text
    assert cpu_features(cpu) == ()


def test_without_leaves_flags_tell_features() -> None:
    cpu = read_machine(MACHINE).cpu
    known = msgspec.structs.replace(cpu, leaves=(), flags=("abm", "bmi1", "fpu", "popcnt"))
    assert cpu_features(known) == ("popcnt", "bmi", "lzcnt")
    both = msgspec.structs.replace(cpu, flags=("popcnt", "abm", "adx"))
    assert cpu_features(both) == cpu_features(cpu)


def test_functions_of_another_domain_are_left_alone() -> None:
    machine = read_machine(MACHINE)
    card = next(f for f in machine.functions if f.address == "00:03.0")
    far = msgspec.structs.replace(card, address="10000:00:03.0")
    more = msgspec.structs.replace(machine, functions=(*machine.functions, far))
    here = pipeline.dump("ir", machine, system=read_system(), pattern_dirs=[resources.PATTERNS])
    there = pipeline.dump("ir", more, system=read_system(), pattern_dirs=[resources.PATTERNS])
    assert here == there
    others = tuple(f for f in machine.functions if f != card)
    said = refusal(msgspec.structs.replace(machine, functions=(*others, far)))
    assert "is in PCI domain 10000, and images reach domain 0 only" in said
