"""Which pattern serves which device, why, and what is said where none does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.errors import Exit, MetaosError
from metaos.match import names
from metaos.match.bind import Binding, Bindings, bind, bind_devices
from metaos.match.device import devices
from metaos.match.system import System, read_system
from metaos.pattern.patterns import Patterns, load
from metaos.probe.machine import Machine
from tests.lower.lowering import CARD, HEAD, machine, patterns_of

CARD_ADDRESS = "00:03.0"


def system(*services: str) -> System:
    return System(name="test", address="10.0.2.15/24", services=services)


def own() -> Patterns:
    return load([resources.PATTERNS])


def rule(name: str, match: str, of: str = "net.ethernet") -> str:
    return f"device {name} : {of}\n  match {match}\n"


def bound(*texts: str, on: Machine | None = None, wanted: System | None = None) -> Bindings:
    return bind(on or machine(), patterns_of(*texts), wanted or system())


def of_device(bindings: Bindings, address: str = CARD_ADDRESS) -> Binding:
    (found,) = (b for b in bindings.bindings if b.device.address == address)
    return found


def with_card(**changes: object) -> Machine:
    """The machine with another card in its slot."""
    whole = machine()
    functions = tuple(
        msgspec.structs.replace(f, **changes) if f.address == CARD_ADDRESS else f
        for f in whole.functions
    )
    return msgspec.structs.replace(whole, functions=functions)


# ---- who wins -----------------------------------------------------------------------------


def test_the_default_target() -> None:
    bindings = bind(machine(), own(), read_system())
    found = {b.device.address: b.pattern.name for b in bindings.bindings}
    assert found == {
        "pci": "pci_config1",
        "FACP": "acpi_pm_timer",
        "APIC": "pic8259",
        "com0": "uart16550",
        "00:01.0": "piix3",
        "00:02.0": "vga_text",
        "00:03.0": "i82540em",
    }
    assert {u.device.address for u in bindings.unmatched} == {"00:00.0", "00:01.1", "00:01.3"}


@pytest.mark.parametrize(
    ("device", "pattern"),
    [(0x100C, "i82544gc"), (0x100E, "i82540em"), (0x100F, "i82545em"), (0x10D3, "i82574l")],
)
def test_each_gigabit_card_by_its_id(device: int, pattern: str) -> None:
    binding = of_device(bind(with_card(device=device), own(), read_system()))
    assert (binding.pattern.name, binding.pattern.family) == (pattern, "i8254x")
    assert binding.why == f"vendor 0x8086, class 0x20000, device {device:#x}"


def test_the_winner_says_by_what() -> None:
    binding = of_device(bind(machine(), own(), read_system()))
    assert binding.why == "vendor 0x8086, class 0x20000, device 0x100e"


def test_more_keys_win() -> None:
    general = rule("general", "pci vendor 0x8086 class 0x020000")
    exact = rule("exact", "pci vendor 0x8086 device 0x100E revision 3")
    for texts in ((general, exact), (exact, general)):
        binding = of_device(bound(*texts))
        assert binding.pattern.name == "exact"
        assert [(x.pattern, x.why) for x in binding.losers] == [("general", "matches less exactly")]


def test_a_condition_counts_as_a_key() -> None:
    plain = rule("plain", "acpi FACP", "clock")
    picky = rule("picky", "acpi FACP where acpi.u32[76] != 0", "clock")
    assert of_device(bound(plain, picky), "FACP").pattern.name == "picky"
    never = rule("never", "acpi FACP where acpi.u32[76] == 0", "clock")
    binding = of_device(bound(plain, never), "FACP")
    assert binding.pattern.name == "plain"
    assert [(x.pattern, x.why) for x in binding.losers] == [("never", "its 'where' does not hold")]


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("pci vendor 0x10EC", "vendor is 0x8086, not 0x10ec"),
        ("pci vendor 0x8086 device 0x10D3", "device is 0x100e, not 0x10d3"),
        ("pci class 0x030000", "class is 0x20000, not 0x30000"),
        ("pci device 0x100E revision 9", "revision is 0x0003, not 0x0009"),
        ("pci device 0x100E subsystem_device 1", "subsystem_device is 0x1100, not 0x0001"),
        ("pci device 0x100E subsystem_vendor 1", "subsystem_vendor is 0x1af4, not 0x0001"),
        ("pci device 0x100E colour 1", "unknown key 'colour'"),
    ],
)
def test_losers_say_why(match: str, why: str) -> None:
    binding = of_device(bound(CARD, rule("other", match)))
    assert [(x.pattern, x.why) for x in binding.losers] == [("other", why)]


def test_other_kinds_of_devices_are_no_losers() -> None:
    binding = of_device(bound(CARD, rule("timer", "acpi FACP", "clock")))
    assert binding.losers == ()


def test_a_legacy_device_by_its_kind() -> None:
    line = rule("line", "legacy com", "console")
    printer = rule("printer", "legacy lpt", "console")
    binding = of_device(bound(line, printer), "com0")
    assert binding.pattern.name == "line"
    assert [(x.pattern, x.why) for x in binding.losers] == [("printer", "is for 'lpt'")]


def test_a_table_by_its_signature() -> None:
    binding = of_device(
        bound(rule("a", "acpi FACP", "clock"), rule("b", "acpi HPET", "clock")), "FACP"
    )
    assert binding.pattern.name == "a" and binding.losers[0].why == "is for table HPET"


def test_a_family_matches_through_its_members_alone() -> None:
    family = "family f : net.ethernet\n  match pci vendor 0x8086\n"
    member = "member m of f\n  match pci device 0x100E\n"
    assert not bound(HEAD + family).bindings
    binding = of_device(bound(HEAD + family + member))
    assert binding.pattern.name == "m" and binding.why == "vendor 0x8086, device 0x100e"


def test_a_tie_is_an_error_that_shows_both() -> None:
    one = rule("one", "pci vendor 0x8086 device 0x100E")
    two = rule("two", "pci class 0x020000 device 0x100E")
    with pytest.raises(MetaosError) as refused:
        bound(one, two)
    error = refused.value
    assert "00:03.0: patterns 'one' and 'two' match equally well" in error.message
    assert [p.code for p in error.problems] == ["E0301", "E0301"]
    assert {p.span.file for p in error.problems if p.span} == {"0.pattern", "1.pattern"}
    assert "name one more id" in error.hint and "device one" in error.render()


def test_devices_are_in_a_fixed_order() -> None:
    found = [d.address for d in devices(machine())]
    assert found[0] == "pci" and found[-2:] == ["00:03.0", "processor"]
    functions = [d.address for d in devices(machine()) if d.function is not None]
    assert functions == sorted(functions)


def test_a_machine_without_pci_has_no_pci_platform() -> None:
    bare = msgspec.structs.replace(machine(), functions=())
    assert "pci" not in {d.address for d in devices(bare)}


def test_the_first_table_of_a_signature_counts() -> None:
    whole = machine()
    twice = msgspec.structs.replace(whole, acpi=(*whole.acpi, *whole.acpi))
    assert [d.address for d in devices(twice)] == [d.address for d in devices(whole)]


# ---- no pattern ---------------------------------------------------------------------------

RTL8139 = {
    "vendor": 0x10EC, "device": 0x8139, "class_code": 0x020000, "revision": 0x20,
    "name": "rtl8139",
}  # fmt: skip


UNSERVED = {"vendor": 0x14E4, "device": 0x1659, "class_code": 0x020000, "revision": 0x20}


def test_a_card_without_a_pattern_is_named_with_the_nearest() -> None:
    with pytest.raises(MetaosError) as refused:
        bind(with_card(**UNSERVED), own(), read_system())
    error = refused.value
    assert error.exit_code is Exit.NO_PATTERN and int(error.exit_code) == 3
    said = error.render()
    assert "system 'echo' needs a network card" in said
    assert "00:03.0 has no pattern: 14e4:1659 class 020000 revision 20" in said
    (problem,) = (p for p in error.problems if "00:03.0" in p.message)
    assert "nearest: i82540em (vendor is 0x14e4, not 0x8086)" in problem.hint


def test_a_near_model_is_named_before_others() -> None:
    near = with_card(device=0x1234, revision=0x42)
    with pytest.raises(MetaosError) as refused:
        bind(near, own(), read_system())
    (problem,) = (p for p in refused.value.problems if "00:03.0" in p.message)
    assert problem.hint.startswith("nearest: i82540em (device is 0x1234, not 0x100e)")


def test_names_come_from_pci_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tmp_path / "pci.ids"
    ids.write_text(
        "# a comment\n10ec  Realtek\n\t8139  Fast Ethernet\n\t\t1111 2222  A board\n"
        "8086  Intel\n\t100e  Gigabit\nC 02  Network controller\n\t00  Ethernet\n"
    )
    monkeypatch.setattr(names, "PCI_IDS", (tmp_path / "missing", ids))
    names._names.cache_clear()
    try:
        (card,) = (f for f in with_card(**RTL8139).functions if f.address == CARD_ADDRESS)
        assert names.device_name(card) == "Realtek Fast Ethernet"
        other = msgspec.structs.replace(card, device=1)
        assert names.device_name(other) == "Realtek"
        unknown = msgspec.structs.replace(card, vendor=1, name="")
        assert names.device_name(unknown) == "unknown device"
        assert names.device_name(msgspec.structs.replace(unknown, name="qemu's")) == "qemu's"
    finally:
        names._names.cache_clear()


def test_without_pci_ids_qemu_names_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "PCI_IDS", (tmp_path / "missing",))
    names._names.cache_clear()
    try:
        (card,) = (f for f in with_card(**RTL8139).functions if f.address == CARD_ADDRESS)
        assert names.device_name(card) == "rtl8139"
    finally:
        names._names.cache_clear()


def test_a_machine_without_functions_needs_a_card_too() -> None:
    bare = msgspec.structs.replace(machine(), functions=())
    with pytest.raises(MetaosError) as refused:
        bind(bare, own(), read_system())
    assert refused.value.exit_code is Exit.NO_PATTERN and not refused.value.problems
    assert refused.value.message.endswith("needs a network card, and this machine has none")


def test_the_parts_of_a_chipset_are_no_card_without_a_pattern() -> None:
    whole = machine()
    rest = tuple(f for f in whole.functions if f.address != CARD_ADDRESS)
    with pytest.raises(MetaosError) as refused:
        bind(msgspec.structs.replace(whole, functions=rest), own(), read_system())
    assert len(rest) > 1 and not refused.value.problems
    assert "this machine has none" in refused.value.message


# ---- services -----------------------------------------------------------------------------


def test_what_a_service_lies_over_comes_along() -> None:
    bindings = bind(machine(), own(), system("udp.echo"))
    assert [x.name for x in bindings.services] == ["ethernet", "ipv4", "udp", "udp.echo"]


def test_parents_come_once_and_first() -> None:
    bindings = bind(machine(), own(), system("udp.echo", "icmp.echo", "arp", "ipv4"))
    found = [x.name for x in bindings.services]
    assert found == ["ethernet", "ipv4", "udp", "udp.echo", "icmp.echo", "arp"]
    for service in bindings.services:
        assert service.over not in found[found.index(service.name) :]


def test_a_service_over_a_console_has_no_parent() -> None:
    assert [x.name for x in bind(machine(), own(), system("banner")).services] == ["banner"]


def test_an_unknown_service_gets_a_hint() -> None:
    with pytest.raises(MetaosError) as refused:
        bind(machine(), own(), system("udp.ecko"))
    assert "error[E0312]: no service 'udp.ecko'" in refused.value.render()
    assert "hint: did you mean 'udp.echo'?" in refused.value.render()


def test_a_system_without_services_for_it_leaves_a_card_alone() -> None:
    bindings = bind(machine(), own(), system("banner"))
    assert CARD_ADDRESS not in {b.device.address for b in bindings.bindings}
    (left,) = (u for u in bindings.unmatched if u.device.address == CARD_ADDRESS)
    assert left.losers[0].why == "the system has no service for it"


def test_devices_are_bound_whatever_a_system_needs() -> None:
    found = {b.device.address for b in bind_devices(with_card(**UNSERVED), own())}
    assert "com0" in found and CARD_ADDRESS not in found
