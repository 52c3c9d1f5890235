"""Law 3: nobody uses what is another device's; every device of an image is there."""

from __future__ import annotations

import struct

import msgspec
import pytest

from metaos.link.image import Image
from metaos.link.manifest import PortRange
from metaos.lower.stepper import PLATFORM
from metaos.verify import Violation, verify
from metaos.verify.owners import function_of
from tests.verify.handmade import (
    BUS,
    CARD,
    GUARD,
    LATCH,
    MEMORY,
    NEXT,
    OTHER,
    PORT,
    ROOTS,
    STRIDE,
    TABLE,
    UART,
    WINDOW,
    handmade,
    reseal,
    with_manifest,
)

CONFIG = 1 << 31
CARD_CONFIG, OTHER_CONFIG, EMPTY = (CONFIG | slot << 11 for slot in (3, 4, 5))


def third(image: Image) -> list[Violation]:
    return [v for v in verify(image).violations if v.law == 3]


def said(image: Image) -> list[str]:
    return [v.message for v in third(image)]


@pytest.mark.parametrize(
    ("steady", "message"),
    [
        (f"mov byte ptr [{LATCH:#x}], 1", f"writes {UART}.latch, which is {UART}'s"),
        (f"mov al, byte ptr [{LATCH:#x}]", f"reads {UART}.latch, which is {UART}'s"),
        ("mov dx, 0x2f8\nin al, dx", f"uses port 0x2f8, which is {UART}'s"),
        (f"mov edi, {LATCH:#x}\nmov ecx, 2\nrep stosb byte ptr [rdi], al", f"writes {UART}.latch"),
        (f"mov dword ptr [{NEXT:#x}], {ROOTS['steady']:#x}", "writes next, which is platform's"),
    ],
)
def test_a_device_does_not_use_what_is_anothers(steady: str, message: str) -> None:
    (violation,) = third(handmade(steady=steady))
    assert message in violation.message and f"code of {CARD}" in violation.message
    assert str(violation.span) == "net/card.pattern:7:3"


def test_what_is_lent_may_be_used_by_whom_it_is_lent_to() -> None:
    image = handmade(steady=f"mov byte ptr [{LATCH:#x}], 1\nmov dx, 0x2f8\nin al, dx")
    assert len(said(image)) == 2
    for user, left in ((CARD, 0), (BUS, 2)):
        lent = {f"{UART}.latch": (user,), "uart": (user,)}
        provenance = msgspec.structs.replace(image.manifest.provenance, lent=lent)
        assert len(said(with_manifest(image, provenance=provenance))) == left


def test_what_is_shown_may_be_read_by_all() -> None:
    provenance = handmade().manifest.provenance
    shown = msgspec.structs.replace(provenance, shown=(f"{UART}.latch",))
    for turn, left in ((f"mov al, byte ptr [{LATCH:#x}]", 0), (f"mov byte ptr [{LATCH:#x}], 1", 1)):
        image = handmade(steady=turn)
        assert len(said(image)) == 1
        assert len(said(with_manifest(image, provenance=shown))) == left


def row(number: int, place: int, value: int, kind: int) -> Image:
    """The handmade image with another row."""
    image = handmade()
    rows = image.manifest.symbol("rows.guard").file[0]
    loaded = bytearray(image.loaded)
    struct.pack_into("<III", loaded, rows.start + number * STRIDE, place, value, kind)
    return reseal(image, loaded=bytes(loaded))


def test_the_platform_works_in_a_devices_place_for_a_row_of_that_device_only() -> None:
    assert said(row(1, WINDOW + 8, 1, MEMORY)) == []
    (message,) = said(row(1, LATCH, 1, MEMORY))
    assert f"code of {PLATFORM} for {CARD} writes {UART}.latch" in message
    (message,) = said(row(1, 0x2F8, 1, PORT))
    assert f"code of {PLATFORM} for {CARD} uses port 0x2f8, which is {UART}'s" in message
    direct = handmade(GUARD + f"mov byte ptr [{TABLE:#x}], 1\n")
    assert said(direct) == []  # as for the rows: each of them makes this access, and is the card's
    other = [
        msgspec.structs.replace(e, device=UART) if e.kind == "row" else e for e in direct.account
    ]
    assert f"writes {CARD}.rx" in " ".join(said(reseal(direct, account=tuple(other))))


def test_the_platform_without_rows_has_its_own_places_only() -> None:
    found = said(handmade(f"mov dword ptr [{WINDOW:#x}], 1"))
    assert any(f"code of {PLATFORM} writes {CARD}.csr" in message for message in found)


@pytest.mark.parametrize(
    ("selected", "access", "message"),
    [
        (CARD_CONFIG | 0x10, "out dx, eax", ""),
        (CARD_CONFIG | 0x10, "in eax, dx", ""),
        (OTHER_CONFIG | 0x2C, "in eax, dx", ""),
        (OTHER_CONFIG | 4, "out dx, eax", f"writes register 0x4 of {OTHER} for {CARD}"),
        (EMPTY, "in eax, dx", "reads register 0x0 of 00:05.0, where nothing is"),
        (EMPTY | 4, "out dx, eax", f"writes register 0x4 of 00:05.0 for {CARD}"),
        (CARD_CONFIG ^ CONFIG, "out dx, eax", "selects 0x1800, which is no register"),
        (CARD_CONFIG | 1 << 24, "in eax, dx", "which is no register of configuration space"),
    ],
)
def test_configuration_space_is_written_for_its_own_function_alone(
    selected: int, access: str, message: str
) -> None:
    turn = f"mov dx, 0xcf8\nmov eax, {selected:#x}\nout dx, eax\nmov dx, 0xcfc\n{access}"
    found = said(handmade(steady=turn))
    assert len(found) == bool(message)
    assert all(message in one for one in found)


@pytest.mark.parametrize("byte", [0xCF8, 0xCF9, 0xCFB])
def test_what_configuration_space_selects_has_to_be_known(byte: int) -> None:
    told = f"mov dx, 0xcf8\nmov eax, {CARD_CONFIG:#x}\nout dx, eax\n"
    partly = f"mov dx, {byte:#x}\nout dx, al\n"
    read = "mov dx, 0xcfe\nin ax, dx"
    assert said(handmade(steady=told + "mov dx, 0xcfe\nin ax, dx")) == []
    for before in ("", told + partly, "mov dx, 0xcf8\nout dx, eax\n"):
        (message,) = said(handmade(steady=before + read))
        assert "what it selects of configuration space cannot be told" in message


def test_guard_may_see_that_a_slot_is_still_free() -> None:
    turn = "mov dx, 0xcf8\nmov eax, {}\nout dx, eax\nmov dx, 0xcfc\nin eax, dx\n"
    assert said(handmade(turn.format(EMPTY) + GUARD)) == []
    (message,) = said(handmade(turn.format(EMPTY | 4) + GUARD))
    assert "reads register 0x4 of 00:05.0, where nothing is" in message


@pytest.mark.parametrize(
    ("selected", "message"),
    [
        *((OTHER_CONFIG | at, "") for at in (4, 0x10, 0x24, 0x30, 0x38)),
        *((OTHER_CONFIG | at, f"writes register {at:#x} of {OTHER}") for at in (8, 0x28, 0x3C)),
        (EMPTY | 0x10, "writes register 0x10 of 00:05.0"),
    ],
)
def test_guard_may_size_the_windows_of_what_is_there(selected: int, message: str) -> None:
    turn = f"mov dx, 0xcf8\nmov eax, {selected:#x}\nout dx, eax\nmov dx, 0xcfc\nout dx, eax\n"
    found = said(handmade(turn + GUARD))
    assert len(found) == bool(message)
    assert all(message in one for one in found)


def test_all_that_is_declared_belongs_to_a_device_that_is_there() -> None:
    image = handmade()
    provenance = image.manifest.provenance
    gone = tuple(one for one in provenance.devices if one.address != UART)
    found = said(with_manifest(image, provenance=msgspec.structs.replace(provenance, devices=gone)))
    assert f"belongs to {UART}, which is not in the image" in found
    assert len(found) == 2  # its place and its ports


def test_no_two_devices_have_the_same_port_or_address() -> None:
    image = handmade()
    provenance, both = image.manifest.provenance, ("guard", "steady")
    for base, length, clash in ((0x3FF, 1, True), (0x3F0, 9, True), (0x3F0, 8, False)):
        more = PortRange(name="more", base=base, length=length, device=UART, phases=both)
        ports = (*provenance.ports, more)
        changed = msgspec.structs.replace(provenance, ports=ports)
        assert bool(said(with_manifest(image, provenance=changed))) == clash
    (window,) = image.manifest.windows
    other = msgspec.structs.replace(
        window, name="other", device=UART, linear=0x3000_0000, physical=window.physical + 0x1000
    )
    (message,) = said(with_manifest(image, windows=(window, other)))
    assert f"of {UART} is {CARD}'s {window.name} too" in message


def test_no_window_lies_over_the_images_ram() -> None:
    image = handmade()
    (window,) = image.manifest.windows
    for physical in (TABLE, image.manifest.phase("steady").root, ROOTS["guard"]):
        moved = msgspec.structs.replace(window, physical=physical & ~0xFFF)
        assert "lies over" in " ".join(said(with_manifest(image, windows=(moved,))))


def test_functions_are_named_as_everywhere() -> None:
    assert function_of(CARD_CONFIG | 0x3C) == CARD
    assert function_of(CONFIG | 1 << 16 | 31 << 11 | 7 << 8) == "01:1f.7"
