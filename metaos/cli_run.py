"""The verbs that boot an image: their options, and what they say.

What they do is `metaos.boot`'s and `metaos.debug`'s, imported inside the verbs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from metaos import cli_build, console
from metaos.cli_build import BUILD, MACHINE
from metaos.cli_options import Accel, Json, LatestImage, PatternDirs, Quiet, Target, qemu_arguments
from metaos.errors import Exit, MetaosError

if TYPE_CHECKING:
    from metaos.boot.run import Wanted
    from metaos.link.image import Image
    from metaos.lower.plan import DevicePlan

FORWARD = "7007:7/udp"


def run(
    ctx: typer.Context,
    image: LatestImage = None,
    net: Annotated[
        Literal["user", "dgram", "none"], typer.Option(help="The network it is connected to.")
    ] = "user",
    forward: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--publish",
            help=f"HOST:[ADDRESS:]GUEST/PROTOCOL; default: {FORWARD}, to the first card.",
        ),
    ] = None,
    pcap: Annotated[Path | None, typer.Option(help="Write the network's frames there.")] = None,
    gdb: Annotated[
        bool, typer.Option("--gdb", help="Wait for gdb; its symbols are written beside the image.")
    ] = False,
    gdb_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where; default: 1234 if it is free.")
    ] = None,
    machine: Annotated[
        Path | None, typer.Option(help="For --gdb: what it was built from; see docs/debugging.md.")
    ] = None,
    patterns: PatternDirs = None,
    accel: Accel = "auto",
    target: Target = None,
    dry_run: Annotated[bool, typer.Option(help="Only print the QEMU command.")] = False,
) -> None:
    """Boot an image in QEMU, on the machine it was made for; Ctrl-C ends it."""
    from metaos.boot import run as runner
    from metaos.debug.session import free_port

    image = image or latest_image()
    wanted = runner.Wanted(
        image=image,
        net=net,
        forwards=tuple(forward or [FORWARD]),
        patterns=tuple(cli_build.pattern_folders(tuple(patterns or ()))),
        capture=pcap,
        accel=accel,
        target=target,
        arguments=qemu_arguments(ctx),
        gdb=free_port(gdb_port) if gdb or gdb_port else None,
    )
    if dry_run:
        console.data(runner.command_text(wanted))
        return
    if wanted.gdb is not None:
        _write_symbols(image, wanted.gdb, machine, tuple(patterns or ()))
    raise SystemExit(runner.run(wanted, console.note))


def test(
    ctx: typer.Context,
    image: LatestImage = None,
    pcap: Annotated[Path | None, typer.Option(help="Write the network's frames there.")] = None,
    accel: Accel = "auto",
    target: Target = None,
    patterns: PatternDirs = None,
    seed: Annotated[int, typer.Option(help="Makes other payloads.")] = 0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds it may take to boot.")] = 30.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Boot an image and ask it every example of its services' patterns."""
    from metaos.boot import run as runner

    wanted = _wired(ctx, image, accel, target, pcap)
    result = runner.test(
        wanted,
        patterns=cli_build.own_folders(tuple(patterns or ())),
        seed=seed,
        boot_seconds=timeout,
        progress=console.silent if quiet else console.note,
    )
    if json:
        console.data_json(result)
    else:
        from metaos.cli_text import verdicts_text

        console.data(verdicts_text(result.verdicts, result.console))
    raise SystemExit(Exit.DONE if result.passed else Exit.FAILED)


def boot_chart(
    ctx: typer.Context,
    image: LatestImage = None,
    svg: Annotated[Path | None, typer.Option(help="Draw it there, too.")] = None,
    accel: Accel = "auto",
    target: Target = None,
    patterns: PatternDirs = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds each boot may take.")] = 60.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Boot an image twice, and say what its start costs, part by part."""
    from metaos.boot import chart, chart_text
    from metaos.files import SVG, demand_replaceable, replace_text
    from metaos.pattern.patterns import load

    if svg is not None:
        demand_replaceable(svg, SVG)
    wanted = _wired(ctx, image, accel, target)
    made = chart.boot_chart(
        wanted,
        patterns=load(cli_build.pattern_folders(tuple(patterns or ()))),
        seconds=timeout,
        progress=console.silent if quiet else console.note,
    )
    if svg is not None:
        replace_text(svg, chart_text.svg(made))
    if json:
        console.data_json(made)
    else:
        console.data(chart_text.text(made))


def _wired(
    ctx: typer.Context, image: Path | None, accel: str, target: str | None, pcap: Path | None = None
) -> Wanted:
    """A machine whose networks this process is the other end of."""
    from metaos.boot.run import Wanted

    return Wanted(
        image=image or latest_image(),
        net="wire",
        capture=pcap,
        accel=accel,
        target=target,
        arguments=qemu_arguments(ctx),
    )


def _write_symbols(path: Path, port: int, machine: Path | None, patterns: tuple[Path, ...]) -> None:
    """Write what gdb reads, and say how it is started."""
    from metaos.debug.session import script_of, session
    from metaos.files import replace_bytes
    from metaos.link.image import read_image

    image, folders = read_image(path), cli_build.pattern_folders(patterns)
    plans = _plans(image, machine, folders)
    for name, data in session(image, path, port=port, plans=plans, folders=folders).items():
        replace_bytes(name, data)
    console.note(f"nothing runs before a debugger says so: gdb -x {script_of(path)}")


def _plans(image: Image, machine: Path | None, folders: list[Path]) -> tuple[DevicePlan, ...]:
    """What the patterns call registers and fields; nothing without the machine file."""
    from metaos.pipeline import remake
    from metaos.probe.store import read_machine

    if machine is None and not MACHINE.exists():
        why = f"no {MACHINE}"
    else:
        try:
            made = remake(image, read_machine(machine or MACHINE), pattern_dirs=folders)
            return made.lowered.plans
        except MetaosError as error:
            if machine is not None:
                raise
            why = f"{MACHINE}: {error.message}"
    console.note(f"{why}: gdb is told of places without fields, and of no registers (--machine)")
    return ()


def latest_image() -> Path:
    images = sorted(BUILD.glob("*.img"), key=lambda path: (path.stat().st_mtime, path.name))
    if not images:
        raise MetaosError(
            "no image named, and none in build/", hint="metaos build", exit_code=Exit.USAGE
        )
    console.note(f"image: {images[-1]}")
    return images[-1]
