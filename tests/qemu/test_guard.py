"""Images on machines that differ in one thing from theirs: refused, and the console says in what.

And the differences that are none: what a unit has of its own.
"""

from __future__ import annotations

import pytest

from metaos.probe.store import read_machine
from tests.model.reference import answer
from tests.qemu.booted import BARE, CARD, IP, MAC, SERIAL, TARGET, Booted, booted
from tests.qemu.conftest import MACHINES, Made, Make, probed
from tests.qemu.questions import echo

pytestmark = pytest.mark.qemu

AGAIN = "probe and build again"
ABSENT = "ffff:ffff"


def changed(slot: str, expected: str, found: str) -> str:
    return f"{slot} changed: expected {expected}, found {found}; {AGAIN}"


def register(slot: str, number: str, expected: str, found: str) -> str:
    return f"{slot} register {number}: expected {expected}, found {found}; {AGAIN}"


@pytest.mark.parametrize(
    ("arguments", "card", "line"),
    [
        pytest.param(
            TARGET, "rtl8139", changed("00:03.0", "8086:100e", "10ec:8139"), id="another card"
        ),
        pytest.param(
            TARGET,
            "e1000-82545em",
            changed("00:03.0", "8086:100e", "8086:100f"),
            id="another model of the card",
        ),
        pytest.param(TARGET, "", changed("00:03.0", "8086:100e", ABSENT), id="a card removed"),
        pytest.param(
            TARGET, f"{CARD},addr=7", changed("00:03.0", "8086:100e", ABSENT), id="a card moved"
        ),
        pytest.param(
            (*TARGET, "-device", "rtl8139,addr=1e"),
            CARD,
            changed("00:1e.0", ABSENT, "10ec:8139"),
            id="a card added",
        ),
        pytest.param(
            (*TARGET, "-device", "rtl8139,addr=3.1"),
            f"{CARD},addr=3.0,multifunction=on",
            register("00:03.0", "0c", "00000000", "00800000"),
            id="a function added to the card",
        ),
        pytest.param(
            (*BARE, *SERIAL, "-device", "VGA,addr=4"),
            f"{CARD},addr=3",
            changed("00:02.0", "1234:1111", ABSENT),
            id="the screen moved",
        ),
        pytest.param(
            (*BARE, *SERIAL, "-device", "secondary-vga,addr=2"),
            f"{CARD},addr=3",
            register("00:02.0", "08", "03000002", "03800002"),
            id="another class",
        ),
        pytest.param(
            ("-M", "q35", *TARGET[2:]),
            CARD,
            changed("00:00.0", "8086:1237", "8086:29c0"),
            id="another chipset",
        ),
        pytest.param(
            (*TARGET, "-m", "4"), CARD, "memory changed: expected 00001400 KiB", id="less memory"
        ),
    ],
)
def test_another_machine_is_refused(
    default_image: Made, arguments: tuple[str, ...], card: str, line: str
) -> None:
    path, image = default_image
    with booted(path, arguments, card=card) as machine:
        said = machine.wait_for(AGAIN)
        assert said.startswith(line)
        assert "MetaOS" not in machine.said
        root = image.manifest.phase("report").root
        machine.wait_until(lambda: machine.root() == root, "it parks in the report phase")


@pytest.fixture(scope="module")
def crowded(make: Make) -> Made:
    """The default target with two more functions, without rules, and an empty bus."""
    return make(probed(*TARGET, "-device", f"{CARD},addr=3", *bridge(), *others()))


def bridge(model: str = "pci-bridge,chassis_nr=1") -> tuple[str, ...]:
    return "-device", f"{model},id=bridge,addr=5"


def others(first: str = "i82557a", second: str = "e1000e") -> tuple[str, ...]:
    return "-device", f"{first},addr=8", "-device", f"{second},addr=9"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(
            others("i82557b"), register("00:08.0", "08", "02000001", "02000002"), id="revision"
        ),
        pytest.param(
            others(second="e1000e,subsys=0x1234"),
            register("00:09.0", "2c", "00008086", "12348086"),
            id="subsystem",
        ),
        pytest.param(
            others(second="e1000e,subsys_ven=0x1234"),
            register("00:09.0", "2c", "00008086", "00001234"),
            id="subsystem's vendor",
        ),
        pytest.param(
            (*others(), "-device", "rtl8139,bus=bridge,addr=1f"),
            changed("01:1f.0", ABSENT, "10ec:8139"),
            id="a card on an empty bus",
        ),
    ],
)
def test_a_function_that_no_rule_drives_is_guarded_too(
    crowded: Made, arguments: tuple[str, ...], line: str
) -> None:
    path, _ = crowded
    with booted(path, (*TARGET, *bridge(), *arguments), card=f"{CARD},addr=3") as machine:
        assert machine.wait_for(AGAIN) == line


def test_functions_without_rules_do_no_harm(crowded: Made) -> None:
    path, _ = crowded
    with booted(path, (*TARGET, *bridge(), *others()), card=f"{CARD},addr=3") as machine:
        frame = echo(MAC, IP)
        assert machine.ask(frame) == answer(frame, MAC, IP)


MANY = (
    "pvpanic-pci", "pci-testdev", "edu", "nvme,serial=x", "qemu-xhci", "intel-hda", "sdhci-pci",
    "pci-serial", "tpci200", "lsi53c895a", "megasas", "virtio-rng-pci", "i6300esb", "ES1370",
    "pci-bridge,chassis_nr=3,id=b3", "AC97,bus=b3,addr=1", "virtio-balloon-pci,bus=b3,addr=2",
)  # fmt: skip
"""Functions without rules: windows of 2 bytes to 256 KiB, ports, 64 bits, behind a bridge."""


def windows(machine: Booted) -> list[str]:
    """What QEMU's monitor shows of each function but the card, which the image drives."""
    blocks = machine.vm.hmp("info pci").split("  Bus ")
    return [x for x in blocks if not x.startswith(" 0, device   3,")]


def test_many_windows_are_sized_and_put_back(make: Make, default_image: Made) -> None:
    """Each function shows after the start what it shows where nothing was sized."""
    arguments = [*TARGET, "-device", f"{CARD},addr=3"]
    for one in MANY:
        arguments += ["-device", one]
    path, image = make(probed(*arguments))
    steady = image.manifest.phase("steady").root
    with booted(path, arguments, card="") as machine:
        machine.wait_until(lambda: machine.root() == steady, "it reaches the steady phase")
        after = windows(machine)
    with booted(default_image[0], arguments, card="") as machine:
        machine.wait_for(AGAIN)  # at the first function that was added
        before = windows(machine)
    assert len(before) > len(MANY)
    assert after == before


def test_a_lesser_processor_is_refused(make: Make) -> None:
    path, image = make(probed(*TARGET, "-cpu", "max", "-device", CARD))
    features = image.manifest.provenance.cpu_features
    assert features, "code for this processor uses nothing that others lack"
    with booted(path, (*TARGET, "-cpu", "qemu64")) as machine:
        line = f"this CPU lacks {features[0]}, which the image was made for; {AGAIN}"
        assert machine.wait_for("CPU") == line


def test_of_a_machine_without_consoles_nothing_is_heard(make: Make) -> None:
    """But it stops all the same, in the report phase."""
    path, image = make(read_machine(MACHINES / "pc-bare.json"))
    alone = ("-M", "pc", "-m", "32", "-nodefaults", "-cpu", "max")
    root = image.manifest.phase("report").root
    with booted(path, alone, card="rtl8139") as machine:
        machine.wait_until(lambda: machine.root() == root, "it parks in the report phase")
        machine.wire.send(echo(MAC, IP))
        assert machine.wire.receive(0.2) is None


OTHER = bytes.fromhex("5254009a8b7c")


@pytest.mark.parametrize(
    ("arguments", "mac"),
    [
        pytest.param(TARGET, OTHER, id="another address of the card"),
        pytest.param((*TARGET, "-m", "1024"), MAC, id="more memory"),
        pytest.param((*TARGET, "-m", "5G"), MAC, id="memory above 4 GiB"),
        pytest.param((*TARGET, "-m", "8"), MAC, id="less memory, but enough"),
        pytest.param((*TARGET, "-cpu", "max"), MAC, id="a better processor"),
        pytest.param((*TARGET, "-smp", "2"), MAC, id="two processors"),
    ],
)
def test_what_a_unit_has_of_its_own_is_no_difference(
    default_image: Made, arguments: tuple[str, ...], mac: bytes
) -> None:
    path, _ = default_image
    card = "e1000,mac=" + ":".join(f"{byte:02x}" for byte in mac)
    with booted(path, arguments, card=card) as machine:
        frame = echo(mac, IP)
        assert machine.ask(frame) == answer(frame, mac, IP)
        assert machine.wait_for("MetaOS") == "MetaOS 10.0.2.15"
