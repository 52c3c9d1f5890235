"""The boot loader, assembled for one image, and the account of its bytes from nasm's listing.

    loader = assemble_loader(BOOTLOADER / "boot.asm", {"SECTORS": 5, ...})
    loader.data, loader.account

nasm runs in a folder of its own and is given the file by its bare name, so that no path of the
build host can reach the bytes or the account.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from metaos.errors import Exit, MetaosError
from metaos.link.manifest import AccountEntry
from metaos.told import facts_of

LOW = 0x7C00
"""Where the firmware puts sector 0; it is 512 bytes long."""
SIGNATURE = 510
"""Where the firmware looks whether sector 0 can be booted."""
LISTS = 0x8040
"""Where the loader looks for its lists: sector 1 begins with the bootstrap page's entries."""
FIXED = 512 + (LISTS - 0x8000)
"""Length of what boot.asm yields: sector 0 and the bootstrap page's entries."""
_SECONDS = 30
_LISTED = re.compile(
    r"^ *(?P<line>\d+) (?P<at>[0-9A-F]{8}) [^\s<]+(?:<rep \w+>)? *(?:<\d+> *)?(?P<source>.*)$"
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Loader:
    """The loader's `FIXED` bytes, the account of each, and the nasm that made them."""

    data: bytes
    account: tuple[AccountEntry, ...]
    nasm: str


def assemble_loader(source: Path, defines: Mapping[str, int]) -> Loader:
    """Run nasm on boot.asm with the linker's numbers.

    Raises:
        MetaosError: nasm is missing (exit TOOL_MISSING), refuses the source, or takes too
            long; or the loader has another length than the linker counts on.
    """
    nasm = shutil.which("nasm")
    if nasm is None:
        raise MetaosError(
            "nasm is not installed",
            hint="sudo apt-get install nasm",
            exit_code=Exit.TOOL_MISSING,
        )
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        try:
            (Path(folder) / source.name).write_bytes(source.read_bytes())
        except OSError as error:
            raise MetaosError(f"cannot read the boot loader {source}: {error.strerror}") from error
        numbers = [f"-D{name}={value:#x}" for name, value in defines.items()]
        _run(
            [nasm, "-f", "bin", "-Werror", "-o", "out", "-l", "listing", *numbers, source.name],
            folder,
        )
        data = (Path(folder) / "out").read_bytes()
        listing = (Path(folder) / "listing").read_text("utf-8", "replace")
        version = nasm_version()
    if len(data) != FIXED or data[SIGNATURE : SIGNATURE + 2] != b"\x55\xaa":
        raise MetaosError(f"{source.name} yields {len(data)} bytes, the linker needs {FIXED}")
    account = tuple(_account(listing, source.name, len(data), defines))
    return Loader(data, account, version)


def nasm_version() -> str:
    """What nasm says of itself; "" where it is not installed.

    Raises:
        MetaosError: it does not answer.
    """
    nasm = shutil.which("nasm")
    if nasm is None:
        return ""
    said = _run([nasm, "-v"], ".").split()
    return said[2] if len(said) > 2 else "unknown"


def _run(command: list[str], folder: str) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MetaosError(f"nasm did not end within {_SECONDS} seconds") from error
    except OSError as error:
        raise MetaosError(f"nasm cannot be started: {error.strerror}") from error
    if done.returncode:
        raise MetaosError(f"nasm refuses the boot loader:\n{done.stderr.strip()}")
    return done.stdout


def _account(
    listing: str, name: str, length: int, defines: Mapping[str, int]
) -> Iterator[AccountEntry]:
    """One entry for each source line that yields bytes, in order; `times` yields padding.

    A line has the facts of the linker's numbers that it names.
    """
    lines: list[tuple[int, int, str]] = []
    for text in listing.splitlines():
        match = _LISTED.match(text)
        if match and (not lines or int(match["line"]) != lines[-1][1]):
            lines.append((int(match["at"], 16), int(match["line"]), match["source"].strip()))
    for (start, line, source), (end, _, _) in pairwise([*lines, (length, 0, "")]):
        used = [n for n in _WORD.findall(source.partition(";")[0]) if n in defines]
        padding = source.startswith("times ")
        yield AccountEntry(
            start=start,
            end=end,
            kind="padding" if padding else "loader",
            file=name,
            line=line,
            column=1,
            facts=facts_of(*(defines[n] for n in used)),
            note="to the place that the firmware gives what follows" if padding else "",
        )
