"""`metaos patterns VERB`: what is done with pattern files themselves. The work is elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metaos import console
from metaos.cli_build import own_folders, pattern_folders
from metaos.cli_options import Json, PatternDirs, SystemFile
from metaos.errors import Exit, MetaosError

app = typer.Typer()


@app.callback(invoke_without_command=True)
def patterns(ctx: typer.Context) -> None:
    """List, check and work on patterns; without a verb, list them."""
    if ctx.invoked_subcommand is None:
        list_()


@app.command("list")
def list_(folders: PatternDirs = None, json: Json = False) -> None:
    """List the devices and services that have a pattern."""
    from metaos import cli_patterns_text as text
    from metaos.pipeline import read_patterns

    loaded = read_patterns(pattern_folders(tuple(folders or ())))
    if json:
        console.data_json(text.patterns_data(loaded))
    else:
        console.data(text.patterns_text(loaded))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A device, family, overlay or service.")],
    folders: PatternDirs = None,
    json: Json = False,
) -> None:
    """Print one rule with all that it inherits, and where each line of it is from."""
    from metaos import cli_patterns_text as text
    from metaos.pattern.resolved import resolved
    from metaos.pipeline import read_patterns

    loaded = read_patterns(pattern_folders(tuple(folders or ())))
    shown = resolved(name, loaded)
    if json:
        console.data_json(shown)
    else:
        console.data(text.resolved_text(shown, loaded))


@app.command()
def check(folders: PatternDirs = None, json: Json = False) -> None:
    """Read all patterns and say everything that is wrong with them."""
    from metaos.cli_patterns_text import patterns_data
    from metaos.pipeline import read_patterns

    loaded = read_patterns(pattern_folders(tuple(folders or ())))
    if json:
        console.data_json(patterns_data(loaded))
        return
    rules = sum(not pattern.abstract for pattern in loaded.devices.values())
    console.data(
        f"{len(loaded.files)} files, {rules} devices, {len(loaded.services)} services: no errors"
    )


@app.command()
def fmt(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, or folders of them; default: the project's own patterns."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file would change.")
    ] = False,
    json: Json = False,
) -> None:
    """Give pattern files the one form: blocks, columns, spaces. Nothing else changes."""
    from metaos.pattern import fmt_files

    found = fmt_files.changes(fmt_files.named(tuple(paths or _own())))
    if not check:
        for change in found:
            fmt_files.write(change)
    if json:
        console.data_json([{"file": str(x.path), "line": x.line} for x in found])
    elif found:
        said = "would be formatted" if check else "formatted"
        console.data("\n".join(f"{x.path}:{x.line}: {said}" for x in found))
    raise SystemExit(Exit.FAILED if check and found else Exit.DONE)


@app.command()
def test(
    wanted: Annotated[
        str, typer.Argument(help="A rule, or a pattern file; default: every rule.")
    ] = "",
    system: SystemFile = None,
    folders: PatternDirs = None,
    json: Json = False,
) -> None:
    """Run the examples of rules on their fakes, without hardware; exit 1 if one fails."""
    from metaos.fake import results
    from metaos.fake.run import located, run_tests
    from metaos.match.system import read_system
    from metaos.pipeline import read_patterns

    places, wanted = located(wanted, pattern_folders(tuple(folders or ())))
    found = run_tests(read_patterns(places), read_system(system), wanted)
    if json:
        console.data_json(found)
    else:
        console.data(results.text(found))
    raise SystemExit(Exit.DONE if found.passed else Exit.FAILED)


def _own() -> tuple[Path, ...]:
    """The project's folders of patterns."""
    found = own_folders()
    if not found:
        raise MetaosError(
            "no files named, and no project with patterns of its own",
            hint="metaos patterns fmt FILE or FOLDER",
            exit_code=Exit.USAGE,
        )
    return found


def _two(given: tuple[Path, str] | None) -> tuple[Path, str] | None:
    """--from's two words; the second is not the next option."""
    if given is not None and given[1].startswith("-"):
        raise MetaosError(
            "--from wants a machine file and the address of one of its functions",
            hint=f"--from {given[0]} 00:03.0; metaos show {given[0]} lists them",
            exit_code=Exit.USAGE,
        )
    return given


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the pattern is called.")] = "",
    class_name: Annotated[
        str, typer.Option("--class", help="Its class, as general or console.")
    ] = "",
    source: Annotated[
        tuple[Path, str] | None,
        typer.Option(
            "--from",
            metavar="MACHINE ADDRESS",
            callback=_two,
            help="Ids, windows and capabilities of a machine file's function.",
        ),
    ] = None,
    ids: Annotated[str, typer.Option("--id", help="VENDOR:DEVICE of a PCI device.")] = "",
    bars: Annotated[
        list[str] | None, typer.Option("--bar", help="A window: 0=memory:4096, 1=ports:32.")
    ] = None,
    folders: PatternDirs = None,
    json: Json = False,
) -> None:
    """Write a pattern to begin with and its test into the last folder of --patterns."""
    from metaos import cli_new

    said = cli_new.Said(
        name=name,
        class_name=class_name,
        source=source,
        id=ids,
        bars=tuple(bars or ()),
        folders=tuple(folders or ()),
    )
    cli_new.new(said, json=json)
