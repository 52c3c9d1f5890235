"""What audit counts, on an image whose every byte is known."""

from __future__ import annotations

import msgspec
import pytest

from metaos.errors import MetaosError
from metaos.link.image import Image
from metaos.lower.stepper import PLATFORM
from metaos.verify.audit import measure, render
from metaos.verify.why import why
from tests.verify.handmade import (
    BUS,
    CARD,
    GUARD_TURN,
    ROWS,
    STEADY,
    STEADY_TURN,
    UART,
    WINDOW,
    handmade,
)

GUARD_FILE = handmade().manifest.phase("guard").code_file[0].start


def test_audit_measures_what_is_there() -> None:
    image = handmade()
    report = measure(image, "x.img")
    assert report.text_bytes == sum(p.code_length for p in image.manifest.phases)
    assert report.content_bytes == sum(byte != 0 for byte in image.loaded)
    assert sum(report.content_by_kind.values()) == report.content_bytes
    assert report.image_bytes == len(image.data)
    assert report.loop_instructions == STEADY_TURN
    assert report.phase_instructions["guard"] == GUARD_TURN
    assert report.unattributed_bytes == 0
    repeats = [(place.split("+")[0], count) for place, count in report.largest_repeats.items()]
    assert ("steady", 1) in repeats and ("guard", 1) in repeats
    assert all(count > 1 for phase, count in repeats if phase == "wipe")
    assert [d.address for d in report.devices] == [PLATFORM, CARD, UART, BUS]
    card = report.devices[1]
    assert card.content == sum(card.kinds.values()) <= card.bytes
    assert report.violations == () and report.exit_code == 0


def test_audit_counts_accesses_by_their_guards() -> None:
    accesses = measure(handmade(), "x").device_accesses
    # The window's store is gated and the card's; the port's is the UART's, of 0 or 1 bytes.
    assert (accesses.idle.reads, accesses.idle.writes) == (0, 0)
    assert (accesses.answered.reads, accesses.answered.writes) == (0, 1)
    assert (accesses.all_guards_open.reads, accesses.all_guards_open.writes) == (0, 2)
    every = f"mov eax, dword ptr [{WINDOW:#x}]\nadd dword ptr [{WINDOW + 4:#x}], 1\n"
    idle = measure(handmade(steady=every), "x").device_accesses.idle
    assert (idle.reads, idle.writes) == (2, 1)
    port = measure(handmade(steady="mov dx, 0x3fd\nin al, dx"), "x").device_accesses.idle
    assert (port.reads, port.writes) == (1, 0)


def test_audit_counts_what_nothing_accounts_for() -> None:
    image = handmade()
    first, second, *rest = image.account
    assert second.kind in ("loader", "list")
    poor = msgspec.structs.replace(rest[-1], kind="row")
    report = measure(Image(image.data, image.manifest, (second, *rest[:-1], poor)), "x")
    assert report.unattributed_bytes == (first.end - first.start) + (poor.end - poor.start)


def test_audit_reads_well_and_as_json() -> None:
    report = measure(handmade(), "x.img")
    text = render(report)
    assert "every law holds" in text and f"{STEADY_TURN} instructions" in text
    fields = msgspec.json.decode(msgspec.json.encode(report))
    wanted = """text_bytes content_bytes image_bytes loop_instructions device_accesses
        conditional_branches indirect_branches calls unattributed_bytes devices violations"""
    assert set(wanted.split()) <= set(fields)
    broken = measure(handmade(steady="jmp rax"), "x.img")
    assert "law 2 is broken at steady+0x0" in render(broken)
    assert broken.exit_code == 4


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("steady+0x0", "movzx eax"),
        ("steady+0x1", "movzx eax"),
        ("00:03.0.csr", "mov dword ptr [rdi], edx"),
        (f"{WINDOW + 0x3818:#x}", "mov dword ptr [rcx + "),
        ("00:03.0", "made of functions.00:03.0.device"),
        (f"{ROWS + 4:#x}", "row"),
        ("rows.guard", "row"),
        ("next", "mov qword ptr [rip"),
        ("0", "loader"),
        (f"{GUARD_FILE:#x}", "guard+0x0"),
    ],
)
def test_why_names_the_rule_behind_a_place(place: str, expected: str) -> None:
    image = handmade()
    answers = [origin.render() for origin in why(image, place)]
    assert any(expected in answer for answer in answers), answers
    source = "boot.asm" if place == "0" else "net/card.pattern:7:3"
    assert any(source in answer for answer in answers)


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        ("0x7fffffffffff", "offsets in the file are below 0x"),
        ("07:1f.7", "its devices: "),
        ("udp.echo", "known: "),
    ],
)
def test_why_says_what_there_is_instead(place: str, hint: str) -> None:
    with pytest.raises(MetaosError) as refused:
        why(handmade(steady=STEADY), place)
    assert refused.value.hint.startswith(hint) and len(refused.value.hint) < 300


@pytest.mark.parametrize("place", ["", "steady+0x9999", "nothing", "0x7fffffffffff", "-1+-1"])
def test_why_refuses_what_is_no_place(place: str) -> None:
    with pytest.raises(MetaosError, match="no place"):
        why(handmade(steady=STEADY), place)
