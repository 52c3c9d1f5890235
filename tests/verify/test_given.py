"""Law 3: what a device is told of addresses lies in its own RAM."""

from __future__ import annotations

import struct

import msgspec
import pytest

from metaos.link.image import Image
from metaos.verify import verify
from metaos.verify.given import check_preset, ram_of
from metaos.verify.laws import follow
from tests.verify.handmade import (
    BYTES,
    CARD,
    HEAD,
    LATCH,
    MEMORY,
    STRIDE,
    TABLE,
    UART,
    WINDOW,
    handmade,
    reseal,
)


def said(image: Image) -> list[str]:
    return [v.message for v in verify(image).violations if v.law == 3]


INDEX = f"movzx eax, byte ptr [{HEAD:#x}]\nadd byte ptr [{HEAD:#x}], 16\n"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (TABLE, ""),
        (TABLE + 15, ""),
        (TABLE + 16, f"may lie outside {CARD}.rx"),
        (LATCH, f"gives {CARD} the address of {UART}.latch, which is {UART}'s"),
    ],
)
@pytest.mark.parametrize("where", [f"[{WINDOW + 0x3818:#x}]", f"[{TABLE:#x}]"])
def test_an_address_with_an_index_stays_in_the_devices_own_place(
    address: int, message: str, where: str
) -> None:
    """HEAD is a multiple of 16 below 256, and TABLE has 256 bytes."""
    given = f"{INDEX}add eax, {address:#x}\nmov dword ptr {where}, eax"
    found = said(handmade(steady=given))
    assert len(found) == bool(message)
    assert all(message in one for one in found)


def test_an_address_that_a_card_wrote_may_be_given_back_and_no_other() -> None:
    masked = f"mov eax, dword ptr [{TABLE:#x}]\nand eax, {{:#x}}\nadd eax, {TABLE:#x}\n"
    for mask, sound in ((0xF0, True), (0xFF, True), (0x1F0, False), (0xFFFFF0, False)):
        turn = masked.format(mask) + f"mov dword ptr [{WINDOW + 0x3818:#x}], eax"
        found = said(handmade(steady=turn))
        assert bool(found) != sound
        assert all("may lie outside" in message for message in found)


def naming(image: Image, kind: str, *symbols: str) -> Image:
    """The image with an account whose code or rows name these places."""
    account = tuple(
        msgspec.structs.replace(e, symbols=symbols) if e.kind == kind else e for e in image.account
    )
    return reseal(image, account=account)


def test_a_plain_number_is_an_address_where_the_code_names_the_place() -> None:
    image = handmade(steady=f"mov dword ptr [{WINDOW:#x}], {LATCH:#x}")
    assert said(image) == []
    (message,) = said(naming(image, "code", f"{UART}.latch"))
    assert f"gives {CARD} the address of {UART}.latch" in message
    assert said(naming(image, "code", f"{CARD}.rx")) == []


def test_a_row_gives_addresses_of_its_own_device() -> None:
    image = handmade()
    rows = image.manifest.symbol("rows.guard").file[0]
    loaded = bytearray(image.loaded)
    struct.pack_into("<III", loaded, rows.start + 2 * STRIDE, WINDOW + 0x3818, LATCH, MEMORY)
    changed = reseal(image, loaded=bytes(loaded))
    assert said(changed) == []
    (message,) = said(naming(changed, "row", f"{UART}.latch"))
    assert f"gives {CARD} the address of {UART}.latch" in message


def test_a_table_begins_with_addresses_of_its_own_device() -> None:
    image = handmade()
    proof = follow(image)
    ram = ram_of(image.manifest)
    assert f"{CARD}.rx" in proof.told
    for address, clash in ((BYTES, False), (LATCH + 3, True), (WINDOW, False), (16, False)):
        page = bytearray(4096)
        struct.pack_into("<Q", page, (TABLE + 8) % 4096, address)
        memory = {**proof.memory, TABLE & ~0xFFF: bytes(page)}
        found = list(check_preset(image.manifest, proof.told, memory, ram))
        assert len(found) == clash
        assert all(v.place == f"{CARD}.rx+0x8" and UART in v.message for v in found)
