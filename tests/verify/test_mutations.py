"""Cut, flip and lie: whatever is done to an image, there is an answer and never a traceback."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metaos.errors import Exit, MetaosError
from metaos.link.image import SECTOR, TRAILER_LENGTH, Image, pack_image, read_image, write_image
from metaos.link.manifest import AccountEntry, Manifest
from metaos.verify.audit import audit, measure
from metaos.verify.why import why
from tests.verify.handmade import handmade

pytestmark = pytest.mark.long

WHOLE = handmade()
SEEDS = pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=() if n < 3 else pytest.mark.slow) for n in range(10)]
)


def refused(path: Path) -> MetaosError:
    """The one error that reading this file gives."""
    with pytest.raises(MetaosError) as caught:
        audit(path)
    return caught.value


def test_an_image_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path, pick = tmp_path / "cut.img", random.Random(1)
    length = len(WHOLE.data)
    edges = [0, 1, 511, 512, TRAILER_LENGTH, length - 1, length - 64, length - SECTOR]
    for cut in [*edges, *(pick.randrange(length) for _ in range(60))]:
        path.write_bytes(WHOLE.data[:cut])
        assert refused(path).exit_code == Exit.LAW_BROKEN


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    path, pick = tmp_path / "flipped.img", random.Random(2)
    length = len(WHOLE.data)
    places = [pick.randrange(2 * SECTOR) for _ in range(100)]
    places += [pick.randrange(length) for _ in range(50)]
    places += [length - 1 - i for i in range(TRAILER_LENGTH)]
    for place in places:
        changed = bytearray(WHOLE.data)
        changed[place] ^= 1 << pick.randrange(8)
        path.write_bytes(changed)
        assert refused(path).exit_code == Exit.LAW_BROKEN


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "nothing.img").message
    assert "cannot read" in refused(tmp_path).message


ODD: tuple[Any, ...] = (0, -1, 1, 511, 4096, 1 << 31, 1 << 47, 1 << 62, "", "steady", [], {})


def lie(value: Any, pick: random.Random) -> Any:
    """The JSON `value` with one leaf, anywhere in it, replaced, doubled or dropped."""
    if isinstance(value, dict) and value and pick.random() < 0.95:
        key = pick.choice(sorted(value))
        return {**value, key: lie(value[key], pick)}
    if isinstance(value, list) and value and pick.random() < 0.9:
        at = pick.randrange(len(value))
        change = pick.random()
        if change < 0.1:
            return [*value[:at], *value[at + 1 :]]
        if change < 0.2:
            return [*value, value[at]]
        return [*value[:at], lie(value[at], pick), *value[at + 1 :]]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int) and pick.random() < 0.6:
        return value + pick.choice((-4096, -16, -1, 1, 16, 4096))
    return pick.choice(ODD)


def judged(image: Image, pick: random.Random) -> None:
    """Run everything that reads an image."""
    report = measure(image, "lie")
    assert all(v.law in range(1, 8) and v.place and v.message for v in report.violations)
    if pick.random() < 0.1:
        try:
            why(image, pick.choice(("00:03.0", "steady+0x3", "00:03.0.csr")))
        except MetaosError as error:
            assert error.message


@SEEDS
def test_lies_in_the_manifest_and_the_account_end_in_a_report(seed: int) -> None:
    pick = random.Random(seed)
    manifest, account = msgspec.to_builtins(WHOLE.manifest), msgspec.to_builtins(WHOLE.account)
    for _ in range(200):
        told = lie(list(account) if pick.random() < 0.3 else manifest, pick)
        try:
            if isinstance(told, list):
                entries = msgspec.convert(told, tuple[AccountEntry, ...])
                judged(Image(WHOLE.data, WHOLE.manifest, entries), pick)
            else:
                judged(Image(WHOLE.data, msgspec.convert(told, Manifest), WHOLE.account), pick)
        except msgspec.ValidationError:
            continue  # read_image says so: exit 4


def changed_somewhere(pick: random.Random, places: range) -> Image:
    """The image with one to eight of its bytes at `places` changed."""
    loaded = bytearray(WHOLE.loaded)
    for _ in range(pick.choice((1, 1, 2, 8))):
        loaded[pick.choice(places)] = pick.randrange(256)
    return Image(bytes(loaded) + WHOLE.data[len(loaded) :], WHOLE.manifest, WHOLE.account)


@SEEDS
def test_every_changed_code_byte_ends_in_a_report(seed: int) -> None:
    pick = random.Random(seed)
    codes = [phase.code_file[0] for phase in WHOLE.manifest.phases]
    for _ in range(100):
        part = pick.choice(codes)
        judged(changed_somewhere(pick, range(part.start, part.end)), pick)
    for _ in range(10):
        judged(changed_somewhere(pick, range(WHOLE.manifest.loaded_bytes)), pick)


def test_the_account_beside_the_image_must_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    write_image(WHOLE, path)
    assert audit(path).violations == ()
    beside = tmp_path / "x.img.account.json"
    beside.write_text(beside.read_text().replace('"line": 7', '"line": 8', 1))
    (violation,) = audit(path).violations
    assert violation.law == 4 and "says something else" in violation.message
    beside.write_text("[")
    assert "cannot be read" in audit(path).violations[0].message
    beside.write_text("[]")
    assert "has 0 entries" in audit(path).violations[0].message
    beside.unlink()
    assert audit(path).exit_code == Exit.DONE


def test_sealing_again_changes_nothing(tmp_path: Path) -> None:
    write_image(WHOLE, tmp_path / "x.img")
    again = read_image(tmp_path / "x.img")
    assert pack_image(again.loaded, again.manifest, again.account).data == WHOLE.data
