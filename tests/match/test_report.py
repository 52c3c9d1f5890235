"""What `metaos match` says of each device, and of a folder of machines."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from metaos import resources
from metaos.cli import main
from metaos.cli_text import match_text, summary_text
from metaos.errors import Exit, MetaosError
from metaos.match.bind import bind_all, demand_needed
from metaos.match.report import Matched, MatchReport, match_report
from metaos.match.summary import summary
from metaos.match.system import System, read_system
from metaos.pattern.patterns import Patterns, load
from metaos.probe.machine import Function, Machine, Origin, Unknown
from metaos.probe.store import format_machine
from tests.lower.lowering import machine, patterns_of

CARD = "00:03.0"


@pytest.fixture(scope="module")
def own() -> Patterns:
    return load([resources.PATTERNS])


def with_card(config: dict[int, bytes], **changes: object) -> Machine:
    """The machine with other config bytes in its card, and the fields that they say."""
    whole = machine()
    functions = []
    for function in whole.functions:
        if function.address == CARD:
            raw = bytearray(bytes.fromhex(function.config))
            for offset, data in config.items():
                raw[offset : offset + len(data)] = data
            function = msgspec.structs.replace(function, config=raw.hex(), **changes)
        functions.append(function)
    return msgspec.structs.replace(whole, functions=tuple(functions))


def stranger() -> Machine:
    """An Ethernet card of the family's vendor whose device id no member has."""
    return with_card({2: b"\xb8\x15"}, device=0x15B8)


def report(
    on: Machine, patterns: Patterns, system: System | None = None, file: str = "m.json"
) -> MatchReport:
    return match_report(bind_all(on, patterns, system or read_system()), file)


def row(found: MatchReport, address: str = CARD) -> Matched:
    (one,) = (x for x in found.devices if x.address == address)
    return one


def test_every_device_is_there_in_order(own: Patterns) -> None:
    found = report(machine(), own)
    assert [x.address for x in found.devices] == [
        "pci", "FACP", "APIC", "com0",
        "00:00.0", "00:01.0", "00:01.1", "00:01.3", "00:02.0", "00:03.0",
    ]  # fmt: skip
    assert [(x.pattern, x.needed) for x in found.devices if x.pattern] == [
        ("pci_config1", "yes"), ("acpi_pm_timer", "yes"), ("pic8259", "yes"),
        ("uart16550", "used"), ("piix3", "used"), ("vga_text", "used"), ("i82540em", "yes"),
    ]  # fmt: skip
    assert row(found).file == "net/i82540em.pattern" and row(found).line > 0
    assert "udp.echo" in row(found).carries
    assert {x.pattern for x in row(found).losers} >= {"i82544gc", "i82574l", "vga_text"}
    assert found.next == "metaos build --machine m.json" and found.unknown == ()


def test_a_family_says_which_members_it_has(own: Patterns) -> None:
    found = report(stranger(), own)
    card = row(found)
    assert (card.pattern, card.needed, card.ids) == ("", "yes", "8086:15b8")
    assert card.nearest[0].pattern == "i8254x"
    assert card.nearest[0].why_not.startswith("device 0x15b8 is not a member; members: 0x100c (")
    assert card.nearest[0].agrees == ("vendor 0x8086", "class 0x20000")
    command = "metaos patterns new NAME --patterns DIR --from m.json 00:03.0"
    assert command in card.next == found.next
    text = match_text(found)
    assert "  i8254x: device 0x15b8 is not a member; members: 0x100c (i82544gc), 0x100e" in text
    assert "00:03.0  8086:15b8 class 020000 is needed" in text


def test_a_family_of_another_class_says_so(own: Patterns) -> None:
    near = row(report(with_card({9: b"\x00\x80\x02"}, class_code=0x028000), own)).nearest
    assert near[0].why_not == "class is 0x28000, not 0x20000"


def test_a_second_card_is_not_needed_where_another_carries(own: Patterns) -> None:
    whole = machine()
    twin = msgspec.structs.replace(row_function(stranger()), address="00:04.0")
    both = msgspec.structs.replace(whole, functions=(*whole.functions, twin))
    other = row(report(both, own), "00:04.0")
    assert (other.needed, other.because) == ("no", "00:03.0 carries the services")
    assert other.nearest and other.next.startswith("nothing: the image leaves it alone")


def row_function(on: Machine) -> Function:
    return next(f for f in on.functions if f.address == CARD)


def test_a_card_without_services_says_so(own: Patterns) -> None:
    quiet = System(name="quiet", address="10.0.2.15/24", services=("banner",))
    card = row(report(machine(), own, quiet))
    assert (card.pattern, card.needed) == ("", "no")
    assert card.nearest[0].pattern == "i82540em"
    assert card.next == "name a service for it in the system file"


def test_what_is_unknown_is_said(own: Patterns) -> None:
    facts = (
        Unknown(what="memory map", reason="only root may read it", origin=Origin.SYSFS),
        Unknown(what=f"{CARD} ids", reason="the line is cut off", origin=Origin.LSPCI),
    )
    blank = with_card({0: bytes(4)}, vendor=0, device=0)
    found = report(msgspec.structs.replace(blank, unknown=facts), own)
    assert found.unknown[0] == "memory map: only root may read it"
    assert "ids unknown: the line is cut off" in row(found).because
    assert "metaos probe sysfs" in row(found).next


def test_functions_that_nobody_read_are_no_missing_card(own: Patterns) -> None:
    fact = Unknown(what="pci functions", reason="only tables were dumped", origin=Origin.ACPIDUMP)
    empty = msgspec.structs.replace(machine(), functions=(), networks=(), unknown=(fact,))
    found = report(empty, own)
    assert found.next.startswith("metaos probe merge m.json OTHER.json")
    with pytest.raises(MetaosError, match="are unknown: only tables were dumped") as caught:
        demand_needed(bind_all(empty, own, read_system()))
    assert caught.value.exit_code is Exit.NO_PATTERN


def test_another_domain_is_out_of_reach(own: Patterns) -> None:
    whole = machine()
    far = msgspec.structs.replace(row_function(whole), address="10000:00:03.0")
    found = report(msgspec.structs.replace(whole, functions=(*whole.functions, far)), own)
    assert row(found, "10000:00:03.0").next == "nothing: images reach PCI domain 0 only"


def test_a_summary_counts_and_ranks(own: Patterns) -> None:
    machines = {"a.json": machine(), "b.json": stranger(), "c.json": stranger()}
    found = summary(machines, own, read_system(), {"d.json": "not a machine file"})
    assert [(c.machine, c.served, c.functions) for c in found.machines] == [
        ("a.json", 3, 6), ("b.json", 2, 6), ("c.json", 2, 6),
    ]  # fmt: skip
    assert found.machines[0].cards == ("00:03.0 i82540em",)
    assert found.machines[1].needs == ("00:03.0 8086:15b8",)
    assert (found.gaps[0].ids, found.gaps[0].machines, found.gaps[0].needed) == ("8086:15b8", 2, 2)
    text = summary_text(found)
    assert "3 machines, 1 with a served card and no fact unknown; 7 of 18 functions" in text


def test_two_patterns_alike_cost_one_machine_of_a_summary() -> None:
    twice = patterns_of(
        *(f"device {name} : net.ethernet\n  match pci device 0x100E\n" for name in ("one", "two"))
    )
    bare = System(name="t", address="10.0.2.15/24", services=())
    found = summary({"a.json": machine(), "b.json": stranger()}, twice, bare, {})
    assert [c.machine for c in found.machines] == ["b.json"]
    assert "match equally well" in found.unreadable["a.json"]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(format_machine(machine()))
    (tmp_path / "b.json").write_text(format_machine(stranger()))
    code, out, _ = run(capsys, "match", str(tmp_path / "b.json"), "--json")
    assert code == Exit.NO_PATTERN
    data = json.loads(out)
    assert {d["address"]: d["needed"] for d in data["devices"]}[CARD] == "yes"
    code, out, err = run(capsys, "match", str(tmp_path), "--summary", "--json")
    assert code == Exit.DONE and err == ""
    assert [c["machine"] for c in json.loads(out)["machines"]] == ["a.json", "b.json"]
    (tmp_path / "c.json").write_text("{}")
    code, out, err = run(capsys, "match", str(tmp_path), "--summary")
    assert code == Exit.FAILED and "c.json: not a machine file" in err and "2 machines" in out
    code, out, err = run(capsys, "match", str(tmp_path / "a.json"), "--summary")
    assert code == Exit.FAILED and out == "" and "not a folder" in err


CLASS_CUT = Unknown(what=f"{CARD} class", reason="its last byte is not shown", origin=Origin.LSPCI)
"""`lspci -nn` shows four of the class's six digits."""


def test_a_pattern_is_presumed_where_only_the_end_of_a_class_is_not_known(own: Patterns) -> None:
    """Patterns of other classes are no candidates."""
    found = report(msgspec.structs.replace(machine(), unknown=(CLASS_CUT,)), own)
    card = row(found)
    assert (card.pattern, card.presumed, card.needed) == ("", "i82540em", "yes")
    assert [near.pattern for near in card.nearest] == ["i82540em"]
    assert "i82540em?" in match_text(found)


def test_nothing_is_presumed_where_what_is_known_speaks_against_it(own: Patterns) -> None:
    card = row(report(msgspec.structs.replace(stranger(), unknown=(CLASS_CUT,)), own))
    assert (card.pattern, card.presumed) == ("", "") and "patterns new" in card.next
