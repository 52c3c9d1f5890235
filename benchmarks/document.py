"""Put a measured table into a document: `write_measured("cards", lines)`.

A measured part lies between `<!-- measured: NAME -->` and `<!-- end -->`. No test writes one anew:
measuring takes a machine that has the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from metaos.errors import MetaosError

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def markdown(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def write_measured(name: str, body: str, path: Path = DOCUMENT) -> None:
    """Replace the part `name`. Raises MetaosError if the document has none."""
    text = path.read_text("utf-8")
    part = re.compile(rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    new, count = part.subn(lambda found: f"{found[1]}\n{body}\n\n{found[2]}", text)
    if count != 1:
        raise MetaosError(
            f"{path.name} has {count} parts `<!-- measured: {name} -->`", hint="there must be one"
        )
    path.write_text(new, "utf-8")
