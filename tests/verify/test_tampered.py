"""Images that somebody changed: cut, flipped, edited and sealed again; always one answer."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metaos.errors import Exit, MetaosError
from metaos.link.image import (
    FORMAT,
    SECTOR,
    SMALLEST_FILE,
    TRAILER_LENGTH,
    Image,
    read_image,
    sealed_by,
)
from metaos.link.manifest import SCHEMA, AccountEntry, Manifest
from metaos.verify.audit import audit
from metaos.verify.why import why, why_fact
from tests.verify.handmade import handmade, reseal
from tests.verify.test_mutations import lie

WHOLE = handmade()
SEED = 20261121
QUICK, MANY = 100, 20_000
FIELDS = {  # of the trailer: offset, format
    "magic": (0, "<8s"),
    "format": (8, "<I"),
    "length": (12, "<I"),
    "loaded": (16, "<I"),
    "manifest_at": (20, "<I"),
    "manifest_length": (24, "<I"),
    "account_at": (28, "<I"),
    "account_length": (32, "<I"),
    "zero": (36, "<I"),
    "digest": (40, "<24s"),
}


def sealed(data: bytearray) -> bytes:
    """The bytes with the SHA-256 made right."""
    data[-24:] = sealed_by(data)
    return bytes(data)


def field(data: bytes, name: str) -> Any:
    at, form = FIELDS[name]
    return struct.unpack_from(form, data, len(data) - TRAILER_LENGTH + at)[0]


def put(data: bytearray, name: str, value: Any) -> None:
    at, form = FIELDS[name]
    struct.pack_into(form, data, len(data) - TRAILER_LENGTH + at, value)


def records(data: bytes, name: str) -> Any:
    """The manifest or the account of a file, as JSON has it."""
    at, length = field(data, f"{name}_at"), field(data, f"{name}_length")
    return json.loads(zlib.decompress(data[at : at + length]))


def with_records(data: bytes, name: str, value: Any) -> bytes:
    """The file with another manifest or account in its last padding, sealed."""
    changed, packed = bytearray(data), zlib.compress(json.dumps(value).encode(), 1)
    at = len(data) - TRAILER_LENGTH - len(packed)
    changed[at : at + len(packed)] = packed
    put(changed, f"{name}_at", at)
    put(changed, f"{name}_length", len(packed))
    return sealed(changed)


# ---- what is done to an image ---------------------------------------------------------


def flipped(data: bytes, pick: random.Random) -> bytes:
    """One to eight bits of one entry of the account, of whatever kind."""
    kinds = sorted({e.kind for e in WHOLE.account})
    kind = pick.choice(kinds)
    entry = pick.choice([e for e in WHOLE.account if e.kind == kind])
    changed = bytearray(data)
    for at in {pick.randrange(entry.start, entry.end) for _ in range(pick.choice((1, 1, 2, 8)))}:
        changed[at] ^= 1 << pick.randrange(8)
    return bytes(changed)


def cut(data: bytes, pick: random.Random) -> bytes:
    """Less, more, or another order of the same."""
    at = pick.choice((pick.randrange(len(data)), pick.randrange(len(data) // SECTOR) * SECTOR))
    return pick.choice((data[:at], data[at:], data + data[:at], data[at:] + data[:at] + b"\0"))


def refielded(data: bytes, pick: random.Random) -> bytes:
    """A number of the trailer is another, and the seal is right."""
    changed = bytearray(data)
    name = pick.choice([n for n in FIELDS if n not in ("magic", "digest")])
    old = field(data, name)
    odd = (0, 1, old + 1, old - 1, old ^ 512, len(data), 0xFFFFFFFF, pick.randrange(1 << 32))
    put(changed, name, pick.choice([n for n in odd if n != old and 0 <= n < 1 << 32]))
    return sealed(changed)


def edited(data: bytes, pick: random.Random) -> bytes:
    """A lie in the manifest or in the account, and lengths and seal are right."""
    name = pick.choice(("manifest", "account"))
    told = lie(records(data, name), pick)
    try:
        if name == "manifest":
            return reseal(WHOLE, manifest=msgspec.convert(told, Manifest)).data
        return reseal(WHOLE, account=msgspec.convert(told, tuple[AccountEntry, ...])).data
    except (msgspec.ValidationError, ValueError):
        return with_records(data, name, told)


def repacked(data: bytes, pick: random.Random) -> bytes:
    """A flipped bit of what is loaded, and the seal is right."""
    changed = bytearray(data)
    changed[pick.randrange(len(WHOLE.loaded))] ^= 1 << pick.randrange(8)
    return sealed(changed)


Tamper = Callable[[bytes, random.Random], bytes]
SEEN: tuple[Tamper, ...] = (flipped, cut, refielded)
"""What no image survives."""
SEALED: tuple[Tamper, ...] = (edited, repacked)
"""What can be true again: a number of a text, a note."""


def answered(path: Path, data: bytes, pick: random.Random) -> Exit:
    """What `metaos audit` says; `metaos why` says no less. Anything but a MetaosError is raised."""
    path.write_bytes(data)
    try:
        said = audit(path).exit_code
    except MetaosError as error:
        assert error.message and error.hint
        said = error.exit_code
    place = pick.choice(("00:03.0", "steady+0x3", "00:03.0.csr", "0x200", "0x200000", "0x5ffff0"))
    try:
        image = read_image(path)
        why(image, place)
        why_fact(image, "functions.00:03.0.device")
    except MetaosError as error:
        assert error.exit_code == Exit.LAW_BROKEN or error.message.startswith("no ")
    return said


def tried(path: Path, count: int, seed: int) -> None:
    pick = random.Random(seed)
    for number in range(count):
        tamper = pick.choice((*SEEN, *SEEN, *SEALED))
        data = tamper(WHOLE.data, pick)
        said = answered(path, data, pick)
        if data == WHOLE.data:
            assert said == Exit.DONE
        elif tamper in SEEN:
            assert said == Exit.LAW_BROKEN, (number, tamper.__name__)
        else:
            assert said in (Exit.DONE, Exit.LAW_BROKEN), (number, tamper.__name__)


def test_a_sample_of_tampered_images(tmp_path: Path) -> None:
    tried(tmp_path / "x.img", QUICK, SEED)


@pytest.mark.soak
def test_twenty_thousand_tampered_images(tmp_path: Path) -> None:
    tried(tmp_path / "x.img", MANY, SEED + 1)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_the_trailer_is_held_against_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.img"
    for value in (0, 1, 0x12345678, 0xFFFFFFFF):
        changed = bytearray(WHOLE.data)
        odd = value.to_bytes(8, "little") if name in ("magic", "digest") else value
        if field(WHOLE.data, name) == odd:
            continue
        put(changed, name, odd)
        path.write_bytes(bytes(changed) if name == "digest" else sealed(changed))
        for read in (audit, read_image):
            with pytest.raises(MetaosError) as caught:
                read(path)
            assert caught.value.exit_code == Exit.LAW_BROKEN


def test_a_newer_image_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    changed = bytearray(WHOLE.data)
    put(changed, "format", FORMAT + 1)
    path.write_bytes(sealed(changed))
    assert f"newer MetaOS (format {FORMAT + 1}" in refusal(path)
    manifest = {**records(WHOLE.data, "manifest"), "schema": SCHEMA + 1, "unheard_of": 1}
    path.write_bytes(with_records(WHOLE.data, "manifest", manifest))
    assert f"newer MetaOS (schema {SCHEMA + 1}" in refusal(path)
    manifest["schema"] = SCHEMA - 1
    path.write_bytes(with_records(WHOLE.data, "manifest", manifest))
    assert f"older MetaOS (schema {SCHEMA - 1}" in refusal(path)


def refusal(path: Path) -> str:
    with pytest.raises(MetaosError) as caught:
        audit(path)
    assert caught.value.exit_code == Exit.LAW_BROKEN
    return caught.value.message


def account(image: Image, **where: Any) -> int:
    """The number of the first entry of which these fields are so."""
    return next(
        n
        for n, e in enumerate(image.account)
        if all(getattr(e, key) == value for key, value in where.items())
    )


@pytest.mark.parametrize(
    ("where", "change", "said"),
    [
        ({"kind": "list"}, {"note": ""}, "list that nobody says the reason of"),
        ({"kind": "padding"}, {"note": ""}, "padding that nobody says the reason of"),
        ({"kind": "code"}, {"file": ""}, "without a pattern's file and line"),
        ({"kind": "code"}, {"kind": "row"}, "is accounted as row"),
        ({"kind": "loader"}, {"line": 0}, "loader without a pattern's file and line"),
        ({"kind": "code"}, {"device": "00:1f.7"}, "which the manifest does not list"),
    ],
)
def test_what_an_account_must_say(where: Any, change: Any, said: str) -> None:
    from metaos.verify.account import check_account

    at = account(WHOLE, **where)
    entries = list(WHOLE.account)
    entries[at] = msgspec.structs.replace(entries[at], **change)
    violations = check_account(Image(WHOLE.data, WHOLE.manifest, tuple(entries)))
    assert any(said in v.message for v in violations), violations
    assert check_account(WHOLE) == ()


@pytest.mark.parametrize("name", ["manifest", "account"])
def test_what_rides_lies_where_the_account_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(with_records(WHOLE.data, name, records(WHOLE.data, name)))
    report = audit(path)
    assert report.exit_code == Exit.LAW_BROKEN
    assert any(f"the {name} lies here" in v.message for v in report.violations)


def test_padding_is_minimal() -> None:
    """A sector of zeros more, accounted and sealed, is one too many."""
    from metaos.verify.account import check_account

    assert len(WHOLE.data) == SMALLEST_FILE
    at = account(WHOLE, kind="padding", end=len(WHOLE.data) - TRAILER_LENGTH)
    entries = list(WHOLE.account)
    last = entries[at]
    entries[at] = msgspec.structs.replace(last, end=last.end + SECTOR)
    trailer = entries[at + 1]
    entries[at + 1] = msgspec.structs.replace(
        trailer, start=trailer.start + SECTOR, end=trailer.end + SECTOR
    )
    longer = WHOLE.data[: last.end] + bytes(SECTOR) + WHOLE.data[last.end :]
    (violation,) = check_account(Image(longer, WHOLE.manifest, tuple(entries)))
    assert "bytes of padding, at most" in violation.message
