"""What `metaos trace` reads and writes: an image and its machine file in, a trace out."""

from __future__ import annotations

from pathlib import Path

from metaos import console
from metaos.cli_build import MACHINE, no_machine_file, pattern_folders
from metaos.errors import Exit, MetaosError


def trace(
    image: Path,
    *,
    machine: Path | None,
    patterns: tuple[Path, ...],
    frame: str | None,
    phase: str,
    card: str | None,
    turns: int,
    sets: tuple[str, ...],
    html: Path | None,
    json: bool,
) -> None:
    """Follow an image's code, and print what it did or write it as a page."""
    from metaos.files import HTML, demand_replaceable, replace_text
    from metaos.link.image import read_image
    from metaos.pipeline import remake
    from metaos.probe.store import read_machine
    from metaos.trace.html import page
    from metaos.trace.text import text
    from metaos.trace.trace import Wanted
    from metaos.trace.trace import trace as follow
    from metaos.verify.form import check_form

    if html is not None:
        demand_replaceable(html, HTML)
    built = read_image(image)
    if machine is None and not MACHINE.exists():
        why = "no machine file: the image holds code, and no intermediate form of it"
        raise no_machine_file(built, why)
    wrong = check_form(built)
    if wrong:
        raise MetaosError(
            f"the image is damaged: {wrong[0].message}",
            hint="metaos audit IMAGE",
            exit_code=Exit.LAW_BROKEN,
        )
    made = remake(built, read_machine(machine or MACHINE), pattern_dirs=pattern_folders(patterns))
    wanted = Wanted(
        name=str(image), frame=frame or "", phase=phase, card=card or "", turns=turns, sets=sets
    )
    found = follow(made, built, wanted)
    if html is not None:
        replace_text(html, page(found))
    if json:
        console.data_json(found)
    elif html is None:
        console.data(text(found))
