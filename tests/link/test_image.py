"""The container: what is written is read again, and no damaged file gets through."""

from __future__ import annotations

import hashlib
import random
import struct
from pathlib import Path

import pytest

from metaos.errors import Exit, MetaosError
from metaos.link.image import (
    SECTOR,
    SMALLEST_FILE,
    TRAILER_LENGTH,
    AccountEntry,
    FileRange,
    Image,
    pack_account,
    pack_image,
    read_image,
    uncovered,
    write_image,
)
from metaos.link.link import link
from tests.link.handmade import PROVENANCE, parts


@pytest.fixture(scope="module")
def image() -> Image:
    return link(parts(), PROVENANCE)


def read_bytes(tmp_path: Path, data: bytes) -> Image:
    path = tmp_path / "x.img"
    path.write_bytes(data)
    return read_image(path)


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(MetaosError) as caught:
        read_bytes(tmp_path, data)
    assert caught.value.exit_code == Exit.LAW_BROKEN
    return caught.value.message


def sealed(data: bytes) -> bytes:
    """`data` with the digest made right, as a forger would."""
    return data[:-24] + hashlib.sha256(data[:-24]).digest()[:24]


def test_round_trip(tmp_path: Path, image: Image) -> None:
    path = tmp_path / "deep" / "x.img"
    write_image(image, path)
    assert read_image(path) == image
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "x.img",
        "x.img.account.json",
        "x.img.manifest.json",
    ]


def test_every_byte_is_accounted_once(image: Image) -> None:
    assert uncovered(image.account, len(image.data)) == ()
    assert len(image.data) >= SMALLEST_FILE and len(image.data) % SECTOR == 0


def test_padding_is_zero(image: Image) -> None:
    for entry in image.account:
        if entry.kind == "padding":
            assert not any(image.data[entry.start : entry.end])


def test_uncovered_names_gaps_and_overlaps() -> None:
    def entry(start: int, end: int) -> AccountEntry:
        return AccountEntry(start=start, end=end, kind="code")

    assert uncovered([entry(0, 4), entry(6, 8)], 10) == (
        FileRange(start=4, end=6),
        FileRange(start=8, end=10),
    )
    assert uncovered([entry(0, 4), entry(2, 10)], 10) == (FileRange(start=2, end=10),)
    assert uncovered([entry(0, 12)], 10) == (FileRange(start=0, end=12),)


def test_packing_again_replaces_the_container(image: Image) -> None:
    assert pack_image(image.loaded, image.manifest, image.account) == image


def test_an_account_that_is_shorter_in_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte too long for one sector, in two it fits into one: packed less well it needs both."""
    inner = (AccountEntry(start=0, end=SECTOR, kind="loader"),)
    said = iter((SECTOR + 1, SECTOR, SECTOR + 2, SECTOR + 1))
    levels: list[int] = []

    def compress(data: bytes, level: int) -> bytes:
        levels.append(level)
        return bytes(next(said))

    monkeypatch.setattr("metaos.link.image.zlib.compress", compress)
    entries, packed = pack_account(inner, SECTOR, 100)
    mine = next(entry for entry in entries if entry.kind == "account")
    assert (mine.end - mine.start, len(packed)) == (2 * SECTOR, SECTOR + 1)
    assert levels == [9, 9, 8, 8]


@pytest.mark.parametrize("length", [0, 1, 63, 64, 511, 512, 4096, SMALLEST_FILE - 512])
def test_cut_short(tmp_path: Path, image: Image, length: int) -> None:
    assert "cut short" in refused(tmp_path, image.data[:length])


def test_lengthened(tmp_path: Path, image: Image) -> None:
    refused(tmp_path, image.data + bytes(512))
    doubled = image.data + image.data[-512:]
    assert "its trailer says" in refused(tmp_path, doubled)


def test_each_trailer_byte_changed(tmp_path: Path, image: Image) -> None:
    for offset in range(1, TRAILER_LENGTH + 1):
        data = bytearray(image.data)
        data[-offset] ^= 0x10
        refused(tmp_path, bytes(data))


def test_changed_bytes(tmp_path: Path, image: Image) -> None:
    chance = random.Random(2)
    for _ in range(40):
        data = bytearray(image.data)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        refused(tmp_path, bytes(data))


def test_forged_lengths_and_texts(tmp_path: Path, image: Image) -> None:
    """A digest that fits does not make offsets or JSON true: still no traceback."""
    chance = random.Random(3)
    manifest_at, length = struct.unpack_from("<II", image.data, len(image.data) - 64 + 20)
    for _ in range(60):
        data = bytearray(image.data)
        if chance.random() < 0.5:
            at = len(data) - 64 + 16 + 4 * chance.randrange(5)
            struct.pack_into("<I", data, at, chance.choice([0, 1, 7, 0xFFFF, 1 << 31]))
        else:
            data[manifest_at + chance.randrange(length)] ^= 1 << chance.randrange(8)
        refused(tmp_path, sealed(bytes(data)))


def test_newer_format_is_named(tmp_path: Path, image: Image) -> None:
    data = bytearray(image.data)
    struct.pack_into("<I", data, len(data) - 56, 2)
    assert "made by a newer MetaOS" in refused(tmp_path, bytes(data))


def test_other_files(tmp_path: Path) -> None:
    assert "not a MetaOS image" in refused(tmp_path, bytes(SMALLEST_FILE))
    for path in (tmp_path / "missing", tmp_path, Path("/dev/zero")):
        with pytest.raises(MetaosError) as caught:
            read_image(path)
        assert caught.value.exit_code == Exit.FAILED


def test_unwritable_leaves_nothing(tmp_path: Path, image: Image) -> None:
    target = tmp_path / "x.img"
    target.mkdir()
    with pytest.raises(MetaosError, match="cannot write"):
        write_image(image, target)
    (tmp_path / "file").write_text("")
    with pytest.raises(MetaosError, match="cannot write"):
        write_image(image, tmp_path / "file" / "x.img")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "x.img"]


def test_full_disk_leaves_nothing(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MetaosError, match="No space left on device"):
        write_image(image, tmp_path / "x.img")
    assert list(tmp_path.iterdir()) == []
