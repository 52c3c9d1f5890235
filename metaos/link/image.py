"""The `Image`: one self-describing file, with its account and manifest riding in the padding.

    loaded sectors | manifest | account | zeros | trailer (the last 64 bytes)

The loaded sectors are all that the boot loader reads. `pack_image` makes the bytes,
`write_image` puts them on disk, `read_image` takes them from there and believes nothing:

    write_image(pack_image(loaded, manifest, account), Path("build/pc.img"))
    image = read_image(Path("build/pc.img"))

The records are in manifest.py and can be imported from here; the format is described in
docs/image.md.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from metaos.errors import Exit, MetaosError
from metaos.files import umask
from metaos.link.manifest import (
    SCHEMA,
    AccountEntry,
    FileRange,
    Manifest,
    Mapping,
    PhaseMap,
    Provenance,
    Served,
    Symbol,
    WindowMap,
)

__all__ = [
    "CONTAINER_KINDS",
    "FORMAT",
    "SCHEMA",
    "SECTOR",
    "SMALLEST_FILE",
    "TRAILER_LENGTH",
    "AccountEntry",
    "FileRange",
    "Image",
    "Manifest",
    "Mapping",
    "PhaseMap",
    "Provenance",
    "Served",
    "Symbol",
    "WindowMap",
    "pack_image",
    "read_image",
    "riders",
    "sealed_by",
    "uncovered",
    "write_image",
]

FORMAT = 1
"""Version of the container. A file with a greater one was made by a newer MetaOS."""

SECTOR = 512
SMALLEST_FILE = 1008 * SECTOR
"""q35's firmware hangs on smaller disks: it derives zero cylinders."""

MAGIC = b"MetaOSim"
_TRAILER = struct.Struct("<8sIIIIIIII24s")
"""Magic, format, file length, loaded length, manifest offset and length, account offset and
length, a zero, and SHA-256 of all before it (first 24 bytes)."""
TRAILER_LENGTH = _TRAILER.size
_DIGEST_LENGTH = 24
_LARGEST_FILE = 64 << 20
_LARGEST_JSON = 64 << 20
_HINT = "build it again: metaos build"

CONTAINER_KINDS = ("manifest", "account", "padding", "trailer")
"""Kinds of account entries that `pack_image` itself adds after the loaded sectors."""


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image: the whole file's bytes, and what rides in them, decoded.

    `account` is sorted and covers every byte of `data` exactly once (`uncovered` tells).
    """

    data: bytes
    manifest: Manifest
    account: tuple[AccountEntry, ...]

    @property
    def loaded(self) -> bytes:
        """The sectors that the boot loader reads, itself included."""
        return self.data[: self.manifest.loaded_sectors * SECTOR]


def uncovered(account: Iterable[AccountEntry], length: int) -> tuple[FileRange, ...]:
    """The ranges of a file of `length` bytes that are not covered exactly once, in order.

    A gap is returned as it is; an overlap, an entry that is empty or out of order and one
    that passes the file's end is returned as that entry's range.
    """
    wrong: list[FileRange] = []
    at = 0
    for entry in account:
        if entry.start > at:
            wrong.append(FileRange(start=at, end=entry.start))
        if entry.start < at or entry.end <= entry.start or entry.end > length:
            wrong.append(FileRange(start=entry.start, end=entry.end))
        at = max(at, entry.end)
    if at < length:
        wrong.append(FileRange(start=at, end=length))
    return tuple(wrong)


def pack_image(loaded: bytes, manifest: Manifest, account: Iterable[AccountEntry]) -> Image:
    """Make the file: `loaded`, then manifest, account, zeros and the trailer.

    `loaded` is the loader and the packed content, `manifest.loaded_sectors` whole sectors.
    Entries of `account` that begin after them are replaced by the container's own, so an
    image that was read can be packed again after a change:

        pack_image(patched, image.manifest, image.account)
    """
    base = manifest.loaded_sectors * SECTOR
    if len(loaded) != base:
        raise ValueError(f"{len(loaded)} loaded bytes are not {manifest.loaded_sectors} sectors")
    inner = [entry for entry in account if entry.start < base]
    packed_manifest = zlib.compress(_json(manifest), 9)
    account_at = _up(base + len(packed_manifest), SECTOR)
    entries, packed_account = pack_account(inner, base, len(packed_manifest))
    end = entries[-1].end
    body = bytearray(end)
    body[:base] = loaded
    body[base : base + len(packed_manifest)] = packed_manifest
    body[account_at : account_at + len(packed_account)] = packed_account
    fields = (FORMAT, end, base, base, len(packed_manifest), account_at, len(packed_account), 0)
    body[-TRAILER_LENGTH:] = _TRAILER.pack(MAGIC, *fields, b"")
    body[-_DIGEST_LENGTH:] = sealed_by(body)
    return Image(bytes(body), manifest, tuple(entries))


def pack_account(
    inner: Sequence[AccountEntry], base: int, manifest_length: int
) -> tuple[list[AccountEntry], bytes]:
    """All entries and how they are packed, behind `base` loaded bytes and the packed manifest.

    The account says where it ends itself: its room grows until it fits. In room for a sector more
    it may be shorter by some bytes, and not need it: then it is packed less well, and is longer.
    """
    account_at = _up(base + manifest_length, SECTOR)
    entries, packed = list(inner), b""
    for level in range(9, -1, -1):
        room = SECTOR
        while True:
            end = max(SMALLEST_FILE, _up(account_at + room + TRAILER_LENGTH, SECTOR))
            own = _container_entries(base, manifest_length, account_at, account_at + room, end)
            entries = [*inner, *own]
            packed = zlib.compress(_json(entries), level)
            if len(packed) <= room:
                break
            room = _up(len(packed), SECTOR)
        if room - len(packed) < SECTOR:
            break
    return entries, packed


def write_image(image: Image, path: Path) -> None:
    """Write `path`, and beside it `path`.account.json and `path`.manifest.json, each atomically.

    The folder is made if it is missing. The image is put in place last, so that its
    presence says all three are whole.

    Raises:
        MetaosError: the place cannot be written or the disk is full; nothing is left half-written.
    """
    files = (
        (path.with_name(path.name + ".account.json"), _pretty(image.account)),
        (path.with_name(path.name + ".manifest.json"), _pretty(image.manifest)),
        (path, image.data),
    )
    written: list[tuple[Path, Path]] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise MetaosError(f"cannot write {path}: is a directory")
        for target, data in files:
            written.append((_write_temporary(target, data), target))
        for temporary, target in written:
            temporary.replace(target)
    except OSError as error:
        raise MetaosError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        for temporary, _ in written:
            temporary.unlink(missing_ok=True)


def read_image(path: Path) -> Image:
    """Read an image file and check that it is whole: magic, version, lengths, digest, JSON.

    Raises:
        MetaosError: exit FAILED if the file cannot be read; exit LAW_BROKEN if it is not a
            MetaOS image, was made by a newer MetaOS, is cut short or is changed anywhere.
    """
    data = _read_file(path)
    if len(data) < TRAILER_LENGTH or len(data) % SECTOR:
        raise _damage(path, f"{len(data)} bytes is no length of an image: not one, or cut short")
    trailer = _TRAILER.unpack(data[-TRAILER_LENGTH:])
    magic, version, length, loaded, manifest_at, manifest_length = trailer[:6]
    account_at, account_length, zero, digest = trailer[6:]
    if magic != MAGIC:
        raise _damage(path, "no trailer in its last 64 bytes: not a MetaOS image, or cut short")
    if version > FORMAT:
        raise _damage(path, *_newer("format", version, FORMAT))
    if version != FORMAT or zero:
        raise _damage(path, f"the trailer is damaged (format {version})")
    if length != len(data):
        raise _damage(path, f"is {len(data)} bytes long, its trailer says {length}")
    if digest != sealed_by(data):
        raise _damage(path, "the bytes are not those that were built (SHA-256 differs)")
    form = _unpack(path, data, "manifest", manifest_at, manifest_length, _Form)
    if form.schema > SCHEMA:
        raise _damage(path, *_newer("schema", form.schema, SCHEMA))
    if form.schema != SCHEMA:
        raise _damage(path, f"made by an older MetaOS (schema {form.schema}, not {SCHEMA})")
    manifest = _unpack(path, data, "manifest", manifest_at, manifest_length, Manifest)
    account = _unpack(path, data, "account", account_at, account_length, tuple[AccountEntry, ...])
    if loaded != manifest.loaded_sectors * SECTOR or loaded > length:
        raise _damage(path, f"trailer and manifest differ on the loaded length ({loaded})")
    return Image(data, manifest, account)


def _container_entries(
    base: int, manifest_length: int, account_at: int, account_end: int, end: int
) -> list[AccountEntry]:
    """The account of all after the loaded sectors; the account's room counts as account."""
    cuts = (
        ("manifest", base, base + manifest_length, "what is where; never loaded"),
        ("padding", base + manifest_length, account_at, "to the end of the sector"),
        ("account", account_at, account_end, "what each byte is; never loaded"),
        ("padding", account_end, end - TRAILER_LENGTH, "to a disk that every firmware takes"),
        ("trailer", end - TRAILER_LENGTH, end, "where all this lies, and the SHA-256"),
    )
    return [AccountEntry(start=a, end=b, kind=kind, note=n) for kind, a, b, n in cuts if a < b]


def _write_temporary(target: Path, data: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~umask())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MetaosError(f"cannot read {path}: not a regular file")
        if status.st_size > _LARGEST_FILE:
            raise _damage(path, f"{status.st_size} bytes is more than any image has")
        return path.read_bytes()
    except OSError as error:
        raise MetaosError(f"cannot read {path}: {error.strerror or error}") from error


class _Form(msgspec.Struct, frozen=True):
    """What a manifest of any version has."""

    schema: int


def _newer(what: str, version: int, known: int) -> tuple[str, str]:
    """The message and the hint for an image from the future."""
    message = f"made by a newer MetaOS ({what} {version}, this one reads up to {known})"
    return message, "update metaos, or build the image again with this one"


_T = TypeVar("_T")


def _unpack(path: Path, data: bytes, what: str, offset: int, length: int, kind: type[_T]) -> _T:
    if offset + length > len(data) - TRAILER_LENGTH:
        raise _damage(path, f"the {what} passes the end of the file")
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(data[offset : offset + length], _LARGEST_JSON)
        if not inflate.eof or inflate.unused_data:
            raise _damage(path, f"the {what} is cut short or too long")
        return msgspec.json.decode(text, type=kind)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise _damage(path, f"the {what} cannot be read: {error}") from error


def _damage(path: Path, what: str, hint: str = _HINT) -> MetaosError:
    return MetaosError(f"{path}: {what}", hint=hint, exit_code=Exit.LAW_BROKEN)


def riders(data: bytes) -> dict[str, FileRange]:
    """Where the trailer of a whole image file says that manifest and account lie."""
    fields = _TRAILER.unpack(data[-TRAILER_LENGTH:])
    pairs = (("manifest", fields[4:6]), ("account", fields[6:8]))
    return {name: FileRange(start=at, end=at + length) for name, (at, length) in pairs}


def sealed_by(data: bytes | bytearray) -> bytes:
    """What the trailer's last field must be: of SHA-256 over all before it the first bytes."""
    return hashlib.sha256(memoryview(data)[:-_DIGEST_LENGTH]).digest()[:_DIGEST_LENGTH]


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=int, order="deterministic")


def _pretty(value: object) -> bytes:
    return msgspec.json.format(_json(value), indent=1) + b"\n"


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
