"""Files of a live Linux, or of a tree copied from one, read with care.

A copied tree is anything: links that lead nowhere or out of it, pipes, files cut off. Every
read ends in bytes or in `UnreadError`, whose text names the file.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from metaos.probe.machine import Origin, Unknown

MOST_BYTES = 1 << 20
MOST_NAMES = 1 << 16


class UnreadError(Exception):
    """What could not be read, or is not of the form that it should have; the text says why."""


class Gaps:
    """The facts that could not be read, each once, in the order in which they were missed."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def add(self, what: str, reason: object) -> None:
        self._reasons.setdefault(what, str(reason))

    def unknown(self) -> tuple[Unknown, ...]:
        return tuple(
            Unknown(what=what, reason=reason, origin=Origin.SYSFS)
            for what, reason in self._reasons.items()
        )


class Tree:
    """The files below `root`; paths are relative to it ("sys/bus/pci/devices")."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.live = self.root == Path("/")

    def shown(self, path: str) -> str:
        """The path as messages name it, in printable characters."""
        text = f"/{path}" if self.live else path
        return text.encode("unicode_escape", "backslashreplace").decode()

    def content(self, path: str, most: int = MOST_BYTES) -> bytes:
        """The content of a regular file, at most `most` bytes of it; more is `UnreadError`."""
        full = self._inside(path)
        try:
            handle = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise UnreadError(f"{self.shown(path)}: not a file")
                return self._all(handle, path, most)
            finally:
                os.close(handle)
        except OSError as error:
            raise self._unread(path, error) from error

    def text(self, path: str) -> str:
        """The content as text; each byte is a character of Latin-1."""
        return self.content(path).decode("latin-1")

    def number(self, path: str) -> int:
        """A file that holds one number, decimal or hexadecimal with 0x."""
        text = self.text(path).strip()
        if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19}", text):
            raise UnreadError(f"{self.shown(path)}:1:1: expected a number, got {text[:40]!a}")
        return int(text, 16 if text[1:2] in ("x", "X") else 10)

    def names(self, path: str) -> list[str]:
        """What a folder holds, in order."""
        try:
            found = sorted(entry.name for entry in Path(self._inside(path)).iterdir())
        except OSError as error:
            raise self._unread(path, error) from error
        if len(found) > MOST_NAMES:
            raise UnreadError(f"{self.shown(path)}: {len(found)} entries, more than {MOST_NAMES}")
        return found

    def link(self, path: str) -> str:
        """What a symbolic link says, whether or not that is there; "" if it is none."""
        try:
            return str((self.root / path).readlink())
        except OSError:
            return ""

    def is_folder(self, path: str) -> bool:
        try:
            return Path(self._inside(path)).is_dir()
        except (UnreadError, OSError):
            return False

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path)

    def _all(self, handle: int, path: str, most: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := os.read(handle, min(most + 1 - size, 1 << 16)):
            parts.append(part)
            size += len(part)
            if size > most:
                raise UnreadError(f"{self.shown(path)}: more than {most} bytes")
        return b"".join(parts)

    def _inside(self, path: str) -> str:
        """The file's path; a link that leaves a copied tree would lead to another machine."""
        full = str(self.root / path)
        if self.live:
            return full
        real = os.path.realpath(full)
        if os.path.commonpath((real, str(self.root))) != str(self.root):
            raise UnreadError(f"{self.shown(path)}: a link out of the tree, to {ascii(real)[1:-1]}")
        return full

    def _unread(self, path: str, error: OSError) -> UnreadError:
        why = (error.strerror or str(error)).lower()
        if isinstance(error, PermissionError) and self.live and os.geteuid():
            why += " (not read as root)"
        return UnreadError(f"{self.shown(path)}: {why}")
