"""Law 2 broken at the gates: other targets, other descriptors, another trap, and each is named."""

from __future__ import annotations

import msgspec
import pytest

from metaos.link.gates import CODE, GDT, IDT, IDTR, TSS
from metaos.link.image import Image
from metaos.link.manifest import Gates
from metaos.verify.gates import check_gates
from metaos.verify.tables import loaded_memory
from tests.verify.handmade import handmade, with_manifest


def messages(image: Image, at: int | None = None, flip: int = 1) -> list[str]:
    """What is said of an image whose page differs at one byte as the loader leaves it."""
    memory, problem = loaded_memory(image)
    assert not problem
    page = bytearray(memory[image.manifest.gates.physical])
    if at is not None:
        page[at] ^= flip
    changed = {**memory, image.manifest.gates.physical: bytes(page)}
    return [violation.message for violation in check_gates(image, changed)]


def test_the_page_is_what_the_manifest_describes() -> None:
    assert messages(handmade()) == []


@pytest.mark.parametrize(
    ("at", "part"),
    [
        pytest.param(0, "the trap", id="the trap's first byte"),
        pytest.param(IDTR, "a descriptor", id="the IDT's limit"),
        pytest.param(TSS + 0x24, "a descriptor", id="the stack"),
        pytest.param(GDT + 2, "a descriptor", id="the GDT's address"),
        pytest.param(GDT + CODE + 6, "a descriptor", id="64-bit code"),
        pytest.param(IDT, "a gate", id="where an exception goes"),
        pytest.param(IDT + 16 * 14 + 4, "a gate", id="the stack of page faults"),
        pytest.param(IDT + 16 * 40 + 5, "a gate", id="a gate that is not there"),
    ],
)
def test_another_byte_is_refused(at: int, part: str) -> None:
    (message,) = messages(handmade(), at)
    assert message == f"{part} at +{at:#x} is not what the manifest describes"


def test_every_byte_of_the_page_counts() -> None:
    image = handmade()
    assert all(messages(image, at) for at in range(0, 4096, 7))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"linear": 0x401000}, "they lie at 0x401000", id="elsewhere"),
        pytest.param({"interrupts": 500}, "500 interrupts, at most", id="too many gates"),
        pytest.param({"fault": "head"}, "of an exception is none", id="no such place"),
        pytest.param({"site": 4}, "of an exception is none", id="two words in one"),
        pytest.param({"site": 16}, "writes beside", id="beside the place"),
        pytest.param({"elsewhere": -1}, "texts are none", id="no text"),
        pytest.param({"in_steady": 3}, "the trap at", id="another text than the trap's"),
    ],
)
def test_a_manifest_that_describes_another_page(changed: dict[str, int], message: str) -> None:
    def other(gates: Gates) -> Gates:
        return msgspec.structs.replace(gates, **changed)

    image = with_manifest(handmade(), gates=other(handmade().manifest.gates))
    assert any(message in said for said in messages(image))
