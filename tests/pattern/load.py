"""Pattern texts to what `check` says of them, beside the classes every pattern stands on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from metaos.errors import MetaosError, Problem, Source
from metaos.pattern import syntax as s
from metaos.pattern.check import check
from metaos.pattern.parse import parse
from metaos.pattern.patterns import Patterns, resolve
from metaos.resources import PATTERNS

HERE = Path(__file__).parent
ERRORS = HERE / "errors"


@cache
def prelude() -> tuple[tuple[Source, s.File], ...]:
    """Classes and layouts of the wire."""
    paths = sorted((PATTERNS / "classes").glob("*.pattern"))
    sources = [Source.read(path, f"classes/{path.name}") for path in paths]
    return tuple((source, parse(source)) for source in sources)


def patterns_of(*sources: Source) -> Patterns:
    """The patterns of some texts and the prelude's. Raises MetaosError as `load` does."""
    known = prelude()
    files = (*(f for _, f in known), *(parse(x) for x in sources))
    return resolve(files, {x.file: x for x in (*(x for x, _ in known), *sources)})


def problems_of(*sources: Source) -> tuple[Problem, ...]:
    """Everything that parser, inheritance and checks say."""
    try:
        return check(patterns_of(*sources))
    except MetaosError as error:
        return error.problems
