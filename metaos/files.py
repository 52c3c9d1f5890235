"""Files written at once: whoever reads one sees the old text or the new one, never a part."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from metaos.errors import Exit, MetaosError


@dataclass(frozen=True, slots=True)
class Form:
    """How files of a kind are recognised: one of `signs` at byte `at`.

    Space before a sign at the beginning is passed over.
    """

    name: str
    signs: tuple[bytes, ...]
    at: int = 0


MACHINE_FILE = Form("a machine file", (b"{",))
BOOT_IMAGE = Form("a boot image", (b"\x55\xaa",), 510)
SVG = Form("a drawing", (b"<svg", b"<?xml"))
HTML = Form("a page", (b"<!doctype html", b"<!DOCTYPE html", b"<html"))
PCAP = Form("a capture of frames", (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4"))


def demand_replaceable(path: Path, form: Form) -> None:
    """What stands at `path`, if anything does, is of the kind that is to be written there.

    An empty file is of every kind; what cannot be read is said when it is written.

    Raises:
        MetaosError: it is another file, which would be lost.
    """
    if path.is_file() and not is_a(path, form):
        raise MetaosError(
            f"{path} is there, and is not {form.name}: it would be lost",
            hint="write another file, or remove this one first",
            exit_code=Exit.USAGE,
        )


def is_a(path: Path, form: Form) -> bool:
    """Whether a file is of this kind, empty, or not to be read."""
    try:
        with path.open("rb") as file:
            file.seek(form.at)
            found = file.read(64)
            empty = not found and not path.stat().st_size
    except OSError:
        return True
    return empty or (found if form.at else found.lstrip()).startswith(form.signs)


def replace_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all.

    Raises:
        MetaosError: the path cannot be written.
    """
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, data: bytes) -> None:
    """Write `data`, whole or not at all.

    Raises:
        MetaosError: the path cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise MetaosError(f"{path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o666 & ~umask())
            file.write(data)
        Path(name).replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        if isinstance(error, OSError):
            raise MetaosError(f"{path}: {error.strerror}") from error
        raise


def umask() -> int:
    """The mode bits that new files do not get."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
