"""The frame that a person names, and what is said of one that is none."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path

import pytest

from metaos import resources
from metaos.errors import MetaosError
from metaos.lower.lower import lower
from metaos.match.bind import bind
from metaos.match.system import System
from metaos.pattern.patterns import load
from metaos.trace.arrive import card_of
from metaos.trace.frames import Asked, frame_of
from tests.lower.lowering import machine

PATTERNS = load([resources.PATTERNS])
INTERFACE = ipaddress.IPv4Interface("10.0.2.15/24")
ASKED = Asked(PATTERNS.services, PATTERNS.layouts, INTERFACE, bytes(range(6)))
FRAMES = [bytes(range(14 + n)) for n in range(3)]


def capture(order: str = "<", link: int = 1, lost: int = 0, magic: int = 0xA1B2C3D4) -> bytes:
    head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    records = [struct.pack(f"{order}IIII", 0, 0, len(f), len(f) + lost) + f for f in FRAMES]
    return head + b"".join(records)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_a_frame_of_a_capture(tmp_path: Path, order: str, magic: int) -> None:
    path = tmp_path / "c.pcap"
    path.write_bytes(capture(order, magic=magic))
    assert [frame_of(f"{path}#{n}", ASKED).data for n in (1, 2, 3)] == FRAMES


def test_hexadecimal_and_a_file(tmp_path: Path) -> None:
    for text in (FRAMES[0].hex(), f"0x{FRAMES[0].hex()}", FRAMES[0].hex(" "), FRAMES[0].hex(":")):
        assert frame_of(text, ASKED).data == FRAMES[0]
    (tmp_path / "f.bin").write_bytes(FRAMES[1])
    assert frame_of(str(tmp_path / "f.bin"), ASKED).data == FRAMES[1]


def test_a_services_example() -> None:
    first, second = frame_of("icmp.echo", ASKED), frame_of("icmp.echo/2", ASKED)
    assert first.data[:6] == bytes(range(6))
    assert first == frame_of("icmp.echo/1", ASKED)
    assert len(second.data) == len(first.data) + 1
    assert "an answer is expected" in first.words


@pytest.mark.parametrize(
    ("content", "number", "message"),
    [
        (capture(), 4, "has no frame 4: it has 3"),
        (capture(), 0, "has no frame 0"),
        (capture()[:-1], 3, "cut short: frame 3 begins at byte"),
        (capture()[:30], 1, "cut short: frame 1 begins at byte 24, the file ends at 30"),
        (capture()[:20], 1, "cut short in its header"),
        (capture(link=101), 1, "link type 101"),
        (capture(lost=9), 1, "had 23 bytes, and 14 were captured"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), 1, "pcapng"),
        (b"hello, hello", 1, "no pcap file"),
        (b"", 1, "no pcap file"),
    ],
)
def test_a_capture_without_the_frame(
    tmp_path: Path, content: bytes, number: int, message: str
) -> None:
    path = tmp_path / "c.pcap"
    path.write_bytes(content)
    with pytest.raises(MetaosError, match=message):
        frame_of(f"{path}#{number}", ASKED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12345", "5 hexadecimal digits"),
        ("1234", "2 bytes; a frame has 14"),
        ("zz", "names no frame"),
        ("icmp.eco", "names no frame"),
        ("icmp.echo/999", "no question 999"),
        ("icmp.echo/0", "no question 0"),
        ("ipv4", "none: it lies under others"),
        ("/nowhere/x.pcap#1", "cannot read"),
        ("", "names no frame"),
    ],
)
def test_what_names_no_frame(text: str, message: str) -> None:
    with pytest.raises(MetaosError, match=message):
        frame_of(text, ASKED)


def test_a_capture_without_a_number_is_helped(tmp_path: Path) -> None:
    path = tmp_path / "c.pcap"
    path.write_bytes(capture())
    with pytest.raises(MetaosError) as raised:
        frame_of(str(path), ASKED)
    assert raised.value.hint.endswith("c.pcap#1")


def test_a_frame_of_an_image_that_does_something_at_a_time_has_its_card() -> None:
    """Its card's turn cannot be lowered without the clock."""
    system = System(name="x", address="10.0.2.15/24", services=("arp", "arp.announce"))
    lowered = lower(bind(machine(), PATTERNS, system))
    assert card_of(lowered, "00:03.0").plan.address == "00:03.0"
