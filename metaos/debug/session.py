"""What `metaos run --gdb` writes beside the image: symbols of every phase, a script for gdb.

    files = session(image, path, port=1234, plans=plans, folders=[PATTERNS])
    for name, data in files.items():        # IMAGE.PHASE.elf for each phase, IMAGE.gdb
        replace_bytes(name, data)

The phases' code stands at the same addresses, so each has a symbol file of its own; the script's
command `phase` changes over.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from metaos.boot.network import LOCALHOST
from metaos.debug.dwarf import Sources
from metaos.debug.elf import elf
from metaos.debug.symbols import symbols
from metaos.errors import MetaosError
from metaos.link.image import Image
from metaos.lower.plan import DevicePlan

PORT = 1234
"""Where gdb is awaited, if nobody has the port; it is what QEMU's manual uses."""
_SCRIPT = """\
# Written by metaos run --gdb, for the machine that it started:  gdb -x {script}
set confirm off
set print demangle off
set output-radix 16
{numbers}
file "{base}.steady.elf"
define phase
  symbol-file "{base}.$arg0.elf"
  tbreak *$first_$arg0 if $cr3 == $$arg0
  continue
end
document phase
phase NAME: know the symbols of guard, init, wipe, steady or report, and run until it begins.
end
define row
  info symbol $rows_$arg0 + 'rows.cursor'
end
document row
row PHASE: the pattern line of the row that guard or init is at.
end
define break-row
  break *$first_$arg0 if $cr3 == $$arg0 && $rows_$arg0 + 'rows.cursor' == (long)&'$arg1'
end
document break-row
break-row PHASE FILE:LINE: stop before a turn of guard or init that does this row.
end
target remote {host}:{port}
"""


def script_of(image: Path) -> Path:
    """The script for gdb that belongs to an image."""
    return image.with_name(f"{image.name}.gdb")


def session(
    image: Image,
    path: Path,
    *,
    port: int,
    plans: Iterable[DevicePlan] = (),
    folders: Sequence[Path],
) -> dict[Path, bytes]:
    """The symbol file of every phase, and a script for gdb. `folders` hold the pattern files."""
    sources, plans = _sources(image, folders), tuple(plans)
    phases = image.manifest.phases
    base = path.absolute()
    files = {
        base.with_name(f"{base.name}.{phase.name}.elf"): elf(
            symbols(image, phase.name, plans), sources
        )
        for phase in phases
    }
    script = script_of(path)
    numbers = "\n".join(f"set ${name} = {value:#x}" for name, value in _numbers(image))
    text = _SCRIPT.format(script=script, numbers=numbers, base=base, host=LOCALHOST, port=port)
    return {**files, script: text.encode()}


def _numbers(image: Image) -> Iterator[tuple[str, int]]:
    """What the script calls each phase's page-table root, first instruction and rows."""
    for phase in image.manifest.phases:
        yield phase.name, phase.root
        yield f"first_{phase.name}", phase.code_linear
        for datum in image.manifest.symbols:
            if datum.name == f"rows.{phase.name}":
                yield f"rows_{phase.name}", datum.linear


def free_port(wanted: int | None) -> int:
    """The port that is wanted; without one the usual one, or another if that is taken.

    Raises:
        MetaosError: the wanted port is taken.
    """
    for port in (PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOCALHOST, port))
            return int(probe.getsockname()[1])
    raise MetaosError(
        f"tcp port {wanted} of {LOCALHOST} is taken",
        hint="name another with --gdb-port, or none: then a free one is taken",
    )


def _sources(image: Image, folders: Sequence[Path]) -> Sources:
    """Where each pattern file lies: in the last folder that has it."""
    names = {entry.file for entry in image.account if entry.file}
    found = {
        name: next((f for f in reversed(folders) if (f / name).is_file()), folders[0])
        for name in names
    }
    first = folders[0].absolute()
    others = {name: f.absolute() for name, f in found.items() if f.absolute() != first}
    return Sources(first, others)
