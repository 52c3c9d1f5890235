"""`metaos init`: a folder with a project in it that builds as it is.

    scaffold(Path("demo"))  ->  (Path("demo/metaos.toml"), Path("demo/system.toml"), ...)

The files are those of template/ beside this module, and the default system under another name.
"""

from __future__ import annotations

import re
from pathlib import Path

from metaos.errors import Exit, MetaosError
from metaos.files import replace_text
from metaos.resources import SYSTEMS

TEMPLATE = Path(__file__).parent / "template"
SYSTEM = "system.toml"
UNNAMED = "system"
LONGEST = 63


def scaffold(folder: Path) -> tuple[Path, ...]:
    """Write the project's files into `folder`, which is made if it is not there.

    Raises:
        MetaosError: one of the files exists already, and then none is written; or the folder
            cannot be written.
    """
    files = {path.relative_to(TEMPLATE): path.read_text("utf-8") for path in _templates()}
    files[Path(SYSTEM)] = _system(folder)
    there = [str(folder / name) for name in sorted(files) if (folder / name).exists()]
    if there:
        raise MetaosError(
            f"{folder}: not overwritten: {', '.join(there)}",
            hint="name another folder, or move what is there",
            exit_code=Exit.USAGE,
        )
    written = []
    for name in sorted(files):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetaosError(f"{path.parent}: {error.strerror}") from error
        replace_text(path, files[name])
        written.append(path)
    return tuple(written)


def _templates() -> list[Path]:
    return sorted(path for path in TEMPLATE.rglob("*") if path.is_file())


def _system(folder: Path) -> str:
    """The default system file with the folder's name."""
    text = (SYSTEMS / "default.toml").read_text("utf-8")
    body = text[text.index("\nname = ") + 1 :]
    head = "# What this project's images do. Services are the names of patterns.\n\n"
    return head + re.sub(r'^name = ".*"', f'name = "{_name(folder)}"', body)


def _name(folder: Path) -> str:
    """A system's name made of the folder's."""
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.absolute().resolve().name.lower()).strip("-._")
    return name[:LONGEST] or UNNAMED
