"""What places can hold from turn to turn, and the bounds that follow from it."""

from __future__ import annotations

import pytest

from metaos.link.image import Image
from metaos.verify import verify
from metaos.verify.decode import straight_lines
from metaos.verify.explore import explore
from metaos.verify.memory import atlas_of
from metaos.verify.state import hull, settle
from metaos.verify.tables import loaded_memory
from metaos.verify.values import Value, known, unknown
from metaos.verify.walk import Cell, Ground
from tests.verify.handmade import (
    BYTES,
    CARD,
    GUARD,
    HEAD,
    NEXT,
    ROWS,
    SHADOW,
    TABLE,
    WINDOW,
    handmade,
)

pytestmark = pytest.mark.long

SIXTEENS = Value(frozenset({0}), 240, 16)


def cells(image: Image) -> dict[str, Cell]:
    lines = [(line, atlas_of(image, line.name)) for line in straight_lines(image)]
    memory, problem = loaded_memory(image)
    assert not problem
    ground, _ = settle(lines, Ground(image.manifest.roots, NEXT), image.manifest, memory, explore)
    return dict(ground.cells)


def turn(text: str) -> Image:
    return handmade(steady=text)


def messages(image: Image) -> list[str]:
    return [v.message for v in verify(image).violations if v.law == 3]


def test_a_cursor_that_is_only_ever_advanced_by_its_stride_is_a_multiple_of_it() -> None:
    gated = f"""
        xor ecx, ecx
        mov edx, {SHADOW:#x}
        cmp dword ptr [{TABLE:#x}], 1
        cmove ecx, edx
        add byte ptr [rcx + {HEAD:#x}], 16
    """
    assert cells(turn(gated))[f"{CARD}.head"] == Cell(1, SIXTEENS)
    plain = f"mov al, byte ptr [{HEAD:#x}]\nadd al, 16\nmov byte ptr [{HEAD:#x}], al"
    assert cells(turn(plain))[f"{CARD}.head"] == Cell(1, SIXTEENS)


def test_a_cursor_that_a_mask_cuts_stays_below_it() -> None:
    step = f"mov ax, word ptr [{HEAD:#x}]\nadd ax, 16\nand ax, 0x3FF\nmov word ptr [{HEAD:#x}], ax"
    assert cells(turn(step))[f"{CARD}.head"] == Cell(2, Value(frozenset({0}), 0x3F0, 16))
    loose = f"mov ax, word ptr [{HEAD:#x}]\nadd ax, 16\nmov word ptr [{HEAD:#x}], ax"
    assert cells(turn(loose))[f"{CARD}.head"] == Cell(2, Value(frozenset({0}), 0xFFF0, 16))


def test_what_is_stored_from_elsewhere_is_part_of_what_a_place_can_hold() -> None:
    other = f"mov al, byte ptr [{TABLE:#x}]\nmov byte ptr [{HEAD:#x}], al"
    assert cells(turn(other))[f"{CARD}.head"] == Cell(1, unknown(8))
    masked = f"mov al, byte ptr [{TABLE:#x}]\nand al, 0x30\nmov byte ptr [{HEAD:#x}], al"
    assert cells(turn(masked))[f"{CARD}.head"].value == known(0, 16, 32, 48)


@pytest.mark.parametrize(
    "telling",
    [
        f"mov dword ptr [{WINDOW:#x}], {HEAD:#x}",
        f"mov eax, {HEAD:#x}\nmov qword ptr [{TABLE:#x}], rax",
        f"mov eax, {HEAD + 3:#x}\nmov dword ptr [{TABLE:#x}], eax",
    ],
)
def test_a_place_that_a_device_may_be_told_of_is_not_followed(telling: str) -> None:
    step = f"\nadd byte ptr [{HEAD:#x}], 16"
    assert f"{CARD}.head" in cells(turn(step))
    assert f"{CARD}.head" not in cells(turn(telling + step))


def test_a_place_accessed_in_several_sizes_is_not_followed() -> None:
    step = f"add byte ptr [{HEAD:#x}], 16\n"
    assert f"{CARD}.head" not in cells(turn(step + f"mov eax, dword ptr [{HEAD:#x}]"))
    assert f"{CARD}.head" not in cells(turn(step + f"mov ax, word ptr [{HEAD + 1:#x}]"))


INDEXED = f"movzx eax, byte ptr [{HEAD:#x}]\nmov byte ptr [rax + {{at:#x}}], 1\n"


@pytest.mark.parametrize(("step", "last"), [(16, 15), (32, 31), (64, 63), (4, 3), (1, 0)])
def test_an_indexed_store_may_use_its_place_to_the_last_byte(step: int, last: int) -> None:
    advance = f"add byte ptr [{HEAD:#x}], {step}"
    assert messages(turn(INDEXED.format(at=TABLE + last) + advance)) == []
    (message,) = messages(turn(INDEXED.format(at=TABLE + last + 1) + advance))
    assert "its index may leave the place" in message


def test_an_indexed_read_is_refused_of_ram_and_counted_of_read_only_data() -> None:
    read = f"movzx eax, byte ptr [{HEAD:#x}]\nmov cl, byte ptr [rax + {{:#x}}]\n"
    step = f"add byte ptr [{HEAD:#x}], 1"
    (message,) = messages(turn(read.format(BYTES) + step))
    assert "its index may leave the place it is read from" in message
    report = verify(handmade(read.format(ROWS) + step + GUARD, steady="nop"))
    assert report.violations == () and report.unbounded == 1


def test_a_hull_holds_every_number_and_keeps_their_step() -> None:
    numbers = frozenset({48, 0, 96, 144, 240})
    whole = hull(Value(numbers), 8)
    assert whole == Value(frozenset({0}), 240, 48)
    assert all(whole.holds(n) for n in numbers)
    assert hull(known(1, 5), 8) == known(1, 5)
    assert hull(Value(frozenset({0, 200, 3, 9, 11}), 100, 1), 8) == unknown(8)


FOLLOWED = f"""
    mov eax, {TABLE:#x}
    mov ebx, {HEAD:#x}
    mov qword ptr [rbx], rax
    {{told}}
    mov rdi, qword ptr [rbx]
    mov byte ptr [rdi], 1
"""


@pytest.mark.parametrize(
    ("told", "sound"),
    [
        ("nop", True),
        (f"mov dword ptr [{WINDOW:#x}], {HEAD:#x}", False),
        (f"mov dword ptr [{WINDOW:#x}], {HEAD + 4:#x}", False),
        (f"mov dword ptr [{TABLE:#x}], {HEAD:#x}", False),
        (f"mov dword ptr [{WINDOW:#x}], {BYTES:#x}", True),
    ],
)
def test_a_number_that_lies_where_a_card_can_write_is_not_known(told: str, sound: bool) -> None:
    """What the turn itself stored there a moment ago may be another number when it is loaded."""
    found = messages(turn(FOLLOWED.format(told=told)))
    assert bool(found) != sound
    assert all("its address cannot be told" in message for message in found)


def test_what_a_register_was_given_is_not_what_it_reads() -> None:
    through = f"mov dword ptr [{WINDOW:#x}], {BYTES:#x}\nmov eax, dword ptr [{WINDOW:#x}]\n"
    (message,) = messages(turn(through + "mov byte ptr [rax], 1"))
    assert "its address cannot be told" in message
