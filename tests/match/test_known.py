"""A machine file that lacks what an image needs is one error that names the fact."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos import pipeline, resources
from metaos.emit.target import cpu_features
from metaos.errors import MetaosError
from metaos.match.bind import bind_all
from metaos.match.report import match_report
from metaos.match.system import read_system
from metaos.probe.machine import Machine, Origin, Unknown
from metaos.probe.store import read_machine

BRIDGE = Path(__file__).parents[1] / "data" / "machines" / "q35-bridge.json"
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
    assert "00:03.0 bar 0 size: not known: it hid" in said and "metaos probe merge" in said


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


VIRTIO = next(f for f in read_machine(BRIDGE).functions if f.address == "01:00.0")


def without_capabilities(device: int) -> Machine:
    """A machine whose second card has ids of a pattern that asks for a capability, or not."""
    machine = read_machine(BRIDGE)
    functions = tuple(
        msgspec.structs.replace(
            f,
            device=device,
            config=f"{f.config[:4]}{device.to_bytes(2, 'little').hex()}{f.config[8:128]}",
            capabilities=(),
        )
        if f.address == VIRTIO.address
        else f
        for f in machine.functions
    )
    gap = Unknown(what="01:00.0 capabilities", reason="it hid", origin=Origin.SYSFS)
    return msgspec.structs.replace(machine, functions=functions, unknown=(gap,))


def test_a_match_that_cannot_be_told_is_said_and_no_image_is_made() -> None:
    machine = without_capabilities(VIRTIO.device)
    said = refusal(machine)
    assert "error[E0307]: 01:00.0 capabilities: not known: it hid; 'virtio_net" in said
    patterns = pipeline.read_patterns([resources.PATTERNS])
    bindings = bind_all(machine, patterns, read_system())
    row = next(x for x in match_report(bindings, "m.json").devices if x.address == "01:00.0")
    assert row.presumed == "virtio_net_modern" and row.nearest[0].why_not == (
        "01:00.0 capabilities: not known: it hid"
    )
    assert row.next.startswith("read it as root")


def test_what_known_ids_rule_out_needs_no_more() -> None:
    text = pipeline.dump(
        "match", without_capabilities(0x9999), system=read_system(),
        pattern_dirs=[resources.PATTERNS],
    )  # fmt: skip
    assert "i82574l" in text and "virtio" not in text
