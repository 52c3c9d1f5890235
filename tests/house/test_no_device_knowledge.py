"""Python and the boot loader know no device, register or protocol: that is for patterns."""

from pathlib import Path

import pytest

from metaos import resources
from metaos.pattern.patterns import load
from tests.house.knowledge import Finding, Forbidden, asm_findings, findings, forbidden

CODE = Path(resources.__file__).parent

ALLOWED = {
    # QEMU's words for the two kinds of port it can forward, and the default that the
    # command line promises.
    ("boot/network.py", "udp"),
    ("cli_run.py", "udp"),
    # The shell's command, in the line that a person may try.
    ("boot/reached.py", "echo"),
    # LLVM's instruction that compares integers.
    ("emit/llvm.py", "icmp"),
    # What a system says at start, whatever the service that says it is called.
    ("lower/lower.py", "banner"),
    ("lower/places.py", "banner"),
    # PCI's own configuration header, which the probe reads and facts are made of.
    ("probe/header.py", "status"),
}
"""(file, word): words that are no knowledge of a device where they stand."""
EVERYWHERE = {"forward", "capture", "count", "tag"}
"""Services that are called what the tool has always done too: it forwards ports to a machine,
bridges forward what is behind them, QEMU captures frames; it counts, and matches by tags."""


@pytest.fixture(scope="module")
def what() -> Forbidden:
    return forbidden(load([resources.PATTERNS]), sorted(resources.TARGETS.glob("*.toml")))


def allowed(finding: Finding) -> bool:
    word = finding.word.lower()
    return word in EVERYWHERE or (finding.file, word) in ALLOWED


def test_the_patterns_give_words_to_look_for(what: Forbidden) -> None:
    assert {"arp", "ipv4", "icmp", "udp", "ethernet"} <= what.names
    assert any("82540" in name for name in what.names)
    assert "e1000" in what.names
    assert {"RCTL", "TDT", "LSR"} <= what.registers
    assert {0x8086, 0x100E} <= what.numbers


def test_python_knows_no_device(what: Forbidden) -> None:
    found = [
        finding
        for path in sorted(CODE.rglob("*.py"))
        for name in [path.relative_to(CODE).as_posix()]
        for finding in findings(path.read_text("utf-8"), name, what)
        if not allowed(finding)
    ]
    assert not found, "\n".join(f"metaos/{f.file}:{f.line}: {f.word}" for f in found)


def test_the_boot_loader_knows_no_device(what: Forbidden) -> None:
    path = resources.BOOTLOADER / "boot.asm"
    found = list(asm_findings(path.read_text("utf-8"), path.name, what))
    assert not found, "\n".join(f"{f.file}:{f.line}: {f.word}" for f in found)


@pytest.mark.parametrize(
    "planted",
    [
        "VENDOR = 0x8086",
        "VENDOR = 32902",
        "IDS = '8086:100e'",
        "def write(rctl): return RCTL",
        "card = 'e1000'",
        "card = 'pc-e1000'",
        "if service.name == 'icmp.echo': pass",
        "def answer_arp(frame): pass",
        "header.udp = 7",
        "import metaos.ipv4",
        "f(tdt=1, TDT=2)",
        "f'{x} ethernet'",
        "b'arp'",
    ],
)
def test_a_planted_violation_is_found(planted: str, what: Forbidden) -> None:
    found = list(findings(planted, "x.py", what))
    assert found and not any(map(allowed, found))


@pytest.mark.parametrize(
    "innocent",
    ["'''Sends an ARP question.'''", "x = 1  # the e1000", "sharp = carp", "size = 4096"],
)
def test_comments_docstrings_and_other_words_are_not(innocent: str, what: Forbidden) -> None:
    assert not list(findings(innocent, "x.py", what))


def test_planted_in_assembly(what: Forbidden) -> None:
    assert list(asm_findings("  mov dx, 0x8086 ; no", "x", what))
    assert list(asm_findings("RCTL equ 0x100", "x", what))
    assert not list(asm_findings("  mov ax, bx ; e1000", "x", what))


def test_nothing_is_allowed_that_is_not_there(what: Forbidden) -> None:
    used = {
        (name, finding.word.lower())
        for path in sorted(CODE.rglob("*.py"))
        for name in [path.relative_to(CODE).as_posix()]
        for finding in findings(path.read_text("utf-8"), name, what)
    }
    assert used >= ALLOWED, f"no longer needed: {sorted(ALLOWED - used)}"
