"""Options and arguments that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from metaos import console
from metaos.cli_build import Progress

WITH_QEMU = "[OPTIONS] [-- QEMU ARGUMENTS]"
PROBE_SECONDS = 60.0

Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Target = Annotated[str | None, typer.Option(help="A machine of qemu/, or 'none'.")]
Accel = Annotated[
    Literal["auto", "tcg", "kvm"], typer.Option(help="How QEMU runs: 'auto' measures once.")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds until a probe is given up.")]
PatternDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--patterns", help="A folder of more patterns; its files replace MetaOS's of the same path."
    ),
]
SystemFile = Annotated[
    Path | None, typer.Option("--system", help="What the image is to do (TOML).")
]
MachineFile = Annotated[Path, typer.Argument(help="A machine file.")]
ImageFile = Annotated[Path, typer.Argument(help="An image.")]
LatestImage = Annotated[
    Path | None, typer.Argument(help="An image; without one, the newest in build/.")
]
MachineOutput = Annotated[
    Path, typer.Option("-o", "--output", help="The machine file; '-': stdout.")
]


def qemu_arguments(ctx: typer.Context) -> tuple[str, ...]:
    """What followed `--`."""
    return tuple(ctx.obj or ())


def progress(quiet: bool) -> Progress:
    """Where progress is told."""
    return console.silent if quiet else console.note
