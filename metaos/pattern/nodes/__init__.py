"""Lark's tree of one pattern file to our nodes: `Nodes(source).transform(tree) -> File`.

What the grammar alone cannot refuse is refused here: E0004 to E0009.
"""

from __future__ import annotations

from typing import Any

from lark import v_args

from metaos.pattern import syntax as s
from metaos.pattern.nodes.declarations import DeclarationNodes
from metaos.pattern.nodes.expressions import ExpressionNodes
from metaos.pattern.nodes.fake import FakeNodes
from metaos.pattern.nodes.places import PlaceNodes
from metaos.pattern.nodes.services import ServiceNodes
from metaos.pattern.nodes.steps import StepNodes


@v_args(meta=True)
class Nodes(ExpressionNodes, StepNodes, PlaceNodes, DeclarationNodes, ServiceNodes, FakeNodes):
    """The nodes of everything that a file can say."""

    def start(self, meta: Any, c: list[Any]) -> s.File:
        def of(kind: type) -> Any:
            return tuple(x for x in c if isinstance(x, kind))

        return s.File(
            self._text.file, of(s.SourceName), of(s.ClassDef), of(s.Layout),
            of(s.Device), of(s.Service),
        )  # fmt: skip
