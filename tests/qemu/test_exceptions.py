"""An exception, a stray access and an NMI end in the report phase, which names them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metaos.link.image import Image
from tests.qemu.booted import CARD, TARGET, booted
from tests.qemu.conftest import Make, probed

pytestmark = pytest.mark.qemu

STRAY = bytes.fromhex("8b042510000000")
"""mov eax, [0x10]: low memory is mapped in no phase but wipe, and there not this page"""
UNDEFINED = bytes.fromhex("0f0b")
SAID = re.compile(r"exception ([0-9a-f]{2}) in ([a-z ]+) at ([0-9a-f]{8}), CR2 ([0-9a-f]{8})")


def sabotaged(path: Path, image: Image, phase: str, code: bytes) -> Path:
    """The image with other instructions at a phase's first byte."""
    found = image.manifest.phase(phase)
    data = bytearray(image.data)
    start = found.code_file[0].start
    data[start : start + len(code)] = code
    other = path.with_name(f"{phase}-{len(code)}.img")
    other.write_bytes(data)
    return other


@pytest.mark.parametrize(
    ("phase", "code", "vector", "where", "touched"),
    [
        pytest.param("steady", STRAY, "0e", "steady", "00000010", id="a stray access in steady"),
        pytest.param("steady", UNDEFINED, "06", "steady", None, id="no instruction in steady"),
        pytest.param("wipe", STRAY, "0e", "the start", "00000010", id="a stray access in wipe"),
    ],
)
def test_an_exception_is_reported(
    phase: str, code: bytes, vector: str, where: str, touched: str | None, make: Make
) -> None:
    path, image = make(probed(*TARGET, "-device", CARD))
    with booted(sabotaged(path, image, phase, code), TARGET) as machine:
        found = SAID.fullmatch(machine.wait_for("exception"))
        assert found is not None, machine.said
        assert found.groups()[:2] == (vector, where)
        assert int(found[3], 16) == image.manifest.phase(phase).code_linear
        assert touched in (None, found[4])
        assert any("exception" in line for line in machine.screen())
        assert machine.root() == image.manifest.phase("report").root


def test_an_nmi_is_reported(make: Make) -> None:
    path, image = make(probed(*TARGET, "-device", CARD))
    with booted(path, TARGET) as machine:
        machine.wait_for("MetaOS")
        machine.vm.command("inject-nmi")
        found = SAID.fullmatch(machine.wait_for("exception"))
        assert found is not None and found.groups()[:2] == ("02", "steady"), machine.said
        steady = image.manifest.phase("steady")
        assert 0 <= int(found[3], 16) - steady.code_linear < steady.code_length
