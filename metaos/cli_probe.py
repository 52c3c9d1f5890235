"""`metaos probe SOURCE`: one command for each place that a machine's facts come from.

Every source ends in `write`: a machine file, or its text on stdout for "-".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from metaos import cli_build, console
from metaos.cli_build import MACHINE, Progress
from metaos.cli_options import (
    PROBE_SECONDS,
    WITH_QEMU,
    Accel,
    Json,
    MachineOutput,
    PatternDirs,
    Quiet,
    SystemFile,
    Target,
    Timeout,
    progress,
    qemu_arguments,
)
from metaos.errors import Exit, MetaosError, Problem
from metaos.files import MACHINE_FILE, demand_replaceable
from metaos.probe.machine import Machine

MOST_WARNINGS = 10

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
    qmp: Annotated[
        str | None,
        typer.Option(help="Read the machine that runs behind this control socket instead."),
    ] = None,
    target: Target = None,
    output: MachineOutput = MACHINE,
    accel: Accel = "auto",
    timeout: Timeout = PROBE_SECONDS,
    patterns: PatternDirs = None,
    system: SystemFile = None,
    quiet: Quiet = False,
) -> None:
    """A QEMU machine: a boot image runs on it and reads it; or one that runs, over QMP."""
    say = progress(quiet)
    demand_replaceable(output, MACHINE_FILE)
    if qmp is not None:
        if target is not None or ctx.obj is not None:
            raise MetaosError(
                "--qmp reads a machine that runs: it takes no --target and no QEMU arguments",
                exit_code=Exit.USAGE,
            )
        from metaos.probe.running import probe_running

        write(probe_running(qmp, timeout), output, say)
        return
    source = cli_build.Source(
        probe=True, target=target, arguments=qemu_arguments(ctx), accel=accel, timeout=timeout
    )
    write(cli_build.machine_of(source, system, tuple(patterns or ()), say), output, say)


@app.command()
def discover(
    log: Annotated[
        Path | None, typer.Argument(help="What a machine printed that booted it; '-': stdin.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--write", help="Write the boot image there instead.")
    ] = None,
    output: MachineOutput = MACHINE,
    quiet: Quiet = False,
) -> None:
    """Any PC: a boot image for a stick that reads it; what it printed, typed or logged."""
    from metaos.probe.discover import read_discovered, write_discoverer

    if (log is None) == (image is None):
        raise MetaosError(
            "a LOG to read or --write IMAGE: one of the two",
            hint="metaos probe discover --write discover.img, boot it, "
            "then metaos probe discover serial.log",
            exit_code=Exit.USAGE,
        )
    say = progress(quiet)
    if image is not None:
        write_discoverer(image)
        say(f"wrote {image}; copy it to a stick: dd if={image} of=/dev/sdX bs=4M conv=fsync")
    elif log is not None:
        found, lost = read_discovered(log)
        warn(lost)
        write(found, output, say)


@app.command()
def acpidump(
    file: Annotated[Path, typer.Argument(help="What acpidump printed; '-': stdin.")],
    output: MachineOutput = MACHINE,
    quiet: Quiet = False,
) -> None:
    """ACPI tables, from the text that acpidump prints."""
    from metaos.probe.acpidump import parse_acpidump
    from metaos.probe.dumped import read_dump

    found, lost = parse_acpidump(read_dump(file), str(file))
    warn(lost)
    write(found, output, progress(quiet))


@app.command()
def sysfs(
    root: Annotated[
        Path, typer.Option(help="The folder in which sys/, proc/ and dev/ are.")
    ] = Path("/"),
    output: MachineOutput = MACHINE,
    quiet: Quiet = False,
) -> None:
    """A machine that runs Linux, this one or a copied tree; as root it shows more."""
    from metaos.probe.sysfs.probe import probe_sysfs

    write(probe_sysfs(root), output, progress(quiet))


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="Machine files of one machine.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The machine file; '-': stdout.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What several machine files know of one machine; says on what they differ."""
    from metaos.cli_text import merged_text
    from metaos.probe.merge import merge
    from metaos.probe.store import read_machine

    if len(files) < 2:
        raise MetaosError("one file alone is merged already", exit_code=Exit.USAGE)
    if json and str(output) == "-":
        raise MetaosError("--json and -o - both write to stdout", exit_code=Exit.USAGE)
    merged = merge([(str(file), read_machine(file)) for file in files])
    if json:
        console.data_json({"conflicts": merged.conflicts, "filled": merged.filled})
    elif str(output) == "-":
        progress(quiet)(merged_text(merged))
    else:
        console.data(merged_text(merged))
    write(merged.machine, output, progress(quiet))


@app.command()
def scrub(
    file: Annotated[Path, typer.Argument(help="A machine file.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Default: FILE.scrubbed.json beside it; '-': stdout."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A machine file that may be shared: without serial numbers, UUIDs and MAC addresses."""
    from metaos.probe.scrub import scrub
    from metaos.probe.store import read_machine

    path = output or file.with_name(f"{file.stem}.scrubbed.json")
    if json and str(path) == "-":
        raise MetaosError("--json and -o - both write to stdout", exit_code=Exit.USAGE)
    scrubbed = scrub(read_machine(file))
    if json:
        console.data_json({"removed": scrubbed.removed})
    else:
        text = "\n".join(f"removed: {what}" for what in scrubbed.removed) or "nothing to remove"
        (progress(quiet) if str(path) == "-" else console.data)(text)
    write(scrubbed.machine, path, progress(quiet))


def warn(problems: Sequence[Problem]) -> None:
    """Say what of a damaged text could not be taken, though the rest was."""
    for problem in problems[:MOST_WARNINGS]:
        console.note(problem.render().replace("error[", "warning[", 1))
    if len(problems) > MOST_WARNINGS:
        console.note(f"{len(problems) - MOST_WARNINGS} more warnings are not shown")


Dump = Annotated[Path, typer.Argument(help="A file; '-': stdin.")]


@app.command()
def lspci(file: Dump, output: MachineOutput = MACHINE, quiet: Quiet = False) -> None:
    """The text that lspci printed: lspci -nnvvxxx, or less."""
    from metaos.probe.lspci_machine import lspci_machine
    from metaos.probe.paste import read_text

    say = progress(quiet)
    machine, notes = lspci_machine(read_text(file), str(file))
    for note in notes:
        say(note)
    write(machine, output, say)


@app.command()
def cpuid(
    file: Annotated[
        Path, typer.Argument(help="A file, a folder with one for each processor; '-': stdin.")
    ],
    output: MachineOutput = MACHINE,
    quiet: Quiet = False,
) -> None:
    """A dump of CPUID leaves: cpuid -r, AIDA64, hwloc-gather-cpuid."""
    from metaos.cli_processor import processor_lines
    from metaos.match.processor import shown_processor
    from metaos.probe.cpuid_machine import cpuid_machine

    say = progress(quiet)
    machine = cpuid_machine(file)
    for line in processor_lines(shown_processor(machine.cpu)):
        say(line)
    write(machine, output, say)


def write(machine: Machine, output: Path, say: Progress) -> None:
    """Write a machine file, or to stdout for "-", and say how much of it is not known."""
    from metaos.probe.store import format_machine, write_machine

    if str(output) == "-":
        console.data(format_machine(machine))
    else:
        write_machine(machine, output)
        say(f"wrote {output}")
    if machine.unknown:
        count = len(machine.unknown)
        say(f"{count} {'fact is' if count == 1 else 'facts are'} unknown: 'metaos show' lists them")
