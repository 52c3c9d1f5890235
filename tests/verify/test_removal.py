"""Law 3: a device that is taken out of a machine takes its bytes along, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import pytest
from msgspec import structs

from metaos.emit.code import Code
from metaos.match.serves import Made, device_of
from metaos.pattern import syntax as s
from metaos.pipeline import make
from metaos.probe.machine import Machine
from metaos.verify.removal import left_over
from tests.verify.machines import NAMES, SYSTEM, bound, composed, recorded, removed, without

pytestmark = pytest.mark.long

NEEDED = {
    "pci": "PCI functions are all reached through it",
    "FACP": "no clock on this machine bounds this 'await'",
}
"""Parts of the platform that an image cannot do without, but for a clock where there is another."""
SAMPLE = ("q35-bridge",)


def removable(machine: Machine) -> Iterator[str]:
    for binding in bound(machine):
        address = binding.device.address
        several = {f.address for f in machine.functions if f.header_type & 0x80}
        first = address.endswith(".0") and address in several  # the others are nothing without it
        if address not in NEEDED and not first:
            yield address
    for function in machine.functions:  # what nothing drives is in the guard alone
        alone = function.header_type == 0 and not function.address.endswith(".0")
        if alone and all(b.device.address != function.address for b in bound(machine)):
            yield function.address


def check(machine: Machine, device: str) -> None:
    result = removed(machine, device)
    if result.rest is None:  # without its only card, a machine without consoles is of no use
        assert result.refused.endswith("gives this machine nothing to do"), result.refused
        return
    assert left_over(result.whole, result.rest, device) == (), device
    assert device not in result.rest.image.loaded.decode("latin-1")


@pytest.mark.parametrize("name", SAMPLE)
def test_each_device_of_a_machine_takes_its_bytes_along(name: str) -> None:
    machine = recorded(name)
    devices = list(removable(machine))
    assert len(devices) > 3
    for device in devices:
        check(machine, device)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SAMPLE])
def test_each_device_of_every_recorded_machine(name: str) -> None:
    for device in removable(recorded(name)):
        check(recorded(name), device)


def test_what_the_image_cannot_do_without_is_asked_for() -> None:
    machine = recorded("pc-e1000")
    tables = tuple(table for table in machine.acpi if table.signature != "HPET")
    result = removed(structs.replace(machine, acpi=tables), "FACP")
    assert result.rest is None and NEEDED["FACP"] in result.refused


def test_another_clock_takes_the_place_of_one_that_is_gone() -> None:
    result = removed(recorded("pc-e1000"), "FACP")
    assert result.rest is not None
    served = {x.address: x.pattern for x in result.rest.image.manifest.provenance.devices}
    assert "FACP" not in served and served["HPET"] == "event_timer"


def test_who_was_silenced_on_the_line_of_a_card() -> None:
    """The rows go with the function, and with the card whose line it is."""
    machine = recorded("pc-e1000")
    line = next(f.interrupt_line for f in machine.functions if f.address == "00:03.0")
    functions = tuple(
        structs.replace(f, interrupt_line=line) if f.address == "00:01.3" else f
        for f in machine.functions
    )
    machine = structs.replace(machine, functions=functions)
    for device in ("00:01.3", "00:03.0"):
        check(machine, device)
    whole = removed(machine, "00:01.3").whole
    assert any(device_of(row) == "00:01.3" for row in whole.lowered.init_rows)


def test_a_port_that_shared_its_line_has_it_alone() -> None:
    """Of two on an edge neither interrupts; the one that is left does. Who wakes at last is new."""
    machine = recorded("pc-e1000")
    (port,) = machine.legacy
    machine = structs.replace(
        machine, legacy=(port, structs.replace(port, index=2, port=port.port - 0x10))
    )
    for device in ("com0", "com2"):
        check(machine, device)
    whole, rest = removed(machine, "com2").whole, removed(machine, "com2").rest
    assert rest is not None
    assert rest.lowered.sleep.wakers - whole.lowered.sleep.wakers == {"com0"}
    polling = make(machine, system=structs.replace(SYSTEM, idle="poll"))
    assert "code 00:03.0 steady is another" in left_over(polling, rest, "com2")


@pytest.mark.parametrize("device", ["com0", "00:03.0"])
def test_the_alarm_goes_with_the_last_that_something_is_due_for(device: str) -> None:
    """And is no other's before: each says itself when it is due."""
    machine = recorded("pc-e1000")
    system = structs.replace(SYSTEM, services=("banner", "arp", "arp.announce"))
    left = system if device == "com0" else structs.replace(SYSTEM, services=("banner",))
    whole, rest = make(machine, system=system), make(without(machine, device), system=left)
    alarm = {b.device.address for b in whole.lowered.bindings.bindings if b.pattern.of(s.Alarm)}
    assert len(alarm) == 1
    there = {b.device.address for b in rest.lowered.bindings.bindings}
    assert alarm & there == (alarm if device == "com0" else set())
    assert left_over(whole, rest, device) == ()


# Leaks made on purpose


DEVICE = "00:02.0"


@cache
def both() -> tuple[Made, Made]:
    result = removed(recorded("pc-e1000"), DEVICE)
    assert result.rest is not None
    assert left_over(result.whole, result.rest, DEVICE) == ()
    return result.whole, result.rest


def leak(**changes: Any) -> tuple[str, ...]:
    """What is said of the image without the device if its stages are these."""
    whole, rest = both()
    lowered = {k: v for k, v in changes.items() if k in rest.lowered.__dataclass_fields__}
    others = {k: v for k, v in changes.items() if k not in lowered}
    return left_over(
        whole, replace(rest, lowered=replace(rest.lowered, **lowered), **others), DEVICE
    )


def of(made: Made, device: str, phase: str) -> tuple[int, Code]:
    return next((i, c) for i, c in enumerate(made.codes) if (c.device, c.phase) == (device, phase))


@pytest.mark.parametrize("device", ["com0", "00:03.0", "platform"])
def test_a_byte_of_anothers_code_is_seen_if_no_relocation_writes_it(device: str) -> None:
    _, rest = both()
    at, code = of(rest, device, "report" if device == "platform" else "steady")
    written = {r.offset + i for r in code.relocations for i in range(4)}
    changed = 0
    for offset in range(0, len(code.text), 7):
        text = bytearray(code.text)
        text[offset] ^= 1
        codes = (*rest.codes[:at], replace(code, text=bytes(text)), *rest.codes[at + 1 :])
        found = leak(codes=codes)
        assert found == (() if offset in written else (f"code {device} {code.phase} is another",))
        changed += bool(found)
    assert changed > 5


def test_a_place_of_the_device_is_seen_and_anothers_that_changes() -> None:
    whole, rest = both()
    window = next(w for w in whole.lowered.windows if w.device == DEVICE)
    assert leak(windows=(*rest.lowered.windows, window)) == (f"window {window.name} is left",)
    first, *others = rest.lowered.places
    found = leak(places=(replace(first, size=first.size + 8), *others))
    assert found == (f"place {first.name} is another",)
    assert leak(places=tuple(others)) == (f"place {first.name} is gone, which is platform's",)
    fresh = replace(first, name="00:03.0.more", device="00:03.0")
    assert leak(places=(*rest.lowered.places, fresh)) == ("place 00:03.0.more is new",)


def test_a_row_that_is_left_or_changed_is_seen() -> None:
    whole, rest = both()
    present = [row for row in whole.guard if device_of(row) == DEVICE]
    found = leak(guard=(*rest.guard, *present))
    assert len(found) == len(present) > 1
    assert all(f"a row about {DEVICE} is left" in text for text in found)
    rows = rest.lowered.init_rows
    changed = (*rows[:3], replace(rows[3], mask=77), *rows[4:])
    assert "a row of init is gone" in leak(init_rows=changed)[0]
    assert "a row of init is gone" in leak(init_rows=rows[:-1])[0]
    assert "a row of init is new" in leak(init_rows=(*rows, rows[0]))[0]
    assert "a row of guard is gone" in leak(guard=rest.guard[:-9])[0]
    # Where a text begins may change, what it says may not.
    assert leak(guard=tuple(replace(r, site=0) if r.site else r for r in rest.guard))


def test_bytes_of_the_device_that_stay_are_seen() -> None:
    whole, rest = both()
    found = left_over(whole, replace(rest, image=whole.image), DEVICE)
    assert any("are still accounted to 00:02.0" in text for text in found)
    assert "the manifest still names 00:02.0" in found
    assert f"{DEVICE} is still in configuration space" in found
    assert any(text.startswith(f"symbol {DEVICE}.") for text in found)


@pytest.mark.parametrize("seed", range(1))
def test_each_device_of_a_random_machine(seed: int) -> None:
    machine = composed(Random(seed))
    for device in removable(machine):
        check(machine, device)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 40))
def test_each_device_of_many_random_machines(seed: int) -> None:
    test_each_device_of_a_random_machine(seed)
