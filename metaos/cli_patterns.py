"""`metaos patterns VERB`: what is done with pattern files themselves. The work is elsewhere."""

from __future__ import annotations

import typer

from metaos import cli_text, console
from metaos.cli_build import pattern_folders
from metaos.cli_options import Json, PatternDirs

app = typer.Typer()


@app.callback(invoke_without_command=True)
def patterns(ctx: typer.Context) -> None:
    """List, check and work on patterns; without a verb, list them."""
    if ctx.invoked_subcommand is None:
        list_()


@app.command("list")
def list_(folders: PatternDirs = None, json: Json = False) -> None:
    """List the devices and services that have a pattern."""
    from metaos.pipeline import read_patterns

    loaded = read_patterns(pattern_folders(tuple(folders or ())))
    if json:
        console.data_json(cli_text.patterns_data(loaded))
    else:
        console.data(cli_text.patterns_text(loaded))


@app.command()
def check(folders: PatternDirs = None, json: Json = False) -> None:
    """Read all patterns and say everything that is wrong with them."""
    from metaos.pipeline import read_patterns

    loaded = read_patterns(pattern_folders(tuple(folders or ())))
    if json:
        console.data_json(cli_text.patterns_data(loaded))
        return
    rules = sum(not pattern.abstract for pattern in loaded.devices.values())
    console.data(
        f"{len(loaded.files)} files, {rules} devices, {len(loaded.services)} services: no errors"
    )
