"""The `metaos` command: verbs, arguments and exit codes. What they do is elsewhere.

Data goes to stdout, messages to stderr. Everything after `--` is QEMU's. The stages are
imported inside the verbs, so that `--help` and completion are quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from metaos import cli_build, cli_patterns, cli_probe, cli_run, console
from metaos.cli_build import BUILD, MACHINE
from metaos.cli_options import (
    PROBE_SECONDS,
    WITH_QEMU,
    Accel,
    ImageFile,
    Json,
    MachineFile,
    PatternDirs,
    Quiet,
    SystemFile,
    Target,
    Timeout,
    qemu_arguments,
)
from metaos.errors import Exit, MetaosError

_QEMU_VERBS = ("build", "probe", "run", "test", "boot-chart")


class Verbs(TyperGroup):
    """The verbs, with every exception turned into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        with console.one_message():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Verbs,
    name="metaos",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_probe.app, name="probe")
app.add_typer(cli_patterns.app, name="patterns")


@app.callback()
def metaos(ctx: typer.Context) -> None:
    """A compiler whose target is one machine: probe it, generate its drivers, boot the image."""
    if ctx.obj is not None and ctx.invoked_subcommand not in _QEMU_VERBS:
        raise MetaosError(
            f"'{ctx.invoked_subcommand}' takes no arguments for QEMU",
            hint=f"-- and what follows go with {', '.join(_QEMU_VERBS)}",
            exit_code=Exit.USAGE,
        )


@app.command(options_metavar=WITH_QEMU)
def build(
    ctx: typer.Context,
    probe: Annotated[
        Literal["qemu"] | None, typer.Option(help="Probe the machine first, in QEMU.")
    ] = None,
    machine: Annotated[
        Path | None, typer.Option(help="The machine file; default: ./machine.json.")
    ] = None,
    target: Target = None,
    system: SystemFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The image; default: build/NAME.img.")
    ] = None,
    accel: Accel = "auto",
    timeout: Timeout = PROBE_SECONDS,
    patterns: PatternDirs = None,
    dump: Annotated[
        str | None, typer.Option(help="Print this stage instead of writing an image.")
    ] = None,
    bind: Annotated[
        Literal["unit"] | None,
        typer.Option(help="Fold what this one unit has, as its MAC; other units are refused."),
    ] = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse other tools than metaos.lock records.")
    ] = False,
    lock: Annotated[
        bool, typer.Option("--lock", help="Record the tools of this build in metaos.lock.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a bootable image for one machine."""
    if lock and locked:
        raise MetaosError("--lock and --locked exclude each other", exit_code=Exit.USAGE)
    cli_build.build(
        cli_build.Source(
            probe=bool(probe),
            machine=machine,
            target=target,
            arguments=qemu_arguments(ctx),
            accel=accel,
            timeout=timeout,
        ),
        system=system,
        output=output,
        patterns=tuple(patterns or ()),
        dump=dump,
        fold_units=bind == "unit",
        locked=locked,
        lock=lock,
        json=json,
        progress=console.silent if quiet else console.note,
    )


@app.command()
def show(machine: MachineFile = MACHINE, json: Json = False) -> None:
    """Show a machine file."""
    cli_build.show(machine, json=json)


@app.command()
def match(
    machine: Annotated[
        Path, typer.Argument(help="A machine file; with --summary, a folder of them.")
    ] = MACHINE,
    summary: Annotated[bool, typer.Option(help="How much of a folder's machines is covered.")] = (
        False
    ),
    system: SystemFile = None,
    patterns: PatternDirs = None,
    json: Json = False,
) -> None:
    """Say which pattern serves which device and why, or which is nearest and why not."""
    if summary:
        whole = cli_build.coverage(
            machine, system=system, patterns=tuple(patterns or ()), json=json
        )
        raise SystemExit(Exit.DONE if whole else Exit.FAILED)
    cli_build.match(machine, system=system, patterns=tuple(patterns or ()), json=json)


@app.command()
def config(
    system: SystemFile = None,
    machine: Annotated[
        Path | None, typer.Option(help="The machine file; default: ./machine.json, if it is there.")
    ] = None,
    patterns: PatternDirs = None,
    json: Json = False,
) -> None:
    """Say what an image would do: each card's address and services."""
    cli_build.config(system=system, machine=machine, patterns=tuple(patterns or ()), json=json)


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(help="The machine file an image is made for.")],
    b: Annotated[Path, typer.Argument(help="The machine file it might be booted on.")],
    system: SystemFile = None,
    patterns: PatternDirs = None,
    json: Json = False,
) -> None:
    """Say what changed between two machines; exit 1 if an image for A does not serve B."""
    serves = cli_build.diff(a, b, system=system, patterns=tuple(patterns or ()), json=json)
    raise SystemExit(Exit.DONE if serves else Exit.FAILED)


app.command(options_metavar=WITH_QEMU)(cli_run.run)
app.command(options_metavar=WITH_QEMU)(cli_run.test)
app.command("boot-chart", options_metavar=WITH_QEMU)(cli_run.boot_chart)


@app.command()
def audit(
    image: ImageFile,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build it again, and compare the bytes.")
    ] = False,
    machine: Annotated[
        Path | None,
        typer.Option(help="With --rebuild, what it was built from; default: ./machine.json."),
    ] = None,
    patterns: PatternDirs = None,
    json: Json = False,
) -> None:
    """Prove the laws on an image again, and say what it is made of; exit 4 if one is broken."""
    from metaos.verify import audit as auditor

    if not rebuild and (machine or patterns):
        raise MetaosError(
            "--machine and --patterns are what --rebuild builds from", exit_code=Exit.USAGE
        )
    report = auditor.audit(image)
    if rebuild:
        found = cli_build.rebuilt(image, machine=machine, patterns=tuple(patterns or ()))
        report = auditor.with_rebuilt(report, found)
    if json:
        console.data_json(report)
    else:
        console.data(auditor.render(report))
    raise SystemExit(report.exit_code)


@app.command()
def why(
    image: ImageFile,
    place: Annotated[
        str | None, typer.Argument(help="An offset, an address, a symbol, a device.")
    ] = None,
    fact: Annotated[
        str | None, typer.Option(help="The bytes that depend on it: 00:03.0.bar0, system.address.")
    ] = None,
    json: Json = False,
) -> None:
    """Say which rule, device and facts a byte of an image comes from; or what a fact became."""
    from metaos.link.image import read_image
    from metaos.verify import why as reasons

    if (place is None) == (fact is None):
        raise MetaosError(
            "name a place or --fact FACT, and not both",
            hint=f"metaos why {image} steady+0x0, or metaos why {image} --fact system.address",
            exit_code=Exit.USAGE,
        )
    built = read_image(image)
    found = reasons.why_fact(built, fact) if fact else reasons.why(built, place or "")
    if json:
        console.data_json(found)
    else:
        console.data("\n".join(origin.render() for origin in found))


@app.command()
def trace(
    image: ImageFile,
    frame: Annotated[
        str | None,
        typer.Argument(help="Hexadecimal, a file of bytes, FILE.pcap#N, or a service: SERVICE/N."),
    ] = None,
    phase: Annotated[
        str, typer.Option(help="steady, or the rows of guard, init or report.")
    ] = "steady",
    card: Annotated[str | None, typer.Option(help="Which card receives it.")] = None,
    turns: Annotated[int, typer.Option(help="So many turns; the frame comes before each.")] = 1,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="What is in a place or register: 'TABLE[0].FIELD=1', 'REGISTER.FIELD=0'."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page there instead.")] = None,
    machine: Annotated[
        Path | None, typer.Option(help="What the image was built from; default: ./machine.json.")
    ] = None,
    patterns: PatternDirs = None,
    json: Json = False,
) -> None:
    """Follow a frame through an image, instruction by instruction, without QEMU."""
    from metaos import cli_trace

    cli_trace.trace(
        image,
        machine=machine,
        patterns=tuple(patterns or ()),
        frame=frame,
        phase=phase,
        card=card,
        turns=turns,
        sets=tuple(given or ()),
        html=html,
        json=json,
    )


@app.command()
def explain(
    code: Annotated[
        str | None, typer.Argument(help="An error's code, as E0203; without one, all are listed.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what an error code means, with an example."""
    cli_build.explain(code, json=json)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where; it is made if it is not there.")],
    json: Json = False,
) -> None:
    """Make a project: metaos.toml, a system file, a folder for patterns of your own."""
    cli_build.init(folder, json=json)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this host lacks and what installs it; exit 5 if MetaOS cannot work."""
    from metaos import cli_text
    from metaos import doctor as doctor_

    findings = doctor_.examine()
    if json:
        console.data_json(findings)
    else:
        console.data(cli_text.findings_text(findings))
    if doctor_.missing(findings):
        raise SystemExit(Exit.TOOL_MISSING)


@app.command()
def version(json: Json = False) -> None:
    """Print the version, and those of the tools that shape an image's bytes."""
    from metaos import doctor as doctor_

    versions = doctor_.versions()
    if json:
        console.data_json(versions)
    else:
        console.data("\n".join(f"{name} {text}" for name, text in versions.items()))


@app.command()
def clean() -> None:
    """Remove the images in build/ and the accounts and manifests beside them."""
    for path in cli_build.clean(BUILD):
        console.note(f"removed {path}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; what follows `--` is kept for QEMU."""
    words = sys.argv[1:] if arguments is None else arguments
    cut = words.index("--") if "--" in words else len(words)
    app(
        args=words[:cut],
        prog_name="metaos",
        obj=tuple(words[cut + 1 :]) if cut < len(words) else None,
    )
