"""Lists whose rows the system file gives, as a table that is only read: `Rows(node, symbol, ...)`.

rows.load(b, 3, "port")     # the two numbers of a column in row 3
rows.datum()                # the table: 8 bytes for each column of each row
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from metaos.ir.build import Builder
from metaos.ir.program import Op
from metaos.link.parts import Datum, DatumLine
from metaos.pattern import syntax as s

_CELL = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one list of a service on one card; `fact` is where the system file says them."""

    node: s.List
    symbol: str
    card: str
    fact: str

    def column(self, name: str) -> s.Column:
        """The column of this name."""
        return next(x for x in self.node.columns if x.name == name)

    def load(self, b: Builder, row: int, name: str) -> tuple[Op, Op]:
        """A column's number in a row, and its second one: a mask, or the length of a range."""
        at = (row * len(self.node.columns) + self.node.columns.index(self.column(name))) * 8
        return b.load(32, self.symbol, at), b.load(32, self.symbol, at + 4)

    def datum(self) -> Datum:
        """All rows as bytes, each accounted to the list that it belongs to."""
        data = b"".join(_CELL.pack(*cell) for row in self.node.rows for cell in row)
        line = DatumLine(0, len(data), self.card, "constant", self.node.span, (self.fact,))
        return Datum(self.symbol, ("steady",), data, 8, (), (line,))
