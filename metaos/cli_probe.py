"""`metaos probe SOURCE`: one command for each place that a machine's facts come from.

Every source ends in `write`: a machine file, or its text on stdout for "-".
"""

from __future__ import annotations

from pathlib import Path

import typer

from metaos import cli_build, console
from metaos.cli_build import MACHINE, Progress
from metaos.cli_options import (
    PROBE_SECONDS,
    WITH_QEMU,
    Accel,
    MachineOutput,
    PatternDirs,
    Quiet,
    SystemFile,
    Target,
    Timeout,
    progress,
    qemu_arguments,
)
from metaos.errors import Exit, MetaosError
from metaos.probe.machine import Machine

app = typer.Typer()


@app.callback()
def probe(ctx: typer.Context) -> None:
    """Read a machine and write down every fact of it."""
    if ctx.obj is not None and ctx.invoked_subcommand != "qemu":
        raise MetaosError(
            f"'probe {ctx.invoked_subcommand}' takes no arguments for QEMU",
            hint="-- and what follows go with probe qemu",
            exit_code=Exit.USAGE,
        )


@app.command(options_metavar=WITH_QEMU)
def qemu(
    ctx: typer.Context,
    target: Target = None,
    output: MachineOutput = MACHINE,
    accel: Accel = "auto",
    timeout: Timeout = PROBE_SECONDS,
    patterns: PatternDirs = None,
    system: SystemFile = None,
    quiet: Quiet = False,
) -> None:
    """A QEMU machine: a boot image runs on it and reads it."""
    source = cli_build.Source(
        probe=True, target=target, arguments=qemu_arguments(ctx), accel=accel, timeout=timeout
    )
    say = progress(quiet)
    write(cli_build.machine_of(source, system, tuple(patterns or ()), say), output, say)


def write(machine: Machine, output: Path, say: Progress) -> None:
    """Write a machine file, or to stdout for "-"."""
    from metaos.probe.store import format_machine, write_machine

    if str(output) == "-":
        console.data(format_machine(machine))
        return
    write_machine(machine, output)
    say(f"wrote {output}")
