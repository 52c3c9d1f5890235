"""The discoverer outside QEMU: its image for a stick, and the log that a machine gave.

write_discoverer(Path("discover.img"))
machine, problems = read_discovered(Path("serial.log"))
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from metaos.errors import Exit, MetaosError, Problem
from metaos.files import BOOT_IMAGE, demand_replaceable
from metaos.probe.dumped import read_dump
from metaos.probe.log import read_log
from metaos.probe.machine import Machine
from metaos.probe.qemu import assemble
from metaos.probe.salvage import salvage


def write_discoverer(path: Path) -> None:
    """Write the boot image, whole or not at all.

    Raises:
        MetaosError: nasm is missing, or the path cannot be written or is a device.
    """
    if path.exists() and not path.is_file():
        raise MetaosError(
            f"{path}: not a file",
            hint=f"write a file, and copy that: dd if=discover.img of={path} bs=4M conv=fsync",
            exit_code=Exit.USAGE,
        )
    demand_replaceable(path, BOOT_IMAGE)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            image = Path(folder, "discover.img")
            assemble(image)
            os.replace(image, path)  # noqa: PTH105 (of one file system, so at once)
    except OSError as error:
        raise MetaosError(f"{path}: {error.strerror}") from error


def read_discovered(path: Path) -> tuple[Machine, tuple[Problem, ...]]:
    """The machine that a log describes, and what of it is damaged or missing.

    Raises:
        MetaosError: the file cannot be read, or nothing in it can be used.
    """
    log = read_log(read_dump(path), str(path))
    return salvage(log), log.problems
